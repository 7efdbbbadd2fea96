import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readState, writeState } from "../../core/store/file/file-header.ts";
import { missingHiding, unshareOptions } from "../../test/e2e/hidden-tree.ts";
import { schemaOf } from "../../test/generators/sqlite-store.ts";
import { createStoreThread } from "../../test/generators/store-thread.ts";
import { testIf } from "../../test/real.ts";
import { type Database, openDatabase } from "../../wasm/database.ts";
import { FileVfs } from "../../wasm/vfs/file.ts";
import type { OpenedFile } from "../../wasm/vfs/vfs.ts";
import { previousSite } from "../data/site-identity.ts";
import { StartFailure } from "../start-failure.ts";
import type { StoreThread } from "../store/store-thread.ts";
import { Backup, backupEvents } from "./backup.ts";
import { restore } from "./restore.ts";

let folder: string;
const vfs = new FileVfs();

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "patina-backup-"));
});

afterAll(() => rmSync(folder, { recursive: true }));

function openStore(path: string): StoreThread {
  return createStoreThread({
    vfs,
    databasePath: path,
    // No INTEGER PRIMARY KEY: rows go by rowids that SQLite may give away again.
    schema: schemaOf("CREATE TABLE t (id TEXT PRIMARY KEY NOT NULL, v TEXT)"),
    queryTimeoutMs: 1000,
  });
}

async function write(store: StoreThread, sql: string): Promise<void> {
  const outcome = await store.service.transact([{ sql, parameters: undefined }], undefined);
  expect(outcome.kind).toBe("committed");
}

const clocksAndRows = (database: Database) =>
  database.all(
    "SELECT t.rowid, t.id, t.v, c.clock FROM t JOIN patina_clock_t c ON c.id = t.rowid ORDER BY 1",
  );

// Over HTTP/2 a client may take its request back before the answer is there: nothing of that is ever asked for.
test("a backup whose client goes before its first line isn't one that is under way", async () => {
  const store = openStore(join(folder, "gone.db"));
  await write(store, "INSERT INTO t VALUES ('large', hex(zeroblob(1000000)))");
  const backup = (name: string) =>
    store.service.operate({ kind: "backup", path: join(folder, name) });
  for (const name of ["gone.backup", "there.backup"]) {
    const outcome = await backup(name);
    if (outcome.kind === "refused") throw new Error(outcome.why);
    if (name === "gone.backup") await outcome.lines[Symbol.asyncIterator]().return?.();
    else expect(Buffer.concat(await Array.fromAsync(outcome.lines)).toString()).toContain("done");
  }
  // Of two that are asked for together one is made.
  const [one, two] = await Promise.all([backup("one.backup"), backup("two.backup")]);
  if (one.kind === "refused" || two.kind === "refused") throw new Error("refused");
  const lines = one.lines[Symbol.asyncIterator]();
  await lines.next();
  const other = Buffer.concat(await Array.fromAsync(two.lines)).toString();
  expect(other).toBe('{"error":"another backup is under way"}\n');
  await lines.return?.();
  store.stop();
  expect(readdirSync(folder).filter((name) => name.endsWith(".partial"))).toEqual([]);
});

test("a backup to where no file can be made says why", async () => {
  const store = openStore(join(folder, "nowhere.db"));
  const outcome = await store.service.operate({ kind: "backup", path: "/dev/null/backup" });
  if (outcome.kind === "refused") throw new Error(outcome.why);
  const said = Buffer.concat(await Array.fromAsync(outcome.lines)).toString();
  expect(said).toBe('{"error":"/dev/null: there is no such folder on the agent\'s host"}\n');
  store.stop();
});

testIf(
  missingHiding(),
  "a backup to a folder that is read-only for the agent says what to set",
  () => {
    const module = (file: string) => JSON.stringify(join(import.meta.dir, "../..", file));
    // As under `ProtectSystem=strict`: not even what isn't there can be removed.
    const program = `import { openDatabase } from ${module("wasm/database.ts")};
      import { FileVfs } from ${module("wasm/vfs/file.ts")};
      import { Backup } from ${module("agent/operations/backup.ts")};
      const vfs = new FileVfs();
      console.log(new Backup(openDatabase("/dev/shm/source.db", { vfs }), vfs, process.argv[1]).step().why);`;
    const script = `mount -t tmpfs none /dev/shm && mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" &&
      exec "$2" -e "$3" "$1/b.db"`;
    const command = ["sh", "-c", script, "sh", folder, process.execPath, program];
    const ran = Bun.spawnSync(["unshare", unshareOptions, ...command]);
    expect([ran.stdout.toString().trim(), ran.stderr.toString()]).toEqual([
      `backup to ${folder}/b.db: ${folder} is read-only for the agent: its unit has to name it in ReadWritePaths=, and it has to be there when the agent starts`,
      "",
    ]);
  },
);

test("a backup is the database as it is at its last step, rowids and clocks included", async () => {
  const path = join(folder, "busy.db");
  const store = openStore(path);
  const many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)";
  await write(
    store,
    `${many.replace("WITH", "INSERT INTO t WITH")} SELECT 'r' || i, hex(zeroblob(100)) FROM n`,
  );
  // Gaps among the rowids, which a VACUUM might close.
  await write(store, "DELETE FROM t WHERE rowid % 3 = 0");
  const to = join(folder, "busy.backup");
  const outcome = await store.service.operate({ kind: "backup", path: to });
  if (outcome.kind === "refused") throw new Error(outcome.why);
  const lines: string[] = [];
  for await (const bytes of outcome.lines) {
    lines.push(Buffer.from(bytes).toString());
    // Before, in and behind the pages that are copied.
    await write(
      store,
      `UPDATE t SET v = 'while ${lines.length}' WHERE rowid % 1000 = ${lines.length}`,
    );
    await write(store, `INSERT INTO t VALUES ('new ${lines.length}', '')`);
    await write(store, `DELETE FROM t WHERE rowid = ${lines.length * 7 + 1}`);
  }
  expect(lines.length).toBeGreaterThan(5);
  expect(JSON.parse(lines.at(0) as string)).toMatchObject({ progress: { pages: 128 } });
  expect(JSON.parse(lines.at(-1) as string)).toMatchObject({ done: { path: to } });
  // What came after the last step isn't in it; all before is.
  using copy = openDatabase(to, { vfs });
  expect(copy.all("PRAGMA integrity_check")).toEqual([["ok"]]);
  const news = copy.all("SELECT count(*) FROM t WHERE id LIKE 'new %'");
  expect(news).toEqual([[lines.length - 1]]);
  const rows = clocksAndRows(copy);
  expect(copy.all("SELECT count(*) FROM t")).toEqual([[rows.length]]);
  expect(copy.all("SELECT count(*) FROM patina_clock_t")).toEqual([[rows.length]]);
  copy.close();
  store.stop();
  expect(readdirSync(folder).filter((name) => name.includes("partial"))).toEqual([]);
}, 120_000);

test("what a backup that was cut short left doesn't hold up the next one", async () => {
  const store = openStore(join(folder, "leftover.db"));
  const to = join(folder, "leftover.backup");
  writeFileSync(`${to}.partial`, "half of a page, and no database at all");
  const outcome = await store.service.operate({ kind: "backup", path: to });
  if (outcome.kind === "refused") throw new Error(outcome.why);
  const lines = (await Array.fromAsync(outcome.lines)).map((bytes) =>
    Buffer.from(bytes).toString(),
  );
  store.stop();
  expect(JSON.parse(lines.at(-1) as string)).toMatchObject({ done: { path: to } });
  expect(existsSync(`${to}.partial`)).toBe(false);
});

test("a backup doesn't overwrite, and leaves nothing when it is cut short or its folder is missing", async () => {
  const path = join(folder, "short.db");
  using source = openDatabase(path, { vfs });
  source.exec("CREATE TABLE big (x)");
  source.exec("INSERT INTO big VALUES (zeroblob(4000000))");
  const taken = join(folder, "taken");
  writeFileSync(taken, "mine");
  expect(new Backup(source, vfs, taken).step()).toMatchObject({ kind: "failed" });
  const to = join(folder, "short.backup");
  const cut = new Backup(source, vfs, to);
  for await (const event of backupEvents(cut)) {
    expect(event.kind).toBe("progress");
    break;
  }
  expect(cut.step()).toEqual({ kind: "failed", why: `backup to ${to}: it was cut short` });
  expect(new Backup(source, vfs, join(folder, "none", "x")).step()).toMatchObject({
    kind: "failed",
    why: expect.stringContaining("no such folder"),
  });
  expect(readdirSync(folder).filter((name) => name.startsWith("short"))).toEqual(["short.db"]);
});

// What SQLite promises for tables without an INTEGER PRIMARY KEY is less; this holds for the SQLite in use.
test("VACUUM and VACUUM INTO leave every row its rowid, and with it its clocks", async () => {
  const path = join(folder, "vacuum.db");
  const store = openStore(path);
  await write(
    store,
    "INSERT INTO t VALUES ('a', '1'), ('b', '2'), ('c', '3'), ('d', '4'), ('e', '5')",
  );
  await write(store, "DELETE FROM t WHERE id IN ('a', 'c')");
  await write(store, "INSERT INTO t VALUES ('a', 'again')");
  store.stop();
  using database = openDatabase(path, { vfs });
  const before = clocksAndRows(database);
  expect(before.length).toBe(4);
  const into = join(folder, "vacuum.into");
  database.exec(`VACUUM INTO '${into}'`);
  database.exec("VACUUM");
  expect(clocksAndRows(database)).toEqual(before);
  using copy = openDatabase(into, { vfs });
  expect(clocksAndRows(copy)).toEqual(before);
  // Both are still Patina's own files.
  for (const one of [database, copy]) {
    expect(one.all("PRAGMA application_id")).toEqual([[0x5041544e]]);
    expect(one.all("PRAGMA auto_vacuum")).toEqual([[2]]);
  }
});

test("restore refuses what isn't a sound backup", async () => {
  const path = join(folder, "live.db");
  const good = join(folder, "good.backup");
  const store = openStore(path);
  await write(store, "INSERT INTO t VALUES ('a', '1')");
  store.stop();
  {
    using source = openDatabase(path, { vfs });
    const backup = new Backup(source, vfs, good);
    while (backup.step().kind === "progress");
  }

  using other = openDatabase(join(folder, "other.db"), { vfs });
  other.exec("PRAGMA application_id = 7; PRAGMA user_version = 1; CREATE TABLE x (y)");
  const noise = join(folder, "noise");
  writeFileSync(noise, Buffer.alloc(8192, 77));
  for (const [file, why] of [
    [join(folder, "absent"), "there is no such file"],
    [noise, "no SQLite database"],
    [other.path, "belongs to another program"],
  ] as const) {
    expect(() => restore(file, path, vfs, 1000)).toThrow(why);
  }
  // Torn in the middle.
  const bytes = Buffer.from(await Bun.file(good).arrayBuffer());
  bytes.fill(0xff, 5 * 4096, 7 * 4096);
  const torn = join(folder, "torn");
  writeFileSync(torn, bytes);
  expect(() => restore(torn, path, vfs, 1000)).toThrow(StartFailure);
  const other32 = new Uint8Array(32).fill(9);
  expect(() => restore(good, path, vfs, 1000, { digestKey: other32 })).toThrow(
    "a backup of another cluster",
  );
  expect(existsSync(`${path}.restoring`)).toBe(false);
  expect(restore(good, path, vfs, 1000)).toMatchObject({ kept: `${path}.before-restore-1000` });
});

// The next start was refused, with the old database replaced by then.
test("restore refuses a backup that the schema files don't fit, before anything is replaced", async () => {
  const path = join(folder, "older.db");
  const backup = join(folder, "newer.backup");
  const store = openStore(path);
  await write(store, "INSERT INTO t VALUES ('a', '1')");
  store.stop();
  {
    using source = openDatabase(path, { vfs });
    const taken = new Backup(source, vfs, backup);
    while (taken.step().kind === "progress");
  }
  const before = readFileSync(path);
  const older = schemaOf("CREATE TABLE t (id TEXT PRIMARY KEY NOT NULL)");
  const tried = () => restore(backup, path, vfs, 1000, { schema: older });
  expect(tried).toThrow(
    "don't fit it:\ntest.sql:1: table t: column v can't be dropped: put it back",
  );
  expect(tried).toThrow("Nothing was replaced: put the schema files of its time there");
  expect(readFileSync(path)).toEqual(before);
  // What the files add the next start adds.
  const newer = schemaOf("CREATE TABLE t (id TEXT PRIMARY KEY NOT NULL, v TEXT, w TEXT)");
  expect(restore(backup, path, vfs, 1000, { schema: newer })).toHaveProperty("bytes");
});

test("after a restore the site is another, the starts go on counting, and what was there is kept", async () => {
  const path = join(folder, "again.db");
  const to = join(folder, "again.backup");
  const first = openStore(path);
  await write(first, "INSERT INTO t VALUES ('a', 'backed up')");
  const outcome = await first.service.operate({ kind: "backup", path: to });
  if (outcome.kind === "started") for await (const _ of outcome.lines);
  await write(first, "INSERT INTO t VALUES ('b', 'later')");
  const { site } = first;
  first.stop();
  const second = openStore(path);
  expect(second.incarnation).toBe(2);
  second.stop();
  const { kept } = restore(to, path, vfs, 5000);
  const third = openStore(path);
  expect(third.site).not.toBe(site);
  expect(third.incarnation).toBe(3);
  third.stop();
  using restored = openDatabase(path, { vfs });
  expect(restored.all("SELECT id FROM t")).toEqual([["a"]]);
  // Only once.
  expect(readState(restored, "restored")).toBe(0);
  writeState(restored, "restored", 1);
  expect(previousSite(restored, site, {} as never)).toEqual({
    newBecause: "the database was restored from a backup",
  });
  using before = openDatabase(kept as string, { vfs });
  expect(before.all("SELECT id FROM t ORDER BY 1")).toEqual([["a"], ["b"]]);
  expect(before.all("PRAGMA integrity_check")).toEqual([["ok"]]);
});

testIf(
  process.getuid?.() === 0 ? undefined : "only root can give a file to another user",
  "what root restores belongs to the user whose folder it is",
  async () => {
    const to = join(folder, "given.backup");
    const store = openStore(join(folder, "given-source.db"));
    const outcome = await store.service.operate({ kind: "backup", path: to });
    if (outcome.kind === "started") for await (const _ of outcome.lines);
    store.stop();
    const data = join(folder, "data-of-another");
    mkdirSync(data);
    chownSync(data, 4711, 4712);
    const path = join(data, "patina.db");
    restore(to, path, vfs, 1000);
    expect(statSync(path)).toMatchObject({ uid: 4711, gid: 4712, mode: 0o100600 });
  },
);

test("where no database is, a restore keeps agents from starting one meanwhile, and leaves none when it fails", async () => {
  const to = join(folder, "fresh.backup");
  const store = openStore(join(folder, "source.db"));
  await write(store, "INSERT INTO t VALUES ('a', '1')");
  const outcome = await store.service.operate({ kind: "backup", path: to });
  if (outcome.kind === "started") for await (const _ of outcome.lines);
  store.stop();
  const path = join(folder, "fresh.db");
  const starts: string[] = [];
  /** Another process tries to open the database while the backup is being looked at. */
  class Watching extends FileVfs {
    override xOpen(name: string | null, flags: number): OpenedFile {
      if (name === `${path}.restoring`) {
        const module = (file: string) => JSON.stringify(join(import.meta.dir, "../../wasm", file));
        const agent = `import { openDatabase } from ${module("database.ts")};
          import { FileVfs } from ${module("vfs/file.ts")};
          try { openDatabase(${JSON.stringify(path)}, { vfs: new FileVfs() }); console.log("opened"); }
          catch (error) { console.log(error.message); }`;
        starts.push(Bun.spawnSync([process.execPath, "-e", agent]).stdout.toString());
      }
      return super.xOpen(name, flags);
    }
  }
  expect(restore(to, path, new Watching(), 1000)).toMatchObject({ kept: undefined });
  expect(starts).toEqual([expect.stringContaining("locked")]);
  const noise = join(folder, "noise-again");
  writeFileSync(noise, Buffer.alloc(8192, 77));
  const other = join(folder, "never.db");
  expect(() => restore(noise, other, vfs, 1000)).toThrow(StartFailure);
  expect(readdirSync(folder).filter((name) => name.startsWith("never"))).toEqual([]);
});

test("what a killed restore left is gone at the next start", () => {
  const path = join(folder, "left.db");
  for (const end of ["", "-wal"]) writeFileSync(`${path}.restoring${end}`, "x");
  openStore(path).stop();
  expect(readdirSync(folder).filter((name) => name.includes("left.db.restoring"))).toEqual([]);
});

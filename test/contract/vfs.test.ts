import { describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SQLITE_BUSY, SQLITE_CANTOPEN, SQLITE_NOTADB } from "../../wasm/constants.ts";
import { openDatabase } from "../../wasm/database.ts";
import { SqliteError } from "../../wasm/error.ts";
import { FileVfs } from "../../wasm/vfs/file.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { missingProgram, testIf } from "../real.ts";
import { testVfs, type VfsUnderTest } from "./vfs.ts";

const child = join(import.meta.dir, "vfs-child.ts");
const fileVfs = new FileVfs();

testVfs("memory", () => {
  const vfs = new MemoryVfs();
  return { vfs, path: (name) => `/${name}`, [Symbol.dispose]: () => {} };
});
testVfs("file", createFolder);

interface Folder extends VfsUnderTest {
  readonly path: (name: string) => string;
}

function createFolder(): Folder {
  const folder = mkdtempSync(join(tmpdir(), "patina-vfs-"));
  return {
    vfs: fileVfs,
    path: (name = "") => join(folder, name),
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}

function open(path: string): ReturnType<typeof openDatabase> {
  return openDatabase(path, { vfs: fileVfs });
}

function openError(path: string): SqliteError {
  try {
    open(path).close();
  } catch (thrown) {
    if (thrown instanceof SqliteError) return thrown;
    throw thrown;
  }
  throw new Error(`${path} could be opened`);
}

/** What the child says in its first line. */
function run(command: string, path: string): unknown {
  const { stdout, stderr } = Bun.spawnSync([process.execPath, child, command, path]);
  if (stdout.length === 0) throw new Error(stderr.toString());
  return JSON.parse(stdout.toString().split("\n")[0] as string);
}

/** Lines of a process as they come; stops reading when `until` says so. */
async function readLines(
  stream: ReadableStream<Uint8Array>,
  until: (line: string, count: number) => boolean,
): Promise<string[]> {
  const lines: string[] = [];
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    rest += decoder.decode(chunk, { stream: true });
    const parts = rest.split("\n");
    rest = parts.pop() as string;
    for (const line of parts) {
      lines.push(line);
      if (until(line, lines.length)) return lines;
    }
  }
  return lines;
}

describe("file VFS and other processes", () => {
  test("a second agent is told that the database is locked, and by what kind of holder", async () => {
    using folder = createFolder();
    const path = folder.path("a.db");
    const db = open(path);
    db.exec("PRAGMA journal_mode = WAL; CREATE TABLE t (a)");
    const locked = {
      code: "SQLITE_BUSY",
      message: `${path}: database is locked (${path}: another agent has it open)`,
    };
    expect(run("open", path)).toEqual(locked);
    // Also while nothing is going on in it, and by another path to the same file.
    symlinkSync(path, folder.path("link.db"));
    expect(run("open", folder.path("link.db"))).toMatchObject({ code: "SQLITE_BUSY" });
    // And while any connection is left.
    const reader = openDatabase(path, { vfs: fileVfs, readonly: true });
    db.close();
    expect(run("open", path)).toEqual(locked);
    reader.close();
    expect(run("open", path)).toEqual([[0]]);

    // And the other way round; the lock goes with the process, whichever way that ends.
    const holder = Bun.spawn([process.execPath, child, "hold", path], {
      stdin: "pipe",
      stdout: "pipe",
    });
    await readLines(holder.stdout, () => true);
    expect(openError(path).code).toBe(SQLITE_BUSY);
    holder.kill("SIGKILL");
    await holder.exited;
    open(path).close();
  });

  test("two paths to one file are one database", () => {
    using folder = createFolder();
    symlinkSync(folder.path("a.db"), folder.path("link.db"));
    using first = open(folder.path("a.db"));
    first.exec("PRAGMA journal_mode = DELETE; CREATE TABLE t (a); BEGIN IMMEDIATE");
    using second = open(folder.path("link.db"));
    expect(() => second.exec("BEGIN IMMEDIATE")).toThrow("database is locked");
  });

  test("another thread with a heap of its own is another process", async () => {
    using folder = createFolder();
    const path = folder.path("a.db");
    using db = open(path);
    db.exec("PRAGMA journal_mode = WAL; CREATE TABLE t (a)");
    writeFileSync(
      folder.path("worker.ts"),
      `import { openDatabase } from ${JSON.stringify(join(import.meta.dir, "../../wasm/database.ts"))};
      import { FileVfs } from ${JSON.stringify(join(import.meta.dir, "../../wasm/vfs/file.ts"))};
      try { openDatabase(${JSON.stringify(path)}, { vfs: new FileVfs() }); postMessage("open"); }
      catch (thrown) { postMessage(thrown.codeName); }`,
    );
    const worker = new Worker(folder.path("worker.ts"));
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    worker.onmessage = (event) => resolve(event.data);
    worker.onerror = (event) => reject(new Error(event.message));
    expect(await promise).toBe("SQLITE_BUSY");
    worker.terminate();
  });

  testIf(missingProgram("sqlite3"), "a sqlite3 shell and we lock each other out", async () => {
    using folder = createFolder();
    const path = folder.path("a.db");
    const shell = (sql: string) => Bun.spawnSync(["sqlite3", path, sql]);
    const db = open(path);
    db.exec("PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    for (const sql of ["SELECT * FROM t", "INSERT INTO t VALUES (2)", "PRAGMA integrity_check"]) {
      const answer = shell(sql);
      expect(answer.stderr.toString()).toContain("database is locked");
      expect([answer.exitCode === 0, answer.stdout.toString()]).toEqual([false, ""]);
    }
    // The locks that SQLite lowers and raises meanwhile never reach the operating system.
    db.exec("INSERT INTO t VALUES (3)");
    db.checkpoint("TRUNCATE");
    expect(shell("SELECT 1 FROM t").stderr.toString()).toContain("database is locked");
    db.close();
    expect(shell("SELECT a FROM t; PRAGMA integrity_check").stdout.toString()).toBe("1\n3\nok\n");

    const other = Bun.spawn(["sqlite3", path], { stdin: "pipe", stdout: "pipe" });
    other.stdin.write("BEGIN; SELECT count(*) FROM t;\n");
    await other.stdin.flush();
    await readLines(other.stdout, () => true);
    const locked = openError(path);
    expect([locked.code, locked.message]).toEqual([
      SQLITE_BUSY,
      `${path}: database is locked (${path}: process ${other.pid} has it open)`,
    ]);
    await other.stdin.end();
    await other.exited;
    using again = open(path);
    expect(again.all("SELECT a FROM t")).toEqual([[1], [3]]);
  });

  test("kill -9: what was acknowledged is there, nothing is half there, the file is whole", async () => {
    using folder = createFolder();
    const path = folder.path("a.db");
    let before = 0;
    for (let round = 0; round < 4; round++) {
      const writer = Bun.spawn([process.execPath, child, "write", path], { stdout: "pipe" });
      const lines = await readLines(writer.stdout, (_, count) => count === 40 + round * 37);
      writer.kill("SIGKILL");
      await writer.exited;
      const acknowledged = Number(lines.at(-1));
      expect(acknowledged).toBeGreaterThan(before);
      using db = open(path);
      const [count, last] = db.get("SELECT count(*), max(n) FROM t") as [number, number];
      expect(count).toBe(last);
      expect(last).toBeGreaterThanOrEqual(acknowledged);
      expect(last % 2).toBe(0);
      expect(db.all("PRAGMA integrity_check")).toEqual([["ok"]]);
      before = last;
    }
  }, 120_000);
});

describe("file VFS and what the disk refuses", () => {
  test("offsets beyond 4 GiB", () => {
    using folder = createFolder();
    const { file } = fileVfs.xOpen(folder.path("f"), 0x6 | 0x800);
    const heap = new Uint8Array([1, 2, 3]);
    file.xWrite(heap, 0, 3, 5 * 2 ** 30);
    expect(file.xFileSize()).toBe(5 * 2 ** 30 + 3);
    heap.fill(0);
    expect([file.xRead(heap, 0, 3, 5 * 2 ** 30), ...heap]).toEqual([3, 1, 2, 3]);
    file.xTruncate(5 * 2 ** 30);
    expect(file.xFileSize()).toBe(5 * 2 ** 30);
    file.xClose();
  });

  test("a folder that isn't there, a folder as a file, a file that is no database", () => {
    using folder = createFolder();
    const missing = openError(folder.path("no/a.db"));
    expect([missing.code, missing.message]).toEqual([
      SQLITE_CANTOPEN,
      `${folder.path("no/a.db")}: unable to open database file (open ${folder.path("no/a.db")}: ENOENT)`,
    ]);
    mkdirSync(folder.path("folder"));
    expect(openError(folder.path("folder")).codeName).toBe("SQLITE_CANTOPEN_ISDIR");
    writeFileSync(folder.path("text.db"), "this is no database\n".repeat(100));
    using db = open(folder.path("text.db"));
    expect(() => db.all("SELECT * FROM sqlite_schema")).toThrow("file is not a database");
    try {
      db.exec("CREATE TABLE t (a)");
    } catch (thrown) {
      expect((thrown as SqliteError).code).toBe(SQLITE_NOTADB);
    }
  });

  test("opening a file fails without leaving a descriptor or a lock behind", () => {
    using folder = createFolder();
    const descriptors = () => readdirSync("/proc/self/fd").length;
    using other = open(folder.path("other.db"));
    other.exec("CREATE TABLE t (a)");
    openError(folder.path("no/a.db"));
    const before = descriptors();
    for (let at = 0; at < 5; at++) openError(folder.path("no/a.db"));
    for (let at = 0; at < 5; at++) open(folder.path("fine.db")).close();
    expect(descriptors()).toBe(before);
  });

  testIf(
    missingMounts(),
    "a full disk is SQLITE_FULL, the statement is undone and the rest is whole",
    () => {
      using folder = createFolder();
      const answer = inMount(folder, "-t tmpfs -o size=1m none", "fill");
      expect(answer).toEqual({
        failed: {
          code: "SQLITE_FULL",
          message: expect.stringMatching(
            /^database or disk is full \(write .*\/mnt\/a\.db.*: ENOSPC\)$/,
          ),
        },
        same: true,
        autocommit: true,
      });
    },
  );

  testIf(missingMounts(), "a read-only disk: what is there is read, nothing is made", () => {
    using folder = createFolder();
    mkdirSync(folder.path("data"));
    const db = open(folder.path("data/a.db"));
    db.exec("CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    db.close();
    const bind = `--bind -o ro ${folder.path("data")}`;
    expect(inMount(folder, bind, "open")).toEqual([[1]]);
    rmSync(folder.path("data/a.db"));
    expect(inMount(folder, bind, "open")).toEqual({
      code: "SQLITE_READONLY_DIRECTORY",
      message: expect.stringMatching(/attempt to write a readonly database \(create .*: EROFS\)$/),
    });
  });
});

/** Undefined if this user may make a mount namespace, which a disk that refuses things needs. */
function missingMounts(): string | undefined {
  const missing = missingProgram("unshare");
  if (missing !== undefined) return missing;
  return Bun.spawnSync(["unshare", "-rm", "true"]).exitCode === 0
    ? undefined
    : "unshare -rm isn't allowed";
}

/** Runs the child on `mnt/a.db`, with something mounted at `mnt` that only it sees. */
function inMount(folder: Folder, mount: string, command: string): unknown {
  mkdirSync(folder.path("mnt"), { recursive: true });
  const script = `mount ${mount} "$1" && exec "$2" "$3" "$4" "$1/a.db"`;
  const { stdout, stderr } = Bun.spawnSync(
    [
      "unshare",
      "-rm",
      "sh",
      "-c",
      script,
      "sh",
      folder.path("mnt"),
      process.execPath,
      child,
      command,
    ],
    { cwd: import.meta.dir },
  );
  if (stdout.length === 0) throw new Error(stderr.toString());
  return JSON.parse(stdout.toString());
}

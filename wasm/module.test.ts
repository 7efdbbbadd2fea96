import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDatabase } from "./database.ts";
import { compileSqlite, loadSqlite } from "./module.ts";
import { MemoryVfs } from "./vfs/memory.ts";

test("it is the pinned version, loaded once a thread", () => {
  const first = loadSqlite();
  expect(first.version).toBe("3.54.1");
  expect(loadSqlite()).toBe(first);
});

test("the VFSs that the build brings along, which lead nowhere, are gone", () => {
  using db = openDatabase("a.db", { vfs: new MemoryVfs() });
  for (const name of ["unix", "unix-none", "unix-excl", "memdb"]) {
    expect(() => db.exec(`ATTACH 'file:b.db?vfs=${name}' AS b`)).toThrow(`no such vfs: ${name}`);
  }
});

test("a heap that can grow no further is SQLITE_NOMEM, and the module lives on", () => {
  using db = openDatabase("a.db", { vfs: new MemoryVfs() });
  expect(() => db.module.allocate(2 ** 31 - 70_000)).toThrow("out of memory");
  expect(db.all("SELECT 1")).toEqual([[1]]);
});

test("after a trap nothing is answered any more, and the error says what it was", async () => {
  using folder = createFolder();
  // In a thread of its own, whose module may break.
  writeFileSync(
    folder.path("worker.ts"),
    `import { openDatabase } from ${JSON.stringify(join(import.meta.dir, "database.ts"))};
    import { MemoryVfs } from ${JSON.stringify(join(import.meta.dir, "vfs/memory.ts"))};
    const vfs = new MemoryVfs();
    const db = openDatabase("a.db", { vfs });
    const kept = db.prepare("SELECT 1");
    let traps = 0;
    db.module.onTrap = () => traps++;
    // What a trap does: it unwinds C's frames without their knowing.
    db.createRawFunction("unwind", 0, {}, () => { throw new RangeError("as a trap would"); });
    const told = (body) => { try { body(); return "nothing"; } catch (thrown) { return thrown.codeName + " " + thrown.message; } };
    const first = told(() => db.get("SELECT unwind()"));
    const later = [() => kept.step(), () => db.exec("SELECT 1"), () => db.prepare("SELECT 1"),
      () => db.changes, () => openDatabase("b.db", { vfs })].map(told);
    kept.finalize();
    db.close();
    postMessage({ first, later, traps });`,
  );
  const worker = new Worker(folder.path("worker.ts"));
  const { promise, resolve, reject } = Promise.withResolvers<{
    first: string;
    later: string[];
    traps: number;
  }>();
  worker.onmessage = (event) => resolve(event.data);
  worker.onerror = (event) => reject(new Error(event.message));
  const { first, later, traps } = await promise;
  worker.terminate();
  expect(first).toBe(
    "SQLITE_INTERNAL SQLite broke off and can't be used any more in this process: as a trap would",
  );
  expect(later).toEqual([first, first, first, first, first]);
  expect(traps).toBe(1);
});

test("SQL can't use up the stack, in a Worker neither", async () => {
  using folder = createFolder();
  writeFileSync(
    folder.path("worker.ts"),
    `import { openDatabase } from ${JSON.stringify(join(import.meta.dir, "database.ts"))};
    import { MemoryVfs } from ${JSON.stringify(join(import.meta.dir, "vfs/memory.ts"))};
    const db = openDatabase("a.db", { vfs: new MemoryVfs() });
    const views = (n) => "WITH " + Array.from({ length: n }, (_, i) => \`c\${i} AS (SELECT * FROM c\${i + 1})\`).join() + \`, c\${n} AS (SELECT 1) SELECT * FROM c0\`;
    const told = (sql) => { try { db.all(sql); return "rows"; } catch (thrown) { return thrown.name + " " + thrown.message; } };
    db.exec("PRAGMA recursive_triggers = ON; CREATE TABLE t (a); CREATE TRIGGER g AFTER INSERT ON t WHEN new.a < 5000 BEGIN INSERT INTO t VALUES (new.a + 1); END");
    postMessage([
      "SELECT '" + "a".repeat(50000) + "' LIKE '" + "%a".repeat(249) + "b'",
      "SELECT '" + "a".repeat(50000) + "' GLOB '" + "*a".repeat(20000) + "b'",
      "SELECT " + "(".repeat(100000), "SELECT " + "abs(".repeat(950) + "1" + ")".repeat(950),
      "SELECT " + "1+".repeat(999) + "1", views(400), views(5000),
      "SELECT * FROM " + "(SELECT * FROM ".repeat(400) + "(SELECT 1)" + ")".repeat(400),
      "SELECT 1" + " UNION ALL SELECT 1".repeat(499), "VALUES " + Array(100000).fill("(1)").join(),
      "SELECT json('" + "[".repeat(100000) + "')", "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (4100)",
      "SELECT 1",
    ].map(told));`,
  );
  const worker = new Worker(folder.path("worker.ts"));
  const { promise, resolve, reject } = Promise.withResolvers<string[]>();
  worker.onmessage = (event) => resolve(event.data);
  worker.onerror = (event) => reject(new Error(event.message));
  const answers = await promise;
  worker.terminate();
  for (const answer of answers) {
    expect(answer).toMatch(
      /^(rows|SqliteError .*(too|limit|malformed|nested|syntax|incomplete).*)$/i,
    );
  }
  expect(answers.at(-1)).toBe("rows");
});

test("it runs in a Worker, also one that is given the compiled module", async () => {
  using folder = createFolder();
  writeFileSync(
    folder.path("worker.ts"),
    `import { openDatabase } from ${JSON.stringify(join(import.meta.dir, "database.ts"))};
    import { loadSqlite } from ${JSON.stringify(join(import.meta.dir, "module.ts"))};
    import { MemoryVfs } from ${JSON.stringify(join(import.meta.dir, "vfs/memory.ts"))};
    onmessage = ({ data }) => {
      loadSqlite(data ?? undefined);
      using db = openDatabase("a.db", { vfs: new MemoryVfs() });
      postMessage(db.all("SELECT sqlite_version()")[0][0]);
    };`,
  );
  for (const module of [null, compileSqlite()]) {
    const worker = new Worker(folder.path("worker.ts"));
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    worker.onmessage = (event) => resolve(event.data);
    worker.onerror = (event) => reject(new Error(event.message));
    worker.postMessage(module);
    expect(await promise).toBe("3.54.1");
    worker.terminate();
  }
});

test("it runs in a compiled binary, on a real file, with the lock of the operating system", async () => {
  using folder = createFolder();
  writeFileSync(
    folder.path("main.ts"),
    `import { openDatabase } from ${JSON.stringify(join(import.meta.dir, "database.ts"))};
    import { FileVfs } from ${JSON.stringify(join(import.meta.dir, "vfs/file.ts"))};
    using db = openDatabase(process.argv[2], { vfs: new FileVfs() });
    db.exec("PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS t (a); INSERT INTO t VALUES (1)");
    const again = Bun.spawnSync([process.execPath, process.argv[2], "again"]);
    const held = process.argv[3] === undefined ? again.stderr.toString().includes("database is locked") : null;
    console.log(JSON.stringify([...db.all("SELECT sqlite_version(), count(*) FROM t"), held]));`,
  );
  const built = Bun.spawnSync(
    [
      process.execPath,
      "build",
      "--compile",
      folder.path("main.ts"),
      "--outfile",
      folder.path("main"),
    ],
    { stderr: "pipe" },
  );
  expect([built.exitCode, built.exitCode === 0 ? "" : built.stderr.toString()]).toEqual([0, ""]);
  mkdirSync(folder.path("empty"));
  const { stdout, stderr } = Bun.spawnSync([folder.path("main"), folder.path("empty/a.db")], {
    cwd: folder.path("empty"),
  });
  expect([stderr.toString(), stdout.toString()]).toEqual(["", '[["3.54.1",1],true]\n']);
}, 120_000);

interface Folder extends Disposable {
  path(name: string): string;
}

function createFolder(): Folder {
  const folder = mkdtempSync(join(tmpdir(), "patina-wasm-"));
  return {
    path: (name) => join(folder, name),
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}

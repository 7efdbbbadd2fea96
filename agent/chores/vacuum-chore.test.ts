import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { schemaOf } from "../../test/generators/sqlite-store.ts";
import { createStoreThread } from "../../test/generators/store-thread.ts";
import { openDatabase } from "../../wasm/database.ts";
import { FileVfs } from "../../wasm/vfs/file.ts";

let folder: string;
const vfs = new FileVfs();

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "patina-vacuum-"));
});

afterAll(() => rmSync(folder, { recursive: true }));

const rows = 10_000;

const sizeOf = (path: string): number => (existsSync(path) ? statSync(path).size : 0);

// A day's churn in fast motion, and small; see `bench -- store` for sizes.
test("after much churn file and WAL are within 1.5 of a fresh copy", async () => {
  const path = join(folder, "churn.db");
  const store = createStoreThread({
    vfs,
    databasePath: path,
    schema: schemaOf(
      "CREATE TABLE t (id TEXT PRIMARY KEY NOT NULL, a TEXT, b INTEGER); CREATE INDEX t_b ON t (b)",
    ),
    queryTimeoutMs: 5000,
    statementTimeoutMs: 60_000,
  });
  store.start(undefined);
  const write = async (sql: string) => {
    const outcome = await store.service.transact([{ sql, parameters: undefined }], undefined);
    if (outcome.kind === "refused") throw new Error(outcome.why);
  };
  const fill = (from: number, to: number, text: string) =>
    write(
      `WITH RECURSIVE n(i) AS (SELECT ${from} UNION ALL SELECT i + 1 FROM n WHERE i < ${to}) INSERT INTO t SELECT hex(i * 7919 % 104729) || '-' || i, ${text}, i FROM n`,
    );
  // Somebody looks on all the time.
  await store.service.subscribe(
    { sql: "SELECT count(*) FROM t", parameters: undefined },
    { from: undefined, skipRows: false },
    () => {},
  );
  await fill(1, rows, "hex(zeroblob(40))");
  let next = rows + 1;
  // Ten updates of each row, two deletes and two inserts, at random places.
  for (let round = 0; round < 10; round++) {
    await write(`UPDATE t SET a = hex(zeroblob(${20 + round * 5})), b = b + 1`);
    const some = `SELECT id FROM t ORDER BY rowid * 7919 % ${10_007 + round} LIMIT ${rows / 5}`;
    await write(`DELETE FROM t WHERE id IN (${some})`);
    await fill(next, next + rows / 5 - 1, "hex(zeroblob(50))");
    next += rows / 5;
  }
  // And a load that doesn't stay.
  await fill(next, next + rows, "hex(zeroblob(100))");
  await write(`DELETE FROM t WHERE id IN (SELECT id FROM t ORDER BY rowid DESC LIMIT ${rows})`);
  const deadlineMs = performance.now() + 60_000;
  const used = () => sizeOf(path) + sizeOf(`${path}-wal`);
  const atWorst = used();
  let fresh = 0;
  for (;;) {
    const copy = join(folder, `fresh-${performance.now()}.db`);
    using reader = openDatabase(path, { vfs, readonly: true });
    reader.exec(`VACUUM INTO '${copy}'`);
    fresh = sizeOf(copy);
    rmSync(copy);
    if (used() <= 1.5 * fresh) break;
    if (performance.now() > deadlineMs) break;
    await Bun.sleep(500);
  }
  const { pages_freed: freed } = JSON.parse(await store.service.status());
  console.log(`at worst ${atWorst}, now ${used()} of ${fresh} bytes; ${freed} pages freed`);
  expect(used()).toBeLessThanOrEqual(1.5 * fresh);
  using reader = openDatabase(path, { vfs, readonly: true });
  expect(reader.all("PRAGMA integrity_check")).toEqual([["ok"]]);
  store.stop();
}, 120_000);

/**
 * The WAL begins anew beside reads that overlap without a pause and writes that never stop: real store,
 * real reader thread, real files.
 *
 * @module
 */

import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, readSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readerLimits } from "../../agent/readers/reader-pool.ts";
import type { StoreThread } from "../../agent/store/store-thread.ts";
import { FileVfs } from "../../wasm/vfs/file.ts";
import { schemaOf } from "../generators/sqlite-store.ts";
import { createStoreThread } from "../generators/store-thread.ts";

setDefaultTimeout(120_000);

/** 1.2 MB. */
const walFramesMax = 300;
const frameBytes = 4096 + 24;
const beginnings = 4;
let folder: string;
let thread: StoreThread;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "patina-wal-"));
  thread = createStoreThread({
    vfs: new FileVfs(),
    databasePath: join(folder, "patina.db"),
    schema: schemaOf(
      "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v TEXT NOT NULL DEFAULT '', n INTEGER);",
    ),
    walFramesMax,
    // Three times the limit, as where nothing else is told.
    readerLimits: { ...readerLimits, walBytesMax: 3 * walFramesMax * frameBytes },
  });
  thread.start(undefined);
  await write(
    "INSERT INTO t (id, v, n) WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 8000) SELECT x, 'value ' || x, 1 FROM c",
  );
});

afterEach(() => {
  thread.stop();
  rmSync(folder, { recursive: true });
});

const write = (sql: string) => thread.service.transact([{ sql, parameters: undefined }], undefined);

/** Another one each time that the WAL begins anew. */
function salt(): string {
  const descriptor = openSync(join(folder, "patina.db-wal"), "r");
  try {
    const header = Buffer.alloc(8);
    readSync(descriptor, header, 0, 8, 16);
    return header.toString("hex");
  } finally {
    closeSync(descriptor);
  }
}

test("the WAL begins anew beside reads that overlap and writes that never stop", async () => {
  let isOver = false;
  const ended: string[] = [];
  const reading = [1, 2, 3].map(async (reader) => {
    const sql = `SELECT count(*) FROM t a JOIN t b ON b.n = a.n + ${reader} WHERE a.id < 200`;
    while (!isOver) {
      const outcome = await thread.service.query({ sql, parameters: undefined }, undefined);
      if (outcome.kind === "refused") throw new Error(outcome.why);
      let text = "";
      for await (const chunk of outcome.chunks) text += Buffer.from(chunk).toString();
      ended.push(text);
    }
  });
  const subscribing = (async () => {
    for (let i = 0; !isOver; i++) {
      let text = "";
      const sql = `SELECT id, n FROM t WHERE n > -${i}`;
      const outcome = await thread.service.subscribe(
        { sql, parameters: undefined },
        { from: undefined, skipRows: false },
        (event) => {
          if (event.kind === "lines") text += Buffer.from(event.bytes).toString();
        },
      );
      if (outcome.kind === "refused") throw new Error(outcome.why);
      const lateMs = performance.now() + 60_000;
      while (!text.includes('{"eoq"')) {
        if (performance.now() > lateMs)
          throw new Error(`a subscription's rows end with: ${text.slice(-200)}`);
        await Bun.sleep(1);
      }
      thread.service.unsubscribe(outcome.subscriber);
    }
  })();
  const salts = new Set<string>();
  let bytesMax = 0;
  let writes = 0;
  const deadlineMs = performance.now() + 100_000;
  while (salts.size < beginnings && performance.now() < deadlineMs) {
    const first = (writes * 37) % 7900;
    const sql = `UPDATE t SET n = n + 1 WHERE id BETWEEN ${first} AND ${first + 100}`;
    expect((await write(sql)).kind).toBe("committed");
    writes++;
    salts.add(salt());
    bytesMax = Math.max(bytesMax, statSync(join(folder, "patina.db-wal")).size);
    await new Promise((resolve) => setImmediate(resolve));
  }
  isOver = true;
  await Promise.all([...reading, subscribing]);
  expect(salts.size).toBe(beginnings);
  // A limit of it, three until a read is ended, and what comes until that has heard of it and while the WAL is copied.
  expect(bytesMax).toBeLessThan(8 * walFramesMax * frameBytes);
  expect(ended.length).toBeGreaterThan(0);
  // On a machine that has much else to do a read takes longer than the WAL may wait for it.
  const errors = ended.filter((text) => text.includes('"error"'));
  expect(errors.filter((text) => !text.includes("bytes of the write-ahead log"))).toEqual([]);
});

test("a host that is only read gives its WAL back, though long reads come all the time", async () => {
  for (let i = 0; i < 5; i++) await write(`UPDATE t SET n = n + ${i}`);
  const size = () => statSync(join(folder, "patina.db-wal")).size;
  expect(size()).toBeGreaterThan(100 * frameBytes);
  const sql = "SELECT count(*) FROM t a JOIN t b ON b.n = a.n WHERE a.id < 20";
  const deadlineMs = performance.now() + 100_000;
  while (size() > 10 * frameBytes && performance.now() < deadlineMs) {
    const outcome = await thread.service.query({ sql, parameters: undefined }, undefined);
    if (outcome.kind !== "stream") throw new Error("it is short");
    await Array.fromAsync(outcome.chunks);
    await Bun.sleep(10);
  }
  expect(size()).toBeLessThanOrEqual(10 * frameBytes);
});

import { expect, test } from "bun:test";
import { HlcClock } from "../../core/clock/hlc-clock.ts";
import { hlcZero } from "../../core/clock/stamp.ts";
import type { PlannedSchema } from "../../core/schema/schema.ts";
import { SqliteStore } from "../../core/store/sqlite-store.ts";
import type { CommitResult } from "../../core/store/store-outcomes.ts";
import { openMemory, schemaOf } from "../../test/generators/sqlite-store.ts";
import { createDigester, siteOf } from "../../test/model/history.ts";
import type { Database } from "../../wasm/database.ts";
import { type TransactionLimits, TransactionRunner } from "./transaction-runner.ts";

const schema = `
  CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, status TEXT, drained INTEGER, weight INTEGER);
  CREATE TABLE plain (k TEXT PRIMARY KEY NOT NULL, status TEXT);
`;

/** A store of `schema` in memory, and what its clients' statements come to: the version, or the refusal. */
function open(
  database: Database,
  planned: PlannedSchema,
  limits: Omit<TransactionLimits, "timeoutMs">,
): (...statements: string[]) => unknown {
  const opened = SqliteStore.open({
    writer: database,
    schema: planned,
    digester: createDigester(),
    clock: new HlcClock(siteOf(0), hlcZero),
  });
  if (opened.kind === "refused") throw new Error("refused");
  const runner = new TransactionRunner<CommitResult>(database, opened.store, {
    timeoutMs: 10_000,
    ...limits,
  });
  return (...statements) => {
    const texts = statements.map((sql) => ({ sql, parameters: [] }));
    const outcome = runner.transact(
      texts,
      undefined,
      () => 10_000,
      () => {},
    );
    return outcome.kind === "committed" ? outcome.version : (outcome.isUnheard ?? outcome.why);
  };
}

test("an INSERT of a row that others may have is taken if it says whatever decides that the row is urgent", () => {
  const planned = schemaOf(schema, { t: { urgent: "status <> 'up' OR drained" } });
  using database = openMemory();
  let isUnsure = true;
  const write = open(database, planned, {
    unsureColumns: (table) => (isUnsure && table === "t" ? ["status", "drained"] : undefined),
  });
  const insert = "INSERT INTO t VALUES ('a', 'up', 0, 1)";
  const upsert = (set: string) => `${insert} ON CONFLICT DO UPDATE SET ${set}`;
  expect(write(insert)).toBe(true);
  expect(write(upsert("weight = 1"))).toBe(true);
  expect(write(upsert("weight = 1, status = excluded.status"))).toBe(true);
  expect(write("INSERT INTO plain VALUES ('a', 'up')")).toBe(1);
  expect(write(upsert("status = excluded.status, drained = excluded.drained"))).toBe(2);
  // One statement that doesn't, beside one that does.
  const other = "INSERT OR IGNORE INTO t VALUES ('b', 'up', 0, 1)";
  expect(write(upsert("status = 'up', drained = 0"), other)).toBe(true);
  expect(write(other.replace("'up'", "'down'"))).toBe(3);
  isUnsure = false;
  expect(write("INSERT INTO t VALUES ('c', 'up', 0, 1)")).toBe(4);
});

test("a statement that would make SQLite's memory larger for good than it may be is refused, and others go on", () => {
  using database = openMemory();
  const { heap } = database.module;
  const heapBytesMax = heap.u8.length + 8 * 1024 * 1024;
  const write = open(database, schemaOf(schema), { heapBytesMax });
  const many = "printf('%.*c', 500, '[') || printf('%.*c', 500, ']')";
  const long = `json_pretty(${many}, printf('%.*c', 200000, ' '))`;
  expect(write(`INSERT INTO plain SELECT 'a', length(${long})`)).toBe("out of memory");
  expect(heap.u8.length).toBeLessThanOrEqual(heapBytesMax);
  expect(write("INSERT INTO plain VALUES ('a', 'up')")).toBe(1);
});

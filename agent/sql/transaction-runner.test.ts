import { expect, test } from "bun:test";
import { HlcClock } from "../../core/clock/hlc-clock.ts";
import { hlcZero } from "../../core/clock/stamp.ts";
import type { PlannedSchema } from "../../core/schema/schema.ts";
import { SqliteStore } from "../../core/store/sqlite-store.ts";
import type { CommitResult } from "../../core/store/store-outcomes.ts";
import { openMemory, schemaOf } from "../../test/generators/sqlite-store.ts";
import { createDigester, siteOf } from "../../test/model/history.ts";
import type { Database } from "../../wasm/database.ts";
import type { SqlText } from "../api/statement.ts";
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
): (...statements: (string | SqlText)[]) => unknown {
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
    const texts = statements.map((one) =>
      typeof one === "string" ? { sql: one, parameters: [] } : one,
    );
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

// Nothing ends one LIKE: 500 bytes on 6 MB of the worst text held the store thread for 85 s.
test("LIKE and GLOB of a write have long patterns, or large values beside them, and not both", () => {
  using database = openMemory();
  const write = open(database, schemaOf(schema), {});
  const long = "b".repeat(300);
  const large = "a".repeat(100_000);
  const of = (sql: string, ...parameters: string[]): SqlText => ({ sql, parameters });
  const matching = "INSERT INTO plain SELECT ?1, ?2 LIKE ?3";
  expect(write(of(matching, "a", "c", long))).toBe(1);
  // What came before it in the same transaction is written once.
  const counted =
    "INSERT INTO t (k, weight) VALUES ('a', 1) ON CONFLICT DO UPDATE SET weight = weight + 1";
  expect(write(counted, of(matching, "b", large, "%b%"))).toBe(2);
  expect(database.all("SELECT weight FROM t")).toEqual([[1]]);
  expect(database.all("SELECT k, status FROM plain ORDER BY k")).toEqual([
    ["a", "0"],
    ["b", "0"],
  ]);
  const refused = "LIKE or GLOB pattern too complex";
  expect(write(of(matching, "c", large, long))).toBe(refused);
  expect(write(of(matching.replace("LIKE", "GLOB"), "c", large, long))).toBe(refused);
  expect(write(of(matching, "c", "c", long))).toBe(3);
  // Others have any value that a row may.
  expect(write(of("INSERT INTO plain VALUES (?1, upper(?2))", "d", large))).toBe(4);
});

test("a write that calls functions is looked at every few steps", () => {
  using database = openMemory();
  let looks = 0;
  const nowMs = performance.now;
  const write = open(database, schemaOf(schema), {});
  const calls = Array.from({ length: 60 }, () => "length(hex(?1))").join(" + ");
  performance.now = () => {
    looks++;
    return nowMs.call(performance);
  };
  try {
    const sql = `INSERT INTO plain SELECT 'a', ${calls}`;
    expect(write({ sql, parameters: ["a"] })).toBe(1);
  } finally {
    performance.now = nowMs;
  }
  expect(looks).toBeGreaterThan(15);
});

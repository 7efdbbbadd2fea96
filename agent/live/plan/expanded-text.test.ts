import { expect, test } from "bun:test";
import fc from "fast-check";
import { Real, type SqlValue } from "../../../core/row/value.ts";
import { openDatabase } from "../../../wasm/database.ts";
import { MemoryVfs } from "../../../wasm/vfs/memory.ts";
import { SqlGuard } from "../../sql/guard.ts";
import { PreparedStatements } from "../../sql/prepared.ts";
import { expandedText } from "./expanded-text.ts";

const database = openDatabase("/expanded.db", { vfs: new MemoryVfs() });
const guard = new SqlGuard(database);
const prepared = new PreparedStatements(database, guard);
const expanded = (
  sql: string,
  parameters?: readonly SqlValue[] | ReadonlyMap<string, SqlValue>,
): unknown => guard.within("read", () => expandedText(database, prepared, { sql, parameters }));

const value: fc.Arbitrary<SqlValue> = fc.oneof(
  fc.constant(null),
  fc.integer({ min: -3, max: 3 }),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.double({ noNaN: true }).map((real) => new Real(real)),
  fc.constantFrom(0, -0, 0.1 + 0.2, 1e15, -1e16).map((real) => new Real(real)),
  fc.uint8Array({ maxLength: 4 }),
  fc.string({ unit: fc.constantFrom("a", "'", "\0", "\\", "u0000", "-", "é", "😀", "\n") }),
  fc.string({ unit: fc.constantFrom("a", "'", "é", "😀"), minLength: 65, maxLength: 70 }),
);

// The law: the text with its values in it gives what the text gives with them.
test("a query's text with its values in it gives what the query does", () => {
  const sqls = [
    "SELECT ?1, typeof(?1), ?1 IS ?2",
    "SELECT 5 -?1, +?2 -- ?1",
    "SELECT 5 -?1\n + 1, ?2 /* ? */",
    "SELECT?1WHERE 1 IN (?1,?2)OR 1=?2OR?1IS?2OR NOT?2",
    "SELECT CASE ?1WHEN?2THEN?1ELSE?2END, '?1'",
    "SELECT 'a'||?1||?2, $a FROM (SELECT 1 AS a)",
  ];
  fc.assert(
    fc.property(fc.constantFrom(...sqls), value, value, (sql, first, second) => {
      using statement = database.prepare(sql);
      const values = [first, second, first].slice(0, statement.parameterCount);
      const text = expanded(sql, values);
      expect([text, database.all(String(text))]).toEqual([text, statement.all(...values)]);
    }),
    { numRuns: 300 },
  );
}, 60_000);

test("values stand in the text as SQLite writes them, and those that are missing are NULL", () => {
  expect(expanded("SELECT ?, ?, ?, ?", ["it's", -1, new Real(1.5), new Uint8Array([0, 255])])).toBe(
    "SELECT 'it''s', -1, 1.5, x'00ff'",
  );
  const named = new Map<string, SqlValue>([
    [":a", 2n ** 62n],
    [":nobody", 1],
  ]);
  expect(expanded("SELECT :a, :b, :a -- :a", named)).toBe(
    "SELECT 4611686018427387904, NULL, 4611686018427387904 -- :a",
  );
  expect(expanded("SELECT 1;")).toBe("SELECT 1;");
  expect(expanded("SELECT ?", [1, 2])).toMatchObject({ why: "column index out of range" });
});

// Else one body of 16 MB would be gigabytes of text, and the thread that serves would stand still for seconds.
test("a value that stands in the text many times is never written out so often", () => {
  const sql = `SELECT 1 WHERE 1 IN (${"?1,".repeat(80_000)}?1)`;
  const refusal = "a subscription may have 250000 characters with its values, and has";
  expect(String(expanded(sql, [7]))).toBe(sql.replaceAll("?1", "7"));
  const heapBytes = database.module.heap.u8.length;
  for (const [value, chars] of [
    ["a".repeat(1_000_000), 1_000_002],
    [`\0${"a".repeat(1_000_000)}`, 1_000_000 + "unistr('\\u0000')".length],
    [new Uint8Array(1_000_000), 2_000_003],
  ] as const) {
    const why = `${refusal} ${80_001 * (chars - 2) + sql.length}`;
    expect(expanded(sql, [value])).toMatchObject({ status: 400, why });
  }
  expect(expanded(sql, ["'".repeat(64)])).toMatchObject({ why: `${refusal} millions` });
  expect(database.module.heap.u8.length - heapBytes).toBeLessThan(32 * 1024 * 1024);
}, 10_000);

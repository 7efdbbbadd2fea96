import { expect, test } from "bun:test";
import fc from "fast-check";
import { RawText, Real, type SqlValue } from "../../core/row/value.ts";
import { openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { addSteepFunctions } from "./steep-functions.ts";

const calls = [
  "instr(?1, ?2)",
  "replace(?1, ?2, ?3)",
  "trim(?1, ?2)",
  "ltrim(?1, ?2)",
  "rtrim(?1, ?2)",
  "unhex(?1, ?2)",
];

/** Of few characters, so that they are found in each other. */
const value = (): fc.Arbitrary<SqlValue> =>
  fc.oneof(
    fc.string({ unit: fc.constantFrom("a", "b", "é", "\0", " "), maxLength: 6 }),
    fc.constantFrom<SqlValue>(null, 1, 11, new Real(1.5), new Real(-0), 2n ** 62n),
    fc.uint8Array({ maxLength: 3, max: 3 }),
    fc.constantFrom(new RawText(Uint8Array.of(0xff)), new RawText(Uint8Array.of(0x61, 0xc3))),
  );

// The bound is all that differs: whatever the values are, the result is SQLite's.
test("within their bound they are SQLite's own", () => {
  using plain = openDatabase("/a.db", { vfs: new MemoryVfs() });
  using bound = openDatabase("/b.db", { vfs: new MemoryVfs() });
  addSteepFunctions(bound, () => false);
  const select = `SELECT ${calls.map((call) => `typeof(${call}), hex(${call}), ${call}`).join(", ")}`;
  fc.assert(
    fc.property(value(), value(), value(), (a, b, c) => {
      expect(bound.all(select, a, b, c)).toEqual(plain.all(select, a, b, c));
    }),
  );
});

test("patched JSON is what it is without a bound, also for other JSON functions", () => {
  using plain = openDatabase("/a.db", { vfs: new MemoryVfs() });
  using bound = openDatabase("/b.db", { vfs: new MemoryVfs() });
  addSteepFunctions(bound, () => false);
  const patch = `('{"a":[1,2],"b":1.0}', '{"b":null,"c":{"d":"é"}}')`;
  const select = `SELECT json_patch${patch}, json_array(json_patch${patch}), json_array(json_patch(1, NULL)),
    hex(jsonb_patch${patch}), json_extract(json_patch${patch}, '$.c')`;
  expect(bound.all(select)).toEqual(plain.all(select));
  expect(() => bound.all("SELECT json_patch('{', '{}')")).toThrow("malformed JSON");
});

test("beyond it they refuse, and so they do when their time is over", () => {
  using database = openDatabase("/a.db", { vfs: new MemoryVfs() });
  let isOver = false;
  addSteepFunctions(database, () => isOver);
  const large = "printf('%.*c', 200000, 'a')";
  for (const call of [
    `instr(${large}, ${large})`,
    `replace(${large}, ${large}, '')`,
    `trim(${large}, ${large})`,
    `unhex(${large}, ${large})`,
    `json_patch(json_quote(${large}), json_quote(${large}))`,
  ]) {
    expect(() => database.all(`SELECT ${call}`)).toThrow("would take too long");
  }
  // Of a set of a thousand characters, and of two million: 30 s.
  const set = "printf('%.*c', 2000, 'a') || 'b'";
  for (const call of ["trim", "ltrim", "rtrim", "unhex"]) {
    const sql = `SELECT ${call}(${large}, ${set})`;
    expect(() => database.all(sql)).toThrow("would take too long");
  }
  expect(database.all(`SELECT length(trim(${large}, ' a')), instr(${large}, ${set})`)).toEqual([
    [0, 0],
  ]);
  expect(database.all(`SELECT instr(${large}, 'b'), trim(${large})`)[0]?.[0]).toBe(0);
  isOver = true;
  expect(() => database.all("SELECT instr('a', 'b')")).toThrow("interrupted");
});

import { expect, test } from "bun:test";
import fc from "fast-check";
import { sqlValue } from "../../test/generators/rows.ts";
import { openMemory, problemsOf, SqliteNode } from "../../test/generators/sqlite-store.ts";
import { RawText, type SqlValue } from "../row/value.ts";

/** A table with one generated column, in Uncloud's words. */
const machines = (expression: string): string =>
  `CREATE TABLE machines (id TEXT NOT NULL PRIMARY KEY,
     name TEXT AS (${expression}), info TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(info)))`;

const guarded = "CASE WHEN json_valid(info) THEN json_extract(info, '$.name') END";

test("JSON behind json_valid of the same column is accepted, also in an index", () => {
  for (const expression of [
    guarded,
    "CASE WHEN json_valid(\"info\") THEN [info] ->> '$.name' ELSE '' END",
    "coalesce(CASE WHEN JSON_VALID(info) THEN info -> '$.a.\"b c\"[0].d-e' END, upper(id)) || 'x'",
    "json_valid(info)",
  ]) {
    expect([expression, problemsOf(machines(expression))]).toEqual([expression, []]);
  }
  const index = `; CREATE INDEX x ON machines (name, ${guarded.replaceAll("name", "zone")}) WHERE json_valid(info)`;
  expect(problemsOf(machines(guarded) + index)).toEqual([]);
});

test("JSON without it is refused, and the error says how to write it", () => {
  const refusals: [expression: string, written: string][] = [
    ["json_extract(info, '$.name')", `write ${guarded}`],
    ["info ->> '$.name'", "write CASE WHEN json_valid(info) THEN info ->> '$.name' END"],
    [
      "json_type(info)",
      "write CASE WHEN json_valid(column) THEN json_extract(column, '$.path') END",
    ],
    // Of another column, of a computed value, with a flag that may be wrong, or beside the guard.
    ["CASE WHEN json_valid(id) THEN json_extract(info, '$.name') END", `write ${guarded}`],
    ["CASE WHEN json_valid(info || '') THEN json_extract(info, '$.a') END", "write CASE WHEN"],
    ["CASE WHEN json_valid(info, 99) THEN json_extract(info, '$.a') END", "write CASE WHEN"],
    [
      "CASE WHEN json_valid(info) THEN json_extract(info, '$.a') || (info ->> '$.b') END",
      "write CASE",
    ],
    ["CASE WHEN NOT json_valid(info) THEN json_extract(info, '$.name') END", `write ${guarded}`],
    ["CASE WHEN json_valid(info) THEN 1 ELSE json_extract(info, '$.name') END", `write ${guarded}`],
    ["CASE json_valid(info) WHEN 1 THEN json_extract(info, '$.name') END", `write ${guarded}`],
    // A path that SQLite refuses, that is computed, or that counts from the right.
    ["CASE WHEN json_valid(info) THEN json_extract(info, '$.') END", "a path of names"],
    ["CASE WHEN json_valid(info) THEN json_extract(info, 'name') END", "a path of names"],
    ["CASE WHEN json_valid(info) THEN json_extract(info, '$[#-1]') END", "a path of names"],
    [
      "CASE WHEN json_valid(info) THEN json_extract(info, id) END",
      "write CASE WHEN json_valid(column)",
    ],
    ["CASE WHEN json_valid(info) THEN json_extract(info, '$.a', '$.b') END", "write CASE WHEN"],
  ];
  for (const [expression, written] of refusals) {
    const problems = problemsOf(machines(expression));
    expect([expression, problems.length]).toEqual([expression, 1]);
    expect([expression, problems[0]]).toEqual([expression, expect.stringContaining(written)]);
  }
});

test("a merge of a value that is no JSON takes it, and the column shows NULL until it is one", () => {
  using node = new SqliteNode(`${machines(guarded)}; CREATE INDEX x ON machines (name)`);
  using peer = new SqliteNode("CREATE TABLE machines (id TEXT NOT NULL PRIMARY KEY, info TEXT)");
  const steps: [info: string, name: SqlValue][] = [
    [`'{"name":"m1"}'`, "m1"],
    [`'{"name":'`, null],
    [`x'5c17612b1331'`, null],
    ["NULL", null],
    [`'{"name":["m",2]}'`, '["m",2]'],
  ];
  for (const [info, name] of steps) {
    const { changeset } = peer.write(`REPLACE INTO machines VALUES ('a', ${info})`);
    node.store.merge(changeset?.rows ?? []);
    expect(node.db.all("SELECT name FROM machines")).toEqual([[name]]);
    expect(node.db.all("SELECT id FROM machines WHERE name IS ?", name)).toEqual([["a"]]);
  }
  node.db.exec("PRAGMA ignore_check_constraints = ON");
  expect(node.db.all("PRAGMA integrity_check")).toEqual([["ok"]]);
});

/** JSON, text like it, SQLite's binary form, damaged or whole. */
function jsonLike(): fc.Arbitrary<SqlValue> {
  const json = fc.json({ maxDepth: 3 });
  const cut = fc.tuple(json, fc.nat(), fc.nat()).map(([text, at, length]) => {
    const from = at % (text.length + 1);
    return text.slice(0, from) + text.slice(from + (length % 4));
  });
  const near = fc
    .array(
      fc.constantFrom(
        ..."{}[]:,\"'\\/* \n\t\0u0eE+-.12ntfalsINxé\ud83d".split("").concat('{"a":', '"\\u', "[1"),
      ),
      { maxLength: 24 },
    )
    .map((parts) => parts.join(""));
  const bytes = fc.uint8Array({ maxLength: 24 });
  return fc.oneof(
    sqlValue(),
    json,
    cut,
    near,
    bytes,
    bytes.map((one) => new RawText(one)),
  );
}

test("the forms that are let through are total: any value, any path", () => {
  using db = openMemory();
  db.exec(`CREATE TABLE t (id INTEGER PRIMARY KEY, v)`);
  const step = fc.oneof(
    fc.constantFrom("a", "name", "\u00e9", "a-b", '"a b"', "0").map((name) => `.${name}`),
    fc.constantFrom(0, 1, 999999).map((index) => `[${index}]`),
  );
  const path = fc.array(step, { maxLength: 64 }).map((steps) => `'$${steps.join("")}'`);
  const binary = (value: SqlValue): SqlValue => {
    const [row] = db.all("SELECT CASE WHEN json_valid(?1) THEN jsonb(?1) END", value);
    return row?.[0] ?? null;
  };
  fc.assert(
    fc.property(jsonLike(), path, fc.nat(), fc.nat(255), (value, way, at, byte) => {
      const whole = binary(value);
      const damaged = whole instanceof Uint8Array ? Uint8Array.from(whole) : new Uint8Array(1);
      damaged[at % damaged.length] = byte;
      for (const one of [value, whole, damaged]) {
        db.all("REPLACE INTO t VALUES (1, ?)", one);
        const cuts = [`json_extract(v, ${way})`, `v ->> ${way}`, `v -> ${way}`];
        const forms = cuts.map((cut) => `CASE WHEN json_valid(v) THEN ${cut} END`);
        db.all(`SELECT ${forms.join(", ")} FROM t`);
      }
    }),
    { numRuns: 500 },
  );
});

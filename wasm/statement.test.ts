import { afterAll, expect, test } from "bun:test";
import fc from "fast-check";
import { utf8Decode } from "../core/bytes/utf8.ts";
import { RawText, Real, type SqlValue } from "../core/row/value.ts";
import { sqlValue } from "../test/generators/rows.ts";
import { SQLITE_FLOAT, SQLITE_INTEGER, SQLITE_NULL, SQLITE_TEXT } from "./constants.ts";
import { openDatabase } from "./database.ts";
import { MemoryVfs } from "./vfs/memory.ts";

const db = openDatabase("test.db", { vfs: new MemoryVfs() });
afterAll(() => db.close());

/** Each of these has been got wrong by some binding. */
const oddValues: SqlValue[] = [
  Number.MAX_SAFE_INTEGER,
  2n ** 53n,
  -(2n ** 53n),
  2n ** 63n - 1n,
  -(2n ** 63n),
  2 ** 31,
  -(2 ** 31) - 1,
  new Real(-0),
  new Real(1),
  new Real(2 ** 53),
  new Real(Number.NEGATIVE_INFINITY),
  new Real(5e-324),
  "",
  "a\0b",
  "\ufeffwith a byte order mark",
  "\ufffd is a character too",
  "é".repeat(12),
  "\u{1f600}".repeat(30_000),
  "x".repeat(70_000),
  new RawText(new Uint8Array([0xed, 0xa0, 0x80])),
  new RawText(new Uint8Array([0xc0, 0x80, 0x00, 0xff])),
  new RawText(new Uint8Array(70_000).fill(0xff)),
  new Uint8Array(0),
  new Uint8Array([0]),
  new Uint8Array(70_000).fill(7),
];

test("every value comes back from a parameter, a table, a function and a hook as it was", () => {
  db.exec("CREATE TABLE round (k INTEGER PRIMARY KEY, v)");
  db.createFunction("same", 1, {}, (value) => value);
  const seen: SqlValue[] = [];
  db.onPreupdate((change) => {
    seen.push(change.operation === "delete" ? change.old(1) : change.new(1));
  });
  using parameter = db.prepare("SELECT ?");
  using throughFunction = db.prepare("SELECT same(?)");
  using insert = db.prepare("INSERT INTO round VALUES (1, ?)");
  using select = db.prepare("SELECT v FROM round");
  using remove = db.prepare("DELETE FROM round WHERE k = 1");
  fc.assert(
    fc.property(fc.oneof(sqlValue(), fc.constantFrom(...oddValues)), (value) => {
      seen.length = 0;
      insert.run(value);
      const back = [parameter.get(value), throughFunction.get(value), select.get()].flat();
      remove.run();
      for (const got of [...back, ...seen]) expect(got).toEqual(value);
      expect([back.length, seen.length]).toEqual([3, 2]);
    }),
    { examples: oddValues.map((value) => [value]), numRuns: 400 },
  );
  db.onPreupdate(null);
});

test("TEXT of any bytes is a string exactly when core's decoder takes them", () => {
  using statement = db.prepare("SELECT ?");
  const chunk = fc.oneof(
    fc.uint8Array({ maxLength: 4 }),
    fc.string({ unit: "binary", maxLength: 2 }).map((text) => new Uint8Array(Buffer.from(text))),
    fc.constantFrom(new Uint8Array([0xef, 0xbf, 0xbd]), new Uint8Array([0xed, 0xbf, 0xbf])),
  );
  fc.assert(
    fc.property(fc.array(chunk, { maxLength: 6 }), (chunks) => {
      const bytes = new Uint8Array(Buffer.concat(chunks));
      statement.reset();
      statement.bindTextBytes(1, bytes);
      statement.step();
      expect(statement.column(0)).toEqual(utf8Decode(bytes) ?? new RawText(bytes));
      expect(statement.columnBytes(0)).toEqual(bytes);
    }),
  );
});

test("INTEGER and REAL stay apart", () => {
  expect(db.all("SELECT typeof(?), typeof(?), typeof(?)", 1, new Real(1), 2 ** 40)).toEqual([
    ["integer", "real", "integer"],
  ]);
  using statement = db.prepare("SELECT 1, 1.0, 'x', NULL");
  statement.step();
  expect([0, 1, 2, 3].map((column) => statement.columnType(column))).toEqual([
    SQLITE_INTEGER,
    SQLITE_FLOAT,
    SQLITE_TEXT,
    SQLITE_NULL,
  ]);
});

test("NaN is NULL, as SQLite has it", () => {
  expect(db.all("SELECT ?", new Real(Number.NaN))).toEqual([[null]]);
});

test("a lone surrogate, which UTF-8 can't say, becomes U+FFFD", () => {
  expect(db.all("SELECT ?, ?", "\ud800", `${"x".repeat(40)}\udc00`)).toEqual([
    ["\ufffd", `${"x".repeat(40)}\ufffd`],
  ]);
});

test("what isn't a value of SQL is refused before SQLite sees it", () => {
  using statement = db.prepare("SELECT ?");
  for (const wrong of [1.5, Number.NaN, 2 ** 53, 2n ** 63n, -(2n ** 63n) - 1n]) {
    expect(() => statement.bind(1, wrong)).toThrow(RangeError);
  }
  for (const wrong of [undefined, true, {}, []]) {
    expect(() => statement.bind(1, wrong as unknown as SqlValue)).toThrow(TypeError);
  }
});

test("a parameter keeps its value until it is bound anew, whatever happens to the others", () => {
  using statement = db.prepare("SELECT ?1, ?2, ?3");
  statement.bindAll(["first", "second", new Uint8Array([3])]);
  expect(statement.step()).toBe(true);
  statement.reset();
  statement.bind(2, "the second grew beyond the room it had before ".repeat(3));
  expect(statement.step()).toBe(true);
  expect(statement.row()).toEqual([
    "first",
    "the second grew beyond the room it had before ".repeat(3),
    new Uint8Array([3]),
  ]);
  statement.reset();
  statement.clearBindings();
  expect(statement.get(null, null, null)).toEqual([null, null, null]);
});

test("two statements that run at once don't share their parameters' memory", () => {
  using outer = db.prepare("SELECT ? FROM (SELECT 1 UNION ALL SELECT 2)");
  outer.bind(1, "of the outer one");
  const rows: SqlValue[] = [];
  while (outer.step()) {
    rows.push(outer.column(0));
    db.all("SELECT ?", "of the inner one");
  }
  expect(rows).toEqual(["of the outer one", "of the outer one"]);
});

test("binding while a row is being read is refused, and the row is unharmed", () => {
  using statement = db.prepare("SELECT ?");
  statement.bind(1, "kept");
  statement.step();
  expect(() => statement.bind(1, "lost")).toThrow("bind while a row is being read");
  expect(statement.column(0)).toBe("kept");
  statement.reset();
  statement.bind(1, "now");
  statement.step();
  expect(statement.column(0)).toBe("now");
});

test("parameters are counted, named and checked", () => {
  using statement = db.prepare("SELECT :a, $b, @c, ?7, ?");
  expect(statement.parameterCount).toBe(8);
  expect([1, 2, 3, 7, 8].map((index1) => statement.parameterName(index1))).toEqual([
    ":a",
    "$b",
    "@c",
    "?7",
    null,
  ]);
  expect([statement.parameterIndex("$b"), statement.parameterIndex("b")]).toEqual([2, 0]);
  expect(() => statement.bindAll([1])).toThrow("8 parameters wanted, 1 given");
  expect(() => statement.bind(9, 1)).toThrow("out of range");
  expect(() => statement.bind(9, "x")).toThrow("parameter 9 of 1..8");
  expect(() => statement.bind(0, "x")).toThrow("parameter 0 of 1..8");
});

test("columns tell their name and origin", () => {
  db.exec("CREATE TABLE origin (id INTEGER PRIMARY KEY, name VARCHAR(9) NOT NULL)");
  using statement = db.prepare("SELECT name AS n, id + 1 FROM origin AS o");
  expect(statement.columnNames()).toEqual(["n", "id + 1"]);
  expect([statement.columnOrigin(0), statement.columnOrigin(1)]).toEqual([
    { database: "main", table: "origin", column: "name" },
    null,
  ]);
});

test("`*` is all columns that there are, also after the schema changed", () => {
  using db = openDatabase("/t.db", { vfs: new MemoryVfs() });
  db.exec("CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 2)");
  const select = "SELECT * FROM t";
  using prepared = db.prepare(select);
  expect([db.all(select), db.get(select), prepared.all()]).toEqual([[[1, 2]], [1, 2], [[1, 2]]]);
  expect(prepared.columnNames()).toEqual(["a", "b"]);
  db.exec("ALTER TABLE t ADD COLUMN c DEFAULT 3");
  expect([db.all(select), db.get(select)]).toEqual([[[1, 2, 3]], [1, 2, 3]]);
  db.exec("ALTER TABLE t DROP COLUMN a; ALTER TABLE t DROP COLUMN c; ALTER TABLE t RENAME b TO d");
  expect([db.all(select), prepared.all(), prepared.columnCount]).toEqual([[[2]], [[2]], 1]);
  expect(prepared.columnNames()).toEqual(["d"]);
});

test("an INTEGER is a number as long as that says it exactly, and a bigint beyond", () => {
  using db = openDatabase("/t.db", { vfs: new MemoryVfs() });
  using statement = db.prepare("SELECT ?1");
  const border = 2n ** 53n;
  for (const sign of [1n, -1n]) {
    for (let by = -2n; by <= 2n; by++) {
      const value = sign * (border + by);
      statement.bindInteger(1, value);
      statement.step();
      expect(statement.columnInteger(0)).toBe(by < 0n ? Number(value) : value);
      statement.reset();
    }
  }
});

test("statements know what they are", () => {
  using read = db.prepare("SELECT 1");
  using write = db.prepare("CREATE TABLE never (a)");
  using explain = db.prepare("EXPLAIN QUERY PLAN SELECT 1");
  expect([read.readonly, write.readonly, explain.explain, read.explain]).toEqual([
    true,
    false,
    2,
    0,
  ]);
  using bound = db.prepare("SELECT ?, ?");
  bound.bindAll(["it's", 2 ** 40]);
  expect(bound.expandedSql).toBe("SELECT 'it''s', 1099511627776");
});

test("what follows the first statement is told, unless it is nothing", () => {
  const tails: [string, string, string][] = [
    ["SELECT 1", "SELECT 1", ""],
    ["SELECT 1;", "SELECT 1;", ""],
    ["SELECT 1; -- a remark", "SELECT 1;", ""],
    ["SELECT 1;; /* and */ ;\n", "SELECT 1;", ""],
    ["SELECT 1; SELECT 2", "SELECT 1;", "SELECT 2"],
    ["SELECT ';é'; DELETE FROM x", "SELECT ';é';", "DELETE FROM x"],
    ["SELECT 1; nonsense", "SELECT 1;", "nonsense"],
  ];
  for (const [sql, own, tail] of tails) {
    using statement = db.prepare(sql);
    expect([statement.sql, statement.tail]).toEqual([own, tail]);
  }
  expect(() => db.prepare(" -- nothing")).toThrow("there is no statement");
  expect(() => db.all("SELECT 1; SELECT 2")).toThrow("one statement wanted");
  expect(() => db.prepare("SELECT 1\0; SELECT 2")).toThrow("zero byte");
});

test("a failed step leaves the statement at rest and usable", () => {
  db.exec("CREATE TABLE strictly (a NOT NULL)");
  using insert = db.prepare("INSERT INTO strictly VALUES (?)");
  expect(() => insert.run(null)).toThrow("NOT NULL constraint failed: strictly.a");
  insert.run(1);
  expect(db.all("SELECT a FROM strictly")).toEqual([[1]]);
});

test("a finalized statement says so, and can be finalized again", () => {
  const statement = db.prepare("SELECT ?");
  statement.finalize();
  statement.finalize();
  expect(() => statement.step()).toThrow("finalized");
  expect(() => statement.bind(1, 1)).toThrow();
  expect(() => statement.expandedSql).toThrow("finalized");
  expect(() => statement.columnName(0)).toThrow("finalized");
});

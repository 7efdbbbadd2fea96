import { expect, test } from "bun:test";
import { keyedQuery } from "./keyed-query.ts";

const keys: Record<string, string[]> = { t: ["id"], u: ["k", 'q"'], v: ["id"] };
const keyed = (sql: string) => keyedQuery(sql, (table) => keys[table]);

test("a selection from one table is maintained by key, and its values are parameters", () => {
  const select = "SELECT a, b, 'c' AS c";
  const key = '"t"."id" AS patina_key_0';
  expect(keyed(`${select} FROM t WHERE a = 'it''s' OR b > 1 ORDER BY b DESC;`)).toEqual({
    all: `${select}, ${key} FROM t WHERE a = ?1 OR b > ?2 ORDER BY b DESC`,
    values: ["it's", 1],
    tables: [
      {
        table: "t",
        keyColumns: 1,
        one: `SELECT * FROM (${select}, ${key} FROM t WHERE a = +?1 OR b > +?2) WHERE patina_key_0 = ?3`,
        left: undefined,
        affected: `SELECT patina_member FROM (${select}, ${key}, patina_p.patina_member AS patina_member FROM temp.patina_parameter AS patina_p JOIN t WHERE (a = patina_p.patina_v1 OR b > patina_p.patina_v2) AND patina_p.patina_grp = ?1) WHERE patina_key_0 = ?2`,
      },
    ],
  });
});

test("a join is maintained by the key of each table that isn't on the right of a LEFT JOIN", () => {
  const sql = `select * from T as "x y" join u on u.k = "x y".a and (u.b, 2.5) = (x'01', 2.5) left outer join v using (id) where id`;
  const keys = `"x y"."id" AS patina_key_0, "u"."k" AS patina_key_1, "u"."q""" AS patina_key_2, "v"."id" AS patina_key_3`;
  const unordered = `select *, ${keys} ${sql.slice("select * ".length)}`;
  const query = keyed(sql);
  expect(query).toMatchObject({
    all: unordered,
    values: [],
    tables: [
      { table: "t", keyColumns: 1, one: `SELECT * FROM (${unordered}) WHERE patina_key_0 = ?1` },
      {
        table: "u",
        keyColumns: 2,
        one: `SELECT * FROM (${unordered}) WHERE patina_key_1 = ?1 AND patina_key_2 = ?2`,
      },
      { table: "v", keyColumns: 1, one: undefined, left: undefined, affected: undefined },
    ],
  });
  expect(query?.tables[1]?.affected).toEndWith(") WHERE patina_key_1 = ?2 AND patina_key_2 = ?3");
});

const leftOf = (sql: string) => keyed(sql)?.tables.at(-1)?.left;

test("a row on the right of a LEFT JOIN tells the rows on the left that it matches", () => {
  const keys = `"x"."id" AS patina_key_0, "u"."k" AS patina_key_1, "u"."q""" AS patina_key_2`;
  const from = "FROM t x LEFT JOIN u ON u.k = x.a AND u.b > ";
  expect(leftOf(`SELECT x.a, u.b ${from}1 WHERE x.a = 'a'`)).toBe(
    `SELECT DISTINCT patina_key_0 FROM (SELECT x.a, u.b, ${keys} ${from}+?1 WHERE x.a = +?2) WHERE patina_key_1 = ?3 AND patina_key_2 = ?4`,
  );
});

test.each([
  "SELECT t.a FROM t LEFT JOIN u ON u.k = a",
  "SELECT t.a FROM v JOIN t ON t.a = v.id LEFT JOIN u ON u.k = t.a AND lower(b) = 'b'",
  "SELECT t.a FROM t, v LEFT JOIN u ON 1 WHERE t.a = v.id OR (v.id IN (1, 2) AND NOT t.b LIKE 'x')",
])("%s: right rows are known by the left ones", (sql) => {
  expect(leftOf(sql)).toBeDefined();
});

test.each([
  "SELECT t.a FROM t LEFT JOIN u ON u.k = t.a WHERE u.b IS NULL",
  "SELECT t.a FROM t LEFT JOIN u ON u.k = t.a WHERE a = 1",
  "SELECT t.a FROM t LEFT JOIN u ON u.k = t.a WHERE lower(t.a) = 'a'",
  'SELECT t.a FROM t LEFT JOIN u ON u.k = t.a WHERE t.a = "b"',
  "SELECT t.a FROM t LEFT JOIN u USING (a)",
  "SELECT t.a FROM t JOIN v ON v.id = u.b LEFT JOIN u ON u.k = t.a",
  "SELECT t.a FROM t JOIN v ON v.id = b LEFT JOIN u ON u.k = t.a",
])("%s: right rows may change more", (sql) => {
  expect([keyed(sql) === undefined, leftOf(sql)]).toEqual([false, undefined]);
});

const isInner = (sql: string) => keyed(sql)?.tables.map(({ one }) => one !== undefined);

// Every result has a row of what WHERE, or an inner join's ON, asks more of than a missing row has.
test.each([
  ["WHERE u.b = 'b'", [true, true, false]],
  ["WHERE t.a <> u.b AND t.a BETWEEN 1 AND 2", [true, true, false]],
  ["WHERE 1 < U.b", [true, true, false]],
  ["WHERE u.b IN (1, NULL) AND v.c IS NOT NULL", [true, true, true]],
  ["WHERE v.c IS 'c' AND t.a NOTNULL", [true, false, true]],
  // Of what v was joined by, too.
  ["AND v.b = u.b WHERE v.c NOTNULL", [true, true, true]],
  ["WHERE u.b IS NULL", [true, false, false]],
  ["WHERE u.b IS v.c", [true, false, false]],
  ["WHERE u.b NOT IN (1)", [true, false, false]],
  ["WHERE u.b IN (1) IS NULL", [true, false, false]],
  ["WHERE u.b IN (1) + (2)", [true, false, false]],
  ["WHERE coalesce(u.b, 1) = 1", [true, false, false]],
  ["WHERE NOT u.b = 1", [true, false, false]],
  ["WHERE u.b = 1 OR v.c = 1", [true, false, false]],
  ["WHERE u.b = 1 IS NULL", [true, false, false]],
  ["WHERE u.b IS NULL = 1", [true, false, false]],
  ["WHERE b = 1", [true, false, false]],
])("LEFT JOINs with %s", (rest, wanted) => {
  const from = "t LEFT JOIN u ON u.k = t.a LEFT JOIN v ON v.id = t.id";
  expect(isInner(`SELECT t.a FROM ${from} ${rest}`)).toEqual(wanted);
});

test("where an inner join behind a LEFT JOIN looks at its right side, that may change more", () => {
  const sql = "SELECT t.a FROM t LEFT JOIN u ON u.k = t.a JOIN v ON v.id = coalesce(u.b, t.b)";
  expect(keyed(sql)?.tables[1]).toMatchObject({ one: undefined, left: undefined });
});

test("an inner join behind a LEFT JOIN may ask for a row of its right side", () => {
  const from = "FROM t LEFT JOIN u ON u.k = t.a JOIN v ON v.id =";
  expect(isInner(`SELECT t.a ${from} u.b`)).toEqual([true, true, true]);
  expect(isInner(`SELECT t.a ${from} t.b`)).toEqual([true, false, true]);
});

test("further values, long numbers and reals stay in the text", () => {
  const sql = "SELECT a FROM t WHERE a IN (1, 2, 3, 1.5, 12345678901234567890, 'a', 'b', 'c')";
  expect(keyed(sql)?.values).toEqual([1, 2, "a", "b"]);
  expect(keyedQuery(sql, (table) => keys[table], false)?.values).toEqual([]);
});

test.each([
  "SELECT a FROM t",
  "SELECT lower(a) || '-' || b FROM t x WHERE x.a IN ('a', 'b')",
  "SELECT a /* FROM u */ FROM t -- WHERE",
  "SELECT ' FROM ', a FROM t",
  "SELECT a FROM t, u WHERE t.a = u.k",
  "SELECT a FROM t CROSS JOIN u NATURAL LEFT JOIN v",
  "SELECT a FROM t a INNER JOIN u b ON a.a = b.k",
])("%s is", (sql) => {
  expect(keyed(sql)).toBeDefined();
});

test.each([
  "SELECT DISTINCT a FROM t",
  "SELECT ALL a FROM t",
  "SELECT count(*) FROM t",
  "SELECT coalesce(MAX (a), 0) FROM t",
  'SELECT "max"(a) FROM t',
  "SELECT a FROM t GROUP BY a",
  "SELECT a FROM t LIMIT 1",
  "SELECT a FROM t, t u",
  "SELECT a FROM t JOIN t u",
  "SELECT a FROM t x JOIN u x",
  "SELECT a FROM t RIGHT JOIN u ON 1",
  "SELECT a FROM t FULL OUTER JOIN u ON 1",
  "SELECT a FROM t JOIN u ON t.left = u.k",
  "SELECT a FROM (t JOIN u)",
  "SELECT a FROM t UNION SELECT a FROM t",
  "SELECT a, row_number() OVER () FROM t",
  "SELECT a FROM t WHERE EXISTS (SELECT 1 FROM t u)",
  "SELECT a FROM t WHERE a IN u",
  "SELECT a FROM t, json_each(t.a)",
  "WITH x AS (SELECT 1) SELECT a FROM t",
  "VALUES (1)",
  "SELECT a FROM main.t",
  "SELECT a FROM t INDEXED BY i",
  "SELECT a FROM t NOT INDEXED",
  "SELECT a FROM view",
  "SELECT 1",
])("%s is not", (sql) => {
  expect(keyed(sql)).toBeUndefined();
});

import { expect, test } from "bun:test";
import { keyedQuery } from "./keyed-query.ts";

const keyed = (sql: string) => keyedQuery(sql, "t", ["id"]);

test("a selection from one table is maintained by key", () => {
  expect(keyed("SELECT a, b FROM t WHERE a = 'x' OR b > 1 ORDER BY b DESC;")).toEqual({
    all: `SELECT a, b, "t"."id" AS patina_key_0 FROM t WHERE a = 'x' OR b > 1 ORDER BY b DESC`,
    one: `SELECT * FROM (SELECT a, b, "t"."id" AS patina_key_0 FROM t WHERE a = 'x' OR b > 1) WHERE patina_key_0 = ?1`,
  });
  expect(keyedQuery('select * from T as "x y"', "t", ["k", 'q"'])?.one).toBe(
    'SELECT * FROM (select *, "x y"."k" AS patina_key_0, "x y"."q""" AS patina_key_1 from T as "x y") WHERE patina_key_0 = ?1 AND patina_key_1 = ?2',
  );
});

test.each([
  "SELECT a FROM t",
  "SELECT lower(a) || '-' || b FROM t x WHERE x.a IN ('a', 'b')",
  "SELECT a /* FROM u */ FROM t -- WHERE",
  "SELECT ' FROM ', a FROM t",
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
  "SELECT a FROM t UNION SELECT a FROM t",
  "SELECT a, row_number() OVER () FROM t",
  "SELECT a FROM t WHERE EXISTS (SELECT 1 FROM t u)",
  "SELECT a FROM t WHERE a IN t",
  "WITH x AS (SELECT 1) SELECT a FROM t",
  "VALUES (1)",
  "SELECT a FROM (t)",
  "SELECT a FROM main.t",
  "SELECT a FROM t INDEXED BY i",
  "SELECT 1",
])("%s is not", (sql) => {
  expect(keyed(sql)).toBeUndefined();
});

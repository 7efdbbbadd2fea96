/**
 * Queries for live queries in which what decides stands deep inside: subqueries that order, limit, group and filter,
 * trees of JSON, row values, named indexes, common tables that are materialised, and aggregates of nothing.
 *
 * @module
 */

import type { Draw } from "./live-queries-odd.ts";
import type { WorldTable } from "./live-queries-tables.ts";

/** @param tables that have columns k, n and s */
export function deepQuery({ chance, int, pick }: Draw, tables: readonly WorldTable[]): string {
  const [one, two, three] = [pick(tables), pick(tables), pick(tables)];
  const [a, b, c] = [one.name, two.name, three.name];
  const column = (alias: string) => `${alias}.${pick(["n", "n", "s", "s", "k"])}`;
  const literal = () =>
    pick(["0", "1", "2", "1.0", "'a'", "'b'", "'A'", "'1'", "NULL", "x'61'", "-0.0", "char(0)"]);
  const is = () => pick(["IS", "IS NOT", "IS DISTINCT FROM", "IS NOT DISTINCT FROM", "=", "<>"]);
  const like = () =>
    pick([
      "LIKE 'a%' ESCAPE '%'",
      "LIKE '\\_' ESCAPE '\\'",
      "NOT LIKE 'a!_' ESCAPE '!'",
      "GLOB '[^a]'",
      "GLOB '*[0-9]'",
      "NOT GLOB 'a?'",
      "LIKE 'A'",
      `LIKE ${column("a")} || '%'`,
    ]);
  const collation = () => pick(["", " COLLATE NOCASE", " COLLATE RTRIM", " COLLATE BINARY"]);
  const side = () => pick(["", "LEFT ", "RIGHT ", "FULL "]);
  const nulls = () => pick(["", " NULLS FIRST", " DESC NULLS LAST", " DESC"]);
  const order = `${column("a")}${collation()}${nulls()}, a.k, a.s, a.n`;
  const limit = () => ` LIMIT ${1 + int(3)}${chance(0.4) ? ` OFFSET ${int(3)}` : ""}`;
  const of = (alias: string) => `${alias}.${pick(["n", "s"])} = ${column("a")}`;
  const counted = pick([
    "count(DISTINCT a.n)",
    "sum(DISTINCT a.n) FILTER (WHERE typeof(a.n) = 'integer' AND a.n BETWEEN -100 AND 100)",
    "min(a.s) FILTER (WHERE a.n > 0)",
    "max(a.s COLLATE NOCASE)",
    "group_concat(DISTINCT a.s)",
    "json_group_array(a.s ORDER BY a.s, a.n) FILTER (WHERE typeof(a.s) = 'text')",
    "json_group_object(quote(a.k), typeof(a.n))",
    `count(*) FILTER (WHERE a.n IN (SELECT n FROM ${b}))`,
    "total(a.n IS NULL)",
    "avg(length(a.s))",
  ]);
  const json = pick([
    "json_array(iif(typeof(a.n) = 'integer', a.n, NULL), json_array(quote(a.s)))",
    "json_object('n', quote(a.n), 's', json_object('t', typeof(a.s)))",
    "jsonb_array(typeof(a.k), typeof(a.n))",
    '\'{"a": [1, 2, {"b": null}]}\'',
  ]);
  const kind = `CASE WHEN a.n > 1 THEN 'many' WHEN ${column("a")} ${is()} ${literal()} THEN NULL ELSE typeof(a.s) END`;
  /** One whose indexes have its name before theirs. Which of them it has is drawn with it. */
  const drawn = (name: string) => (/^t\d$/.test(name) ? name : "t0");
  const index = pick(["_n", "_s", "_x", "_p", "_g"]);
  return pick<() => string>([
    () =>
      `SELECT a.k, a.n FROM ${a} a ORDER BY (SELECT count(*) FROM ${b} b WHERE ${of("b")})${nulls()}, ${order}${limit()}`,
    () =>
      `SELECT a.k FROM ${a} a ORDER BY ${order} LIMIT (SELECT count(*) FROM ${b} b WHERE ${column("b")} = ${literal()})`,
    () => `SELECT a.s FROM ${a} a ORDER BY ${order} LIMIT 3 OFFSET (SELECT count(*) % 3 FROM ${b})`,
    () =>
      `SELECT a.k, (SELECT b.s FROM ${b} b WHERE ${of("b")} ORDER BY b.s${collation()}${nulls()}, b.k, b.n LIMIT 1 OFFSET ${int(2)}) FROM ${a} a`,
    () =>
      `SELECT a.n FROM ${a} a WHERE (a.n, a.s) ${pick(["IN", "NOT IN"])} (SELECT b.n, b.s FROM ${b} b WHERE b.k <> a.k ORDER BY b.n, b.s, b.k LIMIT 2)`,
    () =>
      `SELECT a.k FROM ${a} a WHERE (a.n, a.s) ${is()} (SELECT b.n, b.s FROM ${b} b ORDER BY b.k, b.n, b.s LIMIT 1)`,
    () =>
      `SELECT a.k FROM ${a} a WHERE (a.s, a.n) ${pick(["<", ">=", "="])} (${literal()}, ${literal()}) AND (a.n, 1) IN (VALUES (1, 1), (2, 1))`,
    () =>
      `SELECT a.k, ${column("a")} ${is()} ${column("b")} FROM ${a} a ${side()}JOIN ${b} b ON ${column("a")} ${is()} ${column("b")}`,
    () =>
      `SELECT a.k, a.s FROM ${a} a WHERE a.s ${like()}${chance(0.5) ? ` AND a.n = ${literal()}` : ""}`,
    () => `SELECT ${kind}, ${counted} FROM ${a} a GROUP BY ${kind}`,
    () => `SELECT ${counted} FROM ${a} a WHERE ${column("a")} ${is()} ${literal()}`,
    () =>
      `SELECT a.s, ${counted} FROM ${a} a GROUP BY a.s${collation()} HAVING count(*) > (SELECT count(*) % 2 FROM ${b})`,
    () => `SELECT ${counted}, count(*) FROM ${a} a WHERE 0`,
    () => `SELECT ${counted} FROM ${a} a WHERE a.s = ${literal()} GROUP BY a.n`,
    () => `SELECT a.n, ${counted} FROM ${a} a WHERE 1 GROUP BY a.n ORDER BY 2, 1${limit()}`,
    () =>
      `SELECT a.k, j.fullkey, j.atom FROM ${a} a, json_tree(${json}) j WHERE j.atom IS NOT NULL`,
    () => `SELECT a.k, j.value FROM ${a} a LEFT JOIN json_each(${json}) j ON j.key = ${literal()}`,
    () => `SELECT count(*), j.type FROM ${a} a JOIN json_tree(${json}) j GROUP BY j.type`,
    () =>
      `SELECT a.k, (SELECT group_concat(j.atom) FROM json_tree(${json}) j) FROM ${a} a WHERE ${column("a")} ${is()} ${literal()}`,
    () =>
      `SELECT a.n FROM ${a} a WHERE a.n IN (SELECT j.value FROM json_each((SELECT json_group_array(b.n) FROM ${b} b WHERE typeof(b.n) = 'integer')) j)`,
    () =>
      `SELECT ${json} -> '$[1]', ${json} ->> 0, ${json} ->> 'n' FROM ${a} a WHERE a.s = ${literal()}`,
    () =>
      `WITH w AS MATERIALIZED (SELECT n, s, k FROM ${a} a ORDER BY ${order}${limit()}) SELECT w.n, b.k FROM w ${side()}JOIN ${b} b ON b.n = w.n`,
    () =>
      `WITH w(v) AS MATERIALIZED (SELECT DISTINCT s FROM ${a}), u(v) AS NOT MATERIALIZED (SELECT s FROM ${b} WHERE s IN w) SELECT (SELECT count(*) FROM u), v FROM w`,
    () =>
      `WITH RECURSIVE d(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM d WHERE i < (SELECT count(*) FROM ${a}) AND i < 5) SELECT i, (SELECT count(*) FROM ${b} b WHERE b.n = d.i) FROM d`,
    () =>
      `WITH RECURSIVE d(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM d LIMIT 4) SELECT d.i, a.k FROM d ${pick(["", "LEFT "])}JOIN ${a} a ON a.n = d.i`,
    () =>
      `WITH RECURSIVE p(k, n, d) AS (SELECT k, n, 0 FROM ${a} WHERE s = ${literal()} UNION SELECT b.k, b.n, d + 1 FROM p JOIN ${b} b ON b.n = p.n + 1 WHERE d < 4 UNION SELECT c.k, c.n, d + 1 FROM p JOIN ${c} c ON c.n = p.n - 1 WHERE d < 2) SELECT k, min(d) FROM p GROUP BY k`,
    () =>
      `SELECT n, count(*) FROM ${a} NATURAL ${side()}JOIN (SELECT n FROM ${b} WHERE s = ${literal()}) GROUP BY n`,
    () =>
      `SELECT n, s, count(*) FROM (SELECT n, s FROM ${a}) ${side()}JOIN (SELECT n, k FROM ${b}) USING (n) ${side()}JOIN (SELECT s FROM ${c}) USING (s) GROUP BY 1, 2`,
    () =>
      `SELECT a.k, b.k FROM ${a} a ${side()}JOIN ${b} b ON (a.n, a.s) = (b.n, b.s) ${side()}JOIN ${c} c ON c.n = coalesce(b.n, a.n) WHERE c.s ${is()} ${literal()}`,
    () =>
      `SELECT ${column("a")}${collation()} AS v FROM ${a} a ${pick(["UNION", "EXCEPT", "INTERSECT"])} SELECT ${column("b")}${collation()} FROM ${b} b ORDER BY v${collation()}${nulls()}${limit()}`,
    () =>
      `SELECT * FROM (SELECT a.n FROM ${a} a EXCEPT SELECT b.n FROM ${b} b) INTERSECT SELECT c.n FROM ${c} c UNION ALL VALUES (1), (NULL)`,
    () =>
      `SELECT a.k, nth_value(a.s, 2) OVER (ORDER BY ${order}), cume_dist() OVER (PARTITION BY a.s${collation()} ORDER BY a.n, a.k) FROM ${a} a`,
    () =>
      `SELECT a.n, count(*) FILTER (WHERE a.s ${is()} ${literal()}) OVER (PARTITION BY ${kind}) FROM ${a} a`,
    () =>
      `SELECT a.s, sum(count(*)) OVER (ORDER BY a.s RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) FROM ${a} a GROUP BY a.s`,
    () =>
      `SELECT k, v FROM (SELECT a.k, dense_rank() OVER (PARTITION BY a.n ORDER BY ${order}) AS v FROM ${a} a WHERE a.s = ${literal()}) WHERE v < 3`,
    () =>
      `SELECT max(n) OVER (ORDER BY n RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW), n FROM ${a} WHERE typeof(n) = 'integer'`,
    () =>
      `SELECT a.n FROM ${drawn(a)} a INDEXED BY ${drawn(a)}${index} WHERE ${pick([`a.n = ${literal()}`, `a.s = ${literal()}`, "a.s = 'a' AND a.n > 0", "a.n IS NOT NULL"])}`,
    () =>
      `SELECT a.k, b.k FROM ${a} a, ${drawn(b)} b INDEXED BY ${drawn(b)}${index} WHERE b.n = a.n AND b.s = a.s`,
    () =>
      `SELECT a.n, CASE a.s WHEN (SELECT min(s) FROM ${b}) THEN 'least' WHEN (SELECT max(s) FROM ${b}) THEN 'most' END FROM ${a} a`,
    () =>
      `SELECT a.k FROM ${a} a WHERE EXISTS (SELECT 1 FROM ${b} b WHERE ${of("b")} GROUP BY b.s HAVING count(*) > 1)`,
    () =>
      `SELECT a.k FROM ${a} a WHERE NOT EXISTS (SELECT ${column("b")} FROM ${b} b WHERE ${of("b")} EXCEPT SELECT ${column("c")} FROM ${c} c)`,
    () =>
      `SELECT a.n FROM ${a} a WHERE ${column("a")} = (SELECT ${column("b")} FROM ${b} b WHERE ${of("b")} UNION SELECT ${literal()} ORDER BY 1 LIMIT 1)`,
    () =>
      `SELECT unhex(hex(a.s)), instr(a.s, 'a'), substr(a.s, -1), length(a.s), octet_length(a.s), unicode(a.s) FROM ${a} a WHERE typeof(a.s) = 'text'`,
    () =>
      `SELECT format('%s|%d|%.3f|%Q', a.s, a.n, a.n, a.k), likely(a.n = 1), likelihood(a.n > 1, 0.5) FROM ${a} a WHERE unlikely(a.s = ${literal()})`,
    () =>
      `SELECT a.n * 9007199254740993, a.n / 2, a.n << 40, a.n % 2, round(a.n, 1), sign(a.n), ~a.n FROM ${a} a WHERE typeof(a.n) = 'integer' AND a.n BETWEEN -1000 AND 1000`,
    () =>
      `SELECT a.n + 9e999, a.n - 9e999, (a.n + 9e999) - 9e999, -0.0, 0.0 * -1, 1e308 * 10 FROM ${a} a WHERE a.n = ${literal()}`,
    () =>
      `SELECT cidr_match('10.' || a.n || '.0.0/16', '10.1.0.' || a.n), cidr_match(a.s, a.s) FROM ${a} a WHERE cidr_match('0.0.0.0/0', '1.1.1.' || a.n)`,
    () =>
      `SELECT x, typeof(x), quote(x), x = ${literal()} FROM ${pick(["t0", "t1", "t2", "far", "bare_types"])} WHERE x ${is()} ${literal()}`,
    () => `SELECT z, typeof(z), count(*) FROM firm GROUP BY z HAVING z ${is()} ${literal()}`,
    () =>
      `SELECT state, count(*) FILTER (WHERE a.n = 1) FROM patina_members m LEFT JOIN ${a} a ON a.s = m.node GROUP BY state`,
    () =>
      `SELECT m.node FROM patina_members m WHERE m.state = 'ALIVE' AND m.node NOT IN (SELECT s FROM ${a} WHERE s IS NOT NULL)`,
    () =>
      `SELECT a.k FROM ${a} a WHERE (SELECT state FROM patina_members WHERE node = a.s) ${is()} 'DOWN'`,
    () => `SELECT ALL a.n, 'b' FROM ${a} AS a, (SELECT 1) WHERE (((a.n))) IN ((1), (2), (NULL))`,
    () => `SELECT DISTINCT * FROM ${a} a WHERE a.s = ${literal()} AND 1 AND NOT 0`,
    () =>
      `SELECT a.k FROM ${a} a WHERE a.n = ${literal()} UNION SELECT b.k FROM ${b} b WHERE b.s = ${literal()} UNION SELECT c.k FROM ${c} c WHERE c.n = ${literal()}`,
    () =>
      `SELECT a.s FROM ${a} a WHERE a.s >= 'a' AND a.s < 'b' AND a.n BETWEEN (SELECT min(n) FROM ${b}) AND (SELECT max(n) FROM ${b})`,
    () => `SELECT a.n IN (SELECT n FROM ${b} WHERE s = a.s), a.k FROM ${a} a`,
    () =>
      `SELECT (a.n, a.s) = (1, 'a'), (SELECT (a.n, 2) < (b.n, 1) FROM ${b} b ORDER BY b.k, b.n, b.s LIMIT 1) FROM ${a} a`,
  ])();
}

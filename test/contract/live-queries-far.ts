/**
 * Tables and queries that lie far from what is common: keys in the middle of a table, of several types and collations,
 * columns called as the rowid is, generated and indexed expressions; joins in brackets, lateral JSON, collated
 * compounds, frames.
 *
 * @module
 */

import type { Draw } from "./live-queries-odd.ts";

export const farTables = [
  {
    name: "far",
    keys: ["part", "third", "k"],
    columns: ["k", "part", "third", "n", "s", "x", "up", "low"],
    generated: ["up", "low"],
    isLocal: false,
    keyType: "NUMERIC",
  },
  {
    name: "named",
    keys: ["k"],
    columns: ["k", "oid", "rowid", "n", "s"],
    isLocal: false,
    keyType: "INTEGER",
  },
  {
    name: "bare_types",
    keys: ["k"],
    columns: ["k", "n", "s", "x"],
    isLocal: false,
    keyType: "BLOB",
  },
  { name: "loud", keys: ["k"], columns: ["k", "n", "s"], isLocal: true },
];

export const farLocalTables = ["loud"];

export const farSchema = `
CREATE TABLE far (n DECIMAL, x, k DATETIME NOT NULL, s TEXT COLLATE RTRIM, part REAL NOT NULL, third CLOB NOT NULL DEFAULT 'c',
  up AS (coalesce(n, -1)), low TEXT AS (lower(s)) STORED, PRIMARY KEY (part, third, k)) WITHOUT ROWID;
CREATE INDEX far_up ON far (coalesce(n, -1), s COLLATE NOCASE);
CREATE INDEX far_n ON far (n || s, coalesce(part, 0)) WHERE s IS NOT NULL;
CREATE INDEX far_s ON far (s COLLATE BINARY DESC, n);
CREATE TABLE named (oid TEXT, rowid INTEGER, n, s TEXT COLLATE NOCASE, k BIGINT NOT NULL PRIMARY KEY DESC);
CREATE INDEX named_rowid ON named (rowid) WHERE s = 'a' OR n > 1;
CREATE INDEX named_s ON named (s);
CREATE TABLE bare_types (k BLOB NOT NULL PRIMARY KEY, n, s, x);
CREATE INDEX strict_n ON bare_types (n, s);
CREATE TABLE loud (k TEXT PRIMARY KEY COLLATE NOCASE, n INTEGER, s TEXT);
CREATE VIEW seen AS SELECT a.up AS n, a.low AS s, b.oid AS k FROM far a LEFT JOIN named b ON b.rowid = a.n;
CREATE VIEW further AS SELECT s, count(*) AS n, max(k) AS k FROM seen GROUP BY s COLLATE NOCASE UNION ALL SELECT s, n, k FROM bare_types;
`;

const views = ["seen", "further", "joined"];

/** @param first a table with columns k, n, s. @param second another */
export function farQuery({ pick, int }: Draw, first: string, second: string): string {
  const far = () => pick(["far", "far", "named", "bare_types", "loud", ...views, first, second]);
  const [a, b, c] = [far(), far(), far()];
  const one = pick(["far", "named", "bare_types", "loud"]);
  const side = () => pick(["", "LEFT ", "RIGHT ", "FULL ", "INNER "]);
  const collation = () => pick(["NOCASE", "RTRIM", "BINARY"]);
  const literal = () =>
    pick(["1", "'1'", "1.0", "'a'", "'A'", "'a '", "NULL", "x'61'", "-0.0", "9e999", "2", "0"]);
  const limit = () =>
    pick([
      "",
      "",
      ` LIMIT ${1 + int(3)}`,
      ` LIMIT ${1 + int(3)} OFFSET ${int(3)}`,
      " LIMIT -1 OFFSET 1",
    ]);
  const compound = () => pick(["UNION", "UNION ALL", "EXCEPT", "INTERSECT"]);
  const column = (alias: string) => `${alias}.${pick(["k", "n", "n", "s", "s"])}`;
  const frame = () =>
    pick([
      "ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW",
      "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE GROUP",
      "GROUPS BETWEEN CURRENT ROW AND 1 FOLLOWING",
      "RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
    ]);
  return pick<() => string>([
    () =>
      `SELECT a.n, b.n, c.n FROM ${a} a ${side()}JOIN (${b} b ${side()}JOIN ${c} c ON c.n = b.n) ON b.s = a.s`,
    () =>
      `SELECT n, s FROM (SELECT n FROM ${a}) ${side()}JOIN (SELECT n, s FROM ${b}) USING (n) NATURAL ${side()}JOIN (SELECT s FROM ${c})`,
    () => `SELECT * FROM (SELECT k, n FROM ${a}) NATURAL ${side()}JOIN (SELECT n, s FROM ${b})`,
    () =>
      `SELECT a.k, b.k FROM ${a} a ${side()}JOIN ${b} b USING (n, s) WHERE ${column("a")} IS NOT DISTINCT FROM ${column("b")}`,
    () =>
      `SELECT a.k FROM ${a} a WHERE (a.n, a.s) IN (SELECT n, s FROM ${b} b WHERE b.k ${pick(["=", "<>", "IS"])} a.k)`,
    () =>
      `SELECT a.n FROM ${a} a WHERE (a.s, a.n) ${pick(["=", "<", "IS", "IS NOT"])} (SELECT b.s, b.n FROM ${b} b WHERE b.k = a.k ORDER BY b.s, b.n LIMIT 1)`,
    () =>
      `SELECT a.k FROM ${a} a WHERE EXISTS (SELECT 1 FROM ${b} b WHERE b.n = a.n AND NOT EXISTS (SELECT 1 FROM ${c} c WHERE c.s = a.s AND c.k = b.k))`,
    () =>
      `SELECT a.k FROM ${a} a WHERE a.n IN (SELECT b.n FROM ${b} b WHERE b.s IN (SELECT c.s FROM ${c} c WHERE c.n = a.n))`,
    () =>
      `SELECT s, n FROM ${a} ${compound()} SELECT s, n FROM ${b} ${compound()} SELECT k, n FROM ${c} ORDER BY 1 COLLATE ${collation()}, 2${pick([" DESC", ", 1", " NULLS LAST, 1"])}`,
    () => `SELECT n FROM ${a} ${compound()} SELECT n FROM ${b} ORDER BY n${limit()}`,
    () =>
      `SELECT a.k, sum(a.n) FILTER (WHERE a.s = ${literal()}) OVER (ORDER BY a.k, a.n, a.s ${frame()}) FROM ${one} a`,
    () =>
      `SELECT a.n, count(*) OVER w, min(a.k) OVER (w ${frame()}) FROM ${one} a WINDOW w AS (PARTITION BY a.s COLLATE ${collation()} ORDER BY a.n, a.k)`,
    () =>
      `SELECT s, count(*) FILTER (WHERE n > 0), count(DISTINCT n) FILTER (WHERE k <> ${literal()}) FROM ${a} GROUP BY s HAVING count(*) FILTER (WHERE n IS NOT NULL) > 0`,
    () =>
      `SELECT n, string_agg(s, k ORDER BY k, s, n DESC), count(DISTINCT s) FROM ${one} GROUP BY n ORDER BY n`,
    () =>
      `SELECT a.k, j.atom, j.fullkey FROM ${a} a, json_tree(json_array(quote(a.n), json_object('s', quote(a.s)))) j WHERE ${pick(["j.atom = a.n", "j.type <> 'array'", "j.path = '$'"])}`,
    () =>
      `SELECT a.n, (SELECT count(*) FROM json_each(json_array(quote(a.n), 1, 2)) j WHERE j.value = a.n) FROM ${a} a`,
    () =>
      `SELECT b.k FROM ${a} a JOIN json_each(json_array(quote(a.n), 'a')) j LEFT JOIN ${b} b ON b.n = j.value OR b.s = j.value`,
    () =>
      `SELECT a.oid, a.rowid, a._rowid_ FROM named a WHERE a.rowid ${pick(["=", "IS", ">"])} ${literal()}`,
    () => `SELECT rowid, count(*) FROM named GROUP BY ${pick(["rowid", "oid"])}`,
    () => `SELECT a.oid FROM named a JOIN ${b} b ON b.n = a.rowid WHERE b.s = ${literal()}`,
    () =>
      `SELECT up, low FROM far WHERE ${pick(["up", "low", "n || s", "coalesce(part, 0)", "lower(s)", "coalesce(n, -1)"])} = ${literal()}`,
    () =>
      `SELECT a.k, a.low FROM far a LEFT JOIN ${b} b ON b.n = a.up WHERE a.up BETWEEN ${literal()} AND ${literal()}`,
    () => `SELECT low, count(*), min(up), max(low) FROM far GROUP BY low`,
    () => `SELECT a.up, b.low FROM far a JOIN far b ON b.up = a.n + 1 AND b.low = a.s`,
    () =>
      `SELECT k, part, third FROM far WHERE part = ${literal()} AND third ${pick(["=", ">", "IN"])} (${literal()})`,
    () =>
      `SELECT ${column("a")} FROM ${a} a WHERE ${column("a")} IN (${literal()}, ${literal()}, ${literal()}) AND ${column("a")} NOT IN (${literal()}, 'z')`,
    () =>
      `SELECT ${column("a")} FROM ${a} a WHERE ${column("a")} ${pick(["LIKE", "GLOB", "NOT LIKE"])} ${pick(["'a%'", "'A'", "'a*'", "'_'", "'1%'", "'[a-b]*'", "a.k", "a.s || '%'"])}`,
    () =>
      `SELECT ${column("a")} FROM ${a} a WHERE ${column("a")} BETWEEN ${column("a")} AND ${literal()}`,
    () =>
      `SELECT CASE ${column("a")} WHEN ${literal()} THEN ${literal()} WHEN ${literal()} THEN a.n ELSE a.s END, count(*) FROM ${a} a GROUP BY 1`,
    () => `SELECT DISTINCT ${column("a")} AS c FROM ${a} a ORDER BY c COLLATE ${collation()}`,
    () => `SELECT DISTINCT a.n, a.s FROM ${one} a ORDER BY a.n, a.s`,
    () =>
      `SELECT a.x, -a.x, a.x = ${literal()}, typeof(a.x) FROM ${pick(["far", "bare_types"])} a WHERE a.x IS NOT ${literal()}`,
    () => `SELECT a.k FROM bare_types a WHERE a.k = ${literal()} OR a.n = ${literal()}`,
    () => `SELECT a.k, b.k FROM bare_types a JOIN bare_types b ON b.k = a.n`,
    () => `SELECT s, k, n FROM loud WHERE k = ${pick(["'A'", "'a'", "'B'", "1"])}`,
    () => `SELECT a.k, l.n FROM ${a} a LEFT JOIN loud l ON l.k = a.s WHERE a.n = ${literal()}`,
    () => `SELECT printf('%.*c', 70000, 'l'), a.k FROM ${one} a WHERE a.n = ${literal()}`,
    () =>
      `WITH RECURSIVE w(v, d) AS (SELECT a.n, 0 FROM ${one} a UNION SELECT b.n, d + 1 FROM w LEFT JOIN ${b} b ON b.s = 'a' AND b.n > v WHERE d < 3) SELECT v, max(d) FROM w GROUP BY v`,
    () =>
      `WITH RECURSIVE w(v) AS (SELECT n FROM ${a} WHERE s = 'a' UNION SELECT c.n FROM ${b} c, w WHERE c.n = w.v + 1) SELECT x.k FROM ${c} x WHERE x.n IN w`,
    () =>
      `SELECT v.column2, a.n FROM ${a} a ${side()}JOIN (VALUES (0, 'a'), (1, 'b'), ('1', NULL)) v ON v.column1 = a.n`,
    () =>
      `SELECT m.state, a.k FROM patina_members m ${side()}JOIN ${a} a ON a.s = m.node AND a.n = ${literal()}`,
    () =>
      `SELECT (SELECT max(n) FROM ${a}) - (SELECT min(n) FROM ${b}), (SELECT count(*) FROM ${c} WHERE s = ${literal()})`,
    () => `SELECT k FROM ${a} WHERE n = (SELECT max(n) FROM ${b} WHERE typeof(n) = 'integer')`,
    () => `SELECT s, n FROM further WHERE s = ${literal()} OR n > ${literal()}`,
    () => `SELECT a.s, b.s FROM further a LEFT JOIN seen b ON b.s = a.s COLLATE ${collation()}`,
    () => `SELECT a.k IS b.k, a.n == b.n, a.s < b.s FROM ${one} a JOIN ${b} b ON b.n IS a.n`,
    () =>
      `SELECT total(n), avg(n), sum(n) FROM ${one} WHERE typeof(n) = 'integer' AND abs(n) < 1000`,
  ])();
}

/**
 * What live queries are rarely asked: constants and values that only SQLite's affinities bring together, names that
 * mean something else than they seem to, and shapes of SELECT that few write.
 *
 * @module
 */

/** How a seed draws. */
export interface Draw {
  readonly chance: (fraction: number) => boolean;
  /** From 0 to below `end`. */
  readonly int: (end: number) => number;
  readonly pick: <T>(list: readonly T[]) => T;
}

/** Types by their affinity, as SQLite reads them off the words. */
export const oddTypes = {
  n: ["INTEGER", "INTEGER", "BIGINT UNSIGNED", "INT", "POINT"],
  s: ["TEXT", "TEXT", "VARCHAR(10)", "CLOB", "NATIVE CHARACTER(7)"],
  r: ["REAL", "REAL", "DOUBLE PRECISION", "NUMERIC", "DECIMAL(10,5)"],
  x: ["", "", "BLOB", "NUMERIC", "STRING"],
} as const;

/** Beside `INSERT`, of a column of any type. Sums of these don't overflow. */
export const oddValues = [
  "-1",
  "-0.0",
  "9007199254740993",
  "1e300",
  "'1.0'",
  "'01'",
  "' 1'",
  "'a '",
  "'é'",
  "'É'",
  "'😀'",
  "'now'",
  "char(97, 0, 98)",
  "char(0)",
  "x''",
  "x'31'",
  "zeroblob(3)",
  `printf('%.*c', 300, 'z')`,
];

/** Of a column that nobody counts up. */
export const hugeValues = [
  "9223372036854775807",
  "-9223372036854775808",
  "9e999",
  "-9e999",
  "9223372036854775806",
];

/** Keys by the type of their column. Those of one column are never held equal unless they are the same row's. */
export const oddKeys: Readonly<Record<string, readonly string[]>> = {
  INTEGER: ["-1", "9007199254740993", "9223372036854775807", "-9223372036854775808"],
  REAL: ["-1.5", "1e300", "9007199254740992.0", "-0.0"],
  TEXT: ["''", "'01'", "'1.0'", "' 1'", "'a '", "'A'", "'é'", "char(97, 0, 98)", "x''", "'😀'"],
  NUMERIC: ["'a'", "x'31'", "'1.50'", "9007199254740993", "'1e3'", "''"],
  BLOB: ["'1'", "x'31'", "1", "1.0", "1.5", "''", "x''", "'a'"],
};

/** That stand beside a column in a WHERE. */
export const oddLiterals = [
  "-1",
  "+1",
  "- 0",
  "0x1",
  "1e0",
  "01",
  ".5",
  "1.",
  "TRUE",
  "'1.0'",
  "'01'",
  "' 1'",
  "'a '",
  "'é'",
  "''",
  "x''",
  "('a')",
  "(1)",
  "1 + 0",
  "'a' || ''",
  "9007199254740993",
  "9223372036854775807",
  "CAST('1' AS INTEGER)",
  "CAST(1 AS TEXT)",
  "(SELECT 1)",
];

/** A condition whose parts mean less, or more, than a glance at them tells. */
export function oddCondition(column: string, literal: string, { pick }: Draw): string {
  return pick([
    `${column} = (${literal})`,
    `(${column}) = ${literal}`,
    `+${column} = ${literal}`,
    `${column} = +${literal}`,
    `${column} || '' = ${literal}`,
    `CAST(${column} AS TEXT) = ${literal}`,
    `CAST(${column} AS INTEGER) = ${literal}`,
    `${column} = ${literal} COLLATE RTRIM`,
    `${column} COLLATE NOCASE = ${literal}`,
    `${column} = ${literal} = 1`,
    `NOT ${column} = ${literal}`,
    `${column} = ${literal} IS NOT 1`,
    `${column} IS TRUE`,
    `${column} IS NOT FALSE`,
    `${column} IS NOT DISTINCT FROM ${literal}`,
    `${column} IN (${literal})`,
    `${column} IN ()`,
    `${column} NOT IN (${literal}, 2)`,
    `${column} IN (${literal}, NULL)`,
    `${column} IN (VALUES (1), (${literal}))`,
    `${column} BETWEEN '0' AND ${literal}`,
    `${column} NOT BETWEEN 1 AND ${literal}`,
    `${column} LIKE '_' OR ${column} = ${literal}`,
    `ifnull(${column}, ${literal}) = ${literal}`,
    `nullif(${column}, ${literal}) ISNULL`,
    `CASE WHEN ${column} = ${literal} THEN 1 END`,
    `iif(${column} = ${literal}, 1, 0)`,
    `max(${column}, ${literal}) = ${literal}`,
    `typeof(${column}) = 'integer' AND ${column} = ${literal}`,
    `(${column}, 1) = (${literal}, 1)`,
    `${literal} = ${column} AND ${literal} = ${literal}`,
    `${column} == ${literal} /* OR 1 */ AND 1 -- OR 1\n`,
  ]);
}

/** The schema's part that only these queries read. Tables `firm` and `counted` are local. */
export const oddSchema = `
CREATE TABLE firm (k INTEGER PRIMARY KEY, n INT, s TEXT, z ANY, UNIQUE (s), UNIQUE (n, z)) STRICT;
CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, n INTEGER, s TEXT COLLATE NOCASE UNIQUE);
CREATE INDEX firm_z ON firm (z DESC);
CREATE VIEW bottom AS SELECT k, n, s FROM t0 UNION ALL SELECT k, n, s FROM t1;
CREATE VIEW middle (key, number, text) AS SELECT k, n, s FROM bottom WHERE n > 0 OR s = 'a';
CREATE VIEW top AS SELECT m.text AS s, count(*) AS c FROM middle m LEFT JOIN t2 ON t2.s = m.text GROUP BY m.text;
CREATE VIEW best AS SELECT s, n FROM t1 ORDER BY n DESC, s, k LIMIT 2;
CREATE VIEW ranked AS SELECT k, n, rank() OVER (PARTITION BY s ORDER BY n) AS place FROM t2;
CREATE VIEW chain AS WITH RECURSIVE w(v, d) AS (SELECT n, 0 FROM t0 UNION SELECT t1.n, d + 1 FROM w JOIN t1 ON t1.n > w.v WHERE d < 3) SELECT v, d FROM w;
`;

export const oddLocalTables = ["firm", "counted"];

/** One writing statement on them; they may conflict in more than their keys. */
export function oddWrite({ pick, chance }: Draw): string {
  const n = pick(["0", "1", "2", "NULL"]);
  const s = pick(["'a'", "'b'", "'A'", "'1'", "NULL", "''"]);
  const z = pick(["1", "1.0", "'1'", "x'31'", "NULL", "NULL", "char(97, 0)"]);
  const how = pick(["OR REPLACE", "OR IGNORE", "OR REPLACE"]);
  if (chance(0.4)) {
    return pick([
      `INSERT ${how} INTO counted (n, s) VALUES (${n}, ${s})`,
      `INSERT INTO counted (n, s) VALUES (${n}, ${s}) ON CONFLICT (s) DO UPDATE SET n = n + 1`,
      `UPDATE ${how} counted SET s = ${s} WHERE n = ${n}`,
      `DELETE FROM counted WHERE s = ${s}`,
      "DELETE FROM counted",
    ]);
  }
  const k = pick(["1", "2", "3", "NULL"]);
  return pick([
    `INSERT ${how} INTO firm (k, n, s, z) VALUES (${k}, ${n}, ${s}, ${z})`,
    `INSERT ${how} INTO firm (k, n, s, z) VALUES (${k}, ${n}, ${s}, ${z})`,
    `INSERT INTO firm (k, n, s, z) VALUES (${k}, ${n}, ${s}, ${z}) ON CONFLICT DO UPDATE SET n = NULL, z = ${z}`,
    `UPDATE ${how} firm SET s = ${s}, z = ${z} WHERE k = ${k}`,
    `UPDATE ${how} firm SET k = k + 1`,
    `DELETE FROM firm WHERE z IS ${z}`,
  ]);
}

/** When a row gives a date function `now`. */
export const mayEnd = (sql: string): boolean => sql.includes("date(a.");

export interface OddNames {
  /** Two tables that have columns k, n and s. */
  readonly first: string;
  readonly second: string;
  /** `first` has a rowid that no column shows. */
  readonly hasRowid: boolean;
  /** Of some column. */
  readonly literal: string;
}

/** Whatever else a SELECT may be. */
export function oddQuery(draw: Draw, { first, second, hasRowid, literal }: OddNames): string {
  const { pick, chance } = draw;
  const rowid = hasRowid ? pick(["rowid", "_rowid_", "oid", "ROWID"]) : "k";
  const compound = () => pick(["UNION", "UNION ALL", "EXCEPT", "INTERSECT"]);
  const limit = () =>
    chance(0.5) ? "" : ` LIMIT ${pick(["1", "2", "3"])}${chance(0.5) ? " OFFSET 1" : ""}`;
  const side = () => pick(["LEFT", "RIGHT", "FULL", "INNER", "NATURAL", "NATURAL FULL", "CROSS"]);
  const on = (kind: string, text: string) =>
    kind.startsWith("NATURAL") || kind === "CROSS" ? "" : text;
  const [one, two] = [side(), side()];
  return pick<() => string>([
    // Names that stand for others.
    () => `WITH ${first} AS (SELECT k, n, s FROM ${second}) SELECT n, s FROM ${first}`,
    () =>
      `WITH ${first} AS (SELECT n FROM main.${first} WHERE n > 0) SELECT count(*) FROM ${first}`,
    () =>
      first === second
        ? `SELECT ${second}.n FROM ${first}`
        : `SELECT ${first}.n, ${second}.s FROM ${first} ${second} JOIN ${second} ${first} ON ${first}.n = ${second}.n WHERE ${first}.s = 'a'`,
    () =>
      first === second
        ? `SELECT '${first}' FROM ${first}`
        : `SELECT ${second}.n FROM ${first} ${second} WHERE ${second}.s = ${literal}`,
    () => `SELECT "a"."n", [a].[s] FROM ${first} AS "a" WHERE \`a\`."s" = 'a'`,
    () => `SELECT A.N, a.S FROM ${first} AS A WHERE a.S = 'a' AND A."n" = 1`,
    () => `SELECT a.n FROM ${first} AS 'a' WHERE a.s = 'a'`,
    () => `SELECT n AS s, s AS n FROM ${first} WHERE n = 1 ORDER BY s`,
    () => `SELECT s AS n, count(*) FROM ${first} GROUP BY n`,
    () => `SELECT min(s) AS s, count(*) AS n FROM ${first} GROUP BY s HAVING n > 1`,
    () => `SELECT a.s AS k, count(a.k) FROM ${first} a GROUP BY a.s ORDER BY k`,
    () => `SELECT a.${rowid}, a.n FROM ${first} a`,
    () => `SELECT a.n FROM ${first} a WHERE a.${rowid} = 1`,
    () => `SELECT max(a.${rowid}), count(*) FROM ${first} a WHERE a.n = 1`,
    // More than one SELECT.
    () =>
      `SELECT n FROM ${first} ${compound()} SELECT n FROM ${second} ${compound()} SELECT n FROM t1 ORDER BY 1 DESC${limit()}`,
    () =>
      `SELECT s, n FROM ${first} WHERE s = 'a' ${compound()} SELECT s, n FROM ${second} WHERE n = 1 ORDER BY 2, 1${limit()}`,
    () =>
      `SELECT n FROM ${first} WHERE s = ${literal} ${compound()} SELECT * FROM (VALUES (1), ('a')) ORDER BY 1${limit()}`,
    () =>
      `SELECT n FROM (SELECT n FROM ${first} ${compound()} SELECT n FROM ${second}) WHERE n = 1`,
    () =>
      `SELECT a.n FROM ${first} a WHERE (SELECT count(*) FROM ${second} b WHERE b.s = a.s AND EXISTS (SELECT 1 FROM t1 c WHERE c.n = b.n)) > 0`,
    () => `SELECT a.n FROM ${first} a ORDER BY a.n, a.k LIMIT (SELECT count(*) FROM ${second})`,
    () =>
      `SELECT a.n FROM ${first} a WHERE a.n > ALL_N.n`.replace(
        "ALL_N.n",
        `(SELECT avg(n) FROM ${second})`,
      ),
    () =>
      `SELECT a.k, (SELECT b.k FROM ${second} b WHERE b.n = a.n ORDER BY b.k LIMIT 1) FROM ${first} a`,
    () =>
      `SELECT a.n FROM ${first} a WHERE a.s IN (SELECT s FROM ${second} WHERE n = 1 ${compound()} SELECT s FROM t2)`,
    // Common tables.
    () =>
      `WITH RECURSIVE w(v) AS (SELECT n FROM ${first} WHERE s = 'a' UNION ALL SELECT v + 1 FROM w WHERE v < 3 LIMIT 5) SELECT count(*), max(v) FROM w`,
    () =>
      `WITH RECURSIVE w(v, s) AS (SELECT n, s FROM ${first} UNION SELECT b.n, b.s FROM ${second} b, w WHERE b.s = w.s AND b.n > w.v ORDER BY 1 DESC) SELECT v, s FROM w${limit() === "" ? "" : " ORDER BY 1, 2 LIMIT 3"}`,
    () =>
      `WITH v AS (SELECT n, s FROM ${first}), w AS NOT MATERIALIZED (SELECT a.n FROM v a JOIN v b ON b.n = a.n) SELECT n, count(*) FROM w GROUP BY n`,
    () => `WITH w AS (SELECT * FROM middle) SELECT w.text FROM w JOIN ${first} a ON a.n = w.number`,
    // Joins to all sides.
    () =>
      `SELECT a.n, b.n, c.n FROM ${first} a ${one} JOIN ${second} b${on(one, " ON b.n = a.n")} ${two} JOIN t1 c${on(two, " ON c.s = b.s")}`,
    () =>
      `SELECT a.k, b.k FROM ${first} a ${pick(["RIGHT", "FULL"])} JOIN ${second} b ON b.n = a.n AND b.s = 'a' WHERE a.n IS NULL OR b.n = 1`,
    () =>
      `SELECT n, s, count(*) FROM ${first} NATURAL ${pick(["LEFT ", "RIGHT ", "FULL ", ""])}JOIN counted GROUP BY n`,
    () =>
      `SELECT n FROM ${first} a ${pick(["LEFT", "RIGHT", "FULL"])} JOIN ${second} b USING (n) JOIN t1 USING (n) WHERE n = 1`,
    () => `SELECT count(*) FROM ${first} a RIGHT JOIN counted c ON c.s = a.s WHERE c.n = 1`,
    () =>
      `SELECT a.k FROM ${first} a, (${second} b CROSS JOIN firm c) WHERE a.n = b.n AND c.k = b.n`,
    // Windows.
    () => `SELECT s, count(*), rank() OVER (ORDER BY count(*) DESC, s) FROM ${first} GROUP BY s`,
    () =>
      `SELECT a.n, b.n, count(*) OVER (PARTITION BY b.s) FROM ${first} a LEFT JOIN ${second} b ON b.n = a.n`,
    () =>
      `SELECT n, sum(n) OVER (ORDER BY n GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING) FROM ${first} WHERE s = 'a'`,
    () =>
      `SELECT * FROM (SELECT k, s, row_number() OVER (PARTITION BY s ORDER BY n DESC, k) AS i FROM ${first}) WHERE i = 1`,
    () => `SELECT DISTINCT first_value(k) OVER (PARTITION BY n ORDER BY k) FROM ${first}`,
    // Aggregates.
    () => `SELECT count(*) FROM ${first} HAVING count(*) > 2`,
    () => `SELECT s, group_concat(n, ',' ORDER BY n DESC) FROM ${first} GROUP BY s`,
    () => `SELECT lower(s), count(*) FROM ${first} GROUP BY lower(s)`,
    () =>
      `SELECT n % 2, count(*) FILTER (WHERE s = 'a') FROM ${first} GROUP BY 1 ORDER BY 2 DESC${limit()}`,
    () => `SELECT s, max(n), k FROM ${first} GROUP BY s ORDER BY k`,
    () => `SELECT s COLLATE RTRIM, count(*) FROM ${first} GROUP BY 1`,
    () => `SELECT DISTINCT s, n FROM ${first} ORDER BY n DESC, s${limit()}`,
    () => `SELECT typeof(x), count(*), max(x) FROM ${pick(["t0", "t1", "t2"])} GROUP BY typeof(x)`,
    () => `SELECT n, s, count(*), count(DISTINCT k) FROM ${first} GROUP BY n, s`,
    () => `SELECT avg(n), total(n), string_agg(s, '+') FROM ${first} WHERE s = 'a'`,
    // Views on views.
    () => "SELECT * FROM top",
    () => "SELECT c FROM top WHERE s = 'a'",
    () => `SELECT number, count(*) FROM middle GROUP BY number`,
    () => `SELECT m.text FROM middle m WHERE m.key = ${literal}`,
    () => "SELECT * FROM best",
    () => `SELECT a.k, b.n FROM ${first} a LEFT JOIN best b ON b.s = a.s`,
    () => "SELECT k FROM ranked WHERE place = 1",
    () => `SELECT d, count(*) FROM chain GROUP BY d`,
    () => `SELECT a.n FROM ${first} a WHERE a.n IN (SELECT v FROM chain)`,
    () => `SELECT node FROM patina_members ${compound()} SELECT s FROM ${first}`,
    () =>
      `SELECT m.node, m.state, count(a.k) FROM patina_members m FULL JOIN ${first} a ON a.s = m.node GROUP BY m.node, m.state`,
    // Local tables with more than one key.
    () => "SELECT k, n, s, z FROM firm",
    () => `SELECT s, count(*) FROM firm GROUP BY s`,
    () => `SELECT n, count(*) FROM firm GROUP BY n`,
    () => `SELECT f.z, a.n FROM firm f JOIN ${first} a ON a.n = f.k`,
    () => `SELECT a.n, f.k FROM ${first} a LEFT JOIN firm f ON f.s = a.s WHERE a.n = 1`,
    () => `SELECT k FROM firm WHERE z = ${literal}`,
    () => "SELECT id, n, s FROM counted WHERE s = 'A'",
    () => `SELECT a.k, c.n FROM ${first} a JOIN counted c ON c.s = a.s`,
    () => "SELECT id FROM counted ORDER BY id DESC LIMIT 1",
    // Dates of what is no clock.
    () => `SELECT date(a.n, 'unixepoch'), a.s FROM ${first} a WHERE a.s = 'a'`,
    () => `SELECT date(a.s), a.n FROM ${first} a`,
    () => `SELECT n, uuid FROM (SELECT n, hex(s) AS uuid FROM ${first}) WHERE uuid <> ''`,
    () => `SELECT cidr_match('10.0.0.0/8', '10.0.0.' || a.n), a.n FROM ${first} a`,
  ])();
}

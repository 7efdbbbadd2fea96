/**
 * Rare shapes of SELECT for live queries: windows, common tables, outer joins, JSON, views, names in other alphabets.
 *
 * @module
 */

import type { Draw } from "./live-queries-odd.ts";
import type { WorldTable } from "./live-queries-tables.ts";
import type { Join, Terms } from "./live-queries-terms.ts";

export interface RareParts {
  readonly join: Join;
  /** With its WHERE, or nothing. */
  readonly where: string;
  /** One with a key. */
  readonly first: WorldTable;
  readonly second: WorldTable;
  /** Columns of the join. */
  readonly results: () => string;
}

export function rareQuery({ chance, int, pick }: Draw, terms: Terms, parts: RareParts): string {
  const { join, where, first, second, results } = parts;
  const { from, aliases } = join;
  const [alias, table] = aliases[0] as [string, WorldTable];
  const column = terms.operand(alias, table);
  const [ofFirst, ofSecond] = [terms.operand("a", first), terms.operand("b", second)];
  const over = pick([
    `PARTITION BY ${ofFirst}`,
    "ORDER BY a.n, a.s",
    `PARTITION BY a.n ORDER BY ${ofFirst}`,
    "ORDER BY a.n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW",
    "ORDER BY a.n RANGE BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING EXCLUDE TIES",
  ]);
  const windowed = pick([
    "sum(a.n)",
    "count(*)",
    "lag(a.s)",
    "first_value(a.n)",
    "ntile(2)",
    "rank()",
    "group_concat(a.s)",
    "count(*) FILTER (WHERE a.s = 'a')",
  ]).replace(/ FILTER.*/, (filter) => (chance(0.5) ? filter : ""));
  const json = "CASE WHEN json_valid(a.x) THEN a.x ELSE '[1, \"a\"]' END";
  const hasX = first.columns.includes("x");
  return pick<() => string>([
    () => `SELECT a.s, ${windowed} OVER (${over}) FROM ${first.name} a`,
    () =>
      `SELECT a.n, sum(a.n) OVER w, rank() OVER w FROM ${first.name} a WINDOW w AS (PARTITION BY a.s ORDER BY a.n)`,
    () =>
      `SELECT ${column} FROM ${from}${where} ORDER BY ${column} LIMIT ${1 + int(3)} OFFSET ${int(3)}`,
    () => `SELECT ${results()} FROM ${from}${where} LIMIT -1 OFFSET ${int(4)}`,
    () =>
      `SELECT ${ofFirst}, ${ofSecond} FROM ${first.name} a ${pick(["FULL", "RIGHT", "FULL OUTER"])} JOIN ${second.name} b ON ${ofSecond} = ${ofFirst}${chance(0.4) ? ` WHERE a.n = ${terms.literal("a.n")}` : ""}`,
    () =>
      `SELECT a.n, b.n, c.n FROM ${first.name} a LEFT JOIN ${second.name} b ON ${ofSecond} = ${ofFirst} ${pick(["RIGHT", "FULL", "INNER", "CROSS", "LEFT"])} JOIN t0 c ON c.n = ${pick(["a", "b"])}.n`,
    () => `SELECT * FROM ${first.name} NATURAL ${pick(["", "LEFT ", "FULL "])}JOIN ${second.name}`,
    () =>
      `SELECT a.n FROM ${first.name} a ${pick(["", "LEFT "])}JOIN ${second.name} b USING (${pick(["n", "s", "n, s"])})`,
    () => `VALUES (1), ((SELECT ${ofSecond} FROM ${second.name} b ORDER BY 1 LIMIT 1))`,
    () =>
      `SELECT v.column1, a.s FROM (VALUES (0), (1), ('a')) v JOIN ${first.name} a ON a.n = v.column1`,
    () =>
      `WITH RECURSIVE w(v, d) AS (SELECT n, 0 FROM ${first.name} UNION SELECT b.n, d + 1 FROM w JOIN ${second.name} b ON b.n > w.v WHERE d < 3) SELECT v, count(*) FROM w GROUP BY v`,
    () =>
      `WITH w AS MATERIALIZED (SELECT n, s FROM ${first.name}), v AS (SELECT n FROM w WHERE s = 'a') SELECT w.n, (SELECT count(*) FROM v) FROM w`,
    () => `SELECT ${column} FROM ${from} WHERE (${alias}.n, ${alias}.s) = (1, 'a')`,
    () =>
      `SELECT ${column} FROM ${from} WHERE (${alias}.n, ${alias}.s) ${pick(["IN", "NOT IN"])} (SELECT n, s FROM ${second.name})`,
    () => `SELECT ${column} FROM ${from} WHERE (${alias}.n, ${alias}.s) > (0, 'a')`,
    () =>
      `SELECT coalesce(b.s, a.s, 'none'), b.n IS NULL FROM ${first.name} a LEFT JOIN ${second.name} b ON b.n = a.n`,
    () =>
      `SELECT a.n, CASE WHEN b.n > 1 THEN 'big' WHEN b.n IS NULL THEN 'none' END FROM ${first.name} a LEFT JOIN ${second.name} b ON b.s = a.s WHERE coalesce(b.n, 1) = 1`,
    () =>
      `SELECT a.n, j.value FROM ${first.name} a, json_each('[0, 1, "a"]') j WHERE j.value = a.n`,
    () =>
      hasX
        ? `SELECT a.n, j.key, j.value FROM ${first.name} a JOIN json_each(${json}) j`
        : "SELECT n FROM l",
    () =>
      hasX
        ? `SELECT json_extract(${json}, '$[0]'), json_type(${json}) FROM ${first.name} a`
        : "SELECT n FROM l",
    () =>
      `SELECT json_group_array(quote(a.n)), json_object('n', count(a.n)) FROM ${first.name} a WHERE a.s = ${terms.literal("a.s")}`,
    () =>
      `SELECT a.s COLLATE NOCASE, count(*) FROM ${first.name} a GROUP BY a.s COLLATE NOCASE ORDER BY min(a.n)`,
    () =>
      `SELECT DISTINCT ${column} COLLATE NOCASE AS c FROM ${from}${where} ORDER BY c COLLATE RTRIM`,
    () =>
      `SELECT a.n, a.n, a.n AS n, a.s AS n FROM ${first.name} a WHERE a.s = ${terms.literal("a.s")}`,
    () => `SELECT count(DISTINCT ${column}), group_concat(${column}) FROM ${from}${where}`,
    () => `SELECT ${column}, min(${alias}.n), ${alias}.s FROM ${from}${where}`,
    () => `SELECT ${column} FROM ${from}${where} INTERSECT SELECT n FROM ${second.name}`,
    () =>
      `SELECT ${column} AS o FROM ${from}${where} UNION ALL SELECT n FROM ${second.name} ORDER BY o LIMIT 3`,
    () => `SELECT k, n FROM above`,
    () => `SELECT n FROM above WHERE k = ${terms.literal(".k")}`,
    () => `SELECT a.k, j.s FROM t0 a LEFT JOIN joined j ON j.k = a.k WHERE a.n = 1`,
    () => `SELECT l.k, l.n FROM loose l`,
    () => `SELECT l.k, a.s FROM ${first.name} a LEFT JOIN loose l ON l.n = a.n`,
    () => `SELECT a.s, l.s FROM loose l LEFT JOIN ${first.name} a ON l.n = a.n`,
    () => `SELECT "K k", [Größe] FROM "Öd ""x"" 3" WHERE \`select\` = 'a'`,
    () =>
      `SELECT "Ä"."Größe", b.n FROM "Öd ""x"" 3" "Ä" LEFT JOIN ${second.name} b ON b.n = "Ä"."Größe" WHERE "Ä"."select" = 'a'`,
    () =>
      `SELECT count(*), max("ö"."K k") FROM "öd ""X"" 3" AS "ö" WHERE "ö".n = 1`.replace(
        "öd",
        "Öd",
      ),
    () =>
      `SELECT m.node, count(a.n) FROM patina_members m LEFT JOIN ${first.name} a ON a.s = m.node WHERE m.state = 'ALIVE' GROUP BY m.node`,
    () =>
      `SELECT a.n FROM ${first.name} a WHERE a.s IN (SELECT node FROM patina_members WHERE state <> 'DOWN')`,
    () =>
      `SELECT a.n FROM ${first.name} a WHERE EXISTS (SELECT 1 FROM ${second.name} b LEFT JOIN t1 c ON c.n = b.n WHERE c.s IS NULL AND b.n = a.n)`,
    () =>
      `SELECT (SELECT group_concat(s, ',') FROM (SELECT s FROM ${second.name} b WHERE b.n = a.n ORDER BY 1)) FROM ${first.name} a`,
    () =>
      `SELECT iif(a.n = ${terms.literal("a.n")}, a.s, typeof(a.n)), abs(a.n), quote(a.s) FROM ${first.name} a`,
    () =>
      `SELECT ${column} FROM ${from} WHERE ${column} IS NOT DISTINCT FROM ${terms.literal(column)}`,
    () =>
      `SELECT ${column} FROM ${from} WHERE ${column} IS ${pick(["", "NOT "])}NULL AND ${alias}.n NOT NULL`,
    () =>
      `SELECT a.n + 1, a.n % 2 FROM ${first.name} a WHERE -a.n < -0 AND NOT a.n BETWEEN 2 AND 3`,
    () => `SELECT a.n FROM ${first.name} a WHERE a.s GLOB '[ab]' AND a.s NOT LIKE 'b' ESCAPE '\\'`,
    () => `SELECT a.* FROM (SELECT n, s FROM ${first.name} WHERE n > 0 ORDER BY n LIMIT 2) a`,
    () =>
      `SELECT a.n FROM (${first.name} a LEFT JOIN ${second.name} b ON b.n = a.n) JOIN t1 c ON c.n = a.n`,
    () =>
      `SELECT a.n, c.n FROM ${first.name} a LEFT JOIN (${second.name} b JOIN t1 c ON c.n = b.n) ON b.n = a.n`,
    () => `SELECT a.n FROM main.${first.name} a WHERE a.n = ${terms.literal("a.n")}; -- the end`,
    () => `SELECT/* a */a.n FROM ${first.name} AS a NOT INDEXED WHERE a.n = 1`,
    () => `SELECT 1 WHERE EXISTS (SELECT 1 FROM ${first.name} WHERE n = 1)`,
  ])();
}

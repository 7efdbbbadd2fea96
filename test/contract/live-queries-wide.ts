/**
 * Writes of many rows at once, and queries with parameters, of nobody's table and of a column that may not be there yet.
 *
 * @module
 */

import { Real, type SqlValue } from "../../core/row/value.ts";
import type { Draw } from "./live-queries-odd.ts";
import type { WorldTable } from "./live-queries-tables.ts";

/** What a client asks. */
export interface Asked {
  readonly sql: string;
  readonly parameters: readonly SqlValue[] | undefined;
}

const values: readonly SqlValue[] = [
  "a",
  "b",
  "a\0b",
  "it's",
  "1",
  "",
  1,
  0,
  -1,
  2,
  9007199254740993n,
  null,
  new Uint8Array([0x61]),
  new Real(1.5),
  new Real(-0),
  new Real(0.1 + 0.2),
  new Real(Number.NEGATIVE_INFINITY),
];

/** @param tables that have columns k, n, s, r and x */
export function wideQuery({ chance, pick }: Draw, tables: readonly WorldTable[]): Asked {
  const [a, b] = [pick(tables).name, pick(tables).name];
  if (chance(0.4)) {
    const sql = pick([
      `SELECT a.n, ?1, ?2 FROM ${a} a WHERE a.s = ?1 OR a.n > ?2`,
      `SELECT a.n FROM ${a} a WHERE a.s = ?1 AND a.n IS NOT ?2`,
      `SELECT a.n -?2 FROM ${a} a\nWHERE a.x=?1OR a.s IS?1`,
      `SELECT count(*), ?1 FROM ${a} a WHERE a.n = ?2`,
      `SELECT a.s, count(*) FROM ${a} a WHERE a.s <> ?1 GROUP BY a.s HAVING count(*) > ?2`,
      `SELECT a.k, b.k FROM ${a} a LEFT JOIN ${b} b ON b.s = a.s AND b.n = ?2 WHERE a.s = ?1`,
      `SELECT a.k FROM ${a} a WHERE EXISTS (SELECT 1 FROM ${b} b WHERE b.n = a.n AND b.x = ?1) OR a.r = ?2`,
    ]);
    return { sql, parameters: [pick(values), pick(values)] };
  }
  const sql = pick([
    `SELECT a.k FROM ${a} a WHERE (a.n, a.s) IN (VALUES (1, 'a'), (2, 'b'))`,
    `SELECT a.k, b.k FROM ${a} a LEFT JOIN ${b} b ON (b.n, b.s) = (a.n, a.s)`,
    `SELECT a.k FROM ${a} a WHERE (a.n, a.s) BETWEEN (0, 'a') AND (1, 'b')`,
    `SELECT * FROM ${a} JOIN ${b} USING (n, s)`,
    `SELECT a.n AS patina_key_0, a.s AS patina_member FROM ${a} a`,
    `SELECT a.k, b.k FROM ${a} a JOIN ${b} b ON b.x = a.s`,
    `SELECT a.k, b.n FROM ${a} a LEFT JOIN ${b} b ON b.r = a.n WHERE a.x = 1`,
    `SELECT a.r, count(*) FROM ${a} a GROUP BY a.r`,
    `SELECT a.x FROM ${a} a UNION SELECT b.x FROM ${b} b`,
    `SELECT a.k, b.k FROM ${a} a, ${b} b WHERE a.n < b.n`,
    `SELECT 'same' FROM ${a} a, ${b} b`,
    `SELECT a.n NOT IN (SELECT b.n FROM ${b} b) FROM ${a} a`,
    `SELECT percent_rank() OVER (ORDER BY a.n), lead(a.k) OVER (ORDER BY a.n, a.k) FROM ${a} a`,
    "SELECT k, late FROM t1",
    "SELECT late, count(*) FROM t1 GROUP BY late",
    "SELECT a.k, b.late FROM t0 a LEFT JOIN t1 b ON b.late = a.n",
    "SELECT k, n FROM later",
    "SELECT count(*) FROM later WHERE n = 1",
    "SELECT a.k FROM t0 a WHERE EXISTS (SELECT 1 FROM later WHERE n = a.n)",
    "SELECT * FROM l",
    "SELECT k, n FROM l WHERE s = 'a'",
  ]);
  return { sql, parameters: undefined };
}

/** @param tables the same */
export function wideWrite({ int, pick }: Draw, tables: readonly WorldTable[]): string {
  const [into, from] = [pick(tables), pick(tables)];
  const [a, b] = [into.name, from.name];
  const isPair = into.keys.length === 2;
  const columns = `${isPair ? "k, part" : "k"}, n, s`;
  // No other value can be one.
  const isRowid = into.keyType === "INTEGER";
  const part = (text: string) => (isPair ? `, ${text}` : "");
  return pick<() => string>([
    () =>
      `INSERT OR REPLACE INTO ${a} (${columns}) SELECT k${part("1")}, n, s FROM ${b} WHERE n = ${int(3)}${isRowid ? " AND typeof(k) = 'integer'" : ""}`,
    () =>
      `INSERT OR REPLACE INTO ${a} (${columns}) WITH RECURSIVE c(i) AS (SELECT ${int(9)} UNION ALL SELECT i + 1 FROM c WHERE i < ${int(50)}) SELECT i${part("i % 2")}, i % 5, char(97 + i % 3) FROM c`,
    () =>
      `INSERT INTO ${a} (${columns}) VALUES (${int(4)}${part("0")}, 1, 'a') ON CONFLICT DO UPDATE SET n = excluded.n + 1, s = substr(excluded.s || s, 1, 2)`,
    () => `UPDATE ${a} SET (n, s) = (SELECT n, s FROM ${b} ORDER BY k LIMIT 1) WHERE n = ${int(3)}`,
    () => `UPDATE ${a} SET n = o.n FROM ${b} o WHERE o.s = ${a}.s AND o.n = ${int(3)}`,
    () => `UPDATE OR REPLACE ${a} SET k = ${int(4)} WHERE k = ${int(4)}`,
    () => `WITH w AS (SELECT min(n) AS n FROM ${b}) DELETE FROM ${a} WHERE n IN w`,
    () => `UPDATE ${a} SET n = n + 1, r = -r WHERE n < ${int(4)}`,
    () => `DELETE FROM ${a} WHERE k > ${int(30)}`,
  ])();
}

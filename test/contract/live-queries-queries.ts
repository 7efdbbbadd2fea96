/**
 * Random queries for live queries: joins, what is kept by key, by value, by group, and what few ask
 * (`live-queries-rare.ts`, `live-queries-odd.ts`, `live-queries-far.ts`, `live-queries-deep.ts`).
 *
 * @module
 */

import { deepQuery } from "./live-queries-deep.ts";
import { farQuery } from "./live-queries-far.ts";
import { type Draw, oddQuery } from "./live-queries-odd.ts";
import { rareQuery } from "./live-queries-rare.ts";
import type { WorldTable } from "./live-queries-tables.ts";
import type { Aliases, Join, Terms } from "./live-queries-terms.ts";

export class Queries {
  readonly #draw: Draw;
  readonly #terms: Terms;
  readonly #tables: readonly WorldTable[];

  constructor(draw: Draw, terms: Terms, tables: readonly WorldTable[]) {
    this.#draw = draw;
    this.#terms = terms;
    this.#tables = tables;
  }

  query(): string {
    const terms = this.#terms;
    const tables = this.#tables;
    const { chance, int, pick } = this.#draw;
    if (chance(0.2)) {
      const [first, second] = [pick(this.#keyed()), pick(this.#keyed())];
      return oddQuery(this.#draw, {
        first: first.name,
        second: second.name,
        hasRowid: first.hasRowid === true,
        literal: terms.literal(pick(["a.n", "a.s", "a.k"])),
      });
    }
    if (chance(0.2))
      return farQuery(this.#draw, pick(this.#keyed()).name, pick(this.#keyed()).name);
    if (chance(0.2)) return deepQuery(this.#draw, this.#keyed());
    if (chance(0.3)) return this.#other();
    const { from, aliases } = this.#join();
    const where = terms.conditions(aliases);
    const [alias, table] = aliases[0] as [string, WorldTable];
    const column = terms.operand(alias, table);
    const inner = pick(tables);
    const everyKey = aliases.flatMap(([a, t]) => t.columns.map((name) => `${a}.${name}`));
    switch (int(32)) {
      case 0:
        return `SELECT count(*), sum(${alias}.n), max(${column}) FROM ${from}${where}`;
      case 1:
        return `SELECT ${column}, count(*) FROM ${from}${where} GROUP BY 1`;
      case 2:
        return `SELECT ${column}, count(*) AS c FROM ${from}${where} GROUP BY ${column} HAVING c > 1`;
      case 3:
        return `SELECT DISTINCT ${this.#results(aliases)} FROM ${from}${where}`;
      case 4:
        return `SELECT ${column} FROM ${from}${where} UNION SELECT i.${pick(inner.columns)} FROM ${inner.name} i`;
      case 5:
        return `SELECT ${column} FROM ${from}${where} UNION ALL SELECT i.${pick(inner.columns)} FROM ${inner.name} i`;
      case 6:
        return `SELECT ${column} FROM ${from}${where} EXCEPT SELECT i.n FROM ${inner.name} i`;
      case 7:
        return `SELECT ${this.#results(aliases)} FROM ${from} WHERE ${chance(0.5) ? "NOT " : ""}EXISTS (SELECT 1 FROM ${inner.name} i WHERE i.${pick(inner.columns)} = ${column})`;
      case 8:
        return `SELECT ${column}, (SELECT max(i.n) FROM ${inner.name} i WHERE i.s = ${column}) FROM ${from}${where}`;
      case 9:
        return `SELECT ${this.#results(aliases)} FROM ${from} WHERE ${column} ${chance(0.5) ? "NOT " : ""}IN (SELECT n FROM ${inner.name})`;
      case 10:
        return `WITH w AS (SELECT ${column} AS v FROM ${from}${where}) SELECT i.${pick(inner.columns)} FROM ${inner.name} i WHERE i.n IN (SELECT v FROM w)`;
      case 11:
        return `WITH RECURSIVE w(v) AS (SELECT ${alias}.n FROM ${from}${where} UNION SELECT v + 1 FROM w WHERE v < 3) SELECT v FROM w`;
      case 12:
        return `SELECT ${everyKey.join(", ")} FROM ${from}${where} ORDER BY ${everyKey.join(", ")} LIMIT ${1 + int(3)}`;
      case 13:
        return `SELECT ${column} FROM ${from}${where} LIMIT ${1 + int(3)}`;
      case 14:
        return pick([
          "SELECT * FROM joined",
          "SELECT s FROM joined WHERE n = 1",
          "SELECT * FROM natural_view",
          "SELECT count(*) FROM narrow",
          "SELECT count(*) FROM used",
          "SELECT 'same' FROM used LIMIT 2",
          "SELECT a.k FROM t1 a WHERE EXISTS (SELECT 1 FROM used)",
          "SELECT a.k FROM t0 a WHERE n IN narrow",
          "SELECT node, state FROM patina_members",
          `SELECT a.k, m.state FROM t0 a JOIN patina_members m ON m.node = a.s`,
          `SELECT m.node, a.k FROM patina_members m LEFT JOIN t1 a ON a.s = m.node`,
          "SELECT t0.k, n FROM t0 NATURAL JOIN t1",
          "SELECT t0.s FROM t0 JOIN t1 USING (n)",
          "SELECT t0.k, t2.k FROM t0 LEFT JOIN t2 USING (n, s)",
          "SELECT n, s FROM bare",
          "SELECT row_number() OVER (ORDER BY n, s, k), k FROM t0",
          "SELECT rowid, n FROM l",
        ]);
      case 24:
      case 25:
      case 26:
        return this.#filtered();
      case 27:
      case 28:
      case 29:
        return this.#leftJoin();
      case 30:
      case 31:
        return this.#grouped();
      case 15:
        return `SELECT x.k, y.k FROM t0 x JOIN t0 y ON x.n = y.n AND x.k < y.k`;
      default:
        return `SELECT ${this.#results(aliases)} FROM ${from}${where}${chance(0.2) ? " ORDER BY 1 DESC" : ""}`;
    }
  }

  /** A query, and others that differ from it in one constant only. */
  family(): string[] {
    for (;;) {
      const sql = this.query();
      const place = /( (?:=|==|IS|LIKE) )('[^']*'|[0-3])(?![.\w])/.exec(sql);
      if (place === null) continue;
      const [whole, operator] = place as unknown as [string, string];
      const start = place.index + operator.length;
      const rest = sql.slice(place.index + whole.length);
      return ["1", "2", "'a'", "'b'", "'A'", "'1'"].map(
        (constant) => sql.slice(0, start) + constant + rest,
      );
    }
  }

  #keyed(): readonly WorldTable[] {
    return this.#tables.filter((table) => table.keys.length > 0);
  }

  #results(aliases: Aliases): string {
    const terms = this.#terms;
    const { chance, int, pick } = this.#draw;
    if (chance(0.15)) return "*";
    const count = 1 + int(3);
    return Array.from({ length: count }, () => {
      const [alias, table] = pick(aliases);
      const column = terms.operand(alias, table);
      return pick([
        column,
        column,
        column,
        column,
        `lower(${column})`,
        "'same'",
        `${column} || '!'`,
      ]);
    }).join(", ");
  }

  #join(): Join {
    const terms = this.#terms;
    const tables = this.#tables;
    const { chance, int, pick } = this.#draw;
    const first = pick(this.#keyed());
    let from = `${first.name} a`;
    const aliases: [string, WorldTable][] = [["a", first]];
    const count = pick([0, 0, 1, 1, 1, 2]);
    for (let i = 0; i < count; i++) {
      const table = chance(0.1) ? pick(tables) : pick(this.#keyed());
      const alias = "bc"[i] as string;
      const kind = pick(["JOIN", "JOIN", "LEFT JOIN", "LEFT JOIN", "INNER JOIN", ","]);
      from += kind === "," ? `, ${table.name} ${alias}` : ` ${kind} ${table.name} ${alias}`;
      aliases.push([alias, table]);
      if (kind !== ",") {
        const [otherAlias, other] = aliases[int(aliases.length - 1)] as [string, WorldTable];
        from += ` ON ${terms.operand(alias, table)} = ${terms.operand(otherAlias, other)}`;
        if (chance(0.3)) from += ` AND ${terms.condition([[alias, table]])}`;
      }
    }
    return { from, aliases };
  }

  /** What isn't kept by key, and sees rows of one value only, or of some. */
  #filtered(): string {
    const terms = this.#terms;
    const { chance, pick } = this.#draw;
    const [first, second] = [pick(this.#keyed()), pick(this.#keyed())];
    const column = pick(["a.n", "a.s", "a.s", "a.k"]);
    const isTwo = first !== second && chance(0.4);
    const kind = pick(["JOIN", "LEFT JOIN"]);
    const on = pick(["b.n = a.n", "b.n = a.n", "a.s = b.s", "b.s = 'a'", "b.n = a.n AND a.n = 1"]);
    const from = isTwo ? `${first.name} a ${kind} ${second.name} b ON ${on}` : `${first.name} a`;
    const asked = [
      isTwo && chance(0.3)
        ? "1"
        : chance(0.6)
          ? `${column} = ${terms.literal(column)}`
          : `${column} IN (${terms.literal(column)}, ${terms.literal(column)})`,
      ...(isTwo && chance(0.4) ? [`b.s = ${terms.literal("b.s")}`] : []),
      ...(chance(0.3) ? ["a.n > 0"] : []),
    ];
    const head = pick([
      "count(*), sum(a.n)",
      "DISTINCT a.s, a.n",
      "a.n, count(*)",
      `a.k, a.n${isTwo ? ", b.k" : ""}`,
    ]);
    const tail = head.startsWith("a.n")
      ? " GROUP BY a.n"
      : head.startsWith("a.k")
        ? ` ORDER BY 1, 2${isTwo ? ", 3" : ""} LIMIT 2`
        : "";
    return `SELECT ${head} FROM ${from} WHERE ${asked.join(" AND ")}${tail}`;
  }

  /** What is counted by columns, and may be kept group by group. */
  #grouped(): string {
    const terms = this.#terms;
    const { pick } = this.#draw;
    const table = pick(this.#keyed());
    const text = table.columns.filter((name) => name === "s" || name === "k");
    const by = pick([
      "s",
      "a.s",
      "a.s",
      "a.s",
      pick(["a.s, a.k", "a.k, s", "a.n", `a.${pick(table.columns)}`]),
    ]);
    const least = `a.${pick(text)}`;
    const counts = pick([
      "count(*)",
      "count(a.n)",
      "count(DISTINCT a.n) AS n",
      `min(${least}), max(${least}) greatest`,
      "count(*) || ' of ' || count(a.n)",
      "sum(a.n)",
    ]);
    const where = pick([
      "",
      "",
      ` WHERE ${terms.condition([["a", table]])}`,
      " WHERE a.n = 1 OR a.n > 1",
    ]);
    const having = pick(["", "", "", " HAVING count(*) > 1", " HAVING max(a.s) IS NOT NULL"]);
    const order = pick(["", "", " ORDER BY 1", " ORDER BY count(*) DESC, a.s"]);
    const head = pick([`${by}, ${counts}`, `${counts}, ${by}`, counts]);
    return `SELECT ${head} FROM ${table.name} a${where} GROUP BY ${by}${having}${order}`;
  }

  /** Of which WHERE looks at the left side, or at nothing. */
  #leftJoin(): string {
    const terms = this.#terms;
    const { chance, pick } = this.#draw;
    const [first, second, third] = [pick(this.#keyed()), pick(this.#keyed()), pick(this.#keyed())];
    if (first === second) return this.#leftJoin();
    const isThree = third !== first && third !== second && chance(0.5);
    const on = pick([
      "b.n = a.n",
      "b.k = a.k",
      "b.s = a.s",
      "b.n = a.n AND b.s = 'a'",
      "b.n = a.n AND a.s = 'a'",
    ]);
    const more = ` ${pick(["LEFT JOIN", "LEFT JOIN", "JOIN"])} ${third.name} c ON ${pick(["c.n = b.n", "c.s = a.s", "b.n < c.n"])}`;
    const where = pick([
      "",
      "",
      ` WHERE a.s = ${terms.literal("a.s")}`,
      " WHERE a.n IN (1, 2)",
      ` WHERE b.s ${pick(["=", "<>", "IS"])} ${terms.literal("b.s")}`,
      " WHERE b.n IN (1, 2) AND a.n BETWEEN 0 AND 1",
      " WHERE b.s IS NOT NULL",
      " WHERE b.n IS NULL",
      ` WHERE ${isThree ? "c" : "b"}.n = 1 AND a.s NOTNULL`,
    ]);
    return `SELECT ${pick(["a.n, b.n", "a.k, b.s", "*"])} FROM ${first.name} a LEFT JOIN ${second.name} b ON ${on}${isThree ? more : ""}${where}`;
  }

  /** Whatever else a SELECT may be. */
  #other(): string {
    const { pick } = this.#draw;
    const join = this.#join();
    const where = this.#terms.conditions(join.aliases);
    const [first, second] = [pick(this.#keyed()), pick(this.#tables)];
    const results = () => this.#results(join.aliases);
    return rareQuery(this.#draw, this.#terms, { join, where, first, second, results });
  }
}

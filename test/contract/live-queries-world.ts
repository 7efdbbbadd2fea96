/**
 * Random schemas, queries and writes for live queries, all drawn from one seed. Values meet: few of
 * them, of every type, so that keys come back, joins match and rows are equal.
 *
 * @module
 */

import {
  type Draw,
  hugeValues,
  oddCondition,
  oddKeys,
  oddLiterals,
  oddLocalTables,
  oddQuery,
  oddSchema,
  oddTypes,
  oddValues,
  oddWrite,
} from "./live-queries-odd.ts";

export type Random = () => number;

interface WorldTable {
  readonly name: string;
  readonly keys: readonly string[];
  readonly columns: readonly string[];
  readonly isLocal: boolean;
  readonly keyType?: string;
  /** One that no column shows. */
  readonly hasRowid?: boolean;
}

export interface World {
  readonly schema: string;
  readonly local: readonly string[];
  query(): string;
  /** A query, and others that differ from it in one constant only. */
  family(): string[];
  /** One writing statement. `isLocal` ones may write local tables. */
  write(isLocal: boolean): string;
}

export function createWorld(random: Random): World {
  const chance = (fraction: number) => random() < fraction;
  const int = (end: number) => Math.floor(random() * end);
  const pick = <T>(list: readonly T[]): T => list[int(list.length)] as T;
  const draw: Draw = { chance, pick };

  const tables: WorldTable[] = [];
  let schema = "";
  for (let i = 0; i < 3; i++) {
    const name = `t${i}`;
    const kind = pick([
      "integer",
      "text",
      "pair",
      "turned pair",
      "text without rowid",
      "real",
      "numeric",
      "blob",
    ]);
    const isPair = kind.endsWith("pair");
    const keys = isPair ? ["k", "part"] : ["k"];
    const keyType =
      { integer: "INTEGER", real: "REAL", numeric: "NUMERIC", blob: "BLOB" }[kind] ?? "TEXT";
    const collate = chance(0.25) ? " COLLATE NOCASE" : "";
    const columns = [
      `k ${keyType} NOT NULL`,
      ...(isPair ? ["part INTEGER NOT NULL"] : []),
      `n ${pick(oddTypes.n)}`,
      `s ${pick(oddTypes.s)}${collate}`,
      `r ${pick(oddTypes.r)}`,
      `x ${pick(oddTypes.x)}`,
      ...(chance(0.3)
        ? [`g GENERATED ALWAYS AS (coalesce(s, '') || n) ${pick(["VIRTUAL", "STORED"])}`]
        : []),
      `PRIMARY KEY (${(kind === "turned pair" ? keys.toReversed() : keys).join(", ")})`,
    ];
    const hasRowid = !isPair && kind !== "text without rowid";
    const tail = hasRowid ? "" : " WITHOUT ROWID";
    schema += `CREATE TABLE ${name} (${columns.join(", ")})${tail};\n`;
    for (const column of ["n", "s", "x"]) {
      if (chance(column === "s" ? 0.7 : 0.4))
        schema += `CREATE INDEX ${name}_${column} ON ${name} (${column});\n`;
    }
    if (chance(0.3)) schema += `CREATE INDEX ${name}_p ON ${name} (n) WHERE s = 'a';\n`;
    const hasGenerated = columns.some((column) => column.startsWith("g "));
    const all = [...keys, "n", "s", "r", "x", ...(hasGenerated ? ["g"] : [])];
    if (hasGenerated && chance(0.5)) schema += `CREATE INDEX ${name}_g ON ${name} (g, n DESC);\n`;
    if (chance(0.2)) schema += `CREATE INDEX ${name}_l ON ${name} (lower(s), n);\n`;
    tables.push({ name, keys, columns: all, isLocal: false, keyType, hasRowid });
  }
  schema += "CREATE TABLE l (k TEXT NOT NULL PRIMARY KEY, n INTEGER, s TEXT);\n";
  tables.push({ name: "l", keys: ["k"], columns: ["k", "n", "s"], isLocal: true });
  schema += "CREATE TABLE bare (n INTEGER, s TEXT);\n";
  tables.push({ name: "bare", keys: [], columns: ["n", "s"], isLocal: true });
  // Keys of local tables may be NULL, more than once.
  schema += "CREATE TABLE loose (k TEXT PRIMARY KEY, n INTEGER, s TEXT COLLATE NOCASE);\n";
  tables.push({ name: "loose", keys: ["k"], columns: ["k", "n", "s"], isLocal: true });
  schema += `CREATE TABLE "Öd ""x"" 3" ("K k" TEXT NOT NULL, [Größe] INTEGER, "select" TEXT, k INTEGER, n INTEGER, s TEXT, PRIMARY KEY ("K k"));\n`;
  schema += `CREATE INDEX "i ü" ON "Öd ""x"" 3" ("Größe");\n`;
  const oddColumns = ['"K k"', '"Größe"', '"select"', "k", "n", "s"];
  tables.push({ name: '"Öd ""x"" 3"', keys: ['"K k"'], columns: oddColumns, isLocal: false });
  const [t0] = tables as [WorldTable];
  schema += `CREATE VIEW joined AS SELECT a.k AS k, a.n AS n, b.s AS s FROM t0 a LEFT JOIN t1 b ON b.n = a.n;\n`;
  schema += `CREATE VIEW narrow AS SELECT n FROM t2 WHERE s = 'a';\n`;
  schema += `CREATE VIEW used AS SELECT t0.k AS k, n FROM t0 JOIN t2 USING (n);\n`;
  schema +=
    "CREATE VIEW above AS SELECT j.k AS k, count(u.n) AS n FROM joined j LEFT JOIN used u ON u.k = j.k GROUP BY j.k;\n";
  schema += `CREATE VIEW natural_view AS SELECT count(*) AS n, max(t0.k) AS s FROM t0 JOIN t2 USING (n);\n`;

  schema += oddSchema;

  const value = () =>
    chance(0.15)
      ? pick(oddValues)
      : pick(["0", "1", "2", "3", "1.0", "2.5", "'a'", "'b'", "'A'", "'1'", "''", "NULL", "x'61'"]);
  const columnValue = (column: string) => {
    if (column === "x" && chance(0.1)) return pick(hugeValues);
    if (chance(0.3)) return value();
    return column === "n" ? pick(["0", "1", "2"]) : column === "s" ? pick(["'a'", "'b'"]) : value();
  };
  const anyLiteral = () => pick(["1", "2", "'a'", "'b'", "'A'", "'1'", "1.0", "NULL", "x'61'"]);
  /** Mostly one that the column may hold: otherwise most results are empty. */
  const literal = (operand = "") => {
    if (chance(0.1)) return pick(oddLiterals);
    if (chance(0.3)) return anyLiteral();
    if (operand.endsWith(".n") || operand.endsWith(".part")) return pick(["0", "1", "1", "2"]);
    if (operand.endsWith(".k")) return pick(["1", "'1'", "2", "'2'", "1.5"]);
    if (operand.endsWith(".s")) return pick(["'a'", "'a'", "'b'", "1"]);
    return anyLiteral();
  };
  const operator = () => pick(["=", "=", "=", "=", "==", "<", ">", "<>", "IS", "LIKE"]);

  const operand = (alias: string, table: WorldTable) => `${alias}.${pick(table.columns)}`;
  const condition = (aliases: readonly [string, WorldTable][], depth = 0): string => {
    const [alias, table] = pick(aliases);
    const [otherAlias, otherTable] = pick(aliases);
    const left = operand(alias, table);
    if (depth < 2 && chance(0.25)) {
      const joiner = chance(0.5) ? "AND" : "OR";
      return `(${condition(aliases, depth + 1)} ${joiner} ${condition(aliases, depth + 1)})`;
    }
    switch (int(15)) {
      case 9:
      case 10:
        return `(${oddCondition(left, literal(left), draw)})`;
      case 11:
        return oddCondition(left, literal(left), draw);
      case 0:
        return `${left} IS NULL`;
      case 1:
        return `${left} IN (${literal(left)}, ${literal(left)})`;
      case 2:
        return `${left} BETWEEN ${literal()} AND ${literal()}`;
      case 3:
        return `NOT (${left} ${operator()} ${literal(left)})`;
      case 4:
        return `${literal()} ${pick(["=", "<", ">"])} ${left}`;
      case 5:
        return `${left} ${operator()} ${operand(otherAlias, otherTable)}`;
      case 6:
        return `coalesce(${left}, 'a') = ${literal()}`;
      case 7:
        return `${left} = ${literal()} COLLATE NOCASE`;
      case 8:
        return `CASE ${left} WHEN ${literal()} THEN 1 ELSE ${literal()} END`;
      default:
        return `${left} ${chance(0.8) ? "=" : "IS"} ${literal(left)}`;
    }
  };
  const conditions = (aliases: readonly [string, WorldTable][]) => {
    const count = int(3);
    if (count === 0) return "";
    const parts = Array.from({ length: count }, () => condition(aliases));
    return ` WHERE ${parts.join(chance(0.85) ? " AND " : " OR ")}`;
  };
  const results = (aliases: readonly [string, WorldTable][]) => {
    if (chance(0.15)) return "*";
    const count = 1 + int(3);
    return Array.from({ length: count }, () => {
      const [alias, table] = pick(aliases);
      const column = operand(alias, table);
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
  };
  const keyed = () => tables.filter((table) => table.keys.length > 0);
  const join = (): { from: string; aliases: [string, WorldTable][] } => {
    const first = pick(keyed());
    let from = `${first.name} a`;
    const aliases: [string, WorldTable][] = [["a", first]];
    const count = pick([0, 0, 1, 1, 1, 2]);
    for (let i = 0; i < count; i++) {
      const table = chance(0.1) ? pick(tables) : pick(keyed());
      const alias = "bc"[i] as string;
      const kind = pick(["JOIN", "JOIN", "LEFT JOIN", "LEFT JOIN", "INNER JOIN", ","]);
      from += kind === "," ? `, ${table.name} ${alias}` : ` ${kind} ${table.name} ${alias}`;
      aliases.push([alias, table]);
      if (kind !== ",") {
        const [otherAlias, other] = aliases[int(aliases.length - 1)] as [string, WorldTable];
        from += ` ON ${operand(alias, table)} = ${operand(otherAlias, other)}`;
        if (chance(0.3)) from += ` AND ${condition([[alias, table]])}`;
      }
    }
    return { from, aliases };
  };

  /** What isn't kept by key, and sees rows of one value only, or of some. */
  const filtered = (): string => {
    const [first, second] = [pick(keyed()), pick(keyed())];
    const column = pick(["a.n", "a.s", "a.s", "a.k"]);
    const isTwo = first !== second && chance(0.4);
    const kind = pick(["JOIN", "LEFT JOIN"]);
    const on = pick(["b.n = a.n", "b.n = a.n", "a.s = b.s", "b.s = 'a'", "b.n = a.n AND a.n = 1"]);
    const from = isTwo ? `${first.name} a ${kind} ${second.name} b ON ${on}` : `${first.name} a`;
    const terms = [
      isTwo && chance(0.3)
        ? "1"
        : chance(0.6)
          ? `${column} = ${literal(column)}`
          : `${column} IN (${literal(column)}, ${literal(column)})`,
      ...(isTwo && chance(0.4) ? [`b.s = ${literal("b.s")}`] : []),
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
    return `SELECT ${head} FROM ${from} WHERE ${terms.join(" AND ")}${tail}`;
  };
  /** What is counted by columns, and may be kept group by group. */
  const grouped = (): string => {
    const table = pick(keyed());
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
      ` WHERE ${condition([["a", table]])}`,
      " WHERE a.n = 1 OR a.n > 1",
    ]);
    const having = pick(["", "", "", " HAVING count(*) > 1", " HAVING max(a.s) IS NOT NULL"]);
    const order = pick(["", "", " ORDER BY 1", " ORDER BY count(*) DESC, a.s"]);
    const head = pick([`${by}, ${counts}`, `${counts}, ${by}`, counts]);
    return `SELECT ${head} FROM ${table.name} a${where} GROUP BY ${by}${having}${order}`;
  };
  /** Of which WHERE looks at the left side, or at nothing. */
  const leftJoin = (): string => {
    const [first, second, third] = [pick(keyed()), pick(keyed()), pick(keyed())];
    if (first === second) return leftJoin();
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
      ` WHERE a.s = ${literal("a.s")}`,
      " WHERE a.n IN (1, 2)",
      ` WHERE b.s ${pick(["=", "<>", "IS"])} ${literal("b.s")}`,
      " WHERE b.n IN (1, 2) AND a.n BETWEEN 0 AND 1",
      " WHERE b.s IS NOT NULL",
      " WHERE b.n IS NULL",
      ` WHERE ${isThree ? "c" : "b"}.n = 1 AND a.s NOTNULL`,
    ]);
    return `SELECT ${pick(["a.n, b.n", "a.k, b.s", "*"])} FROM ${first.name} a LEFT JOIN ${second.name} b ON ${on}${isThree ? more : ""}${where}`;
  };
  /** Whatever else a SELECT may be. */
  const other = (): string => {
    const { from, aliases } = join();
    const where = conditions(aliases);
    const [alias, table] = aliases[0] as [string, WorldTable];
    const [first, second] = [pick(keyed()), pick(tables)];
    const column = operand(alias, table);
    const [ofFirst, ofSecond] = [operand("a", first), operand("b", second)];
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
      () => `SELECT ${results(aliases)} FROM ${from}${where} LIMIT -1 OFFSET ${int(4)}`,
      () =>
        `SELECT ${ofFirst}, ${ofSecond} FROM ${first.name} a ${pick(["FULL", "RIGHT", "FULL OUTER"])} JOIN ${second.name} b ON ${ofSecond} = ${ofFirst}${chance(0.4) ? ` WHERE a.n = ${literal("a.n")}` : ""}`,
      () =>
        `SELECT a.n, b.n, c.n FROM ${first.name} a LEFT JOIN ${second.name} b ON ${ofSecond} = ${ofFirst} ${pick(["RIGHT", "FULL", "INNER", "CROSS", "LEFT"])} JOIN ${t0.name} c ON c.n = ${pick(["a", "b"])}.n`,
      () =>
        `SELECT * FROM ${first.name} NATURAL ${pick(["", "LEFT ", "FULL "])}JOIN ${second.name}`,
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
        `SELECT json_group_array(quote(a.n)), json_object('n', count(a.n)) FROM ${first.name} a WHERE a.s = ${literal("a.s")}`,
      () =>
        `SELECT a.s COLLATE NOCASE, count(*) FROM ${first.name} a GROUP BY a.s COLLATE NOCASE ORDER BY min(a.n)`,
      () =>
        `SELECT DISTINCT ${column} COLLATE NOCASE AS c FROM ${from}${where} ORDER BY c COLLATE RTRIM`,
      () =>
        `SELECT a.n, a.n, a.n AS n, a.s AS n FROM ${first.name} a WHERE a.s = ${literal("a.s")}`,
      () => `SELECT count(DISTINCT ${column}), group_concat(${column}) FROM ${from}${where}`,
      () => `SELECT ${column}, min(${alias}.n), ${alias}.s FROM ${from}${where}`,
      () => `SELECT ${column} FROM ${from}${where} INTERSECT SELECT n FROM ${second.name}`,
      () =>
        `SELECT ${column} AS o FROM ${from}${where} UNION ALL SELECT n FROM ${second.name} ORDER BY o LIMIT 3`,
      () => `SELECT k, n FROM above`,
      () => `SELECT n FROM above WHERE k = ${literal(".k")}`,
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
        `SELECT iif(a.n = ${literal("a.n")}, a.s, typeof(a.n)), abs(a.n), quote(a.s) FROM ${first.name} a`,
      () => `SELECT ${column} FROM ${from} WHERE ${column} IS NOT DISTINCT FROM ${literal(column)}`,
      () =>
        `SELECT ${column} FROM ${from} WHERE ${column} IS ${pick(["", "NOT "])}NULL AND ${alias}.n NOT NULL`,
      () =>
        `SELECT a.n + 1, a.n % 2 FROM ${first.name} a WHERE -a.n < -0 AND NOT a.n BETWEEN 2 AND 3`,
      () =>
        `SELECT a.n FROM ${first.name} a WHERE a.s GLOB '[ab]' AND a.s NOT LIKE 'b' ESCAPE '\\'`,
      () => `SELECT a.* FROM (SELECT n, s FROM ${first.name} WHERE n > 0 ORDER BY n LIMIT 2) a`,
      () =>
        `SELECT a.n FROM (${first.name} a LEFT JOIN ${second.name} b ON b.n = a.n) JOIN t1 c ON c.n = a.n`,
      () =>
        `SELECT a.n, c.n FROM ${first.name} a LEFT JOIN (${second.name} b JOIN t1 c ON c.n = b.n) ON b.n = a.n`,
      () => `SELECT a.n FROM main.${first.name} a WHERE a.n = ${literal("a.n")}; -- the end`,
      () => `SELECT/* a */a.n FROM ${first.name} AS a NOT INDEXED WHERE a.n = 1`,
      () => `SELECT 1 WHERE EXISTS (SELECT 1 FROM ${first.name} WHERE n = 1)`,
    ])();
  };
  const query = (): string => {
    if (chance(0.2)) {
      const [first, second] = [pick(keyed()), pick(keyed())];
      return oddQuery(draw, {
        first: first.name,
        second: second.name,
        hasRowid: first.hasRowid === true,
        literal: literal(pick(["a.n", "a.s", "a.k"])),
      });
    }
    if (chance(0.3)) return other();
    const { from, aliases } = join();
    const where = conditions(aliases);
    const [alias, table] = aliases[0] as [string, WorldTable];
    const column = operand(alias, table);
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
        return `SELECT DISTINCT ${results(aliases)} FROM ${from}${where}`;
      case 4:
        return `SELECT ${column} FROM ${from}${where} UNION SELECT i.${pick(inner.columns)} FROM ${inner.name} i`;
      case 5:
        return `SELECT ${column} FROM ${from}${where} UNION ALL SELECT i.${pick(inner.columns)} FROM ${inner.name} i`;
      case 6:
        return `SELECT ${column} FROM ${from}${where} EXCEPT SELECT i.n FROM ${inner.name} i`;
      case 7:
        return `SELECT ${results(aliases)} FROM ${from} WHERE ${chance(0.5) ? "NOT " : ""}EXISTS (SELECT 1 FROM ${inner.name} i WHERE i.${pick(inner.columns)} = ${column})`;
      case 8:
        return `SELECT ${column}, (SELECT max(i.n) FROM ${inner.name} i WHERE i.s = ${column}) FROM ${from}${where}`;
      case 9:
        return `SELECT ${results(aliases)} FROM ${from} WHERE ${column} ${chance(0.5) ? "NOT " : ""}IN (SELECT n FROM ${inner.name})`;
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
        return filtered();
      case 27:
      case 28:
      case 29:
        return leftJoin();
      case 30:
      case 31:
        return grouped();
      case 15:
        return `SELECT x.k, y.k FROM ${t0.name} x JOIN ${t0.name} y ON x.n = y.n AND x.k < y.k`;
      default:
        return `SELECT ${results(aliases)} FROM ${from}${where}${chance(0.2) ? " ORDER BY 1 DESC" : ""}`;
    }
  };

  const key = (table: WorldTable) =>
    table.name === "loose" && chance(0.5)
      ? "NULL"
      : table.keys
          .map((name) => {
            if (name === "part") return pick(["0", "1"]);
            const odd = oddKeys[table.keyType ?? ""];
            if (odd !== undefined && chance(0.15)) return pick(odd);
            // Of what no other key is like: a blob as text, a real number where there may be one.
            if (chance(0.1) && table.keyType === "TEXT") return "x'61'";
            return table.keyType === "REAL"
              ? pick(["0", "1.0", "1.5", "2"])
              : pick(["0", "1", "2", "3"]);
          })
          .join(", ");
  const write = (isLocal: boolean): string => {
    if (isLocal && chance(0.15)) return oddWrite(draw);
    const table = pick(isLocal ? tables : tables.filter((one) => !one.isLocal));
    const plain = table.columns.filter((name) => name !== "g");
    const settable = plain.filter((name) => !table.keys.includes(name));
    const where = chance(0.8) ? ` WHERE ${condition([[table.name, table]])}` : "";
    switch (int(6)) {
      case 0:
      case 1: {
        const values = settable.map(columnValue);
        const keyed = table.keys.length > 0 ? `${key(table)}, ` : "";
        return `INSERT OR REPLACE INTO ${table.name} (${plain.join(", ")}) VALUES (${keyed}${values.join(", ")})`;
      }
      case 2:
        return `DELETE FROM ${table.name}${where}`;
      case 3:
        return table.keys.length === 0
          ? `UPDATE ${table.name} SET n = n + 1`
          : `UPDATE OR IGNORE ${table.name} SET ${table.keys[0]} = ${pick(["0", "1", "2", "4"])}${where}`;
      case 4: {
        const name = pick(settable);
        return `UPDATE ${table.name} SET ${name} = ${value()}, n = ${pick(["n", "1", "n + 1"])}${where}`.replace(
          /n = [^,]*, n = /,
          "n = ",
        );
      }
      default: {
        const name = pick(settable);
        return `UPDATE ${table.name} SET ${name} = ${columnValue(name)}${where}`;
      }
    }
  };
  const family = (): string[] => {
    for (;;) {
      const sql = query();
      const place = /( (?:=|==|IS|LIKE) )('[^']*'|[0-3])(?![.\w])/.exec(sql);
      if (place === null) continue;
      const [whole, operator] = place as unknown as [string, string];
      const start = place.index + operator.length;
      const rest = sql.slice(place.index + whole.length);
      return ["1", "2", "'a'", "'b'", "'A'", "'1'"].map(
        (constant) => sql.slice(0, start) + constant + rest,
      );
    }
  };
  return { schema, local: ["l", "bare", "loose", ...oddLocalTables], query, family, write };
}

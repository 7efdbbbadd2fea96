/**
 * Random schemas, queries and writes for live queries, all drawn from one seed. Values meet: few of
 * them, of every type, so that keys come back, joins match and rows are equal.
 *
 * @module
 */

export type Random = () => number;

/** mulberry32: uniform in [0, 1). */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface WorldTable {
  readonly name: string;
  readonly keys: readonly string[];
  readonly columns: readonly string[];
  readonly isLocal: boolean;
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

  const tables: WorldTable[] = [];
  let schema = "";
  for (let i = 0; i < 3; i++) {
    const name = `t${i}`;
    const kind = pick(["integer", "text", "pair", "text without rowid"]);
    const isPair = kind === "pair";
    const keys = isPair ? ["k", "part"] : ["k"];
    const keyType = kind === "integer" ? "INTEGER" : "TEXT";
    const collate = chance(0.25) ? " COLLATE NOCASE" : "";
    const columns = [
      `k ${keyType} NOT NULL`,
      ...(isPair ? ["part INTEGER NOT NULL"] : []),
      "n INTEGER",
      `s TEXT${collate}`,
      "r REAL",
      "x",
      ...(chance(0.3) ? ["g GENERATED ALWAYS AS (coalesce(s, '') || n) VIRTUAL"] : []),
      `PRIMARY KEY (${keys.join(", ")})`,
    ];
    const tail = isPair || kind === "text without rowid" ? " WITHOUT ROWID" : "";
    schema += `CREATE TABLE ${name} (${columns.join(", ")})${tail};\n`;
    for (const column of ["n", "s", "x"]) {
      if (chance(0.4)) schema += `CREATE INDEX ${name}_${column} ON ${name} (${column});\n`;
    }
    if (chance(0.3)) schema += `CREATE INDEX ${name}_p ON ${name} (n) WHERE s = 'a';\n`;
    const hasGenerated = columns.some((column) => column.startsWith("g "));
    const all = [...keys, "n", "s", "r", "x", ...(hasGenerated ? ["g"] : [])];
    tables.push({ name, keys, columns: all, isLocal: false });
  }
  schema += "CREATE TABLE l (k TEXT NOT NULL PRIMARY KEY, n INTEGER, s TEXT);\n";
  tables.push({ name: "l", keys: ["k"], columns: ["k", "n", "s"], isLocal: true });
  schema += "CREATE TABLE bare (n INTEGER, s TEXT);\n";
  tables.push({ name: "bare", keys: [], columns: ["n", "s"], isLocal: true });
  const [t0, t1] = tables as [WorldTable, WorldTable];
  schema += `CREATE VIEW joined AS SELECT a.k AS k, a.n AS n, b.s AS s FROM t0 a LEFT JOIN t1 b ON b.n = a.n;\n`;
  schema += `CREATE VIEW narrow AS SELECT n FROM t2 WHERE s = 'a';\n`;
  schema += `CREATE VIEW natural_view AS SELECT count(*) AS n, max(t0.k) AS s FROM t0 JOIN t2 USING (n);\n`;

  const value = () =>
    pick(["0", "1", "2", "3", "1.0", "2.5", "'a'", "'b'", "'A'", "'1'", "''", "NULL", "x'61'"]);
  const literal = () => pick(["1", "2", "'a'", "'b'", "'A'", "'1'", "1.0", "NULL", "x'61'"]);
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
    switch (int(13)) {
      case 0:
        return `${left} IS NULL`;
      case 1:
        return `${left} IN (${literal()}, ${literal()})`;
      case 2:
        return `${left} BETWEEN ${literal()} AND ${literal()}`;
      case 3:
        return `NOT (${left} ${operator()} ${literal()})`;
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
        return `${left} = ${literal()}`;
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

  const query = (): string => {
    const { from, aliases } = join();
    const where = conditions(aliases);
    const [alias, table] = aliases[0] as [string, WorldTable];
    const column = operand(alias, table);
    const inner = pick(tables);
    const everyKey = aliases.flatMap(([a, t]) => t.columns.map((name) => `${a}.${name}`));
    switch (int(24)) {
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
      case 15:
        return `SELECT x.k, y.k FROM ${t0.name} x JOIN ${t0.name} y ON x.n = y.n AND x.k < y.k`;
      default:
        return `SELECT ${results(aliases)} FROM ${from}${where}${chance(0.2) ? " ORDER BY 1 DESC" : ""}`;
    }
  };

  const key = (table: WorldTable) =>
    table.keys
      .map((name) => (name === "part" ? pick(["0", "1"]) : pick(["0", "1", "2", "3"])))
      .join(", ");
  const write = (isLocal: boolean): string => {
    const table = pick(isLocal ? tables : tables.filter((one) => !one.isLocal));
    const plain = table.columns.filter((name) => name !== "g");
    const settable = plain.filter((name) => !table.keys.includes(name));
    const where = chance(0.8) ? ` WHERE ${condition([[table.name, table]])}` : "";
    switch (int(6)) {
      case 0:
      case 1: {
        const values = settable.map(value);
        const keyed = table.keys.length > 0 ? `${key(table)}, ` : "";
        return `INSERT OR REPLACE INTO ${table.name} (${plain.join(", ")}) VALUES (${keyed}${values.join(", ")})`;
      }
      case 2:
        return `DELETE FROM ${table.name}${where}`;
      case 3:
        return table.keys.length === 0
          ? `UPDATE ${table.name} SET n = n + 1`
          : `UPDATE OR IGNORE ${table.name} SET k = ${pick(["0", "1", "2", "4"])}${where}`;
      case 4: {
        const name = pick(settable);
        return `UPDATE ${table.name} SET ${name} = ${value()}, n = ${pick(["n", "1", "n + 1"])}${where}`.replace(
          /n = [^,]*, n = /,
          "n = ",
        );
      }
      default:
        return `UPDATE ${table.name} SET ${pick(settable)} = ${value()}${where}`;
    }
  };
  const family = (): string[] => {
    for (;;) {
      const sql = query();
      const place = / (?:=|==|IS|LIKE) (?:'[^']*'|[0-3])(?![.\d])/.exec(sql);
      if (place === null) continue;
      const end = place.index + place[0].length;
      const start = place[0].lastIndexOf(" ") + 1 + place.index;
      return ["1", "2", "'a'", "'b'", "'A'", "'1'"].map(
        (constant) => sql.slice(0, start) + constant + sql.slice(end),
      );
    }
  };
  void t1;
  return { schema, local: ["l", "bare"], query, family, write };
}

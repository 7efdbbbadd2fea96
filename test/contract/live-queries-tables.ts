/**
 * Random tables for live queries, their indexes, and views on them.
 *
 * @module
 */

import { farLocalTables, farSchema, farTables } from "./live-queries-far.ts";
import { type Draw, oddLocalTables, oddSchema, oddTypes } from "./live-queries-odd.ts";

export interface WorldTable {
  readonly name: string;
  readonly keys: readonly string[];
  readonly columns: readonly string[];
  /** Those of them that nobody sets. */
  readonly generated?: readonly string[];
  readonly isLocal: boolean;
  readonly keyType?: string;
  /** One that no column shows. */
  readonly hasRowid?: boolean;
}

export interface WorldSchema {
  readonly text: string;
  /** Those that queries and writes are drawn for. */
  readonly tables: readonly WorldTable[];
  /** Names of all that are local. */
  readonly local: readonly string[];
}

/** Three tables that are drawn, `t0` to `t2`, and others that are always the same. */
export function drawSchema(draw: Draw): WorldSchema {
  const drawn = ["t0", "t1", "t2"].map((name) => drawTable(name, draw));
  return {
    text: [...drawn.map(({ text }) => text), fixedSchema, oddSchema, farSchema].join(""),
    tables: [...drawn.map(({ table }) => table), ...fixedTables, ...farTables],
    local: ["l", "bare", "loose", ...oddLocalTables, ...farLocalTables],
  };
}

function drawTable(name: string, { chance, pick }: Draw): { text: string; table: WorldTable } {
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
  let text = `CREATE TABLE ${name} (${columns.join(", ")})${tail};\n`;
  for (const column of ["n", "s", "x"]) {
    if (chance(column === "s" ? 0.7 : 0.4))
      text += `CREATE INDEX ${name}_${column} ON ${name} (${column});\n`;
  }
  if (chance(0.3)) text += `CREATE INDEX ${name}_p ON ${name} (n) WHERE s = 'a';\n`;
  const hasGenerated = columns.some((column) => column.startsWith("g "));
  const all = [...keys, "n", "s", "r", "x", ...(hasGenerated ? ["g"] : [])];
  if (hasGenerated && chance(0.5)) text += `CREATE INDEX ${name}_g ON ${name} (g, n DESC);\n`;
  if (chance(0.2)) text += `CREATE INDEX ${name}_l ON ${name} (lower(s), n);\n`;
  return { text, table: { name, keys, columns: all, isLocal: false, keyType, hasRowid } };
}

const fixedTables: readonly WorldTable[] = [
  { name: "l", keys: ["k"], columns: ["k", "n", "s"], isLocal: true },
  { name: "bare", keys: [], columns: ["n", "s"], isLocal: true },
  { name: "loose", keys: ["k"], columns: ["k", "n", "s"], isLocal: true },
  {
    name: '"Öd ""x"" 3"',
    keys: ['"K k"'],
    columns: ['"K k"', '"Größe"', '"select"', "k", "n", "s"],
    isLocal: false,
  },
];

/** Keys of local tables may be NULL, more than once. */
const fixedSchema = `CREATE TABLE l (k TEXT NOT NULL PRIMARY KEY, n INTEGER, s TEXT);
CREATE TABLE bare (n INTEGER, s TEXT);
CREATE TABLE loose (k TEXT PRIMARY KEY, n INTEGER, s TEXT COLLATE NOCASE);
CREATE TABLE "Öd ""x"" 3" ("K k" TEXT NOT NULL, [Größe] INTEGER, "select" TEXT, k INTEGER, n INTEGER, s TEXT, PRIMARY KEY ("K k"));
CREATE INDEX "i ü" ON "Öd ""x"" 3" ("Größe");
CREATE VIEW joined AS SELECT a.k AS k, a.n AS n, b.s AS s FROM t0 a LEFT JOIN t1 b ON b.n = a.n;
CREATE VIEW narrow AS SELECT n FROM t2 WHERE s = 'a';
CREATE VIEW used AS SELECT t0.k AS k, n FROM t0 JOIN t2 USING (n);
CREATE VIEW above AS SELECT j.k AS k, count(u.n) AS n FROM joined j LEFT JOIN used u ON u.k = j.k GROUP BY j.k;
CREATE VIEW natural_view AS SELECT count(*) AS n, max(t0.k) AS s FROM t0 JOIN t2 USING (n);
`;

/**
 * Histories of a few sites that write the same few rows with SQL, through capture, and the records of all
 * that they wrote: row clocks and cells, each once.
 *
 * Two of the sites are *twins*: one identity, as after a disk was cloned. Only their writes can have one
 * stamp and different values, which is when values are compared.
 *
 * @module
 */

import fc from "fast-check";
import type { Changeset } from "../../core/change/changeset.ts";
import { compareRowClocks, type RowClock } from "../../core/clock/row-clock.ts";
import { compareStamps } from "../../core/clock/stamp.ts";
import { type Cell, type RowState, stampOfRow } from "../../core/row/row-state.ts";
import { Real, type SqlValue } from "../../core/row/value.ts";
import { SqliteNode, schemaOf } from "../generators/sqlite-store.ts";
import { startMs } from "../model/history.ts";

/** A table, its keys and its columns. The statements name all of them, as cr-sqlite needs to be told of defaults. */
interface Table {
  readonly name: string;
  readonly keyColumns: readonly string[];
  readonly keys: readonly (readonly SqlValue[])[];
  readonly columns: readonly string[];
}

export const tables: readonly Table[] = [
  { name: "texts", keyColumns: ["k"], keys: [["a"], ["b"], ["é\u{1f600}"]], columns: ["x", "y"] },
  {
    name: "pairs",
    keyColumns: ["n", "k"],
    keys: [
      [1, "a"],
      [1, "b"],
      [-5, ""],
    ],
    columns: ["x"],
  },
  { name: "numbers", keyColumns: ["id"], keys: [[1], [2], [70_000]], columns: ["x", "y", "z"] },
  {
    name: "blobs",
    keyColumns: ["k"],
    keys: [[Uint8Array.of(0)], [Uint8Array.of(255, 1)]],
    columns: ["x"],
  },
];

/** The same shapes on both sides, but `WITHOUT ROWID` and an index, which may not matter. */
const tablesSql = (without: string) => `
  CREATE TABLE texts (k TEXT PRIMARY KEY NOT NULL, x, y DEFAULT 'none');
  CREATE TABLE pairs (n INTEGER NOT NULL, k TEXT NOT NULL, x, PRIMARY KEY (n, k))${without};
  CREATE TABLE numbers (id INTEGER PRIMARY KEY NOT NULL, x, y, z);
  CREATE TABLE blobs (k BLOB PRIMARY KEY NOT NULL, x)${without};`;
export const peerSql: string = tablesSql("");
export const schema = schemaOf(`${tablesSql(" WITHOUT ROWID")} CREATE INDEX texts_x ON texts (x);`);

/** Every row of a table as one text each, the same in both engines. */
export function dumpSql({ name, keyColumns, columns }: Table): string {
  const quoted = [...keyColumns, ...columns].map((column) => `quote(${column})`);
  return `SELECT ${quoted.join(" || ',' || ")} FROM ${name} ORDER BY ${keyColumns.join(", ")}`;
}

const values: readonly SqlValue[] = [
  null,
  0,
  1,
  -1,
  255,
  2n ** 60n,
  -(2n ** 63n),
  new Real(1),
  new Real(-0.5),
  new Real(1e300),
  "",
  "up",
  "down",
  "1",
  "z\u{1f600}",
  new Uint8Array(0),
  Uint8Array.of(1),
  Uint8Array.of(1, 0),
];

type Verb = "insert" | "upsert" | "replace" | "update" | "delete" | "move";

interface Write {
  readonly verb: Verb;
  readonly table: number;
  readonly key: number;
  /** Where `move` goes, in place of what may be there. */
  readonly toKey: number;
  /** Of `update`. */
  readonly column: number;
  readonly values: readonly SqlValue[];
}

export type Act =
  | {
      readonly kind: "commit";
      readonly site: number;
      readonly laterMs: number;
      readonly writes: readonly Write[];
    }
  /** The two of one identity commit something each, under one stamp. */
  | { readonly kind: "twins"; readonly writes: readonly [Write, Write] }
  /** The site applies one of the changesets made so far. */
  | { readonly kind: "hear"; readonly site: number; readonly which: number };

const siteNumbers = [0, 1, 2, 2];
const twins = [2, 3] as const;

export function acts(): fc.Arbitrary<Act[]> {
  const site = fc.nat(siteNumbers.length - 1);
  const write = fc.record({
    verb: fc.constantFrom<Verb>(
      "insert",
      "upsert",
      "replace",
      "update",
      "update",
      "delete",
      "move",
    ),
    table: fc.nat(tables.length - 1),
    key: fc.nat(2),
    toKey: fc.nat(2),
    column: fc.nat(2),
    values: fc.array(fc.constantFrom(...values), { minLength: 3, maxLength: 3 }),
  });
  return fc.array(
    fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({
          kind: fc.constant("commit" as const),
          site,
          // Often none, so that stamps are alike but for the counter and the site.
          laterMs: fc.nat(2),
          writes: fc.array(write, { minLength: 1, maxLength: 4 }),
        }),
      },
      {
        weight: 1,
        // Mostly the same row.
        arbitrary: fc.tuple(write, write, fc.nat(3)).map(([one, other, apart]) => {
          const same = { ...other, table: one.table, key: one.key };
          const writes: [Write, Write] = [one, apart === 0 ? other : same];
          return { kind: "twins" as const, writes };
        }),
      },
      {
        weight: 2,
        arbitrary: fc.record({ kind: fc.constant("hear" as const), site, which: fc.nat(1000) }),
      },
    ),
    { minLength: 1, maxLength: 40, size: "max" },
  );
}

/** Runs a history. @returns the changesets in the order of their making. */
export function runHistory(history: readonly Act[]): Changeset[] {
  const nodes = siteNumbers.map((site) => new SqliteNode(schema, { site, nowMs: startMs }));
  const changesets: Changeset[] = [];
  let nowMs = startMs;
  const commit = (site: number, writes: readonly Write[]) => {
    const { store, db } = nodes[site] as SqliteNode;
    store.begin();
    for (const write of writes) {
      const { sql, parameters } = statementOf(write);
      db.run(sql, ...parameters);
    }
    const result = store.commit(nowMs);
    if (result.kind === "refused") throw new Error(result.why);
    if (result.changeset !== undefined) changesets.push(result.changeset);
  };
  try {
    for (const act of history) {
      if (act.kind === "commit") {
        nowMs += act.laterMs;
        commit(act.site, act.writes);
      } else if (act.kind === "twins") {
        // Later than all that either has seen: both issue the first stamp of this millisecond.
        nowMs += 1;
        act.writes.forEach((write, i) => {
          commit(twins[i] as number, [write]);
        });
      } else {
        const { store, clock } = nodes[act.site] as SqliteNode;
        const heard = changesets[act.which % Math.max(1, changesets.length)];
        if (heard === undefined) continue;
        store.merge(heard.rows);
        for (const row of heard.rows) clock.observe(stampOfRow(row));
      }
    }
  } finally {
    for (const node of nodes) node[Symbol.dispose]();
  }
  return changesets;
}

function statementOf(write: Write): { sql: string; parameters: SqlValue[] } {
  const { name, keyColumns, keys, columns } = tables[write.table] as Table;
  const key = keys[write.key % keys.length] as readonly SqlValue[];
  const toKey = keys[write.toKey % keys.length] as readonly SqlValue[];
  const given = write.values.slice(0, columns.length);
  const list = [...keyColumns, ...columns];
  const insert = `INTO ${name} (${list.join(", ")}) VALUES (${list.map(() => "?").join(", ")})`;
  const where = keyColumns.map((column) => `${column} = ?`).join(" AND ");
  switch (write.verb) {
    case "insert":
      return { sql: `INSERT OR IGNORE ${insert}`, parameters: [...key, ...given] };
    case "replace":
      return { sql: `INSERT OR REPLACE ${insert}`, parameters: [...key, ...given] };
    case "upsert": {
      const column = columns[write.column % columns.length];
      const conflict = `ON CONFLICT (${keyColumns.join(", ")}) DO UPDATE SET ${column} = excluded.${column}`;
      return { sql: `INSERT ${insert} ${conflict}`, parameters: [...key, ...given] };
    }
    case "update": {
      const column = columns[write.column % columns.length];
      const value = given[0] as SqlValue;
      return {
        sql: `UPDATE ${name} SET ${column} = ? WHERE ${where}`,
        parameters: [value, ...key],
      };
    }
    case "delete":
      return { sql: `DELETE FROM ${name} WHERE ${where}`, parameters: [...key] };
    case "move": {
      const sets = keyColumns.map((column) => `${column} = ?`).join(", ");
      return {
        sql: `UPDATE OR REPLACE ${name} SET ${sets} WHERE ${where}`,
        parameters: [...toKey, ...key],
      };
    }
  }
}

/** What a history says of one row: every row clock and every cell that some site gave it, each once. */
export interface RowRecords {
  readonly table: string;
  readonly key: Uint8Array;
  /** Ascending. */
  readonly clocks: readonly RowClock[];
  readonly cells: readonly Cell[];
}

export function recordsOf(changesets: readonly Changeset[]): RowRecords[] {
  const rows = new Map<
    string,
    { table: string; key: Uint8Array; clocks: Map<string, RowClock>; cells: Map<string, Cell> }
  >();
  for (const { table, key, clock, cells } of changesets.flatMap((changeset) => changeset.rows)) {
    const name = `${table} ${key}`;
    const row = rows.get(name) ?? { table, key, clocks: new Map(), cells: new Map() };
    rows.set(name, row);
    row.clocks.set(`${clock.ms} ${clock.count} ${clock.site} ${clock.cl}`, clock);
    for (const cell of cells) {
      const { ms, count, site } = cell.stamp;
      row.cells.set(`${cell.column} ${ms} ${count} ${site} ${valueName(cell.value)}`, cell);
    }
  }
  return [...rows.values()].map(({ table, key, clocks, cells }) => ({
    table,
    key,
    clocks: [...clocks.values()].sort(compareRowClocks),
    cells: [...cells.values()],
  }));
}

function valueName(value: SqlValue): string {
  if (value instanceof Real) return `real ${value.real}`;
  if (value instanceof Uint8Array) return `blob ${value}`;
  return `${typeof value} ${value}`;
}

/** The largest row clock that isn't above the cell: the life or the death that the cell belongs to. */
export function clockOfCell(row: RowRecords, cell: Cell): RowClock {
  const clock = row.clocks.findLast((candidate) => compareStamps(candidate, cell.stamp) <= 0);
  if (clock === undefined) throw new Error(`a cell of ${row.table} is older than its row`);
  return clock;
}

/** The records as the smallest row states that can say them, one each. */
export function smallestStates(rows: readonly RowRecords[]): RowState[] {
  return rows.flatMap((row) => {
    const { table, key } = row;
    return [
      ...row.clocks.map((clock) => ({ table, key, clock, cells: [] })),
      ...row.cells.map((cell) => ({ table, key, clock: clockOfCell(row, cell), cells: [cell] })),
    ];
  });
}

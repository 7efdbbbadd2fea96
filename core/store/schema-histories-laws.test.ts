import { expect, test } from "bun:test";
import fc from "fast-check";
import { sqlValue } from "../../test/generators/rows.ts";
import { joined, selectRows, shownRows, sorted } from "../../test/generators/shown-rows.ts";
import { SqliteNode, schemaOf } from "../../test/generators/sqlite-store.ts";
import { createDigester } from "../../test/model/history.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import type { ClockState, RowId } from "../row/digest.ts";
import type { RowState } from "../row/row-state.ts";
import { RawText, Real, type SqlValue } from "../row/value.ts";
import type { MergedRow } from "../row-store.ts";
import type { PlannedSchema } from "../schema/schema.ts";

const digester = createDigester();
const columnNames = ["a", "b", "c", "d"] as const;

/** Keys of one column, and of two: `k` and `l`. */
const keyForms = [
  { columns: "k INTEGER PRIMARY KEY", names: ["k"], end: ")" },
  { columns: "k INTEGER PRIMARY KEY DESC NOT NULL", names: ["k"], end: ")" },
  { columns: "k INT PRIMARY KEY NOT NULL", names: ["k"], end: ")" },
  { columns: "k REAL PRIMARY KEY NOT NULL", names: ["k"], end: ")" },
  { columns: "k REAL PRIMARY KEY", names: ["k"], end: ") WITHOUT ROWID" },
  { columns: "k BLOB PRIMARY KEY NOT NULL", names: ["k"], end: ")" },
  { columns: "k BLOB PRIMARY KEY", names: ["k"], end: ") WITHOUT ROWID" },
  { columns: "k TEXT PRIMARY KEY NOT NULL", names: ["k"], end: ")" },
  {
    columns: "k NUMERIC NOT NULL, l REAL NOT NULL",
    names: ["k", "l"],
    end: ", PRIMARY KEY (l DESC, k))",
  },
  { columns: "k BLOB, l REAL", names: ["k", "l"], end: ", PRIMARY KEY (l, k)) WITHOUT ROWID" },
] as const;

/** What a table has in the end, and in which order a host that has it shuffled adds it. */
interface TableDraw {
  readonly key: (typeof keyForms)[number];
  readonly columns: readonly string[];
  readonly order: readonly number[];
}

function tableDraw(): fc.Arbitrary<TableDraw> {
  const type = fc.constantFrom("", "TEXT", "INTEGER", "REAL", "NUMERIC", "TEXT COLLATE NOCASE");
  const end = fc.constantFrom(
    "",
    " DEFAULT 7",
    " DEFAULT 'x'",
    " NOT NULL DEFAULT ''",
    " CHECK (1)",
  );
  return fc.record({
    key: fc.constantFrom(...keyForms),
    columns: fc
      .tuple(...columnNames.map(() => fc.tuple(type, end)))
      .map((all) => all.map((one, i) => `${columnNames[i]} ${one.join("")}`)),
    order: fc.shuffledSubarray([0, 1, 2, 3], { minLength: 4, maxLength: 4 }),
  });
}

interface Write {
  readonly sql: string;
  readonly values: readonly SqlValue[];
}

type Draw = Readonly<Record<"t" | "u", TableDraw>>;

const edges: readonly SqlValue[] = [
  ...[1, new Real(1), "1", 2, "x", "X", "x ", new Real(1.5), new Real(-0), 0, new Real(1e300)],
  ...[2n ** 53n + 1n, new Real(2 ** 53), 2n ** 63n - 1n, new Real(2 ** 63), -(2n ** 63n), ""],
];
const allRows = [
  "UPDATE t SET rowid = 9 - rowid",
  "UPDATE OR REPLACE t SET k = k + 1",
  "UPDATE OR REPLACE t SET k = -k",
  "UPDATE t SET a = b",
  "REPLACE INTO t SELECT * FROM t",
  "INSERT INTO t SELECT * FROM t WHERE true ON CONFLICT DO UPDATE SET a = excluded.b",
  "DELETE FROM t",
];

/** Many come to nothing: the host lacks the table or the column. */
function write(): fc.Arbitrary<(draw: Draw) => Write> {
  const name = fc.constantFrom("t" as const, "u" as const);
  const key = fc.tuple(fc.constantFrom(...edges), fc.constantFrom(1, new Real(1), "1"));
  const column = fc.constantFrom(...columnNames);
  // TEXT that isn't UTF-8 stays where it is, in a local table (`schema-change.test.ts`).
  const text = sqlValue().filter((one) => !(one instanceof RawText));
  const value = fc.oneof(fc.constantFrom<SqlValue>(null, 1, "1", "y"), text);
  const ends = fc.constantFrom("", " RETURNING *", " ON CONFLICT DO UPDATE SET a = excluded.a");
  const insert = fc.tuple(fc.constantFrom("INSERT", "REPLACE", "INSERT OR IGNORE"), ends);
  const update = fc.constantFrom("UPDATE", "UPDATE OR REPLACE", "UPDATE OR IGNORE");
  return fc.oneof(
    fc
      .tuple(insert, name, column, key, value)
      .map(([[verb, end], to, set, parts, written]) => (draw: Draw) => {
        const names = [...draw[to].key.names, set];
        const marks = names.map(() => "?").join(", ");
        const values = [...parts.slice(0, names.length - 1), written];
        return { sql: `${verb} INTO ${to} (${names}) VALUES (${marks})${end}`, values };
      }),
    fc.tuple(name, column, key, value).map(([to, set, [k], written]) => () => {
      return { sql: `UPDATE ${to} SET ${set} = ? WHERE k = ?`, values: [written, k] };
    }),
    fc.tuple(update, name, key, key).map(([verb, to, [k], [next]]) => () => {
      return { sql: `${verb} ${to} SET k = ? WHERE k = ?`, values: [next, k] };
    }),
    fc.tuple(name, fc.constantFrom(...allRows)).map(([to, sql]) => () => {
      return { sql: sql.replaceAll(/\bt\b/g, to), values: [] };
    }),
    fc.tuple(name, key).map(([to, [k]]) => () => {
      return { sql: `DELETE FROM ${to} WHERE k = ?`, values: [k] };
    }),
  );
}

type Step = { readonly node: number } & (
  | { readonly kind: "commit"; readonly writes: readonly ((draw: Draw) => Write)[] }
  | { readonly kind: "hear"; readonly which: number }
  /** All that another one holds, as repair brings it. */
  | { readonly kind: "fetch"; readonly from: number }
  /** A column more, in the running store or over a restart. */
  | {
      readonly kind: "grow";
      readonly table: "t" | "u";
      readonly column: number;
      readonly isRestart: boolean;
    }
  /** The table that it lacks comes, and later the one that is local becomes replicated. */
  | { readonly kind: "replicate"; readonly isRestart: boolean }
  | { readonly kind: "backup" | "restore" }
);

function step(): fc.Arbitrary<Step> {
  const node = fc.nat(2);
  const isRestart = fc.boolean();
  const kind = <K extends string>(one: K) => fc.constant(one);
  const writes = fc.array(write(), { minLength: 1, maxLength: 4 });
  const table = fc.constantFrom("t" as const, "u" as const);
  return fc.oneof(
    { weight: 8, arbitrary: fc.record({ kind: kind("commit"), node, writes }) },
    { weight: 5, arbitrary: fc.record({ kind: kind("hear"), node, which: fc.nat(1000) }) },
    { weight: 1, arbitrary: fc.record({ kind: kind("fetch"), node, from: fc.nat(2) }) },
    {
      weight: 3,
      arbitrary: fc.record({ kind: kind("grow"), node, table, column: fc.nat(3), isRestart }),
    },
    { weight: 1, arbitrary: fc.record({ kind: kind("replicate"), node, isRestart }) },
    { weight: 1, arbitrary: fc.record({ kind: kind("backup"), node }) },
    { weight: 1, arbitrary: fc.record({ kind: kind("restore"), node }) },
  );
}

/** What a host's schema files say now. */
interface Files {
  readonly t: ReadonlySet<number>;
  readonly u: ReadonlySet<number>;
  readonly isShuffled: boolean;
  readonly lacksU: boolean;
  readonly isLocalU: boolean;
}

function files(): fc.Arbitrary<Files> {
  const some = fc.subarray([0, 1, 2, 3]).map((all) => new Set(all));
  const [isShuffled, lacksU, isLocalU] = [fc.boolean(), fc.boolean(), fc.boolean()];
  return fc.record({ t: some, u: some, isShuffled, lacksU, isLocalU });
}

const lastFiles = { t: new Set([0, 1, 2, 3]), u: new Set([0, 1, 2, 3]), lacksU: false };
let sites = 0;

class Host implements Disposable {
  readonly #draw: Draw;
  #vfs = new MemoryVfs();
  #files: Files;
  #site = sites++;
  #backup: { readonly bytes: Uint8Array; readonly files: Files } | undefined;
  /** What an index would know by listening. */
  #told: Map<RowId, ClockState> = new Map();
  node: SqliteNode;

  constructor(draw: Draw, first: Files) {
    this.#draw = draw;
    this.#files = first;
    this.node = this.#open();
  }

  #schema(): PlannedSchema {
    const { isShuffled, lacksU, isLocalU } = this.#files;
    const tables = (lacksU ? ["t" as const] : ["t" as const, "u" as const]).map((name) => {
      const { key, columns, order } = this.#draw[name];
      const at = isShuffled ? order : order.toSorted();
      const own = at.filter((i) => this.#files[name].has(i)).map((i) => columns[i]);
      const index = this.#files[name].has(0)
        ? `CREATE INDEX i_${name} ON ${name} (a) WHERE a > 3;`
        : "";
      return `CREATE TABLE ${name} (${[key.columns, ...own].join(", ")}${key.end};${index}`;
    });
    const views = "CREATE VIEW v AS SELECT * FROM t; CREATE VIEW w AS SELECT k FROM v;";
    return schemaOf(
      [...tables, views].join("\n"),
      isLocalU && !lacksU ? { u: { replicated: false } } : {},
    );
  }

  #open(): SqliteNode {
    const node = new SqliteNode(this.#schema(), { site: this.#site, digester, vfs: this.#vfs });
    expect(node.report).toMatchObject({ rowsWithoutClocks: 0, clocksWithoutRows: 0 });
    return node;
  }

  change(to: Partial<Files>, isRestart: boolean): void {
    this.#files = { ...this.#files, ...to };
    if (isRestart) {
      this.node[Symbol.dispose]();
      this.node = this.#open();
    } else expect(this.node.store.changeSchema(this.#schema())).toMatchObject({ kind: "changed" });
    // Rows may have been taken in. No clock became another.
    const held = this.held();
    for (const [id, clocks] of this.#told) expect(held.get(id)).toEqual(clocks);
    this.#told = held;
  }

  grow(table: "t" | "u", column: number, isRestart: boolean): void {
    this.change({ [table]: new Set([...this.#files[table], column]) }, isRestart);
  }

  replicate(isRestart: boolean): void {
    this.change(this.#files.lacksU ? { lacksU: false } : { isLocalU: false }, isRestart);
  }

  backUp(): void {
    this.#backup = { bytes: this.#vfs.read("test.db") as Uint8Array, files: this.#files };
  }

  /** The backup takes the place of the file, whatever the schema is by now; as a new site. */
  restore(): void {
    if (this.#backup === undefined) return;
    this.node[Symbol.dispose]();
    this.#vfs = new MemoryVfs();
    this.#vfs.write("test.db", this.#backup.bytes);
    this.#site = sites++;
    this.node = this.#open();
    this.#told = this.held();
  }

  tell(merged: readonly MergedRow[]): void {
    for (const { id, before, after } of merged) {
      expect(before && plain(before)).toEqual(this.#told.get(id));
      this.#told.set(id, plain(after));
    }
  }

  held(): Map<RowId, ClockState> {
    const { rows } = this.node.store.scan(undefined, 10_000);
    return new Map(rows.map(({ id, clocks }) => [id, plain(clocks)]));
  }

  rows(): RowState[] {
    return this.node.store.read(this.node.store.scan(undefined, 10_000).rows) as RowState[];
  }

  /** It holds just this, and shows of it what its schema can show. */
  expectAt(model: ReadonlyMap<string, RowState>): void {
    const clocks = [...model].map(([id, state]) => [id, digester.clocksOf(state)] as const);
    const held: Map<string, ClockState> = this.held();
    expect(held).toEqual(new Map(clocks));
    expect(this.#told).toEqual(held as never);
    const { schema } = this.node.store;
    for (const { name, replicated } of schema.tables.values()) {
      const shown = shownRows(schema, name, model.values());
      if (replicated) expect(sorted(selectRows(this.node, name))).toEqual(sorted(shown));
    }
    expect(this.node.strays()).toEqual([]);
    this.node.db.exec("PRAGMA ignore_check_constraints = ON");
    expect(this.node.db.all("PRAGMA integrity_check")).toEqual([["ok"]]);
  }

  [Symbol.dispose](): void {
    this.node[Symbol.dispose]();
  }
}

/** As an object: the store may hold clocks as bytes. */
function plain({ clock, cells }: ClockState): ClockState {
  return { clock, cells };
}

// Whoever has an older schema, a backup of one, or a table of its own that becomes replicated, loses nothing that
// others say meanwhile; and with one schema in the end all show the same.
test("hosts whose schemas change at any time hold the same, and show of it what their schema can", () => {
  fc.assert(
    fc.property(
      fc.record({ t: tableDraw(), u: tableDraw() }),
      fc.tuple(files(), files(), files()),
      fc.array(step(), { minLength: 1, maxLength: 40, size: "max" }),
      (draw, starts, steps) => {
        const hosts = starts.map((first) => new Host(draw, first));
        const sent: (readonly RowState[])[] = [];
        const said: RowState[] = [];
        let nowMs = 30_000;
        for (const one of steps) {
          const host = hosts[one.node] as Host;
          const { store, db } = host.node;
          switch (one.kind) {
            case "commit": {
              nowMs++;
              store.begin();
              for (const make of one.writes) {
                const { sql, values } = make(draw);
                try {
                  db.run(sql, ...values);
                } catch {}
              }
              const result = store.commit(nowMs);
              if (result.kind === "refused") break;
              host.tell(result.merged);
              if (result.changeset !== undefined) sent.push(result.changeset.rows);
              break;
            }
            case "hear":
              host.tell(store.merge(sent[one.which % Math.max(1, sent.length)] ?? []));
              break;
            case "fetch":
              host.tell(store.merge((hosts[one.from] as Host).rows()));
              break;
            case "grow":
              host.grow(one.table, one.column, one.isRestart);
              break;
            case "replicate":
              host.replicate(one.isRestart);
              said.push(...host.rows());
              break;
            case "backup":
              host.backUp();
              break;
            default:
              said.push(...host.rows());
              host.restore();
          }
        }
        for (const host of hosts) said.push(...host.rows());
        said.push(...sent.flat());
        const hearAll = (): void => {
          const model = joined(said, digester);
          for (const [i, host] of hosts.entries()) {
            host.tell(host.node.store.merge(i === 0 ? said : said.toReversed()));
            host.expectAt(model);
          }
        };
        hearAll();
        for (const host of hosts) {
          host.change(lastFiles, false);
          host.change({ isLocalU: false }, false);
          said.push(...host.rows());
        }
        hearAll();
        for (const host of hosts) host[Symbol.dispose]();
      },
    ),
    { numRuns: 15 },
  );
}, 120_000);

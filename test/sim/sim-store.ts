/**
 * The disk of a simulated node, and the store on it: a map, or SQLite in memory.
 *
 * @module
 */

import type { Changeset, Lane } from "../../core/change/changeset.ts";
import { HlcClock } from "../../core/clock/hlc-clock.ts";
import { compareHlc, type Hlc, hlcZero, type Site } from "../../core/clock/stamp.ts";
import { type ClockState, Digester } from "../../core/row/digest.ts";
import { encodeKey } from "../../core/row/key.ts";
import { stampOfRow } from "../../core/row/row-state.ts";
import type { SqlValue } from "../../core/row/value.ts";
import type { MergedRow, RowRef, RowStore, ScanPosition } from "../../core/row-store.ts";
import type { PlannedSchema } from "../../core/schema/schema.ts";
import { lateLimits } from "../../core/store/clocks/late-clocks.ts";
import { SqliteStore } from "../../core/store/sqlite-store.ts";
import { type Database, openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { schemaOf } from "../generators/sqlite-store.ts";
import { MapStore } from "../model/map-store.ts";
import type { RowBefore, RowName, Values } from "./model.ts";

/** What a client does to one row of `instances`. */
export type Command =
  | { readonly kind: "put"; readonly row: RowName; readonly values: Values }
  | { readonly kind: "delete"; readonly row: RowName };

export interface SimCommit {
  readonly changeset: Changeset | undefined;
  readonly merged: readonly MergedRow[];
}

/** One database, over the lives of its node. */
export interface SimStore extends Disposable {
  readonly rows: RowStore;
  readonly clock: HlcClock;
  commit(commands: readonly Command[], nowMs: number, lane: Lane): SimCommit;
  /** Live rows as SQL shows them. */
  shown(): Map<RowName, Values>;
  shownStatus(ref: RowRef, row: RowName): SqlValue | undefined;
  /** Columns that clients can write, but for the key; undefined where any can be. */
  readonly columns: readonly string[] | undefined;
  /** Whether `shown` has all that anybody wrote. */
  readonly showsAll: boolean;
  /** How many cells are held and not shown. */
  notShown(): number;
  /** Something was written or merged since the last `sync`. */
  isDirty: boolean;
  /** All written so far survives what comes. */
  sync(): void;
  /** The process died and came back, perhaps with another schema. */
  reopen(schema?: string): void;
  /** The power failed: what wasn't synced is gone, and the site is another. */
  losePower(site: Site): void;
}

/** Is told of each row that is stamped anew, and of its clocks. */
export type OnRestamped = (row: RowName, before: RowBefore, after: ClockState) => void;

export const table = "instances";

export function createDigester(): Digester {
  return new Digester(
    (input) => Bun.SHA256.hash(input) as unknown as Uint8Array,
    new Uint8Array(32).fill(7),
  );
}

function keyOfRow(row: RowName): Uint8Array {
  return encodeKey([row]) as Uint8Array;
}

class MapDisk implements SimStore {
  readonly columns = undefined;
  readonly showsAll = true;
  rows: MapStore;
  clock: HlcClock;
  #disk: MapStore;
  isDirty = false;
  readonly #onRestamped: OnRestamped;

  constructor(digester: Digester, site: Site, onRestamped: OnRestamped) {
    this.#onRestamped = onRestamped;
    this.rows = telling(new MapStore(digester), onRestamped);
    this.#disk = this.rows.copy();
    this.clock = new HlcClock(site, hlcZero);
  }

  commit(commands: readonly Command[], nowMs: number, lane: Lane): SimCommit {
    const writes = commands.map((command) => {
      const key = keyOfRow(command.row);
      return command.kind === "put"
        ? ({
            kind: "put",
            table,
            key,
            values: command.values,
            renewed: renewedOf(command),
          } as const)
        : ({ kind: "delete", table, key } as const);
    });
    let before: Hlc | undefined;
    for (const row of this.rows.read(writes)) {
      if (row === undefined) continue;
      const stamp = stampOfRow(row);
      if (before === undefined || compareHlc(stamp, before) > 0) before = stamp;
    }
    return this.rows.commit(writes, this.clock.nextAfter(before, nowMs), lane);
  }

  shown(): Map<RowName, Values> {
    const shown = new Map<RowName, Values>();
    for (const { table: of, key } of this.rows.states()) {
      const values = this.rows.valuesOf({ table: of, key });
      if (values !== undefined) shown.set(nameOf(key), values);
    }
    return shown;
  }

  shownStatus(ref: RowRef): SqlValue | undefined {
    return this.rows.valuesOf(ref)?.get("status");
  }

  notShown(): number {
    return 0;
  }

  sync(): void {
    if (this.isDirty) this.#disk = this.rows.copy();
    this.isDirty = false;
  }

  reopen(): void {
    this.clock = new HlcClock(this.clock.site, this.clock.last);
  }

  losePower(site: Site): void {
    this.rows = telling(this.#disk.copy(), this.#onRestamped);
    this.clock = new HlcClock(site, largestHlc(this.rows));
  }

  [Symbol.dispose](): void {}
}

/** What the rule of {@link SqliteDisk} makes of a column that is said again. */
function renewedOf({ values }: Extract<Command, { kind: "put" }>): string[] {
  const status = values.get("status") ?? null;
  return status === null || status === "up" ? [] : ["status"];
}

export const wholeSchema =
  "CREATE TABLE instances (id TEXT PRIMARY KEY NOT NULL, status TEXT, address TEXT, weight INTEGER)";
const plannedSchemas = new Map<string, PlannedSchema>();

class SqliteDisk implements SimStore {
  rows: SqliteStore;
  clock: HlcClock;
  isDirty = false;
  readonly #vfs = new MemoryVfs();
  readonly #digester: Digester;
  readonly #onRestamped: OnRestamped;
  #db: Database;
  #schema: string;

  constructor(digester: Digester, site: Site, schema: string, onRestamped: OnRestamped) {
    this.#digester = digester;
    this.#schema = schema;
    this.#onRestamped = onRestamped;
    this.clock = new HlcClock(site, hlcZero);
    this.#db = openDatabase("sim.db", { vfs: this.#vfs });
    this.rows = this.#open();
  }

  commit(commands: readonly Command[], nowMs: number): SimCommit {
    this.rows.begin();
    for (const command of commands) {
      if (command.kind === "delete") {
        this.#db.run("DELETE FROM instances WHERE id = ?", command.row);
        continue;
      }
      const columns = [...command.values.keys()];
      this.rows.beginStatement({ table, columns: new Set(columns) });
      const sets = columns.map((column) => `${column} = excluded.${column}`);
      this.#db.run(
        `INSERT INTO instances (id, ${columns.join(", ")}) VALUES (?, ${columns.map(() => "?").join(", ")})
         ON CONFLICT (id) DO UPDATE SET ${sets.join(", ")}`,
        command.row,
        ...command.values.values(),
      );
    }
    const result = this.rows.commit(nowMs);
    if (result.kind === "refused") throw new Error(`commit refused: ${result.why}`);
    return result;
  }

  shown(): Map<RowName, Values> {
    const shown = new Map<RowName, Values>();
    const { columns } = this;
    const list = ["id", ...columns].join(", ");
    for (const [id, ...cells] of this.#db.all(`SELECT ${list} FROM instances`)) {
      const values = new Map<string, SqlValue>();
      for (const [i, cell] of cells.entries()) {
        if (cell !== undefined) values.set(columns[i] as string, cell);
      }
      shown.set(String(id), values);
    }
    return shown;
  }

  shownStatus(_ref: RowRef, row: RowName): SqlValue | undefined {
    return this.#db.all("SELECT status FROM instances WHERE id = ?", row)[0]?.[0];
  }

  get columns(): readonly string[] {
    const columns = this.rows.schema.tables.get(table)?.columns ?? [];
    return columns.filter(({ key }) => key === 0).map(({ name }) => name);
  }

  get showsAll(): boolean {
    return this.#schema === wholeSchema;
  }

  notShown(): number {
    return this.rows.unshown().reduce((sum, { cells }) => sum + cells, 0);
  }

  sync(): void {}

  reopen(schema = this.#schema): void {
    this.#schema = schema;
    this.#db.close();
    this.#db = openDatabase("sim.db", { vfs: this.#vfs });
    this.clock = new HlcClock(this.clock.site, hlcZero);
    this.rows = this.#open();
  }

  losePower(): void {
    throw new Error("power loss isn't simulated under SQLite");
  }

  [Symbol.dispose](): void {
    this.#db.close();
  }

  #open(): SqliteStore {
    const rules = { instances: { urgent: "status <> 'up'" } };
    const schema = plannedSchemas.get(this.#schema) ?? schemaOf(this.#schema, rules);
    plannedSchemas.set(this.#schema, schema);
    const opened = SqliteStore.open({
      writer: this.#db,
      digester: this.#digester,
      clock: this.clock,
      schema,
      // Few, so that in any run some are late, some on their way home, and some left behind by a crash.
      late: { ...lateLimits, rowsMax: 16, transactionRowsMin: 1 },
    });
    if (opened.kind === "refused") throw new Error(opened.why);
    return telling(opened.store, this.#onRestamped);
  }
}

function telling<Rows extends RowStore>(rows: Rows, onRestamped: OnRestamped): Rows {
  const reclock = rows.reclock.bind(rows);
  rows.reclock = (changes, nowMs) => {
    const before = rows.read(changes);
    const urgent = reclock(changes, nowMs);
    for (const [i, { key, clocks }] of changes.entries()) {
      const state = before[i];
      if (state !== undefined) onRestamped(nameOf(key), state, clocks);
    }
    return urgent;
  };
  return rows;
}

export function createStore(
  kind: "map" | "sqlite",
  digester: Digester,
  site: Site,
  schema: string,
  onRestamped: OnRestamped,
): SimStore {
  return kind === "map"
    ? new MapDisk(digester, site, onRestamped)
    : new SqliteDisk(digester, site, schema, onRestamped);
}

function nameOf(key: Uint8Array): RowName {
  // A key of one text: count, tag, length, bytes.
  return new TextDecoder().decode(key.subarray(3));
}

/** The latest stamp kept: a new clock goes on after it. */
function largestHlc(rows: RowStore): Hlc {
  let largest = hlcZero;
  let position: ScanPosition | undefined;
  do {
    const slice = rows.scan(position, 1000);
    for (const { clocks } of slice.rows) {
      for (const stamp of [clocks.clock, ...clocks.cells.map((cell) => cell.stamp)]) {
        if (compareHlc(stamp, largest) > 0) largest = { ms: stamp.ms, count: stamp.count };
      }
    }
    position = slice.next;
  } while (position !== undefined);
  return largest;
}

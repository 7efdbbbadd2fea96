/**
 * What a history of `faulty-store.ts` is made of: a schema, and local writes and rows of others, drawn from one
 * source of chance.
 *
 * @module
 */

import { bytesToHex } from "../../core/bytes/hex.ts";
import { HlcClock } from "../../core/clock/hlc-clock.ts";
import { isLive } from "../../core/clock/row-clock.ts";
import { hlcZero, type Site } from "../../core/clock/stamp.ts";
import type { Digester } from "../../core/row/digest.ts";
import { encodeKey } from "../../core/row/key.ts";
import { type RowState, stampOfRow } from "../../core/row/row-state.ts";
import type { SqlValue } from "../../core/row/value.ts";
import { schemaOf } from "../generators/sqlite-store.ts";
import { siteOf } from "../model/history.ts";
import { type LocalWrite, MapStore } from "../model/map-store.ts";

export const schema = schemaOf(`
  CREATE TABLE instances (id TEXT PRIMARY KEY NOT NULL, service TEXT, status TEXT, weight INTEGER);
  CREATE INDEX instances_by_service ON instances (service, status);
  CREATE TABLE routes (
    host TEXT NOT NULL, port INTEGER NOT NULL, body BLOB, PRIMARY KEY (host, port)
  ) WITHOUT ROWID;
  CREATE TABLE leases (n INTEGER PRIMARY KEY NOT NULL, owner TEXT, note TEXT);
`);

export interface TableModel {
  readonly keys: readonly string[];
  readonly values: readonly string[];
}

export const tables: Readonly<Record<string, TableModel>> = {
  instances: { keys: ["id"], values: ["service", "status", "weight"] },
  leases: { keys: ["n"], values: ["note", "owner"] },
  routes: { keys: ["host", "port"], values: ["body"] },
};

/** TEXT '5' in an INTEGER column would come back as 5. */
export function isUnshown(column: string, value: SqlValue): boolean {
  return column === "weight" && value === "5";
}

export class Draws {
  readonly #random: () => number;
  readonly #digester: Digester;
  readonly #peers: readonly Peer[];
  /** Sites that were heard of once. */
  #strangers = 0;

  constructor(random: () => number, digester: Digester) {
    this.#random = random;
    this.#digester = digester;
    this.#peers = [1, 2].map((index) => new Peer(siteOf(index), digester));
  }

  /** A whole number in 0..bound, bound excluded. */
  below(bound: number): number {
    return Math.floor(this.#random() * bound);
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)] as T;
  }

  /** Local ones, of rows of which some are held. */
  writes(rows: MapStore, count: number): LocalWrite[] {
    const writes = new Map<string, LocalWrite>();
    for (let n = 0; n < count; n++) {
      const ref = this.#key();
      const held = rows.read([ref])[0];
      const isShown =
        held === undefined || !held.cells.some((cell) => isUnshown(cell.column, cell.value));
      // A value that isn't shown is replaced only where the shown one is: not what is tested here.
      if (!isShown) continue;
      const name = `${ref.table} ${bytesToHex(ref.key)}`;
      if (this.below(5) === 0) {
        writes.set(name, { kind: "delete", ...ref });
        continue;
      }
      const all = (tables[ref.table] as TableModel).values;
      const live = held !== undefined && isLive(held.clock);
      const columns = live ? [this.pick(all)] : all;
      const values = new Map(columns.map((column) => [column, this.#value(column)]));
      for (const column of columns) {
        // To a schema a missing cell shows NULL already; the model has none.
        const isMissing = live && !held.cells.some((cell) => cell.column === column);
        if (isMissing && values.get(column) === null) values.set(column, "");
      }
      writes.set(name, { kind: "put", ...ref, values });
    }
    return [...writes.values()];
  }

  /** Of a peer or a stranger, which has heard of what is `held` or not. */
  remoteRows(held: MapStore, nowMs: number): readonly RowState[] {
    const isStranger = this.below(6) === 0;
    if (isStranger) this.#strangers += 1;
    const peer = isStranger
      ? new Peer(siteOf(100 + this.#strangers), this.#digester)
      : this.pick(this.#peers);
    if (!isStranger && peer.sent.length > 0 && this.below(5) === 0) return this.pick(peer.sent);
    if (this.below(2) === 0) peer.hear([...held.states()]);
    const count = this.below(8) === 0 ? 30 : 1 + this.below(5);
    const writes: LocalWrite[] = [];
    for (let n = 0; n < count; n++) {
      const ref = this.below(10) === 0 ? { ...this.#key(), table: "elsewhere" } : this.#key();
      if (this.below(5) === 0) {
        writes.push({ kind: "delete", ...ref });
        continue;
      }
      const known = tables[ref.table]?.values ?? ["anything"];
      const values = new Map<string, SqlValue>();
      for (const column of known) {
        if (this.below(3) > 0) values.set(column, this.#value(column, true));
      }
      if (this.below(8) === 0) values.set(`extra_${this.below(20)}`, this.below(100));
      writes.push({ kind: "put", ...ref, values });
    }
    return peer.write(writes, nowMs + this.below(400) - 200);
  }

  #key(): { readonly table: string; readonly key: Uint8Array } {
    const table = this.pick(Object.keys(tables));
    const key: SqlValue[] =
      table === "instances"
        ? [`i-${this.below(15)}`]
        : table === "leases"
          ? [this.below(8)]
          : [`h-${this.below(4)}`, this.below(4)];
    return { table, key: encodeKey(key) as Uint8Array };
  }

  #value(column: string, isRemote = false): SqlValue {
    switch (column) {
      case "weight":
        return isRemote && this.below(6) === 0 ? "5" : this.below(10);
      case "body": {
        // Mostly small, some over many pages.
        const bytes = this.below(6) === 0 ? this.below(20_000) : this.below(200);
        return new Uint8Array(bytes).fill(this.below(256));
      }
      case "note":
        return this.below(3) === 0 ? null : "n".repeat(this.below(2000));
      default:
        return `${column} ${this.below(6)}`;
    }
  }
}

/** A node elsewhere, which has heard more or less of what was written. */
class Peer {
  /** Rows of each of its changesets. */
  readonly sent: (readonly RowState[])[] = [];
  readonly #rows: MapStore;
  readonly #clock: HlcClock;

  constructor(site: Site, digester: Digester) {
    this.#rows = new MapStore(digester);
    this.#clock = new HlcClock(site, hlcZero);
  }

  hear(rows: readonly RowState[]): void {
    this.#rows.merge(rows);
    for (const row of rows) this.#clock.observe(stampOfRow(row));
  }

  write(writes: readonly LocalWrite[], nowMs: number): readonly RowState[] {
    const rows = this.#rows.commit(writes, this.#clock.next(nowMs)).changeset?.rows ?? [];
    if (rows.length > 0) this.sent.push(rows);
    return rows;
  }
}

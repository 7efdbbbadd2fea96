/**
 * Clocks of one table's rows that aren't in the clock table yet, by rowid (`late-clocks.ts`).
 *
 * They are in three maps: those of the transaction at hand, those that are committed, and those that are being
 * brought home. What a map says counts before what the next one does; null says that the clock table has it.
 *
 * @module
 */

import type { Rowid } from "../../database.ts";

/** Longer ones are written to the clock table at once: there are few of them on a page. */
const clockBytesMax = 512;

type Clocks = Map<number, Uint8Array | null>;

export class LateTable {
  readonly name: string;
  readonly #room: () => boolean;
  readonly #fresh: Clocks = new Map();
  #young: Clocks = new Map();
  #old: Clocks = new Map();

  /** @param room Whether one more may be late. */
  constructor(name: string, room: () => boolean) {
    this.name = name;
    this.#room = room;
  }

  get isEmpty(): boolean {
    return this.#fresh.size === 0 && this.#young.size === 0 && this.#old.size === 0;
  }

  /** Of the transaction at hand. */
  get fresh(): ReadonlyMap<number, Uint8Array | null> {
    return this.#fresh;
  }

  /** Committed, and not yet on their way home. */
  get waiting(): number {
    return this.#young.size;
  }

  /** The clocks of a row. Undefined: as the clock table has them. */
  get(rowid: Rowid | undefined): Uint8Array | undefined {
    if (this.isEmpty || typeof rowid !== "number") return undefined;
    const clock = this.#fresh.get(rowid);
    return (clock === undefined ? this.#committed(rowid) : clock) ?? undefined;
  }

  /**
   * Takes clocks of a row that has some in the clock table and holds no values beside them. False: it doesn't, they
   * are to be written there.
   *
   * @param clock Not to be changed any more.
   */
  put(rowid: Rowid | undefined, clock: Uint8Array): boolean {
    if (typeof rowid !== "number" || clock.length > clockBytesMax || !this.#room()) {
      this.forget(rowid);
      return false;
    }
    this.#fresh.set(rowid, clock);
    return true;
  }

  /** The clock table is written at this rowid: from here on it has the clocks, or there are none. */
  forget(rowid: Rowid | undefined): void {
    if (this.isEmpty || typeof rowid !== "number") return;
    if (this.#committed(rowid)) this.#fresh.set(rowid, null);
    else this.#fresh.delete(rowid);
  }

  #committed(rowid: number): Uint8Array | null | undefined {
    const clock = this.#young.get(rowid);
    return clock === undefined ? this.#old.get(rowid) : clock;
  }

  /** Whether the log says something of a row that the transaction at hand has written. */
  mustLog(): boolean {
    for (const [rowid, clock] of this.#fresh) {
      if (clock === null || this.#committed(rowid)) return true;
    }
    return false;
  }

  /** What the log says of rows already. */
  takeUp(logged: ReadonlyMap<number, Uint8Array | null>): void {
    for (const [rowid, clock] of logged) this.#young.set(rowid, clock);
  }

  /** The transaction was committed. */
  keep(): void {
    for (const [rowid, clock] of this.#fresh) this.#young.set(rowid, clock);
    this.#fresh.clear();
  }

  /** It was rolled back, or its clocks were written elsewhere. */
  undo(): void {
    this.#fresh.clear();
  }

  /** All that wait go home, and none did before. @returns their rowids, ascending. */
  setOut(): Float64Array {
    this.#old = this.#young;
    this.#young = new Map();
    return Float64Array.from(this.#old.keys()).sort();
  }

  /** The clocks to be brought home for a row. Undefined: it has others since, or the clock table has them. */
  leaving(rowid: number): Uint8Array | undefined {
    return this.#young.has(rowid) ? undefined : (this.#old.get(rowid) ?? undefined);
  }

  /** All of them are home. */
  arrived(): void {
    this.#old = new Map();
  }
}

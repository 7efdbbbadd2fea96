/**
 * Rows that are to be merged in one transaction, decided on before it begins.
 *
 * A transaction of 100,000 rows keeps the one connection that writes for as long as it is open, and is lost when
 * somebody else must have that. So all that needs no transaction is done before: rows are looked up, joined and hashed,
 * and what is to be written for each is kept here. Then the transaction only writes; if it is rolled back it writes the same
 * again.
 *
 * A decision holds as long as nobody else writes the row. Whoever does says so ({@link PreparedMerge.forget},
 * {@link PreparedMerge.forgetAll}: `store-transaction.ts`), and a row without a decision is merged in the transaction as any
 * other is. So is one whose key seems to have come before; these come last.
 * The others are written in the order in which they stand in the file (`write-order.ts`), which halves the time.
 *
 * Memory: of each row what a merge keeps of it until its commit, and some 200 bytes.
 *
 * @module
 */

import { assert } from "../../assert.ts";
import type { RowState } from "../../row/row-state.ts";
import type { MergePreparation } from "../../row-store.ts";
import { hashOfKey } from "../clocks/key-hash.ts";
import type { DecidedRow } from "./decided-row.ts";
import { WriteOrder } from "./write-order.ts";

/** What a preparation asks of the store. */
export interface PreparationHost {
  /** Decides on rows, and {@link PreparedMerge.keep}s what it decided. Throws what SQLite throws. */
  decide(rows: readonly RowState[], prepared: PreparedMerge): void;
  ended(prepared: PreparedMerge): void;
}

export class PreparedMerge implements MergePreparation {
  /** Where in what a transaction tells its first row stands. */
  toldAt = 0;
  readonly #host: PreparationHost;
  readonly #rows: RowState[] = [];
  readonly #decided: (DecidedRow | undefined)[] = [];
  /** The first row of each hash: of others nothing is kept. */
  readonly #rowByHash = new Map<number, number>();
  readonly #writeOrder = new WriteOrder();
  /** The rows as they are written; undefined: more are added. */
  #order: Uint32Array | undefined;
  readonly #saltByTable = new Map<string, number>();

  constructor(host: PreparationHost) {
    this.#host = host;
  }

  get length(): number {
    return this.#rows.length;
  }

  add(rows: readonly RowState[]): void {
    this.#host.decide(rows, this);
  }

  finish(): void {
    this.#order = this.#writeOrder.finish();
  }

  end(): void {
    this.#host.ended(this);
  }

  /** Adds a row. @param decided Undefined: it is merged in the transaction. */
  keep(row: RowState, decided: DecidedRow | undefined): void {
    assert(this.#order === undefined, "merge: nothing is added to a preparation that is finished");
    const at = this.#rows.push(row) - 1;
    const hash = this.#hashOf(row.table, row.key);
    const isFirst = !this.#rowByHash.has(hash);
    if (isFirst) this.#rowByHash.set(hash, at);
    const kept = isFirst ? decided : undefined;
    this.#decided.push(kept);
    this.#writeOrder.add(kept);
  }

  /** The number of the row that is written as the one at `at`. */
  numberAt(at: number): number {
    assert(this.#order !== undefined, "merge: a preparation is finished before it is written");
    return this.#order[at] as number;
  }

  row(number: number): RowState {
    return this.#rows[number] as RowState;
  }

  decided(number: number): DecidedRow | undefined {
    return this.#decided[number];
  }

  /** Somebody else wrote a row. */
  forget(table: string, key: Uint8Array): void {
    const at = this.#rowByHash.get(this.#hashOf(table, key));
    if (at !== undefined) this.#decided[at] = undefined;
  }

  /** Somebody else wrote, and doesn't say what. */
  forgetAll(): void {
    this.#decided.fill(undefined);
  }

  /** The same key in another table is another row. */
  #hashOf(table: string, key: Uint8Array): number {
    let salt = this.#saltByTable.get(table);
    if (salt === undefined) {
      salt = Math.imul(this.#saltByTable.size, 0x9e3779b1);
      this.#saltByTable.set(table, salt);
    }
    return hashOfKey(key) ^ salt;
  }
}

/**
 * In place of the reader thread: runs queries on a connection of this thread, as slowly as a test wants. The
 * snapshot is lent some turns after it was asked for, and what was found comes some turns later, row by row; now
 * and then a run goes wrong for no fault of its own.
 *
 * @module
 */

import type { RerunSource } from "../../agent/live/live-reruns.ts";
import { readRow, type WholeQuery } from "../../agent/live/read-row.ts";
import type { ReadRow } from "../../agent/live/rows/row.ts";
import { type GoneRows, HashClaims, type RowHashes } from "../../agent/live/rows/row-hashes.ts";
import { NotOfQueryError } from "../../agent/sql/not-of-query-error.ts";
import type { QueryRunner } from "../../agent/sql/query-runner.ts";

export class SlowReruns implements RerunSource {
  readonly #runner: QueryRunner;
  readonly #random: () => number;
  runs = 0;
  running = 0;

  /** @param random in [0, 1) */
  constructor(runner: QueryRunner, random: () => number) {
    this.#runner = runner;
    this.#random = random;
  }

  async *rerun(
    query: WholeQuery,
    known: RowHashes,
    onLent: () => void,
  ): AsyncGenerator<readonly ReadRow[] | GoneRows> {
    this.runs++;
    this.running++;
    try {
      yield* this.#pieces(query, known, onLent);
    } finally {
      this.running--;
    }
  }

  async *#pieces(
    query: WholeQuery,
    known: RowHashes,
    onLent: () => void,
  ): AsyncGenerator<readonly ReadRow[] | GoneRows> {
    await this.#turns();
    if (this.#random() < 0.05) throw new NotOfQueryError("the snapshot is wanted back");
    onLent();
    const rows = this.#read(query);
    await this.#turns();
    if (this.#random() < 0.05) throw new NotOfQueryError("the snapshot is wanted back");
    const claims = new HashClaims(known);
    for (const row of rows) {
      if (claims.claim(row)) continue;
      yield [row];
      await this.#turns();
    }
    yield { gone: claims.unclaimed(), chars: 0, runMs: 0 };
  }

  #read({ sql, values, shape }: WholeQuery): ReadRow[] {
    using statement = this.#runner.guard.within("read", () => this.#runner.database.prepare(sql));
    for (const [i, value] of values.entries()) statement.bind(i + 1, value);
    const rows: ReadRow[] = [];
    while (statement.step()) rows.push(readRow(statement, shape));
    return rows;
  }

  async #turns(): Promise<void> {
    for (let left = Math.floor(this.#random() * 4); left > 0; left--) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

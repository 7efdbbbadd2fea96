/**
 * What a client makes of a subscription's lines: rows by row id. It believes nothing: no insert of what
 * is there, no update or delete of what isn't, no delete of another row, no change id but the next.
 *
 * @module
 */

import type { StreamEvent } from "../../agent/api/store-service.ts";

/** An event that can't be true. */
export class FalseEvent extends Error {
  override readonly name: string = "FalseEvent";

  constructor(line: string, why: string) {
    super(`${line}: ${why}`);
  }
}

/** What a client had after a change. */
export interface PastRows {
  readonly lastChange: number;
  readonly rows: ReadonlyMap<number, string>;
}

export class Folded {
  readonly rows = new Map<number, string>();
  lastChange = 0;
  /** After each of the last changes, the oldest first. */
  readonly past: PastRows[] = [];
  readonly #pastMax: number;
  isEnded = false;
  /** Error lines. */
  readonly errors: string[] = [];

  /** @param pastMax how many are kept of {@link past} */
  constructor(pastMax = 0) {
    this.#pastMax = pastMax;
  }

  readonly take = (event: StreamEvent): void => {
    if (event.kind === "end") {
      this.isEnded = true;
      return;
    }
    for (const line of Buffer.from(event.bytes).toString().split("\n")) this.takeLine(line);
  };

  takeLine(line: string): void {
    if (line.startsWith('{"error":')) this.errors.push(line);
    const row = /^\{"row":\[(\d+),(.*)\]\}$/.exec(line);
    const eoq = /^\{"eoq":\{"time":[^,]*,"change_id":(\d+)\}\}$/.exec(line);
    const change = /^\{"change":\["(\w+)",(\d+),(.*),(\d+)\]\}$/.exec(line);
    if (row !== null) this.rows.set(Number(row[1]), row[2] as string);
    if (eoq !== null) this.lastChange = Number(eoq[1]);
    if (change === null) return;
    const [, type, rowId, cells, changeId] = change as unknown as string[] as [
      string,
      string,
      string,
      string,
      string,
    ];
    const held = this.rows.get(Number(rowId));
    if ((held !== undefined) !== (type !== "insert")) {
      throw new FalseEvent(line, held === undefined ? "there is no such row" : `there is ${held}`);
    }
    if (type === "delete") {
      if (cells !== held) throw new FalseEvent(line, `the row is ${held}`);
      this.rows.delete(Number(rowId));
    } else this.rows.set(Number(rowId), cells);
    if (Number(changeId) !== this.lastChange + 1) {
      throw new FalseEvent(line, `the last change was ${this.lastChange}`);
    }
    this.lastChange++;
    this.#remember();
  }

  #remember(): void {
    if (this.#pastMax === 0) return;
    this.past.push({ lastChange: this.lastChange, rows: new Map(this.rows) });
    if (this.past.length > this.#pastMax) this.past.shift();
  }

  sorted(): string[] {
    return [...this.rows.values()].sort();
  }
}

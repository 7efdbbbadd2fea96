/**
 * The last changes of a subscription, for readers that come back: contiguous ids, bounded by count and
 * by size.
 *
 * @module
 */

export interface HistoryLimits {
  /** Corrosion keeps 500. */
  readonly changesMax: number;
  /** Characters of their lines. */
  readonly charsMax: number;
}

export const historyLimits: HistoryLimits = { changesMax: 10_000, charsMax: 8 * 1024 * 1024 };

export class ChangeHistory {
  readonly #limits: HistoryLimits;
  /** Lines with their newline; the last belongs to {@link lastId}. */
  #lines: string[] = [];
  /** Lines dropped from the front of the array but still in it. */
  #dropped = 0;
  #chars = 0;
  #lastId: number;

  /** @param lastId of the change before the first that is added */
  constructor(limits: HistoryLimits = historyLimits, lastId = 0) {
    this.#limits = limits;
    this.#lastId = lastId;
  }

  /** Of the newest change; 0 before the first. */
  get lastId(): number {
    return this.#lastId;
  }

  /** Of the oldest change that is kept; {@link lastId} + 1 when none is. */
  get firstId(): number {
    return this.#lastId - (this.#lines.length - this.#dropped) + 1;
  }

  /** Characters of the lines that are kept. */
  get chars(): number {
    return this.#chars;
  }

  /** @param line of change {@link lastId} + 1 */
  add(line: string): void {
    this.#lastId++;
    this.#lines.push(line);
    this.#chars += line.length;
    const { changesMax, charsMax } = this.#limits;
    while (this.#lines.length - this.#dropped > changesMax || this.#chars > charsMax) this.#drop();
  }

  /** Keeps no change up to `id`. */
  dropThrough(id: number): void {
    while (this.firstId <= Math.min(id, this.#lastId)) this.#drop();
  }

  /** Lines of all changes after `id`, which may be yet to come; undefined when some of them are no longer kept. */
  after(id: number): string | undefined {
    if (id + 1 < this.firstId) return undefined;
    return this.#lines.slice(this.#lines.length - (this.#lastId - id)).join("");
  }

  #drop(): void {
    this.#chars -= (this.#lines[this.#dropped] as string).length;
    this.#lines[this.#dropped] = "";
    this.#dropped++;
    if (this.#dropped > 1024 && this.#dropped > this.#lines.length / 2) {
      this.#lines = this.#lines.slice(this.#dropped);
      this.#dropped = 0;
    }
  }
}

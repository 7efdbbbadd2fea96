/**
 * Statements that took longer than the store thread has time for: the next time they aren't tried there
 * first.
 *
 * One that was given up there once is only suspected, for it may have been by chance: when too many wait for the
 * reader thread, it is tried again.
 *
 * @module
 */

const countMax = 256;
/** Of all texts together: a client may send one of 16 MB. */
const charsMax = 4 * 1024 * 1024;

export class KnownLong {
  /** Whether it is only suspected, by text. The least recently used first. */
  readonly #isSuspectedByText = new Map<string, boolean>();
  #chars = 0;

  has(sql: string): boolean {
    return this.#isSuspectedByText.has(sql);
  }

  /** It was given up once. */
  isSuspected(sql: string): boolean {
    return this.#isSuspectedByText.get(sql) === true;
  }

  /** It was given up. */
  add(sql: string): void {
    const isSuspected = !this.has(sql);
    this.delete(sql);
    this.#isSuspectedByText.set(sql, isSuspected);
    this.#chars += sql.length;
    for (const oldest of this.#isSuspectedByText.keys()) {
      if (this.#isSuspectedByText.size <= countMax && this.#chars <= charsMax) return;
      this.delete(oldest);
    }
  }

  /** With other values it was short. */
  delete(sql: string): void {
    if (this.#isSuspectedByText.delete(sql)) this.#chars -= sql.length;
  }
}

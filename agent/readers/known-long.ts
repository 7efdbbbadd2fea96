/**
 * Statements that took longer than the store thread has time for: the next time they aren't tried there
 * first.
 *
 * @module
 */

const countMax = 256;
/** Of all texts together: a client may send one of 16 MB. */
const charsMax = 4 * 1024 * 1024;

export class KnownLong {
  /** The least recently used first. */
  readonly #texts = new Set<string>();
  #chars = 0;

  has(sql: string): boolean {
    return this.#texts.has(sql);
  }

  add(sql: string): void {
    this.delete(sql);
    this.#texts.add(sql);
    this.#chars += sql.length;
    for (const oldest of this.#texts) {
      if (this.#texts.size <= countMax && this.#chars <= charsMax) return;
      this.delete(oldest);
    }
  }

  /** With other values it was short. */
  delete(sql: string): void {
    if (this.#texts.delete(sql)) this.#chars -= sql.length;
  }
}

/**
 * Statements that took longer than the store thread has time for: the next time they aren't tried there
 * first.
 *
 * @module
 */

const countMax = 256;

export class KnownLong {
  /** The least recently used first. */
  readonly #texts = new Set<string>();

  has(sql: string): boolean {
    return this.#texts.has(sql);
  }

  add(sql: string): void {
    this.#texts.delete(sql);
    this.#texts.add(sql);
    if (this.#texts.size <= countMax) return;
    const [oldest] = this.#texts;
    this.#texts.delete(oldest as string);
  }

  /** With other values it was short. */
  delete(sql: string): void {
    this.#texts.delete(sql);
  }
}

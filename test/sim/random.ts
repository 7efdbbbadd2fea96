/**
 * Seeded randomness. Each use has a stream of its own, named, so that a node more or a fault less
 * doesn't shift what the others draw.
 *
 * Source: sfc32 by Chris Doty-Humphrey (PractRand); seeds are spread by MurmurHash3's finalizer.
 *
 * @module
 */

export class Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number, stream: string) {
    let hash = seed | 0;
    for (let i = 0; i < stream.length; i++) hash = mix(hash ^ (stream.charCodeAt(i) + i * 0x9e37));
    this.#a = mix(hash ^ 0x243f6a88);
    this.#b = mix(hash ^ 0x85a308d3);
    this.#c = mix(hash ^ 0x13198a2e);
    for (let i = 0; i < 12; i++) this.next();
  }

  /** Uniform in 0..1, 1 excluded. */
  next(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum;
    return (sum >>> 0) / 2 ** 32;
  }

  /** Uniform in lower..upper, upper excluded. */
  between(lower: number, upper: number): number {
    return lower + this.next() * (upper - lower);
  }

  /** An integer in lower..upper, upper excluded. */
  integer(lower: number, upper: number): number {
    return Math.floor(this.between(lower, upper));
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.integer(0, items.length)] as T;
  }

  /** Some of the items, each with the same chance, in their order. */
  some<T>(items: readonly T[], probability: number): T[] {
    return items.filter(() => this.chance(probability));
  }
}

function mix(value: number): number {
  let h = value | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

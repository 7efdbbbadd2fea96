/**
 * Whether the reader thread goes on, as told by two words of shared memory: a thread that is in one long step
 * of a query can send nothing.
 *
 * The thread counts the beginning and the end of each turn of a query, so the count is odd within one. The
 * store thread looks now and then, and counts the looks that found the same: looks and not time, for a
 * machine that stood still between two of them says nothing of the query. What was before the first turn (the thread
 * starts, SQLite is compiled) is no query's time.
 *
 * | word | what |
 * | --- | --- |
 * | 0 | turns begun and ended |
 * | 1 | the lane of the last that was begun |
 *
 * @module
 */

const turnsWord = 0;
const laneWord = 1;

export const turnWords = 2;

/** The reader thread's side. */
export class TurnCount {
  readonly #words: Int32Array;

  constructor(words: Int32Array) {
    this.#words = words;
  }

  begin(lane: number): void {
    Atomics.store(this.#words, laneWord, lane);
    Atomics.add(this.#words, turnsWord, 1);
  }

  end(): void {
    Atomics.add(this.#words, turnsWord, 1);
  }
}

export interface Standstill {
  /** Whose turn it is; undefined: nobody's. */
  readonly lane: number | undefined;
  /** So many looks in a row found it so, this one among them. */
  readonly looks: number;
}

/** The store thread's side. */
export class TurnWatch {
  readonly #words: Int32Array;
  #turns = 0;
  #looks = 0;

  constructor(words: Int32Array) {
    this.#words = words;
  }

  /** @param isAwaited it has something to do; if not, nothing is held against it */
  look(isAwaited: boolean): Standstill {
    const turns = Atomics.load(this.#words, turnsWord);
    if (turns !== this.#turns || !isAwaited) this.#looks = 0;
    this.#turns = turns;
    if (isAwaited) this.#looks++;
    const isWithin = (turns & 1) !== 0;
    return { lane: isWithin ? Atomics.load(this.#words, laneWord) : undefined, looks: this.#looks };
  }
}

/**
 * What `faulty-store.ts` knows of the states that a database may be at: those that were acknowledged, one after the
 * other, and those of transactions that were begun and not acknowledged.
 *
 * @module
 */

import { type State, textOfState } from "./faulty-store-states.ts";

/** Where a database was found after a start. */
export interface Recognized {
  /** It is at this state, the newest from now on. */
  readonly index: number;
  /** The newest before, and the first that it might be at. */
  readonly last: number;
  readonly first: number;
  /** It has a transaction that nobody was told of; there was one, and it is gone. */
  readonly keptUnanswered: boolean;
  readonly lostUnanswered: boolean;
}

export class FaultyHistory {
  readonly #states: State[];
  /** Index of the earliest state that a power cut may leave. */
  #floor = 0;
  /** States that may be there because a transaction was begun and not acknowledged. */
  #unanswered: State[] = [];
  /** States that a power cut took, when nothing was written since. */
  #cutOff: State[] = [];
  /** What was not synced may be gone since the last start. */
  mayHaveLost = false;

  constructor(first: State) {
    this.#states = [first];
  }

  get length(): number {
    return this.#states.length;
  }

  /** The newest state that was acknowledged, and its index. */
  get newest(): State {
    return this.#states.at(-1) as State;
  }

  get newestIndex(): number {
    return this.#states.length - 1;
  }

  acknowledge(state: State): void {
    const isChange = textOfState(state) !== textOfState(this.newest);
    this.#states.push(state);
    if (!isChange) return;
    // What changed nothing wrote nothing over what failed before it.
    this.#unanswered = [];
    this.#cutOff = [];
  }

  /** A transaction failed, or its process died, and yet it may be there. */
  noteUnanswered(state: State): void {
    this.#unanswered.push(state);
  }

  /** The states up to this one survive a power cut. */
  synced(index: number = this.newestIndex): void {
    this.#floor = Math.max(this.#floor, index);
  }

  /** Finds which state a database is at after a start, and goes on from there. Throws if it is at none. */
  recognize(found: string): Recognized {
    const last = this.newestIndex;
    const first = this.mayHaveLost ? this.#floor : last;
    // The salts of a WAL whose first frame was lost stay as they are. Should that frame be written again byte for byte
    // by a transaction that then dies, those behind it are valid again: the commits that were cut off, whole and in order.
    const maybe = [...this.#unanswered, ...this.#cutOff];
    const unanswered = maybe.find((state) => textOfState(state) === found);
    const hadUnanswered = this.#unanswered.length > 0;
    let index = last;
    while (index >= first && textOfState(this.#states[index] as State) !== found) index--;
    const isKnown = index >= first;
    if (!isKnown) {
      if (unanswered === undefined) throw new Error(this.#lostText(found, first, maybe.length));
      this.#states.push(unanswered);
      index = last + 1;
    }
    this.#cutOff.push(...this.#states.slice(index + 1));
    this.#states.length = index + 1;
    // After a power cut what is there is what was on the disk.
    if (this.mayHaveLost || index !== last) this.#unanswered = [];
    this.#floor = Math.min(this.#floor, index);
    this.mayHaveLost = false;
    return {
      index,
      last,
      first,
      keptUnanswered: !isKnown,
      lostUnanswered: isKnown && hadUnanswered,
    };
  }

  /** The newest state has this version: after a crash the count goes on with a gap. */
  goOnCounting(version: number): void {
    this.#states[this.newestIndex] = { ...this.newest, version };
  }

  #lostText(found: string, first: number, others: number): string {
    const at = this.#states.map(textOfState).lastIndexOf(found);
    const place = at < 0 ? "no state of the history" : `state ${at}`;
    return (
      `the database is at ${place}, not at one of ${first} to ${this.newestIndex}, ` +
      `nor at one of ${others} others`
    );
  }
}

/**
 * Live queries that have something to look at, in the order in which they get to: what an urgent commit
 * concerns before the rest, and among these what is quick before what is slow, so that nobody who can be
 * told at once waits for a large query to be run again.
 *
 * @module
 */

import type { Entry } from "./live-registry.ts";

/** Running a query again for longer than this, as of the last time, is slow. */
const quickMsMax = 1;

export interface Taken {
  readonly entry: Entry;
  readonly isUrgent: boolean;
}

export class LiveQueue {
  readonly #urgentQuick = new Set<Entry>();
  readonly #urgentSlow = new Set<Entry>();
  readonly #quick = new Set<Entry>();
  readonly #slow = new Set<Entry>();

  get size(): number {
    const { size } = this.#urgentQuick;
    return size + this.#urgentSlow.size + this.#quick.size + this.#slow.size;
  }

  /** One that is here already keeps its place, unless it becomes urgent, or another kind. */
  add(entry: Entry, isUrgent: boolean): void {
    const wasUrgent = this.#urgentQuick.has(entry) || this.#urgentSlow.has(entry);
    const place = this.#placeOf(isSlow(entry), isUrgent || wasUrgent);
    if (place.has(entry)) return;
    this.delete(entry);
    place.add(entry);
  }

  delete(entry: Entry): void {
    for (const place of [this.#urgentQuick, this.#urgentSlow, this.#quick, this.#slow]) {
      if (place.delete(entry)) return;
    }
  }

  /** Takes the next one off. */
  takeQuick(): Taken | undefined {
    return take(this.#urgentQuick, true) ?? take(this.#quick, false);
  }

  /** To be asked when the turn has just begun: it may last. */
  takeSlow(): Taken | undefined {
    return take(this.#urgentSlow, true) ?? take(this.#slow, false);
  }

  #placeOf(slow: boolean, urgent: boolean): Set<Entry> {
    if (urgent) return slow ? this.#urgentSlow : this.#urgentQuick;
    return slow ? this.#slow : this.#quick;
  }
}

function isSlow({ rerunMs, isLong, missed, subscription }: Entry): boolean {
  // That it is another thread's is quickly found out.
  if (isLong || rerunMs <= quickMsMax) return false;
  return missed === undefined || !subscription.canLookUp(missed.changes);
}

function take(place: Set<Entry>, isUrgent: boolean): Taken | undefined {
  for (const entry of place) {
    place.delete(entry);
    return { entry, isUrgent };
  }
  return undefined;
}

/**
 * Requests that came while the store was busy, each kind in the order in which it came: writes, which have a claim to
 * the store, and questions, which wait until it is free.
 *
 * @module
 */

import { decodeChangesetHeader } from "../change/changeset.ts";
import type { StoreRequest } from "../node/border.ts";

export class DeferredRequests {
  readonly #writes: StoreRequest[] = [];
  readonly #questions: StoreRequest[] = [];

  /** Whoever writes now would overtake them. */
  get hasWrites(): boolean {
    return this.#writes.length > 0;
  }

  get isEmpty(): boolean {
    return this.#writes.length + this.#questions.length === 0;
  }

  push(request: StoreRequest): void {
    (isWrite(request) ? this.#writes : this.#questions).push(request);
  }

  nextWrite(): StoreRequest | undefined {
    return this.#writes.shift();
  }

  nextQuestion(): StoreRequest | undefined {
    return this.#questions.shift();
  }

  /** The smallest stamp of their changesets, ms. */
  get oldestMs(): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (const request of this.#writes) {
      if (request.kind !== "apply" || request.what !== "changesets") continue;
      for (const body of request.bodies) {
        oldest = Math.min(oldest, decodeChangesetHeader(body)?.stamp.ms ?? oldest);
      }
    }
    return oldest;
  }
}

/** Whether it writes into the store. */
export function isWrite({ kind }: StoreRequest): boolean {
  return kind === "apply" || kind === "members";
}

/**
 * What a request has of its connection, whatever that speaks: a client that may go away.
 *
 * @module
 */

export abstract class ServedRequest {
  #abort: AbortController | undefined;
  #isGone = false;

  /** Made when it is looked at: short reads don't. */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#isGone) this.#abort.abort();
    }
    return this.#abort.signal;
  }

  /** Its client is, or doesn't want it any more. */
  gone(): void {
    this.#isGone = true;
    this.#abort?.abort();
  }
}

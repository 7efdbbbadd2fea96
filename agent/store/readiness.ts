/**
 * Whether what is read here can be relied on: once this node has been found identical with a peer, or stands
 * alone, by configuration or because nobody else lives. It stays so: how old the last verdict is says
 * `agreed_ms`.
 *
 * Until then, but not for ever, a row that isn't here may be one that others have, and have said to be down: some INSERTs wait
 * for it (`core/store/local-transaction.ts`).
 *
 * @module
 */

import type { Agreements } from "../net/agreements.ts";

export interface ReadinessParts {
  /** How long this node had heard of nothing before its start, by its clock: below 0 when that has gone back. */
  readonly awayMs: number;
  /** By configuration. */
  readonly standsAlone: boolean;
  readonly agreements: Agreements | undefined;
  /** The index is built. */
  readonly isBuilt: () => boolean;
  /** Others were met in this life, and aren't DOWN. */
  readonly hasOthers: () => boolean;
}

/** Who was away for less is let write at once: little can have happened, and a restart is to be no matter. */
const awayMsMin = 30_000;
/** That rows may be missing is no reason any more then, whether this node has agreed with anybody or not. */
const unsureMs = 120_000;
/** Whoever writes isn't kept waiting longer. An agreement takes some 6 s: what is compared is 5 s old. */
const waitMsMax = 20_000;
const lookEveryMs = 20;

/**
 * Without a verdict and without any other member so long after its start, this node is on its own. One that is only SUSPECT
 * counts: a stream that breaks for a second in the midst of catching up makes nobody complete.
 */
const aloneMs = 10_000;

export class Readiness {
  readonly #parts: ReadinessParts;
  readonly #createdMs = performance.now();
  #hasBeenReady = false;

  constructor(parts: ReadinessParts) {
    this.#parts = parts;
  }

  /** Others may have rows that this node hasn't heard of since its start. */
  isUnsure(): boolean {
    const { standsAlone, awayMs } = this.#parts;
    if (standsAlone || Math.abs(awayMs) < awayMsMin) return false;
    return performance.now() - this.#createdMs < unsureMs && !this.isReady();
  }

  /** Waits until it isn't {@link isUnsure}, for 20 s at most. @returns whether it isn't */
  async sure(): Promise<boolean> {
    const untilMs = performance.now() + waitMsMax;
    while (this.isUnsure()) {
      if (performance.now() > untilMs) return false;
      await Bun.sleep(lookEveryMs);
    }
    return true;
  }

  isReady(): boolean {
    if (this.#hasBeenReady) return true;
    const { standsAlone, agreements, isBuilt, hasOthers } = this.#parts;
    if (!isBuilt()) return false;
    this.#hasBeenReady =
      standsAlone ||
      agreements?.agoMs() !== undefined ||
      (performance.now() - this.#createdMs > aloneMs && !hasOthers());
    return this.#hasBeenReady;
  }
}

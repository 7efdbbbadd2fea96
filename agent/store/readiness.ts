/**
 * Whether what is read here can be relied on: once this node has been found identical with a peer, or stands
 * alone, by configuration or because nobody else lives. It stays so: how old the last verdict is says
 * `agreed_ms`.
 *
 * @module
 */

import type { Agreements } from "../net/agreements.ts";

export interface ReadinessParts {
  /** When this node started, ms since 1970. */
  readonly startedMs: number;
  /** By configuration. */
  readonly standsAlone: boolean;
  readonly agreements: Agreements | undefined;
  /** The index is built. */
  readonly isBuilt: () => boolean;
  /** Members that are alive, this node among them. */
  readonly membersAlive: () => number;
}

/** Without a verdict and without any other member alive for so long, this node is on its own. */
const aloneMs = 10_000;

export class Readiness {
  readonly #parts: ReadinessParts;
  #hasBeenReady = false;

  constructor(parts: ReadinessParts) {
    this.#parts = parts;
  }

  isReady(): boolean {
    if (this.#hasBeenReady) return true;
    const { startedMs, standsAlone, agreements, isBuilt, membersAlive } = this.#parts;
    if (!isBuilt()) return false;
    this.#hasBeenReady =
      standsAlone ||
      agreements?.agoMs() !== undefined ||
      (Date.now() - startedMs > aloneMs && membersAlive() <= 1);
    return this.#hasBeenReady;
  }
}

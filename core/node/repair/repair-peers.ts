/**
 * What repair keeps of each peer from one exchange to the next: how the last ones with it went.
 *
 * @module
 */

import type { PeerId } from "../border.ts";

/** Of so many exchanges in a row that differ one looks at all rows, not only at recent ones. */
const differingPerScan = 4;

export class RepairPeers {
  /** Their live state was walked already. */
  readonly #walkedLive = new Set<PeerId>();
  /** Their cut was too far from the own. */
  readonly #behind = new Set<PeerId>();
  /** The last exchange differed, and brought nothing: what changed lately doesn't explain it. */
  readonly #unexplained = new Set<PeerId>();
  /** How many exchanges in a row differed. */
  readonly #differing = new Map<PeerId, number>();

  gone(peer: PeerId): void {
    this.#behind.delete(peer);
    this.#unexplained.delete(peer);
    this.#differing.delete(peer);
  }

  /** Whatever was walked, the own store is another since. */
  walkLiveAnew(): void {
    this.#walkedLive.clear();
  }

  walkedLive(peer: PeerId): void {
    this.#walkedLive.add(peer);
  }

  hasWalkedLive(peer: PeerId): boolean {
    return this.#walkedLive.has(peer);
  }

  /** Its live state is walked next time. */
  behind(peer: PeerId): void {
    this.#behind.add(peer);
  }

  /** Whether it was {@link behind}, and is no more. */
  takeBehind(peer: PeerId): boolean {
    return this.#behind.delete(peer);
  }

  equal(peer: PeerId): void {
    this.#differing.delete(peer);
  }

  /**
   * Settled images differ. A row that only one side keeps as recent looks as if the other lacked it, and hides what
   * differs beside it.
   *
   * @returns whether all rows are looked at, instead of recent ones
   */
  differs(peer: PeerId): boolean {
    const inARow = (this.#differing.get(peer) ?? 0) + 1;
    this.#differing.set(peer, inARow);
    return this.#unexplained.delete(peer) || inARow % differingPerScan === 0;
  }

  unexplained(peer: PeerId): void {
    this.#unexplained.add(peer);
  }
}

/**
 * The cluster's topic on the DHT: announced and looked up, often after a start and ever less so with more peers.
 *
 * @module
 */

import type Hyperswarm from "hyperswarm";
import type { ClusterDht } from "./cluster-dht.ts";
import { jittered } from "./jitter.ts";

/** Waits before the topic is looked up again after a start. */
const refreshesMs = [250, 1000, 3000, 10_000] as const;
/**
 * And from then on: without any peer, with fewer than dialling aims for, and with enough. Announcing again is
 * also what makes a bootstrap that was restarted useful to the next node that joins.
 */
const refreshNoneMs = 5_000;
const refreshFewMs = 20_000;
const refreshEnoughMs = 60_000;
/** Bootstraps are asked whether they are there so often; one that is back has forgotten all announcements. */
const probeMs = 10_000;
/** What a bootstrap's return sets off is spread over this: a fleet must not fall upon it. */
const returnSpreadMs = 1000;

export interface TopicAnnouncerOptions {
  readonly swarm: Hyperswarm;
  readonly dht: ClusterDht;
  readonly topic: Uint8Array;
  /** There are bootstraps that can go and come back. */
  readonly hasBootstraps: boolean;
  /** Dialling stops at so many peers. */
  readonly peersWanted: number;
  /** Streams, whether they have proved anything or not. */
  readonly peers: () => number;
}

export class TopicAnnouncer {
  readonly #options: TopicAnnouncerOptions;
  #discovery: ReturnType<Hyperswarm["join"]> | undefined;
  #refreshTimer: ReturnType<typeof setTimeout> | undefined;
  #refreshes = 0;
  #probeTimer: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;

  constructor(options: TopicAnnouncerOptions) {
    this.#options = options;
    void options.dht.checkBootstraps().then(() => this.#join());
  }

  /** Asks nobody any more. What was announced is taken back by the swarm. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#refreshTimer);
    clearTimeout(this.#probeTimer);
  }

  #join(): void {
    if (this.#isClosed) return;
    const { swarm, dht, topic, hasBootstraps } = this.#options;
    this.#discovery = swarm.join(topic, { client: true, server: true });
    this.#refreshLater();
    dht.onReturned = () => this.#refreshIn(Math.random() * returnSpreadMs);
    if (hasBootstraps) this.#probeLater();
  }

  #refreshLater(): void {
    const wait = refreshesMs[this.#refreshes] ?? this.#refreshMs();
    this.#refreshes++;
    // Nodes that were started together must not all ask at once.
    this.#refreshIn(jittered(wait));
  }

  #refreshIn(waitMs: number): void {
    if (this.#isClosed) return;
    clearTimeout(this.#refreshTimer);
    this.#refreshTimer = setTimeout(() => void this.#refresh(), waitMs);
  }

  #probeLater(): void {
    this.#probeTimer = setTimeout(() => {
      void this.#options.dht.checkBootstraps();
      this.#probeLater();
    }, jittered(probeMs));
  }

  #refreshMs(): number {
    const peers = this.#options.peers();
    if (peers === 0) return refreshNoneMs;
    return peers < this.#options.peersWanted ? refreshFewMs : refreshEnoughMs;
  }

  async #refresh(): Promise<void> {
    await this.#options.dht.checkBootstraps();
    if (this.#isClosed) return;
    // The key's own announcement too: a bootstrap that was started after us, or again, lacks it.
    if (this.#refreshes > 1) this.#options.swarm.server.refresh();
    void this.#discovery?.refresh().catch(() => {});
    this.#refreshLater();
  }
}

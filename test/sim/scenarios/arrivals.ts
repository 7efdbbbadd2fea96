/**
 * Rows that are said somewhere, and when each node had them.
 *
 * @module
 */

import type { Lane } from "../../../core/change/changeset.ts";
import type { Cluster } from "../cluster.ts";
import { nameOfRow } from "../model.ts";
import type { SimNode } from "../sim-node.ts";

export interface Saying {
  /** What the names of the rows begin with. */
  readonly what: string;
  readonly lane: Lane;
  readonly everyMs: number;
  /** Of the row, about. */
  readonly bytes?: number;
  /** Where; anywhere when left out. */
  readonly at?: () => readonly SimNode[];
}

export class Arrivals {
  readonly #cluster: Cluster;
  readonly #saidMs = new Map<string, number>();
  readonly #tookMs = new Map<string, number>();

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  /** After each of its starts. */
  listenAt(node: SimNode): void {
    node.replica.onMerged((rows) => {
      for (const { key } of rows) {
        const name = nameOfRow(key);
        const saidMs = this.#saidMs.get(name);
        const heard = `${name} ${node.name}`;
        if (saidMs === undefined || this.#tookMs.has(heard)) continue;
        this.#tookMs.set(heard, this.#cluster.timeline.nowMs - saidMs);
      }
    });
  }

  /** One after the other; what was said before is over. */
  say(
    count: number,
    { what, lane, everyMs, bytes = 0, at = () => this.#cluster.nodes }: Saying,
  ): void {
    this.#saidMs.clear();
    this.#tookMs.clear();
    const random = this.#cluster.random(what);
    const status = lane === 0 ? "down" : "up";
    const values = bytes === 0 ? { status } : { status, address: "x".repeat(bytes) };
    for (let i = 0; i < count; i++) {
      const name = `${what} ${i}`;
      this.#saidMs.set(name, this.#cluster.timeline.nowMs);
      this.#cluster.put(random.pick(at()), name, values, lane);
      this.#cluster.run(everyMs);
    }
  }

  heard(): { readonly medianMs: number; readonly slowestMs: number; readonly missing: number } {
    const ms = [...this.#tookMs.values()].sort((a, b) => a - b);
    return {
      medianMs: Math.round(ms[ms.length >> 1] ?? 0),
      slowestMs: Math.round(ms.at(-1) ?? 0),
      missing: this.#saidMs.size * this.#cluster.nodes.length - ms.length,
    };
  }
}

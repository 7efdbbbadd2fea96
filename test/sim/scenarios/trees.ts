/**
 * What isn't urgent goes along trees: about one copy to each node, whatever befalls the trees.
 *
 * @module
 */

import { frameKind } from "../../../core/change/frame.ts";
import { nodeDefaults } from "../../../core/node/options.ts";
import { Cluster } from "../cluster.ts";
import { Arrivals } from "./arrivals.ts";
import { fetched, finish, measured, type Scenario, slowHeartbeats } from "./scenario.ts";

const degree = 8;
const delayMsMax = 60;
const { tellMs, graftAfterMs, graftMs, floodPeersMax } = nodeDefaults.plumtree;

export const trees: Scenario = {
  about:
    "what isn't urgent comes to each node about once and at once; beside lost frames and a member that only tells, or older releases",
  nodes: 24,
  run: ({ seed, nodes }) => {
    const [hasTeller, hasOlder] = [seed % 3 === 2, seed % 3 === 0];
    using cluster = new Cluster({
      seed,
      nodes,
      degree,
      tuning: slowHeartbeats,
      isOlder: (index) => hasOlder && index % 3 === 0,
      network: { delayMsMin: 1, delayMsMax },
    });
    const random = cluster.random("trees");
    const arrivals = new Arrivals(cluster);
    const copies = new Copies(cluster);
    cluster.startAll();
    for (const node of cluster.nodes) arrivals.listenAt(node);
    if (hasTeller) cluster.addHostile("teller", false, random.some(cluster.nodes, 0.5), 1);
    cluster.run(8000);
    // Each site's first changes go everywhere.
    for (let i = 0; i < 2; i++) {
      for (const node of cluster.nodes)
        arrivals.say(1, { what: `first ${i} of ${node.name}`, ...small, at: () => [node] });
      cluster.run(1000);
    }

    cluster.network.settings.vanishChance = hasTeller ? 0.02 : 0;
    copies.begin();
    arrivals.say(100, { what: "small", ...small });
    cluster.run(4000);
    const normal = arrivals.heard();
    const normalCopies = copies.perNode(100);
    if (normal.missing > 0) cluster.fail(`${normal.missing} changes didn't come`);
    // Whoever is told of one and isn't sent it asks, once or twice on the way.
    const askedMs = tellMs + graftAfterMs + tellMs + 3 * delayMsMax;
    const lateMs = hasTeller ? 2 * (askedMs + graftMs) : 0;
    if (normal.slowestMs > 4 * delayMsMax + lateMs) {
      cluster.fail(`a change took ${normal.slowestMs} ms`);
    }
    // A node with few peers is sent what each of them has.
    const few = cluster.nodes
      .map(({ machine }) => machine.snapshot().peers.length)
      .filter((peers) => peers <= floodPeersMax)
      .reduce((sum, peers) => sum + peers - 1, 0);
    // Older ones flood, and are flooded to.
    const copiesMax = hasOlder ? 0.7 * degree : (hasTeller ? 1.3 : 1) + few / nodes;
    if (normalCopies > copiesMax) cluster.fail(`a node is sent a change ${normalCopies} times`);

    copies.begin();
    arrivals.say(10, { what: "large", lane: 2, everyMs: 200, bytes: 100_000 });
    cluster.run(4000);
    const large = arrivals.heard();
    const largeCopies = copies.bytesPerNode(10) / 100_000;
    if (large.missing > 0) cluster.fail(`${large.missing} large changes didn't come`);
    if (!hasOlder && largeCopies > (hasTeller ? 1.3 : 1.1)) {
      cluster.fail(`a node is sent a large change ${largeCopies} times`);
    }
    cluster.network.settings.vanishChance = 0;

    // One that others hang on is gone at once, and nobody knows it yet.
    const victim = cluster.node(1);
    victim.kill(1500);
    arrivals.say(20, { what: "killed", ...small, at: () => cluster.up });
    cluster.run(2500);
    const killed = arrivals.heard();
    if (killed.missing > 20)
      cluster.fail(`${killed.missing - 20} changes didn't come beside a dead node`);
    victim.start();
    // It is nobody's member, and stays.
    const finished = hasTeller
      ? { convergedMs: cluster.converge(20_000) }
      : finish(cluster, 20_000);
    return measured(cluster, {
      ...{ normalCopies, largeCopies, normalMedianMs: normal.medianMs },
      ...{ normalSlowestMs: normal.slowestMs, largeSlowestMs: large.slowestMs },
      killedSlowestMs: killed.slowestMs,
      ...finished,
      ...{ grafts: cluster.counters().grafts, graftsInVain: cluster.counters().graftsInVain },
      ...fetched(cluster),
    });
  },
};

const small = { lane: 1, everyMs: 20 } as const;

/** Of changesets, in all frames between nodes. */
class Copies {
  readonly #nodes: number;
  #pushes = 0;
  #bytes = 0;

  constructor({ network, nodes }: Cluster) {
    this.#nodes = nodes.length;
    network.onSent = (_from, to, frame) => {
      // A member that means ill may be sent what it wants.
      if (to.index >= this.#nodes) return;
      if (frame[0] === frameKind.push) this.#pushes++;
      if (frame[0] === frameKind.push || frame[0] === frameKind.part) this.#bytes += frame.length;
    };
  }

  begin(): void {
    this.#pushes = 0;
    this.#bytes = 0;
  }

  perNode(changes: number): number {
    return this.#pushes / this.#nodes / changes;
  }

  bytesPerNode(changes: number): number {
    return this.#bytes / this.#nodes / changes;
  }
}

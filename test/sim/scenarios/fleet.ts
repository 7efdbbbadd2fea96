/**
 * Hundreds of nodes with the agent's usual number of neighbours: what each of them has to do must not grow with how
 * many there are.
 *
 * @module
 */

import { frameKind } from "../../../core/change/frame.ts";
import { Cluster } from "../cluster.ts";
import type { SimNode } from "../sim-node.ts";
import { Arrivals } from "./arrivals.ts";
import { fetched, finish, measured, type Scenario, slowHeartbeats } from "./scenario.ts";

/** Streams of a node, about: an agent keeps 8 to 12. */
const degree = 10;
const delayMsMax = 120;
const urgent = { lane: 0, everyMs: 50 } as const;

export const fleet: Scenario = {
  about:
    "a fleet starts, says what is down, is cut in halves and healed, and is restarted a tenth at a time",
  nodes: 300,
  run: ({ seed, nodes }) => {
    using cluster = new Cluster({
      seed,
      nodes,
      degree,
      watched: 0,
      tuning: slowHeartbeats,
      network: { delayMsMin: 1, delayMsMax },
    });
    const random = cluster.random("fleet");
    const arrivals = new Arrivals(cluster);
    const traffic = new Traffic(cluster);
    for (const node of cluster.nodes) {
      cluster.timeline.after(random.between(0, 1000), () => {
        node.start();
        arrivals.listenAt(node);
      });
    }
    cluster.run(8000);
    for (let i = 0; i < 30; i++) {
      cluster.put(random.pick(cluster.nodes), `i${i}`, { status: "up", weight: i });
    }
    cluster.run(8000);

    traffic.begin();
    cluster.run(4000);
    const idle = traffic.perNode();
    if (idle.bytes / 4 > 200) cluster.fail(`${idle.bytes / 4} B/s a node, and nothing changes`);

    traffic.begin();
    arrivals.say(10, { what: "calm", ...urgent });
    cluster.run(2000);
    const calm = arrivals.heard();
    const copies = traffic.perNode().pushes / 10;
    if (calm.missing > 0) cluster.fail(`${calm.missing} downs didn't come`);
    if (calm.slowestMs > 4 * delayMsMax) cluster.fail(`a down took ${calm.slowestMs} ms`);
    if (copies > degree) cluster.fail(`a node is sent a change ${copies} times`);

    // Of a few hosts, whose trees have grown.
    const writers = random.some(cluster.nodes, 5 / nodes).slice(0, 5);
    const at = () => (writers.length > 0 ? writers : cluster.nodes.slice(0, 1));
    const normal = { lane: 1, everyMs: 100, at } as const;
    arrivals.say(20, { what: "before", ...normal });
    cluster.run(2000);
    traffic.begin();
    arrivals.say(20, { what: "normal", ...normal });
    cluster.run(2000);
    const trees = arrivals.heard();
    const normalTraffic = traffic.perNode();
    const normalCopies = normalTraffic.pushes / 20;
    if (trees.missing > 0) cluster.fail(`${trees.missing} normal changes didn't come`);
    if (trees.slowestMs > 4 * delayMsMax) cluster.fail(`a change took ${trees.slowestMs} ms`);
    if (normalCopies > 1.1) cluster.fail(`a node is sent a normal change ${normalCopies} times`);

    const half = cluster.nodes.slice(0, nodes >> 1);
    const others = cluster.nodes.slice(nodes >> 1);
    cluster.network.cut(half, others);
    cluster.network.cut(others, half);
    cluster.run(7000);
    const apart = 40;
    for (let i = 0; i < apart; i++) {
      const status = i % 4 === 0 ? "down" : "up";
      cluster.put(random.pick(cluster.nodes), `i${i}`, { status }, status === "up" ? 1 : 0);
      cluster.run(20);
    }
    cluster.run(3000);
    const before = cluster.repairBytes();
    cluster.network.heal();
    const healedMs = cluster.converge(20_000);
    const healBytes = (cluster.repairBytes() - before) / nodes;
    // Named over each new stream, and fetched once or twice.
    if (healBytes > apart * degree * 100) cluster.fail(`${healBytes} bytes a node to heal`);
    cluster.run(5000);

    const restartedMs = cluster.timeline.nowMs;
    const away = new Set<SimNode>();
    for (const [i, node] of cluster.nodes.entries()) {
      const ms = 1000 * Math.floor((10 * i) / nodes) + random.between(0, 900);
      cluster.timeline.after(ms, () => {
        away.add(node);
        node.stop(3000);
      });
      cluster.timeline.after(ms + 1500, () => {
        away.delete(node);
        node.start();
        arrivals.listenAt(node);
      });
    }
    cluster.run(3000);
    const here = () => cluster.nodes.filter((node) => !away.has(node));
    arrivals.say(10, { what: "rolling", ...urgent, at: here });
    cluster.run(9500);
    const rolling = arrivals.heard();
    if (rolling.missing > 0) cluster.fail(`${rolling.missing} downs didn't come in the restart`);
    // A node is away for a second, and takes up to 0.6 s to find a first peer.
    if (rolling.slowestMs > 2500)
      cluster.fail(`a down took ${rolling.slowestMs} ms in the restart`);
    const finished = finish(cluster, 20_000);
    for (const node of cluster.nodes) {
      const down = node.memberHistory.find(
        ({ atMs, state }) => atMs > restartedMs && state === "DOWN",
      );
      if (down !== undefined) cluster.fail(`${node.name} saw ${down.node} as down`);
    }
    return measured(cluster, {
      idleBytesPerSecond: Math.round(idle.bytes / 4),
      copies,
      medianMs: calm.medianMs,
      slowestMs: calm.slowestMs,
      normalCopies,
      normalBytes: Math.round(normalTraffic.bytes / 20),
      normalMedianMs: trees.medianMs,
      normalSlowestMs: trees.slowestMs,
      rollingMedianMs: rolling.medianMs,
      rollingSlowestMs: rolling.slowestMs,
      healedMs,
      healBytes: Math.round(healBytes),
      ...finished,
      ...fetched(cluster),
    });
  },
};

/** What a node sends, but for heartbeats, whose number is set. */
class Traffic {
  readonly #nodes: number;
  #bytes = 0;
  #pushes = 0;

  constructor({ network, nodes }: Cluster) {
    this.#nodes = nodes.length;
    network.onSent = (_from, _to, frame) => {
      if (frame[0] === frameKind.heartbeat) return;
      this.#bytes += frame.length;
      if (frame[0] === frameKind.push) this.#pushes++;
    };
  }

  begin(): void {
    this.#bytes = 0;
    this.#pushes = 0;
  }

  perNode(): { readonly bytes: number; readonly pushes: number } {
    return { bytes: this.#bytes / this.#nodes, pushes: this.#pushes / this.#nodes };
  }
}

/**
 * Hundreds of nodes with the agent's usual number of neighbours: what each of them has to do must not grow with how
 * many there are.
 *
 * @module
 */

import { frameKind } from "../../../core/change/frame.ts";
import { Cluster } from "../cluster.ts";
import { nameOfRow } from "../model.ts";
import type { SimNode } from "../sim-node.ts";
import { fetched, finish, measured, type Scenario, slowHeartbeats } from "./scenario.ts";

/** Streams of a node, about: an agent keeps 8 to 12. */
const degree = 10;
const delayMsMax = 120;

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
    const downs = new Downs(cluster);
    const traffic = new Traffic(cluster);
    for (const node of cluster.nodes) {
      cluster.timeline.after(random.between(0, 1000), () => {
        node.start();
        downs.listenAt(node);
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
    downs.say(10, "calm");
    cluster.run(2000);
    const calm = downs.heard();
    const copies = traffic.perNode().pushes / 10;
    if (calm.missing > 0) cluster.fail(`${calm.missing} downs didn't come`);
    if (calm.slowestMs > 4 * delayMsMax) cluster.fail(`a down took ${calm.slowestMs} ms`);
    if (copies > degree) cluster.fail(`a node is sent a change ${copies} times`);

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
        downs.listenAt(node);
      });
    }
    cluster.run(3000);
    downs.say(10, "rolling", away);
    cluster.run(9500);
    const rolling = downs.heard();
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
      rollingMedianMs: rolling.medianMs,
      rollingSlowestMs: rolling.slowestMs,
      healedMs,
      healBytes: Math.round(healBytes),
      ...finished,
      ...fetched(cluster),
    });
  },
};

/** Rows that are said to be down, and when each node had them. */
class Downs {
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

  /** One every 50 ms, anywhere but at those that are away; what was said before is over. */
  say(count: number, what: string, away: ReadonlySet<SimNode> = new Set()): void {
    this.#saidMs.clear();
    this.#tookMs.clear();
    const random = this.#cluster.random(what);
    for (let i = 0; i < count; i++) {
      const name = `${what} ${i}`;
      this.#saidMs.set(name, this.#cluster.timeline.nowMs);
      const here = this.#cluster.nodes.filter((node) => !away.has(node));
      this.#cluster.put(random.pick(here), name, { status: "down" }, 0);
      this.#cluster.run(50);
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

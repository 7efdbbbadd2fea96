/// <reference path="./hyperswarm.d.ts" />

import { afterAll, beforeAll, expect, test } from "bun:test";
import { EventEmitter } from "node:events";
import DHT from "hyperdht";
import { ClusterDht } from "./cluster-dht.ts";
import { CrossedDialSwarm } from "./crossed-dials.ts";

interface Node {
  readonly swarm: CrossedDialSwarm;
  readonly key: Uint8Array;
}

const open: CrossedDialSwarm[] = [];
let smaller: Node;
let larger: Node;
beforeAll(() => {
  const nodes = [1, 2].map((n): Node => {
    const keyPair = DHT.keyPair(new Uint8Array(32).fill(n));
    const parts = { host: "127.0.0.1", port: 0, bootstrap: [], firewalled: false };
    const dht = new ClusterDht({ ...parts, keyPair } as never);
    const swarm = new CrossedDialSwarm({ dht, keyPair, maxPeers: 8 });
    open.push(swarm);
    return { swarm, key: keyPair.publicKey };
  });
  [smaller, larger] = nodes.sort((a, b) => Buffer.compare(a.key, b.key)) as [Node, Node];
});
afterAll(async () => {
  for (const swarm of open) await swarm.destroy();
});

/** One end of a connection. */
class End extends EventEmitter {
  readonly publicKey: Uint8Array;
  readonly remotePublicKey: Uint8Array;
  readonly isInitiator: boolean;
  rawBytesRead = 0;
  rawBytesWritten = 0;
  isDestroyed = false;

  constructor(of: Node, to: Node, isInitiator: boolean) {
    super();
    this.publicKey = of.key;
    this.remotePublicKey = to.key;
    this.isInitiator = isInitiator;
  }

  sendKeepAlive(): void {}

  destroy(): void {
    this.isDestroyed = true;
    queueMicrotask(() => this.emit("close"));
  }
}

/** `a` has dialled `b`: its end, not yet open. */
function dial(a: Node, b: Node): End {
  const end = new End(a, b, true);
  a.swarm._allConnections.add(end as never);
  end.on("close", () => a.swarm._allConnections.delete(end as never));
  return end;
}

function opens(a: Node, end: End): void {
  end.rawBytesRead = 100;
  end.rawBytesWritten = 100;
  a.swarm.emit("connection", end as never, undefined as never);
}

/** The dial arrives: the end of the node that was dialled. */
function arrives(b: Node, from: Node): End {
  const end = new End(b, from, false);
  b.swarm._handleServerConnection(end as never);
  return end;
}

/** Streams tell of their ends in microtasks: in the next turn all have been told. */
function eventsTold(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

for (const order of ["smaller", "larger"]) {
  test(`two nodes that dial each other keep the same connection: the ${order} key's dial comes first`, async () => {
    const [back, missing] = order === "smaller" ? [smaller, larger] : [larger, smaller];
    // Both dial; the one that is back is through first.
    const missed = dial(missing, back);
    const first = dial(back, missing);
    const firstThere = arrives(missing, back);
    if (!firstThere.isDestroyed) opens(back, first);
    await eventsTold();
    // What the other had sent arrives, whether it still wants it or not.
    const missedThere = arrives(back, missing);
    await eventsTold();
    const isFirstKept = !first.isDestroyed && !firstThere.isDestroyed;
    const isMissedKept = !missed.isDestroyed && !missedThere.isDestroyed;
    expect([isFirstKept, isMissedKept].filter((kept) => kept)).toEqual([true]);
    for (const end of [first, firstThere, missed, missedThere]) if (!end.isDestroyed) end.destroy();
    await eventsTold();
  });
}

test("a node that dials again from the side that it had dialled from has lost the first: the second stays", async () => {
  const first = arrives(larger, smaller);
  opens(larger, first);
  const second = arrives(larger, smaller);
  await eventsTold();
  expect([first.isDestroyed, second.isDestroyed]).toEqual([true, false]);
  second.destroy();
  await eventsTold();
});

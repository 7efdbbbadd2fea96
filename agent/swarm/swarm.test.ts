/// <reference path="./hyperswarm.d.ts" />

import { afterAll, expect, spyOn, test } from "bun:test";
import { EventEmitter } from "node:events";
import DHT from "hyperdht";
import Hyperswarm from "hyperswarm";
import { admissionBytes, writeAdmission } from "../../core/change/admission.ts";
import type { PeerId } from "../../core/node/border.ts";
import { until } from "../../test/until.ts";
import { type Bootstrap, startBootstrap } from "./bootstrap.ts";
import { bootstrapsOf } from "./cluster-dht.ts";
import { type Swarm, type SwarmOptions, startSwarm } from "./swarm.ts";

const sha256 = (bytes: Uint8Array): Uint8Array =>
  new Bun.CryptoHasher("sha256").update(bytes).digest();
const topic = sha256(new TextEncoder().encode(`swarm.test ${process.pid}`));
const secret = new Uint8Array(32).fill(9);

interface Node {
  readonly swarm: Swarm;
  /** `+peer` connected, `-peer` disconnected, `!peer why` refused. */
  readonly log: string[];
  /** `peer:bytes:first:last` of each frame. */
  readonly frames: string[];
  /** The frames as they were handed over, not copied. */
  readonly kept: Uint8Array[];
}

const open: { destroy(): Promise<void> }[] = [];
afterAll(async () => {
  for (const one of open.reverse()) await one.destroy();
});

async function bootstrapNode(): Promise<Bootstrap> {
  const started = await startBootstrap({ host: "127.0.0.1", port: 0 });
  if (started.kind === "failed") throw new Error(started.why);
  open.push({ destroy: () => started.bootstrap.close() });
  return started.bootstrap;
}

let seeds = 0;
async function node(bootstrap: string[], options: Partial<SwarmOptions> = {}): Promise<Node> {
  const log: string[] = [];
  const frames: string[] = [];
  const kept: Uint8Array[] = [];
  const started = await startSwarm(
    {
      sha256,
      nodeSeed: new Uint8Array(32).fill(++seeds),
      topic,
      admissionSecret: secret,
      host: "127.0.0.1",
      port: 0,
      bootstrap,
      firewalled: false,
      only: undefined,
      peers: [],
      peersMax: 12,
      region: "here",
      ...options,
    },
    {
      knownMembers: () => [],
      onConnected: (peer) => log.push(`+${peer}`),
      onFrame: (peer, frame) => {
        frames.push(`${peer}:${frame.length}:${frame[0]}:${frame.at(-1)}`);
        kept.push(frame);
      },
      onDrained: () => {},
      onParting: () => {},
      onDisconnected: (peer) => log.push(`-${peer}`),
      onRefused: (peer, why) => log.push(`!${peer} ${why}`),
    },
  );
  if (started.kind === "failed") throw new Error(started.why);
  open.push(started.swarm);
  return { swarm: started.swarm, log, frames, kept };
}

const connected = (node: Node, peer: Node) => () =>
  node.swarm.status().some((status) => status.peer === peer.swarm.key);

test("two nodes that know only the bootstrap's address find each other and pass frames", async () => {
  const { address } = await bootstrapNode();
  const a = await node([address]);
  const b = await node([address]);
  await until("a sees b", connected(a, b));
  await until("b sees a", connected(b, a));
  a.swarm.send(b.swarm.key, Uint8Array.of(2, 2, 2, 2));
  a.swarm.send(b.swarm.key, Uint8Array.of(0, 0, 0));
  await until("both frames", () => b.frames.length === 2);
  expect(b.frames).toEqual([`${a.swarm.key}:4:2:2`, `${a.swarm.key}:3:0:0`]);
  expect(a.log).toEqual([`+${b.swarm.key}`]);

  // A clean end is seen at once, and told once.
  await b.swarm.destroy();
  await until("a sees the end", () => a.log.length > 1);
  expect(a.log).toEqual([`+${b.swarm.key}`, `-${b.swarm.key}`]);
});

test("frames of every size arrive whole and in order", async () => {
  const { address } = await bootstrapNode();
  const a = await node([address]);
  const b = await node([address]);
  await until("connected", connected(a, b));
  await until("connected", connected(b, a));
  const sizes = [3, 16 * 1024, 3, 64 * 1024 + 40, 17 * 1024 * 1024, 5];
  for (const [i, size] of sizes.entries()) {
    const frame = new Uint8Array(size).fill(i + 1);
    a.swarm.send(b.swarm.key, frame);
  }
  await until("all", () => b.frames.length === sizes.length, 30_000);
  expect(b.frames).toEqual(sizes.map((size, i) => `${a.swarm.key}:${size}:${i + 1}:${i + 1}`));
}, 120_000);

test("frames stay as they came, while thousands more pass both ways", async () => {
  const { address } = await bootstrapNode();
  const a = await node([address]);
  const b = await node([address]);
  await until("connected", connected(a, b));
  await until("connected", connected(b, a));
  const frameOf = (i: number) => {
    const frame = new Uint8Array(3 + ((i * 7919) % 5000)).fill(i);
    new DataView(frame.buffer).setUint16(0, i);
    return frame;
  };
  const count = 4000;
  for (let i = 0; i < count; i++) {
    a.swarm.send(b.swarm.key, frameOf(i));
    b.swarm.send(a.swarm.key, frameOf(i));
    if (i % 100 === 0) await Bun.sleep(0);
  }
  for (const { kept } of [a, b]) {
    await until("all frames", () => kept.length === count, 30_000);
    expect(kept.findIndex((frame, i) => !Buffer.from(frame).equals(frameOf(i)))).toBe(-1);
  }
}, 120_000);

test("who knows the topic but not the secret is refused before a frame is parsed", async () => {
  const { address } = await bootstrapNode();
  const a = await node([address]);
  const stranger = await node([address], { admissionSecret: new Uint8Array(32).fill(8) });
  await until("both refused", () => a.log.length > 0 && stranger.log.length > 0);
  // Whichever was first to judge; to the other the stream was closed before its own verdict.
  expect([...a.log, ...stranger.log].some((line) => line.includes(" admission: wrong proof"))).toBe(
    true,
  );
  expect([...a.log, ...stranger.log].filter((line) => line.startsWith("+"))).toEqual([]);
  expect(a.swarm.status()).toEqual([]);
});

/** Connects to `node` as a stranger who speaks Noise and nothing else. */
async function dial(node: Node, bootstrap: string) {
  const dht = new DHT({
    bootstrap: [bootstrap],
    host: "127.0.0.1",
    port: [0, 0],
    firewalled: false,
  });
  open.push(dht);
  // The node may not have announced its key yet.
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; ) {
    const stream = dht.connect(Buffer.from(node.swarm.key, "hex"));
    const chunks: Uint8Array[] = [];
    let isClosed = false;
    stream.on("data", (bytes) => chunks.push(bytes));
    stream.on("error", () => {});
    stream.on("close", () => {
      isClosed = true;
    });
    const received = () => Buffer.concat(chunks);
    await until("an answer", () => isClosed || received().length >= admissionBytes);
    if (!isClosed) return { stream, received, isClosed: () => isClosed };
  }
  throw new Error("no connection");
}

/** A frame of five bytes as it stands on the stream. */
const frameOnStream = Uint8Array.of(0, 0, 0, 5, 9, 0, 0, 1, 1);

test("a wrong proof, the node's own proof sent back, another protocol: nothing after it is parsed", async () => {
  const { address } = await bootstrapNode();
  const a = await node([address]);
  const attempts: [string, (own: Uint8Array, hash: Uint8Array, key: Uint8Array) => Uint8Array][] = [
    [
      "admission: wrong proof, has it the same cluster file?",
      (_, handshakeHash, key) =>
        writeAdmission(sha256, { secret: new Uint8Array(32), handshakeHash }, key),
    ],
    ["admission: wrong proof, has it the same cluster file?", (own) => own],
    [
      "admission: its release proves membership in another way",
      (own) => own.map((byte, i) => (i === 4 ? 2 : byte)),
    ],
    ["admission: it isn't an agent", () => new Uint8Array(admissionBytes)],
  ];
  for (const [why, proofOf] of attempts) {
    const { stream, received, isClosed } = await dial(a, address);
    const proof = proofOf(received(), stream.handshakeHash, stream.publicKey);
    stream.write(Buffer.concat([proof, frameOnStream]));
    await until(`closed: ${why}`, isClosed);
    expect(a.log.at(-1)).toEndWith(` ${why}`);
  }
  expect(a.frames).toEqual([]);
  expect(a.log.filter((line) => line.startsWith("+"))).toEqual([]);
});

test("a member with the right proof is let in, in one piece or byte by byte", async () => {
  const { address } = await bootstrapNode();
  const a = await node([address]);
  const { stream } = await dial(a, address);
  const session = { secret, handshakeHash: stream.handshakeHash };
  const proof = writeAdmission(sha256, session, stream.publicKey);
  for (const byte of Buffer.concat([proof, frameOnStream])) stream.write(Uint8Array.of(byte));
  await until("the frame", () => a.frames.length === 1);
  expect(a.frames[0]).toEndWith(":5:9:1");
  // A length that can't be: the stream is dropped.
  stream.write(Uint8Array.of(255, 255, 255, 255));
  await until("dropped", () => a.log.some((line) => line.startsWith("-")));
});

test("who proves nothing is closed after three seconds", async () => {
  const { address } = await bootstrapNode();
  const a = await node([address]);
  const { isClosed } = await dial(a, address);
  await until("closed", isClosed);
  expect(a.log.at(-1)).toEndWith(" admission: no proof in time");
}, 120_000);

test("a member gets in while strangers hold all streams", async () => {
  const { address } = await bootstrapNode();
  const streamsMax = 3;
  const a = await node([address], { streamsMax });
  const strangers = Array.from({ length: streamsMax }, () => dial(a, address));
  await Promise.all(strangers);
  const { stream } = await dial(a, address);
  const session = { secret, handshakeHash: stream.handshakeHash };
  stream.write(writeAdmission(sha256, session, stream.publicKey));
  await until("admitted", () => a.log.some((line) => line.startsWith("+")));
  expect(a.log.filter((line) => line.includes("too many streams"))).toEqual([]);
});

test("`only` makes a chain: the ends never connect", async () => {
  const { address } = await bootstrapNode();
  const b = await node([address]);
  const a = await node([address], { only: [b.swarm.key] });
  const c = await node([address], { only: [b.swarm.key] });
  await until("a-b", connected(b, a));
  await until("c-b", connected(b, c));
  // Time for the look-ups at 0.25 and 1 s to bring the ends together, if they could.
  await Bun.sleep(1500);
  expect(a.swarm.status().map(({ peer }) => peer)).toEqual([b.swarm.key]);
  expect(c.swarm.status().map(({ peer }) => peer)).toEqual([b.swarm.key]);
});

test("peers with an address find each other without any DHT", async () => {
  const a = await node([]);
  const { port } = a.swarm.address;
  const b = await node([], { peers: [`${a.swarm.key}@127.0.0.1:${port}`] });
  await until("connected", connected(a, b));
  await until("connected", connected(b, a));
});

test("without a bootstrap a node is alone, and sends nothing to any other", async () => {
  const a = await node([]);
  const b = await node([]);
  await Bun.sleep(1300);
  expect([a.swarm.status(), b.swarm.status()]).toEqual([[], []]);
  // One datagram: HyperDHT tries its own address, and has it back.
  for (const { swarm } of [a, b]) {
    expect(swarm.datagrams).toEqual({ datagramsSent: 1, datagramsReceived: 1 });
  }
});

test("the public DHT is begun with only where `public` is written", () => {
  const own = ["127.0.0.1:4321", "bootstrap.example:7"];
  expect(bootstrapsOf(own)).toEqual(own);
  expect(bootstrapsOf([])).toEqual([]);
  const both = bootstrapsOf(["public", ...own]);
  expect(both.slice(-2)).toEqual(own);
  expect(both.length).toBeGreaterThan(2);
  for (const node of both.slice(0, -2)) expect(node).toMatch(/^[a-z0-9.-]+\.hyperdht\.org:\d+$/);
});

test("a full node closes what comes in beyond its bound", async () => {
  const { address } = await bootstrapNode();
  const hub = await node([address], { peersMax: 2 });
  const others = [await node([address]), await node([address]), await node([address])];
  await until("someone is refused", () => hub.log.some((line) => line.endsWith(" full")));
  expect(hub.swarm.status().length).toBeLessThanOrEqual(2);
  // Among themselves the others connect.
  await until("the others", () => others.every(({ swarm }) => swarm.status().length >= 2));
});

test("a port that is taken is replaced by another", async () => {
  const a = await node([]);
  const b = await node([], { port: a.swarm.address.port });
  expect(b.swarm.address.port).not.toBe(a.swarm.address.port);
});

test("what can't start says why and leaves nothing", async () => {
  const bootstrap = await bootstrapNode();
  const [host, port] = bootstrap.address.split(":") as [string, string];
  expect(await startBootstrap({ host, port: Number(port) })).toEqual({
    kind: "failed",
    why: expect.stringContaining(`bootstrap at ${bootstrap.address}`),
  });
  expect(await startBootstrap({ host: "192.0.2.77", port: 49_000 })).toMatchObject({
    kind: "failed",
  });
  const hooks = {
    knownMembers: () => [],
    onConnected: () => {},
    onFrame: () => {},
    onDrained: () => {},
    onParting: () => {},
    onDisconnected: () => {},
    onRefused: () => {},
  };
  const options: SwarmOptions = {
    sha256,
    nodeSeed: new Uint8Array(32).fill(99),
    topic,
    admissionSecret: secret,
    host: "192.0.2.77",
    port: 0,
    bootstrap: [],
    firewalled: false,
    only: undefined,
    peers: [],
    peersMax: 12,
    region: "here",
  };
  expect(await startSwarm(options, hooks)).toMatchObject({ kind: "failed" });
  const badPeer = "zz" as PeerId;
  expect(await startSwarm({ ...options, host: "127.0.0.1", peers: [badPeer] }, hooks)).toEqual({
    kind: "failed",
    why: "peer: 64 hex digits, or those @host:port, got zz",
  });
});

test("a stream that comes while the node stops is closed, and told as no fault", async () => {
  const listening = spyOn(Hyperswarm.prototype, "on");
  const a = await node([]);
  // The first listener is `crossed-dials.ts`'s.
  const [, onConnection] = listening.mock.calls.findLast(([event]) => event === "connection") ?? [];
  listening.mockRestore();
  await a.swarm.destroy();
  let isDestroyed = false;
  const stream = Object.assign(new EventEmitter(), {
    remotePublicKey: new Uint8Array(32).fill(7),
    destroy: () => {
      isDestroyed = true;
    },
  });
  (onConnection as (stream: unknown) => void)(stream);
  expect([isDestroyed, a.log, [...a.swarm.refused]]).toEqual([true, [], []]);
});

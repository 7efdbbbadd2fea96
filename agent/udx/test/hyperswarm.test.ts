import { expect, test } from "bun:test";
import { createRequire } from "node:module";
import { join } from "node:path";
import { UDX } from "../index.ts";
import { PeerProcess } from "./peer-process.ts";

const OURS = join(import.meta.dir, "..", "udx.cjs");
const ROOT = join(import.meta.dir, "../../..");

interface Connection {
  on(event: string, listener: (value: Uint8Array) => void): void;
  write(bytes: Uint8Array): boolean;
  readonly rawStream: { readonly retransmits: number };
}

interface Swarm {
  on(event: "connection", listener: (connection: Connection) => void): void;
  join(topic: Uint8Array, options: object): { flushed(): Promise<void> };
  destroy(): Promise<void>;
}

interface Testnet {
  readonly bootstrap: readonly object[];
  destroy(): Promise<void>;
}

// Untyped CommonJS, and what they require as udx-native has to be ours.
const require = createRequire(import.meta.url);
const createTestnet = require("hyperdht/testnet.js") as (nodes: number) => Promise<Testnet>;
const DHT = require("hyperdht") as new (options: object) => object;
const Hyperswarm = require("hyperswarm") as new (options: object) => Swarm;

async function connectPair(): Promise<{
  readonly a: Connection;
  readonly b: Connection;
  destroy(): Promise<void>;
}> {
  const testnet = await createTestnet(6);
  const createSwarm = (): Swarm =>
    new Hyperswarm({ dht: new DHT({ bootstrap: testnet.bootstrap, host: "127.0.0.1" }) });
  const swarms = [createSwarm(), createSwarm()] as const;
  const connections = swarms.map(
    (swarm) =>
      new Promise<Connection>((resolve) => {
        swarm.on("connection", (connection) => {
          connection.on("error", () => {});
          resolve(connection);
        });
      }),
  );
  const topic = Buffer.alloc(32, "topic");
  await swarms[0].join(topic, { server: true, client: false }).flushed();
  swarms[1].join(topic, { server: false, client: true });
  const [a, b] = (await Promise.all(connections)) as [Connection, Connection];
  return {
    a,
    b,
    async destroy() {
      await Promise.all(swarms.map((swarm) => swarm.destroy()));
      await testnet.destroy();
    },
  };
}

test("udx-native is ours to hyperdht", () => {
  expect(require("udx-native")).toBe(UDX);
});

test("two swarms of one process connect, and say hello", async () => {
  const pair = await connectPair();
  const heard = new Promise<string>((resolve) => {
    pair.b.on("data", (data) => resolve(Buffer.from(data).toString()));
  });
  pair.a.write(Buffer.from("hello"));
  expect(await heard).toBe("hello");
  await pair.destroy();
}, 120_000);

test("with one datagram in ten lost, every message arrives, in order", async () => {
  const pair = await connectPair();
  UDX.simulateLoss(0.1, 3);
  try {
    const wanted = Array.from({ length: 500 }, (_, i) => i);
    const received: number[] = [];
    const all = new Promise<void>((resolve) => {
      pair.b.on("data", (data) => {
        received.push(Buffer.from(data).readUInt32LE(0));
        if (received.length === wanted.length) resolve();
      });
    });
    for (const i of wanted) {
      const message = Buffer.alloc(200);
      message.writeUInt32LE(i, 0);
      pair.a.write(message);
      if (i % 10 === 0) await Bun.sleep(1);
    }
    await all;
    expect(received).toEqual(wanted);
    expect(UDX.simulatedLossCount).toBeGreaterThan(0);
  } finally {
    UDX.simulateLoss(0);
  }
  await pair.destroy();
}, 120_000);

test("20 MB each way between two processes", async () => {
  await using first = await PeerProcess.start(process.execPath, OURS);
  await using second = await PeerProcess.start(process.execPath, OURS);
  const topic = Buffer.alloc(32, 9).toString("hex");
  const { bootstrap } = await first.ask("swarm", { topic, server: true, root: ROOT });
  await second.ask("swarm", { topic, server: false, bootstrap, root: ROOT });
  await Promise.all([first.ask("connection"), second.ask("connection")]);
  for (const [from, to] of [
    [first, second],
    [second, first],
  ] as const) {
    const reading = to.ask("read", { id: "swarm", bytes: 20_000_000 });
    const written = await from.ask("write", {
      id: "swarm",
      seed: 1,
      bytes: 20_000_000,
      end: false,
    });
    expect((await reading).sha256).toBe(written.sha256 as string);
  }
}, 120_000);

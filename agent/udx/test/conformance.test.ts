/**
 * Ours under Bun against the real udx-native under Node: the peer runs in a process of its own.
 */

import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { until } from "../../../test/until.ts";
import { UDX } from "../index.ts";
import type { UDXSocket } from "../socket.ts";
import type { UDXStream } from "../stream.ts";
import { PeerProcess, REAL_VERSION, realOrSkip } from "./peer-process.ts";

const OURS = join(import.meta.dir, "..", "udx.cjs");
const root = realOrSkip("conformance with udx-native");
const REAL = root === null ? "" : join(root, "node_modules/udx-native");

const MEGABYTES_50 = 50_000_000;

/** Not `once`, which rejects when an error comes first. */
function closing(stream: UDXStream): Promise<void> {
  return new Promise((resolve) => stream.once("close", () => resolve()));
}

interface OurPeer extends AsyncDisposable {
  readonly udx: UDX;
  readonly socket: UDXSocket;
  readonly peer: PeerProcess;
  /** Connects stream `id` here with stream `id` there. */
  connect(id: number, options?: Record<string, unknown>): Promise<UDXStream>;
}

async function withReal(): Promise<OurPeer> {
  const peer = await PeerProcess.start("node", REAL);
  const udx = new UDX();
  const socket = udx.createSocket();
  socket.bind(0, "127.0.0.1");
  const port = socket.address()?.port ?? 0;
  const streams: UDXStream[] = [];
  return {
    udx,
    socket,
    peer,
    async connect(id, options = {}) {
      const there = await peer.ask("open", { id, options });
      // A stream that moves still gets packets at its former socket, and has to let them in.
      const stream = udx.createStream(id, { firewall: () => false });
      stream.on("error", () => {});
      streams.push(stream);
      stream.connect(socket, id, there.port as number, "127.0.0.1");
      await peer.ask("connect", { id, remoteId: id, port });
      return stream;
    },
    async [Symbol.asyncDispose]() {
      for (const stream of streams) stream.destroy();
      await peer[Symbol.asyncDispose]();
      await socket.close();
    },
  };
}

function hashOf(stream: UDXStream, bytes: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const hash = createHash("sha256");
    let received = 0;
    stream.on("data", (data: unknown) => {
      const piece = data as Uint8Array;
      hash.update(piece);
      received += piece.length;
      if (received >= bytes) resolve(hash.digest("hex"));
    });
    stream.on("close", () => reject(new Error(`closed after ${received} of ${bytes} bytes`)));
  });
}

async function writeBytes(stream: UDXStream, bytes: number): Promise<string> {
  const hash = createHash("sha256");
  const block = Buffer.alloc(65_536);
  for (let sent = 0, i = 0; sent < bytes; i++) {
    for (let at = 0; at < block.length; at += 64)
      block.writeUInt32LE((i * 2_654_435 + at) >>> 0, at);
    const part = Buffer.from(block.subarray(0, Math.min(block.length, bytes - sent)));
    hash.update(part);
    sent += part.length;
    if (!stream.write(part)) await once(stream, "drain");
  }
  return hash.digest("hex");
}

describe.skipIf(root === null)(`ours with udx-native ${REAL_VERSION}`, () => {
  test("50 MB each way, with equal checksums", async () => {
    await using real = await withReal();
    const stream = await real.connect(7);
    const reading = real.peer.ask("read", { id: 7, bytes: MEGABYTES_50 });
    const sent = await writeBytes(stream, MEGABYTES_50);
    expect((await reading).sha256).toBe(sent);

    const received = hashOf(stream, MEGABYTES_50);
    const written = await real.peer.ask("write", {
      id: 7,
      seed: 2,
      bytes: MEGABYTES_50,
      end: false,
    });
    expect(await received).toBe(written.sha256 as string);
    expect(stream.mtu).toBe(1500);
  }, 120_000);

  test("40 streams at once, each with 400 kB both ways", async () => {
    await using real = await withReal();
    await Promise.all(
      Array.from({ length: 40 }, async (_, i) => {
        const id = 100 + i;
        const stream = await real.connect(id, { framed: false });
        const received = hashOf(stream, 400_000);
        const reading = real.peer.ask("read", { id, bytes: 400_000 });
        const writing = real.peer.ask("write", { id, seed: id, bytes: 400_000, end: false });
        const sent = await writeBytes(stream, 400_000);
        expect((await reading).sha256).toBe(sent);
        expect(await received).toBe((await writing).sha256 as string);
      }),
    );
  }, 120_000);

  test("both ends end, and both close without an error", async () => {
    await using real = await withReal();
    const stream = await real.connect(1);
    const reading = real.peer.ask("read", { id: 1 });
    stream.resume();
    stream.end("the end");
    expect((await reading).bytes).toBe(7);
    const closed = closing(stream);
    await real.peer.ask("end", { id: 1 });
    await closed;
    await until("the peer has closed", async () => {
      const { events } = await real.peer.ask("state", { id: 1 });
      return (events as string[]).join() === "end,close";
    });
  }, 120_000);

  test("destroy, in both directions", async () => {
    await using real = await withReal();
    const ours = await real.connect(1);
    ours.destroy();
    await until("the peer is reset", async () => {
      const { events } = await real.peer.ask("state", { id: 1 });
      return (events as string[]).join() === "error ECONNRESET,close";
    });

    const theirs = await real.connect(2);
    const failed = once(theirs, "error");
    await real.peer.ask("destroy", { id: 2 });
    expect(((await failed)[0] as { code: string }).code).toBe("ECONNRESET");
  }, 120_000);

  test("messages, in both directions", async () => {
    await using real = await withReal();
    const stream = await real.connect(1);
    const heard = once(stream, "message");
    await real.peer.ask("message", { id: 1, base64: Buffer.from("from there").toString("base64") });
    expect(Buffer.from((await heard)[0] as Uint8Array).toString()).toBe("from there");
    await stream.send(Buffer.from("from here"));
    await until("the peer has the message", async () => {
      const { messages } = await real.peer.ask("state", { id: 1 });
      return (messages as string[]).join() === Buffer.from("from here").toString("base64");
    });
  }, 120_000);

  test("heartbeats are answered, in both directions", async () => {
    await using real = await withReal();
    const stream = await real.connect(1);
    stream.setKeepalive(20);
    await until("three answers", () => stream.packetsReceived >= 3);
    stream.setKeepalive(0);
    const before = stream.packetsTransmitted;
    await real.peer.ask("keepalive", { id: 1, ms: 20 });
    await until("three answers of ours", () => stream.packetsTransmitted >= before + 3);
  }, 120_000);

  test("a reader of ours that pauses stalls the native sender, and then gets all", async () => {
    await using real = await withReal();
    const stream = await real.connect(1);
    const bytes = 20_000_000;
    const received = hashOf(stream, bytes);
    stream.pause();
    const writing = real.peer.ask("write", { id: 1, seed: 3, bytes, end: false });
    await until("the window is full", () => stream.bytesReceived > 3_000_000);
    await Bun.sleep(500);
    expect(stream.bytesReceived).toBeLessThan(6_000_000);
    stream.resume();
    expect(await received).toBe((await writing).sha256 as string);
  }, 120_000);

  test("a stream moves to another socket while bytes are in flight", async () => {
    await using real = await withReal();
    const stream = await real.connect(1, {});
    const moved = real.udx.createSocket();
    moved.bind(0, "127.0.0.1");
    const received = hashOf(stream, 2_000_000);
    const writing = real.peer.ask("write", { id: 1, seed: 4, bytes: 2_000_000, end: false });
    const { remotePort } = stream;
    // Ours sends from the new socket; the peer is told to send there.
    const changing = stream.changeRemote(moved, 1, remotePort, "127.0.0.1");
    await real.peer.ask("changeRemote", { id: 1, remoteId: 1, port: moved.address()?.port });
    await changing;
    expect(await received).toBe((await writing).sha256 as string);
    stream.destroy();
    await moved.close();
  }, 120_000);

  test.concurrent("a peer that is killed times out", async () => {
    await using real = await withReal();
    const stream = await real.connect(1);
    stream.resume();
    const failed = once(stream, "error");
    real.peer.kill();
    stream.write("anyone there?");
    expect(((await failed)[0] as { code: string }).code).toBe("ETIMEDOUT");
  }, 120_000);

  test.concurrent("ours is killed: the native peer times out", async () => {
    await using ours = await PeerProcess.start(process.execPath, OURS);
    await using theirs = await PeerProcess.start("node", REAL);
    const a = await ours.ask("open", { id: 1 });
    const b = await theirs.ask("open", { id: 2 });
    await ours.ask("connect", { id: 1, remoteId: 2, port: b.port });
    await theirs.ask("connect", { id: 2, remoteId: 1, port: a.port });
    ours.kill();
    await theirs.ask("write", { id: 2, seed: 1, bytes: 10, end: false });
    await until("the native peer has timed out", async () => {
      const { events } = await theirs.ask("state", { id: 2 });
      return (events as string[])[0] === "error ETIMEDOUT";
    });
  }, 120_000);

  test("a native relay between two of ours", async () => {
    await using real = await withReal();
    const a = real.udx.createStream(1);
    const b = real.udx.createStream(2);
    const there = await real.peer.ask("relay", { a: 11, b: 12, port: real.socket.address()?.port });
    a.connect(real.socket, 11, there.port as number, "127.0.0.1");
    b.connect(real.socket, 12, there.port as number, "127.0.0.1");
    for (const stream of [a, b]) stream.on("error", () => {});
    const received = hashOf(b, 300_000);
    const sent = await writeBytes(a, 300_000);
    expect(await received).toBe(sent);
    const closed = closing(b);
    a.destroy();
    await closed;
  }, 120_000);

  for (const server of ["ours", "native"] as const) {
    test(`through Hyperswarm, 50 MB each way, the server is ${server}`, async () => {
      await using ours = await PeerProcess.start(process.execPath, OURS);
      await using theirs = await PeerProcess.start("node", REAL);
      const [first, second] = server === "ours" ? [ours, theirs] : [theirs, ours];
      const topic = Buffer.alloc(32, server).toString("hex");
      const ourRoot = join(import.meta.dir, "../../..");
      const rootOf = (peer: PeerProcess): string => (peer === ours ? ourRoot : (root ?? ""));
      const { bootstrap } = await first.ask("swarm", {
        topic,
        server: true,
        root: rootOf(first),
      });
      await second.ask("swarm", { topic, server: false, bootstrap, root: rootOf(second) });
      await Promise.all([first.ask("connection"), second.ask("connection")]);
      for (const [from, to] of [
        [first, second],
        [second, first],
      ] as const) {
        const reading = to.ask("read", { id: "swarm", bytes: MEGABYTES_50 });
        const written = await from.ask("write", {
          id: "swarm",
          seed: 5,
          bytes: MEGABYTES_50,
          end: false,
        });
        expect((await reading).sha256).toBe(written.sha256 as string);
      }
      await Promise.all([first.ask("leave"), second.ask("leave")]);
    }, 120_000);
  }
});

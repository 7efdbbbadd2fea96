/** What loopback never does: a full system buffer, and addresses that are refused. */

import { afterEach, expect, mock, spyOn, test } from "bun:test";
import { bunSockets } from "./bun-socket.ts";
import type { DatagramSocket } from "./datagram-socket.ts";
import { QUEUE_MAX } from "./datagram-socket.ts";

type Handlers = { drain(): void };

/** A system that takes `room` datagrams and then none. */
class FakeSystem {
  room = Number.POSITIVE_INFINITY;
  refused = new Set<string>();
  readonly sent: string[] = [];
  readonly ttls: number[] = [];
  readonly port = 4000;
  #handlers: Handlers | null = null;

  open(options: { socket: Handlers }): this {
    this.#handlers = options.socket;
    return this;
  }

  send(bytes: Uint8Array, _port: number, host: string): boolean {
    if (this.refused.has(host)) throw new Error("no route");
    if (this.room === 0) return false;
    this.room--;
    this.sent.push(Buffer.from(bytes).toString());
    return true;
  }

  sendMany(batch: (Uint8Array | number | string)[]): number {
    for (let i = 0; i < batch.length; i += 3) {
      if (this.refused.has(batch[i + 2] as string)) throw new Error("no route");
    }
    let count = 0;
    for (let i = 0; i < batch.length; i += 3) {
      if (!this.send(batch[i] as Uint8Array, 0, batch[i + 2] as string)) break;
      count++;
    }
    return count;
  }

  setTTL(ttl: number): void {
    this.ttls.push(ttl);
  }

  close(): void {}

  drain(room: number): void {
    this.room = room;
    this.#handlers?.drain();
  }
}

function open(): { system: FakeSystem; socket: DatagramSocket } {
  const system = new FakeSystem();
  spyOn(Bun, "udpSocket").mockImplementation(((options: { socket: Handlers }) =>
    system.open(options)) as never);
  const socket = bunSockets.bind(
    { host: "127.0.0.1", port: 0, family: 4, ipv6Only: false, reuseAddress: false },
    { onDatagram() {} },
  );
  return { system, socket };
}

afterEach(() => {
  mock.restore();
});

function queueAll(socket: DatagramSocket, ...texts: string[]): void {
  for (const text of texts) socket.queue(Buffer.from(text), 1, "10.0.0.1");
  socket.flush();
}

test("what the system has no room for goes later, in order", async () => {
  const { system, socket } = open();
  system.room = 2;
  queueAll(socket, "a", "b", "c", "d");
  expect(system.sent).toEqual(["a", "b"]);
  // These wait behind, although there is room for a moment.
  system.room = 1;
  queueAll(socket, "e");
  const sending = socket.send(Buffer.from("f"), 1, "10.0.0.1", 0);
  expect(system.sent).toEqual(["a", "b"]);
  system.drain(2);
  expect(system.sent).toEqual(["a", "b", "c", "d"]);
  system.drain(10);
  expect(system.sent).toEqual(["a", "b", "c", "d", "e", "f"]);
  expect(await sending).toBe(true);
});

test("a buffer that waits is a copy", () => {
  const { system, socket } = open();
  system.room = 0;
  const bytes = Buffer.from("x");
  socket.queue(bytes, 1, "10.0.0.1");
  socket.flush();
  bytes.write("y");
  system.drain(1);
  expect(system.sent).toEqual(["x"]);
});

test("one bad address doesn't hold up the others", async () => {
  const { system, socket } = open();
  system.refused.add("10.9.9.9");
  socket.queue(Buffer.from("a"), 1, "10.0.0.1");
  socket.queue(Buffer.from("b"), 1, "10.9.9.9");
  socket.queue(Buffer.from("c"), 1, "10.0.0.1");
  socket.flush();
  expect(system.sent).toEqual(["a", "c"]);
  expect(await socket.send(Buffer.from("d"), 1, "10.9.9.9", 0)).toBe(false);
});

test("a TTL for one datagram is put back", async () => {
  const { system, socket } = open();
  expect(await socket.send(Buffer.from("a"), 1, "10.0.0.1", 5)).toBe(true);
  expect(system.ttls).toEqual([5, 64]);
  socket.setTtl(32);
  await socket.send(Buffer.from("b"), 1, "10.0.0.1", 5);
  expect(system.ttls).toEqual([5, 64, 32, 5, 32]);
});

test("the queue is bounded, and closing answers those who wait", async () => {
  const { system, socket } = open();
  system.room = 0;
  const first = socket.send(Buffer.from("first"), 1, "10.0.0.1", 0);
  for (let i = 0; i < QUEUE_MAX + 10; i++) queueAll(socket, `${i}`);
  expect(await socket.send(Buffer.from("late"), 1, "10.0.0.1", 0)).toBe(false);
  socket.close();
  expect(await first).toBe(false);
  system.drain(10_000);
  expect(system.sent).toEqual([]);
});

test("datagrams to a port where nobody listens cost none to others", async () => {
  mock.restore();
  const received: string[] = [];
  const none = { onDatagram: () => {} };
  const at = {
    port: 0,
    host: "127.0.0.1",
    family: 4,
    ipv6Only: false,
    reuseAddress: false,
  } as const;
  const receiver = bunSockets.bind(at, {
    onDatagram: (bytes) => received.push(Buffer.from(bytes).toString()),
  });
  const closed = bunSockets.bind(at, none);
  closed.close();
  const sender = bunSockets.bind(at, none);
  try {
    for (let i = 0; i < 20; i++) {
      await sender.send(Buffer.from("lost"), closed.port, "127.0.0.1", 0);
      await sender.send(Buffer.from(`one ${i}`), receiver.port, "127.0.0.1", 0);
      sender.queue(Buffer.from("lost"), closed.port, "127.0.0.1");
      for (const word of ["two", "three"]) {
        sender.queue(Buffer.from(`${word} ${i}`), receiver.port, "127.0.0.1");
      }
      sender.flush();
      await Bun.sleep(1);
    }
    const deadlineMs = performance.now() + 60_000;
    while (received.length < 60 && performance.now() < deadlineMs) await Bun.sleep(5);
    expect(new Set(received).size).toBe(60);
  } finally {
    receiver.close();
    sender.close();
  }
});

/** One side is a plain UDP socket: every packet type, as bytes. */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { once } from "node:events";
import { UDX } from "../index.ts";
import {
  encodeHeader,
  HEADER_BYTES,
  TYPE_DATA,
  TYPE_DESTROY,
  TYPE_END,
  TYPE_HEARTBEAT,
  TYPE_MESSAGE,
  TYPE_SACK,
} from "../packet.ts";
import type { UDXSocket } from "../socket.ts";
import type { UDXStream } from "../stream.ts";

const WINDOW = [0, 0, 64, 0]; // 4 MiB, little-endian

let raw: import("bun").udp.Socket<"buffer">;
let received: number[][];
let udx: UDX;
let socket: UDXSocket;
let stream: UDXStream;

beforeEach(async () => {
  received = [];
  raw = await Bun.udpSocket({
    hostname: "127.0.0.1",
    socket: {
      data: (_socket, bytes) => {
        received.push([...bytes]);
      },
    },
  });
  udx = new UDX();
  socket = udx.createSocket();
  socket.bind(0, "127.0.0.1");
  stream = udx.createStream(7);
  stream.on("error", () => {});
  stream.connect(socket, 9, raw.port, "127.0.0.1");
});

afterEach(async () => {
  stream.destroy();
  raw.close();
  await socket.close();
});

function send(type: number, seq: number, ack: number, payload = ""): void {
  const bytes = Buffer.alloc(HEADER_BYTES + payload.length);
  encodeHeader(bytes, type, 7, 4 * 1024 * 1024, seq, ack);
  bytes.write(payload, HEADER_BYTES);
  raw.send(bytes, socket.address()?.port ?? 0, "127.0.0.1");
}

function packet(type: number, seq: number, ack: number, ...body: number[]): number[] {
  return [255, 1, type, 0, 9, 0, 0, 0, ...WINDOW, seq, 0, 0, 0, ack, 0, 0, 0, ...body];
}

/** The next packet that our side sends. */
async function next(): Promise<number[]> {
  const deadline = Date.now() + 60_000;
  while (received.length === 0) {
    if (Date.now() > deadline) throw new Error("no packet came");
    await Bun.sleep(1);
  }
  return received.shift() as number[];
}

test("DATA", async () => {
  stream.write(Buffer.from([1, 2, 3]));
  expect(await next()).toEqual(packet(TYPE_DATA, 0, 0, 1, 2, 3));
  send(0, 0, 1);
  await stream.flush();
  stream.write(Buffer.from([4]));
  expect(await next()).toEqual(packet(TYPE_DATA, 1, 0, 4));
});

test("an acknowledgement, and one that is carried by DATA", async () => {
  const heard = once(stream, "data");
  send(TYPE_DATA, 0, 0, "abc");
  expect(Buffer.from((await heard)[0] as Uint8Array).toString()).toBe("abc");
  expect(await next()).toEqual(packet(0, 0, 1));

  stream.once("data", () => stream.write(Buffer.from([5])));
  send(TYPE_DATA, 1, 0, "x");
  expect(await next()).toEqual(packet(TYPE_DATA, 0, 2, 5));
});

test("SACK", async () => {
  send(TYPE_DATA, 1, 0, "b");
  expect(await next()).toEqual(packet(TYPE_SACK, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0));
  stream.resume();
  send(TYPE_DATA, 0, 0, "a");
  expect(await next()).toEqual(packet(0, 0, 2));
});

test("HEARTBEAT", async () => {
  send(TYPE_HEARTBEAT, 0, 0);
  expect(await next()).toEqual(packet(0, 0, 0));
  stream.setKeepalive(10);
  expect(await next()).toEqual(packet(TYPE_HEARTBEAT, 0, 0));
});

test("MESSAGE", async () => {
  await stream.send(Buffer.from([8, 9]));
  expect(await next()).toEqual(packet(TYPE_MESSAGE, 0, 0, 8, 9));
  const heard = once(stream, "message");
  send(TYPE_MESSAGE, 0, 0, "hello");
  expect(Buffer.from((await heard)[0] as Uint8Array).toString()).toBe("hello");
});

test("DESTROY", async () => {
  stream.destroy();
  expect(await next()).toEqual(packet(TYPE_DESTROY, 0, 0));
});

test("a DESTROY that is received", async () => {
  const failed = once(stream, "error");
  send(TYPE_DESTROY, 0, 0);
  expect(((await failed)[0] as { code: string }).code).toBe("ECONNRESET");
});

test("END, and a peer that missed our last acknowledgement is told again", async () => {
  stream.resume();
  stream.end(Buffer.from([1]));
  expect(await next()).toEqual(packet(TYPE_DATA, 0, 0, 1));
  expect(await next()).toEqual(packet(TYPE_END, 1, 0));
  // Another stream keeps the socket open.
  const other = udx.createStream(8);
  other.on("error", () => {});
  other.connect(socket, 10, raw.port, "127.0.0.1");
  const closed = once(stream, "close");
  send(TYPE_DATA | TYPE_END, 0, 2, "z");
  expect(await next()).toEqual(packet(0, 2, 1));
  await closed;
  send(TYPE_DATA | TYPE_END, 0, 2, "z");
  expect(await next()).toEqual(packet(0, 2, 1));
  // And no acknowledgement of an acknowledgement.
  send(0, 1, 2);
  send(TYPE_END, 0, 2);
  expect(await next()).toEqual(packet(0, 2, 1));
  other.destroy();
});

test("what is in a hurry doesn't wait for the end of the turn", async () => {
  const microtasks = async () => {
    for (let i = 0; i < 20; i++) await Promise.resolve();
  };
  stream.write("a");
  await microtasks();
  expect(stream.packetsTransmitted).toBe(1);
  // A packet is on its way: this one is kept to be filled.
  stream.write("b");
  await microtasks();
  expect(stream.packetsTransmitted).toBe(1);
  stream.hurry();
  stream.write("c");
  await microtasks();
  expect(stream.packetsTransmitted).toBe(2);
  // From the next turn on all is as before.
  await new Promise((resolve) => setImmediate(resolve));
  stream.write("d");
  await microtasks();
  expect(stream.packetsTransmitted).toBe(2);
  expect((await next()).at(-1)).toBe(97);
  expect((await next()).slice(-2)).toEqual([98, 99]);
  expect((await next()).at(-1)).toBe(100);
});

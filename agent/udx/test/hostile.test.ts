/**
 * Packets that no honest peer sends: what they may do to a stream is nothing, or what the sender of a
 * known stream id can do anyway (inject bytes at the right number, and reset), and no more.
 */

import { describe, expect, test } from "bun:test";
import {
  createPacket,
  decodePacket,
  encodeHeader,
  HEADER_BYTES,
  TYPE_DATA,
  TYPE_DESTROY,
  TYPE_END,
  TYPE_HEARTBEAT,
  TYPE_MESSAGE,
  TYPE_SACK,
  writeU32,
} from "../packet.ts";
import { RECEIVE_WINDOW_BYTES } from "../receiver.ts";
import { SeededRandom } from "../seeded-random.ts";
import type { Side } from "./virtual-path.ts";
import { pattern, VirtualPath } from "./virtual-path.ts";

/** A window for the reader, two behind lost packets, and the slack for rounding. */
const HELD_BYTES_MAX = 3 * RECEIVE_WINDOW_BYTES + 65_536;

interface Forged {
  readonly type?: number;
  readonly windowBytes?: number;
  readonly seq?: number;
  readonly ack?: number;
  readonly payload?: Uint8Array;
  readonly blocks?: readonly number[];
}

/** Gives `side` a packet that its peer didn't send. */
function inject(path: VirtualPath, side: Side, forged: Forged): void {
  const blocks = forged.blocks ?? [];
  const payload = forged.payload ?? new Uint8Array(0);
  const bytes = new Uint8Array(HEADER_BYTES + blocks.length * 4 + payload.length);
  encodeHeader(
    bytes,
    forged.type ?? 0,
    side.machine.localId,
    forged.windowBytes ?? RECEIVE_WINDOW_BYTES,
    forged.seq ?? side.machine.receiveSeq,
    forged.ack ?? side.machine.sendSeq,
  );
  blocks.forEach((number, i) => {
    writeU32(bytes, HEADER_BYTES + i * 4, number);
  });
  bytes.set(payload, HEADER_BYTES + blocks.length * 4);
  const packet = createPacket();
  if (decodePacket(bytes, packet)) side.machine.handle(bytes, packet, path.now);
  side.take();
  path.flush(side);
}

/** A stream with bytes in flight from a to b. */
function busyPath(bytes = 1_000_000): VirtualPath {
  const path = new VirtualPath(1, { delayMs: 20 }).connect();
  path.a.machine.write(pattern(bytes));
  path.run(200);
  expect(path.a.machine.inflightPackets).toBeGreaterThan(10);
  return path;
}

function expectUnharmed(path: VirtualPath, bytes = 1_000_000): void {
  path.run(path.now + 60_000, () => path.b.receivedBytes >= bytes);
  expect(Buffer.compare(path.b.bytes(), pattern(bytes))).toBe(0);
  expect([path.a.closed, path.b.closed]).toEqual([null, null]);
}

describe("a forged packet changes nothing:", () => {
  test("a reset whose number is outside the window", () => {
    const path = busyPath();
    const { receiveSeq } = path.b.machine;
    for (const seq of [receiveSeq - 1, receiveSeq + 20_000, receiveSeq + 2 ** 31 - 1]) {
      inject(path, path.b, { type: TYPE_DESTROY, seq: seq >>> 0 });
    }
    expectUnharmed(path);
  });

  test("an acknowledgement of what was never sent", () => {
    const path = busyPath();
    const inflight = path.a.machine.inflightPackets;
    for (const ahead of [1, 1000, 2 ** 31 - 1]) {
      inject(path, path.a, { ack: (path.a.machine.sendSeq + ahead) >>> 0 });
    }
    expect(path.a.machine.inflightPackets).toBeGreaterThanOrEqual(inflight);
    expectUnharmed(path);
  });

  test("an old acknowledgement", () => {
    const path = busyPath();
    for (let i = 0; i < 100; i++) inject(path, path.a, { ack: 0, windowBytes: 0 });
    expect(path.a.machine.sendWindowBytes).toBe(RECEIVE_WINDOW_BYTES);
    expectUnharmed(path);
  });

  test("blocks that are reversed, empty, old, overlapping or beyond what was sent", () => {
    const path = busyPath();
    const next = path.a.machine.sendSeq;
    const inflight = path.a.machine.inflightPackets;
    inject(path, path.a, {
      type: TYPE_SACK,
      ack: 1,
      blocks: [next, next + 5, next - 1, next - 1, next - 2, next - 5, 0, 1, next - 1, next + 1],
    });
    expect(path.a.machine.inflightPackets).toBeGreaterThanOrEqual(inflight);
    expectUnharmed(path);
  });

  test("a window update that claims a number far ahead doesn't shut out later ones", () => {
    const path = busyPath();
    inject(path, path.a, { seq: (path.a.machine.receiveSeq + 2 ** 30) >>> 0, windowBytes: 0 });
    expectUnharmed(path);
  });

  test("bytes after the end", () => {
    const path = new VirtualPath(1).connect();
    path.a.machine.write(pattern(100));
    path.a.machine.end();
    path.run(1000);
    inject(path, path.b, { type: TYPE_DATA, payload: new Uint8Array(50) });
    inject(path, path.b, { type: TYPE_END, seq: path.b.machine.receiveSeq + 3 });
    expect(path.b.receivedBytes).toBe(100);
    expect(path.b.closed).toBeNull();
  });
});

describe("memory is bounded:", () => {
  test("a peer that sends every second packet, and never the first", () => {
    const path = new VirtualPath(1).connect();
    const payload = new Uint8Array(1400);
    for (let i = 1; i < 40_000; i++) {
      inject(path, path.b, { type: TYPE_DATA, seq: i * 2, payload, ack: 0 });
      path.b.machine.events = [];
    }
    expect(path.b.machine.heldBytes).toBeLessThanOrEqual(HELD_BYTES_MAX);
    expect(path.b.closed).toBeNull();
  });

  test("and the packet that fills the gap is still taken", () => {
    const path = new VirtualPath(1).connect();
    const payload = new Uint8Array(1400);
    for (let i = 1; i < 8000; i++)
      inject(path, path.b, { type: TYPE_DATA, seq: i, payload, ack: 0 });
    expect(path.b.receivedBytes).toBe(0);
    inject(path, path.b, { type: TYPE_DATA, seq: 0, payload, ack: 0 });
    expect(path.b.receivedBytes).toBeGreaterThan(4_000_000);
  });

  test("the same with empty packets", () => {
    const path = new VirtualPath(1).connect();
    for (let i = 1; i < 40_000; i++) {
      inject(path, path.b, { type: TYPE_DATA, seq: i * 2, ack: 0 });
    }
    expect(path.b.machine.heldBytes).toBeLessThanOrEqual(HELD_BYTES_MAX);
  });

  test("a peer that never reads costs what its window allows", () => {
    const path = new VirtualPath(1).connect();
    path.b.reading = false;
    path.a.machine.write(pattern(5_000_000));
    path.run(30_000);
    expect(path.a.maxInflight).toBeLessThan(4000);
  });
});

test("an acknowledgement is never answered by one", () => {
  const path = new VirtualPath(1).connect();
  const sent = path.b.machine.packetsSent;
  inject(path, path.b, {});
  inject(path, path.b, { type: TYPE_SACK, blocks: [1, 2] });
  inject(path, path.b, { type: TYPE_MESSAGE, payload: new Uint8Array(5) });
  expect(path.b.machine.packetsSent).toBe(sent);
  inject(path, path.b, { type: TYPE_HEARTBEAT });
  expect(path.b.machine.packetsSent).toBe(sent + 1);
});

// Whatever arrives, the machine doesn't throw, hold more than its window or send without end.
describe("random and mutated packets", () => {
  for (let seed = 1; seed <= 20; seed++) {
    test(`seed ${seed}`, () => {
      const random = new SeededRandom(seed);
      const path = new VirtualPath(seed, { delayMs: 5, loss: 0.05 }).connect();
      const recorded: Uint8Array[] = [];
      path.drops = (bytes) => {
        if (recorded.length < 500) recorded.push(bytes.slice());
        return false;
      };
      const packet = createPacket();
      for (let round = 0; round < 50; round++) {
        path.a.machine.write(pattern(random.integer(1, 20_000)));
        if (random.next() < 0.5) path.b.machine.write(pattern(random.integer(1, 5000)));
        path.run(path.now + random.integer(1, 30));
        for (let i = 0; i < 200; i++) {
          const side = random.next() < 0.5 ? path.a : path.b;
          const model = recorded[random.integer(0, recorded.length)];
          if (model === undefined) continue;
          const bytes = model.slice(0, random.integer(0, model.length + 1));
          for (let flips = random.integer(0, 6); flips > 0 && bytes.length > 0; flips--) {
            bytes[random.integer(2, Math.max(3, Math.min(bytes.length, 40)))] = random.integer(
              0,
              256,
            );
          }
          if (random.next() < 0.3) writeSmallNumbers(bytes, side, random);
          if (!decodePacket(bytes, packet)) continue;
          side.machine.handle(bytes, packet, path.now);
          expect(side.machine.heldBytes).toBeLessThanOrEqual(HELD_BYTES_MAX);
          expect(side.machine.inflightPackets).toBeGreaterThanOrEqual(0);
        }
        path.flush(path.a);
        path.flush(path.b);
      }
      // Streams may have been reset; time must still come to an end.
      path.run(path.now + 40_000);
      expect(path.delivered).toBeLessThan(1_000_000);
    });
  }
});

/** Numbers near those that count, which random bits seldom are. */
function writeSmallNumbers(bytes: Uint8Array, side: Side, random: SeededRandom): void {
  if (bytes.length < HEADER_BYTES) return;
  writeU32(bytes, 12, side.machine.receiveSeq + random.integer(-3, 30));
  writeU32(bytes, 16, side.machine.sendSeq - random.integer(-3, 30));
  for (let at = HEADER_BYTES; at + 4 <= bytes.length && at < HEADER_BYTES + 80; at += 4) {
    writeU32(bytes, at, side.machine.sendSeq - random.integer(-2, 40));
  }
}

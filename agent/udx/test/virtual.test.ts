import { describe, expect, test } from "bun:test";
import {
  HEADER_BYTES,
  readU32,
  TYPE_DATA,
  TYPE_END,
  TYPE_HEARTBEAT,
  TYPE_SACK,
} from "../packet.ts";
import { RECEIVE_WINDOW_BYTES } from "../receiver.ts";
import { SeededRandom } from "../seeded-random.ts";
import type { PathFaults, Side } from "./virtual-path.ts";
import { pattern, VirtualPath } from "./virtual-path.ts";

const typeOf = (bytes: Uint8Array): number => bytes[2] ?? 0;

/** Writes as an application does: some, then more when told to. */
function writeAll(side: Side, bytes: Uint8Array): void {
  side.machine.write(bytes);
  side.machine.end();
}

function expectSame(actual: Uint8Array, wanted: Uint8Array): void {
  expect(actual.length).toBe(wanted.length);
  expect(Buffer.compare(actual, wanted)).toBe(0);
}

/** A path drawn from a seed. Each kind of fault is absent in half of the runs. */
function drawFaults(random: SeededRandom): PathFaults {
  const maybe = <T>(value: T, otherwise: T): T => (random.next() < 0.5 ? value : otherwise);
  const bytesPerMs = maybe(random.integer(50, 20_000), Number.POSITIVE_INFINITY);
  return {
    delayMs: random.integer(0, 120) + random.next(),
    jitterMs: maybe(random.next() * 40, 0),
    loss: maybe(random.next() * 0.2, 0),
    duplication: maybe(random.next() * 0.2, 0),
    bytesPerMs,
    queueBytes:
      bytesPerMs === Number.POSITIVE_INFINITY
        ? Number.POSITIVE_INFINITY
        : Math.max(15_000, bytesPerMs * random.integer(2, 2000)),
    mtu: maybe(random.integer(1200, 1500), 1500),
  };
}

describe("what is written on one side is read on the other", () => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = new SeededRandom(seed);
    const faults = drawFaults(random);
    const aToB = pattern(random.integer(1, 600_000));
    const bToA = pattern(random.integer(1, 60_000));
    const sendSeq = random.next() < 0.3 ? 0xffff_ffff - random.integer(0, 40) : 0;
    test(`seed ${seed}: ${JSON.stringify(faults)}`, () => {
      const path = new VirtualPath(seed, faults, { a: { sendSeq } }).connect();
      writeAll(path.a, aToB);
      writeAll(path.b, bToA);
      path.run(600_000, () => path.a.closed !== null && path.b.closed !== null);
      expectSame(path.b.bytes(), aToB);
      expectSame(path.a.bytes(), bToA);
      // Whoever misses the last acknowledgement learns nothing more from a machine that is gone;
      // `UDX._answerLate` is for that.
      const reasons = [path.a.closed, path.b.closed].sort();
      expect(reasons).toContain("ended");
    });
  }
});

// More than a window, so that what waits behind a loss reaches its own limits.
describe("30 MB arrive in reasonable time", () => {
  for (const delayMs of [5, 25, 100]) {
    for (const loss of [0.001, 0.01, 0.05, 0.1]) {
      for (const seed of [1, 2]) {
        test(`delay ${delayMs} ms, loss ${loss}, seed ${seed}`, () => {
          const path = new VirtualPath(seed, { delayMs, loss }).connect();
          const bytes = pattern(30_000_000);
          path.a.machine.write(bytes);
          path.run(60_000, () => path.b.receivedBytes === bytes.length);
          expectSame(path.b.bytes(), bytes);
          // A tenth of what the window allows.
          expect(bytes.length / path.now).toBeGreaterThan(
            (RECEIVE_WINDOW_BYTES / (2 * delayMs)) * 0.1,
          );
        });
      }
    }
  }
});

test("small writes arrive in order, whatever is lost", () => {
  const path = new VirtualPath(5, { loss: 0.2, jitterMs: 8 }).connect();
  const wanted: number[] = [];
  for (let i = 0; i < 300; i++) {
    path.a.machine.write(new Uint8Array([i & 0xff, i >> 8]));
    wanted.push(i & 0xff, i >> 8);
    path.run(path.now + 3);
  }
  path.run(path.now + 60_000, () => path.b.receivedBytes === 600);
  expect([...path.b.bytes()]).toEqual(wanted);
});

describe("the receive window", () => {
  test("a reader that doesn't read stalls the sender, and what it holds is bounded", () => {
    const path = new VirtualPath(1).connect();
    path.b.reading = false;
    const bytes = pattern(20_000_000);
    expect(path.a.machine.write(bytes)).toBe(false);
    path.run(60_000);
    // A window that isn't zero lets one packet of full size in.
    expect(path.b.heldMax).toBeLessThanOrEqual(RECEIVE_WINDOW_BYTES + 1500);
    expect(path.b.heldMax).toBeGreaterThan(RECEIVE_WINDOW_BYTES * 0.9);
    // A minute of nothing but probes, and nobody has given up.
    expect(path.a.closed).toBeNull();
    expect(path.a.machine.sendWindowBytes).toBeLessThan(1500);

    path.b.reading = true;
    path.b.take();
    path.run(120_000, () => path.b.receivedBytes === bytes.length);
    expectSame(path.b.bytes(), bytes);
  });

  test("a lost window update is made good by a zero-window probe", () => {
    const path = new VirtualPath(1, {}, { b: { receiveWindowBytes: 100_000 } }).connect();
    path.b.reading = false;
    path.a.machine.write(pattern(400_000));
    path.run(3000);
    expect(path.a.machine.inflightPackets).toBe(0);
    path.drops = (_bytes, from) => from === path.b;
    path.b.reading = true;
    path.b.take();
    path.run(3500);
    path.drops = null;
    path.run(20_000, () => path.b.receivedBytes === 400_000);
    expect(path.b.receivedBytes).toBe(400_000);
  });

  test("a peer that ignores the window is dropped beyond it", () => {
    const path = new VirtualPath(1, {}, { b: { receiveWindowBytes: 50_000 } }).connect();
    path.b.reading = false;
    // The sender believes in a window that it was never given.
    path.drops = (bytes, from) => {
      if (from === path.b) bytes.set([0, 0, 64, 0], 8);
      return false;
    };
    path.a.machine.write(pattern(2_000_000));
    path.run(10_000);
    expect(path.b.heldMax).toBeLessThanOrEqual(50_000 + 64 * 1024);
  });

  test("single bytes are charged for the memory they take", () => {
    const path = new VirtualPath(1, {}, { b: { receiveWindowBytes: 512_000 } }).connect();
    path.b.reading = false;
    for (let i = 0; i < 5000; i++) {
      path.a.machine.write(new Uint8Array(1));
      path.flush(path.a);
      path.run(path.now + 1);
    }
    expect(path.b.machine.heldBytes).toBeGreaterThan(500_000);
    expect(path.b.machine.receiveSeq).toBeLessThan(1200);
  });
});

describe("path MTU", () => {
  const transferOver = (mtu: number): VirtualPath => {
    const path = new VirtualPath(1, { mtu }).connect();
    const bytes = pattern(4_000_000);
    writeAll(path.a, bytes);
    path.run(60_000, () => path.b.receivedBytes === bytes.length);
    expectSame(path.b.bytes(), bytes);
    return path;
  };

  test("1500 is found", () => {
    expect(transferOver(1500).a.machine.mtu).toBe(1500);
  });

  test("a black hole above 1300 costs a few probes, and bytes still flow", () => {
    const path = transferOver(1300);
    expect(path.a.machine.mtu).toBe(1296);
    expect(path.a.machine.timeouts).toBe(0);
  });

  test("1200 is enough", () => {
    expect(transferOver(1200).a.machine.mtu).toBe(1200);
  });
});

describe("congestion", () => {
  const throughput = (faults: Partial<PathFaults>, bytes: number, seed = 1): VirtualPath => {
    const path = new VirtualPath(seed, faults).connect();
    path.a.machine.write(pattern(bytes));
    path.run(300_000, () => path.b.receivedBytes === bytes);
    return path;
  };

  // Virtual time, so these are properties of the algorithm and not of the machine that tests it.
  const mbit50 = { delayMs: 20, bytesPerMs: 6250, queueBytes: 625_000 };

  test("a bottleneck is filled, and hardly overfilled", () => {
    const path = throughput(mbit50, 20_000_000);
    expect(20_000_000 / path.now).toBeGreaterThan(6250 * 0.85);
    expect(path.a.machine.packetsLost).toBeLessThan(100);
  });

  test("one percent of loss costs little", () => {
    const path = throughput({ ...mbit50, loss: 0.01 }, 20_000_000);
    expect(20_000_000 / path.now).toBeGreaterThan(6250 * 0.8);
    expect(path.a.machine.timeouts).toBe(0);
  });

  test("a bloated buffer stays nearly empty", () => {
    const path = throughput({ ...mbit50, queueBytes: 62_500_000 }, 40_000_000);
    expect(path.a.machine.rttMs).toBeLessThan(90);
  });

  test("a queue that holds 10 ms is shared with little loss", () => {
    const path = throughput({ ...mbit50, queueBytes: 62_500 }, 20_000_000);
    expect(20_000_000 / path.now).toBeGreaterThan(6250 * 0.75);
    expect(path.a.machine.retransmits).toBeLessThan(20_000_000 / 1452 / 5);
  });

  test("small messages don't pause for a probe of the round trip", () => {
    const path = new VirtualPath(1, { delayMs: 5 }).connect();
    let worst = 0;
    for (let i = 0; i < 6000; i++) {
      path.a.machine.write(new Uint8Array(200));
      const wanted = path.b.receivedBytes + 200;
      const start = path.now;
      path.run(path.now + 1000, () => path.b.receivedBytes >= wanted);
      worst = Math.max(worst, path.now - start);
      path.run(start + 10);
    }
    expect(path.now).toBeGreaterThan(50_000);
    expect(worst).toBeLessThan(6);
  });
});

describe("loss", () => {
  test("the last packet lost is sent again after about two round trips", () => {
    const path = new VirtualPath(1, { delayMs: 20 }).connect();
    for (let i = 0; i < 5; i++) {
      path.a.machine.write(new Uint8Array(100));
      path.run(path.now + 100);
    }
    let dropped = 0;
    path.drops = (bytes, from) =>
      from === path.a && (typeOf(bytes) & TYPE_DATA) !== 0 && dropped++ === 0;
    const start = path.now;
    path.a.machine.write(new Uint8Array(100));
    path.run(start + 5000, () => path.b.receivedBytes === 600);
    expect(dropped).toBeGreaterThan(0);
    expect(path.now - start).toBeLessThan(150);
    expect(path.a.machine.timeouts).toBe(0);
  });

  test("a hole in the middle is repaired in one round trip more", () => {
    const path = new VirtualPath(1, { delayMs: 20 }).connect();
    let n = 0;
    path.drops = (bytes, from) => from === path.a && (typeOf(bytes) & TYPE_DATA) !== 0 && n++ === 3;
    path.a.machine.write(pattern(1100 * 8));
    path.run(5000, () => path.b.receivedBytes === 8800);
    expect(path.a.machine.retransmits).toBe(1);
    expect(path.now).toBeLessThan(75);
  });

  test("three seconds without a path are survived", () => {
    const path = new VirtualPath(1, { delayMs: 20 }).connect();
    const bytes = pattern(3_000_000);
    path.a.machine.write(bytes);
    path.run(60);
    path.drops = () => true;
    path.run(3060);
    path.drops = null;
    path.run(20_000, () => path.b.receivedBytes === bytes.length);
    expectSame(path.b.bytes(), bytes);
    expect(path.a.closed).toBeNull();
  });

  test("a peer that is gone is dead after 13 seconds", () => {
    const path = new VirtualPath(1, { delayMs: 20 }).connect();
    path.a.machine.write(new Uint8Array(10));
    path.run(100);
    path.drops = () => true;
    path.a.machine.write(new Uint8Array(10));
    const start = path.now;
    path.run(60_000, () => path.a.closed !== null);
    expect(path.a.closed).toBe("timed-out");
    expect(path.now - start).toBeGreaterThanOrEqual(13_000);
    expect(path.now - start).toBeLessThan(15_500);
  });

  test("a process that was stopped for a minute doesn't take its peer for dead", () => {
    const path = new VirtualPath(1, { delayMs: 20 }).connect();
    const bytes = pattern(2_000_000);
    path.a.machine.write(bytes);
    path.run(300);
    expect(path.a.machine.inflightPackets).toBeGreaterThan(0);
    // It wakes up: timers are called before sockets are read.
    path.now += 60_000;
    path.a.machine.handleTimeout(path.now, (packet) => path.send(packet, path.a));
    path.flush(path.a);
    expect(path.a.closed).toBeNull();
    const start = path.now;
    path.run(start + 20_000, () => path.b.receivedBytes === bytes.length);
    expectSame(path.b.bytes(), bytes);
    expect(path.a.machine.rttMs).toBeLessThan(6000);
  });

  test("a paused peer that dies is noticed too", () => {
    const path = new VirtualPath(1, {}, { b: { receiveWindowBytes: 10_000 } }).connect();
    path.b.reading = false;
    path.a.machine.write(pattern(100_000));
    path.run(2000);
    path.drops = () => true;
    path.run(60_000, () => path.a.closed !== null);
    expect(path.a.closed).toBe("timed-out");
  });
});

describe("the end", () => {
  test("each side ends by itself", () => {
    const path = new VirtualPath(1).connect();
    path.a.machine.end();
    path.run(1000);
    expect(path.b.machine.remoteEnded).toBe(true);
    expect(path.a.closed).toBeNull();
    path.b.machine.write(new Uint8Array(3));
    path.b.machine.end();
    path.run(2000);
    expect(path.a.receivedBytes).toBe(3);
    expect([path.a.closed, path.b.closed]).toEqual(["ended", "ended"]);
  });

  test("END shares a packet with the last bytes", () => {
    const path = new VirtualPath(1).connect();
    const types: number[] = [];
    path.drops = (bytes, from) => {
      if (from === path.a) types.push(typeOf(bytes));
      return false;
    };
    writeAll(path.a, new Uint8Array(10));
    path.run(1000);
    expect(types[0]).toBe(TYPE_DATA | TYPE_END);
  });

  test("destroy resets the peer", () => {
    const path = new VirtualPath(1).connect();
    path.a.machine.write(new Uint8Array(10));
    path.run(1000);
    path.a.machine.destroy((bytes) => path.send(bytes, path.a));
    path.run(2000);
    expect(path.b.closed).toBe("reset");
  });

  test("bytes received before the end are read after it", () => {
    const path = new VirtualPath(1).connect();
    path.b.reading = false;
    writeAll(path.a, pattern(5000));
    path.b.machine.end();
    path.run(2000);
    expect([path.a.closed, path.b.closed]).toEqual(["ended", "ended"]);
    path.b.reading = true;
    path.b.take();
    expectSame(path.b.bytes(), pattern(5000));
  });
});

test("an idle stream sends heartbeats and gets answers", () => {
  const path = new VirtualPath(1).connect();
  path.a.machine.setKeepalive(1000, 0);
  const types: number[] = [];
  path.drops = (bytes) => {
    types.push(typeOf(bytes));
    return false;
  };
  path.run(3500);
  expect(types).toEqual([TYPE_HEARTBEAT, 0, TYPE_HEARTBEAT, 0, TYPE_HEARTBEAT, 0]);
});

test("who asks for an acknowledgement gets one, though all that was sent is lost and waits for its time", () => {
  const path = new VirtualPath(1).connect();
  path.a.machine.write(pattern(100_000));
  path.run(2000);
  // Both directions: what b sends would tell that it lives.
  path.drops = (bytes) => (typeOf(bytes) & TYPE_DATA) !== 0;
  const heard = (): number => path.a.machine.packetsReceived;
  for (const side of [path.a, path.b]) side.machine.write(pattern(2_000_000));
  path.run(5000);
  const before = heard();
  path.run(5500);
  expect(heard()).toBe(before);
  path.a.machine.askForAck((bytes) => path.send(bytes, path.a));
  path.run(5600);
  expect(heard()).toBe(before + 1);
});

test("an idle stream without keepalive does nothing at all", () => {
  const path = new VirtualPath(1).connect();
  path.a.machine.write(new Uint8Array(10));
  path.run(1000);
  expect(path.a.machine.nextTimeout()).toBe(Number.POSITIVE_INFINITY);
  expect(path.b.machine.nextTimeout()).toBe(Number.POSITIVE_INFINITY);
});

test("a stream moves to another address, and says when the old one is done with", () => {
  const path = new VirtualPath(1, { delayMs: 20 }).connect();
  path.a.machine.write(pattern(100_000));
  path.run(25);
  path.a.machine.changeRemote(2, { host: "127.0.0.1", port: 2, family: 4 }, path.now);
  path.a.machine.write(pattern(1000));
  expect(path.a.events.some((e) => e.kind === "remote-changed")).toBe(false);
  path.run(5000);
  expect(path.a.events.some((e) => e.kind === "remote-changed")).toBe(true);
  expect(path.b.receivedBytes).toBe(101_000);
});

test("losses are reported by blocks", () => {
  const path = new VirtualPath(1).connect();
  let n = 0;
  const blocks: number[][] = [];
  path.drops = (bytes, from) => {
    if (from === path.b && typeOf(bytes) === TYPE_SACK) {
      const list: number[] = [];
      for (let at = HEADER_BYTES; at < bytes.length; at += 4) list.push(readU32(bytes, at));
      blocks.push(list);
    }
    if (from !== path.a) return false;
    n++;
    return n === 2 || n === 4;
  };
  path.a.machine.write(pattern(1152 * 6));
  path.run(1000);
  expect(blocks[0]).toEqual([2, 3, 4, 6]);
  expect(path.b.receivedBytes).toBe(1152 * 6);
});

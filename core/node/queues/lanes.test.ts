import { describe, expect, test } from "bun:test";
import { changeset, PlayedNode, push, site } from "../../../test/played-node.ts";
import { decodeFrame, type Frame, partBytesMax } from "../../change/frame.ts";
import type { StoreRequest } from "../border.ts";
import { LaneQueues } from "./lanes.ts";

describe("lanes", () => {
  test("an urgent frame is sent before what waits in other lanes, and large frames go in parts", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const b = a.meet("b");
    const bulk = changeset(1, 1, 2, 1_000_000);
    const stamp = { ms: 1_000_000_000_000, count: 1, site: site(1) };
    a.reply({ kind: "commit", stamp, lane: 2, changeset: bulk });
    // One part fills the window of the bulk lane.
    expect(a.sent(b).map(({ kind }) => kind)).toEqual(["part"]);
    const { inFlightBytes } = a.machine.snapshot().peers[0] as { inFlightBytes: number };
    expect(inFlightBytes).toBeLessThan(2 * partBytesMax);
    a.reply({
      kind: "commit",
      stamp: { ...stamp, count: 2 },
      lane: 0,
      changeset: changeset(1, 2, 0),
    });
    expect(a.sent(b)).toEqual([push(1, 2, 0)]);
    // As the stream drains the other side puts the large frame together again.
    const c = new PlayedNode("c");
    c.start(3);
    const aSeenByC = c.meet("a");
    const parts: Uint8Array[] = [];
    a.do({ kind: "disconnected", peer: b });
    a.meet("b");
    a.reply({ kind: "commit", stamp: { ...stamp, count: 3 }, lane: 2, changeset: bulk });
    for (let turn = 0; turn < 20; turn++) {
      for (const effect of a.effects) {
        if (effect.kind === "send" && effect.lane === 2) parts.push(effect.bytes);
      }
      a.do({ kind: "drained", peer: b });
    }
    const applied: Extract<StoreRequest, { kind: "apply" }>[] = [];
    for (const frame of parts) {
      c.do({ kind: "received", peer: aSeenByC, frame });
      applied.push(...(c.asked("apply") as typeof applied));
    }
    expect(applied.map(({ lane }) => lane)).toEqual([2]);
    // A megabyte is compared byte by byte far quicker than by `toEqual`.
    expect(applied[0]?.bodies.map((body) => Buffer.compare(body, bulk))).toEqual([0]);
  });

  test("a full lane takes no more, whatever its first frame was; the urgent one takes all, and says so", () => {
    const lanes = new LaneQueues({
      windowBytes: [1e6, 1e6, 1e6],
      queueBytesMax: [1000, 1000, 1000],
    });
    const large = new Uint8Array(5000);
    const small = new Uint8Array(1);
    expect([lanes.push(large, 1), lanes.push(small, 1), lanes.bytes(1)]).toEqual([
      true,
      false,
      5000,
    ]);
    expect([lanes.push(large, 0), lanes.push(small, 0), lanes.bytes(0)]).toEqual([
      true,
      true,
      5001,
    ]);
    expect(lanes.isTooSlow).toBe(true);
  });

  test("what waits is told by lane, and of any lane but the urgent one no more waits than its bound", () => {
    const lanes = new LaneQueues({ windowBytes: [0, 1, 0], queueBytesMax: [1e6, 1000, 1000] });
    const pushed = (bytes: number, lane: 0 | 1 | 2, source?: string) =>
      lanes.push(new Uint8Array(bytes), lane, source);
    expect([pushed(600, 2), pushed(401, 2), pushed(400, 2), pushed(1, 2)]).toEqual([
      ...[true, false, true, false],
    ]);
    expect([pushed(300, 1), pushed(10, 0), pushed(20, 0, "b")]).toEqual([true, true, true]);
    expect([lanes.bytes(0), lanes.bytes(1), lanes.bytes(2)]).toEqual([30, 300, 1000]);
    expect(lanes.isUrgentHeldUp).toBe(true);
    const large = 2 * partBytesMax;
    expect([pushed(large, 0, "b"), pushed(large, 0, "b")]).toEqual([true, true]);
    expect(lanes.bytes(0)).toBe(30 + 2 * large);
    // The first part of the first one.
    const sent = lanes.next()?.bytes.length ?? 0;
    expect(lanes.next()).toBeUndefined();
    const left = lanes.bytes(0) - 30 - large;
    expect([left > large - sent - 1, left < large - sent + 100]).toEqual([true, true]);
  });

  test("large urgent frames take turns by who sent them", () => {
    const lanes = new LaneQueues({ windowBytes: [1, 1, 1], queueBytesMax: [1e7, 1e6, 1e6] });
    const large = (of: number) => new Uint8Array(2_000_000).fill(of);
    for (const of of [1, 2, 3]) expect(lanes.push(large(of), 0, "flooding", "one")).toBe(true);
    expect(lanes.push(large(4), 0, "quiet", "other")).toBe(true);
    const order: number[] = [];
    for (let piece = lanes.next(); piece !== undefined; piece = lanes.next()) {
      const of = piece.bytes.at(-1) as number;
      if (order.at(-1) !== of) order.push(of);
      lanes.drained(0);
    }
    expect(order).toEqual([1, 4, 2, 3]);
  });

  test("large urgent commits in a row close nobody: what is above the bound is left to repair", () => {
    const windowBytes = [1e6, 1e5, 1e5] as const;
    const a = new PlayedNode("a", { lanes: { windowBytes, queueBytesMax: [300_000, 1e6, 1e6] } });
    a.start(1);
    const b = a.meet("b");
    const stamp = { ms: 1_000_000_000_000, count: 1, site: site(1) };
    const commit = (count: number, bytes?: number) =>
      a.reply({
        kind: "commit",
        stamp: { ...stamp, count },
        lane: 0,
        changeset: changeset(1, count, 0, bytes),
      });
    const closed: string[] = [];
    for (let i = 1; i <= 9; i++) {
      commit(i, 2 * partBytesMax);
      closed.push(...a.closed());
    }
    expect(closed).toEqual([]);
    expect(a.machine.snapshot().counters.sendDropped).toBeGreaterThan(3);
    // Nor does a small one wait for them.
    commit(10);
    expect(a.sent(b)).toEqual([push(1, 10, 0)]);
  });

  test("small urgent frames go before the rest of a large one", () => {
    const lanes = new LaneQueues({ windowBytes: [1e6, 1e5, 1e5], queueBytesMax: [1e6, 1e6, 1e6] });
    const large = new Uint8Array(4 * partBytesMax).fill(1);
    expect([lanes.push(large, 0), lanes.push(large, 1)]).toEqual([true, true]);
    const sent: string[] = [];
    const drain = () => {
      lanes.drained(0);
      for (let piece = lanes.next(); piece !== undefined; piece = lanes.next()) {
        sent.push(`${piece.lane} ${piece.bytes.length > partBytesMax ? "part" : "whole"}`);
      }
    };
    drain();
    // As little of it is under way as of what is not urgent.
    expect(lanes.inFlightBytes).toBeLessThan(3 * partBytesMax);
    lanes.push(new Uint8Array(10), 0);
    expect(lanes.isUrgentHeldUp).toBe(true);
    for (let i = 0; i < 9; i++) drain();
    expect([...sent.slice(0, 3), sent.length]).toEqual(["0 part", "0 part", "0 whole", 9]);
  });

  test("urgent frames of one host that floods, or of a member that makes up hosts, hold up nobody else's", () => {
    const lanes = new LaneQueues({ windowBytes: [1000, 500, 500], queueBytesMax: [1e6, 1e6, 1e6] });
    const frame = (of: number) => new Uint8Array(400).fill(of);
    for (let i = 0; i < 1000; i++) {
      lanes.push(frame(1), 0, "b", "flapping");
      lanes.push(frame(2), 0, "c", `made up ${i}`);
    }
    lanes.push(frame(3), 0, "b", "quiet");
    lanes.push(frame(4), 0, "d", "quiet");
    lanes.push(frame(5), 0);
    const sent: number[] = [];
    while (sent.length < 2003) {
      const piece = lanes.next();
      if (piece === undefined) lanes.drained(0);
      else sent.push(piece.bytes[0] as number);
    }
    // What this node says itself goes first; and the others wait for a turn of each of the two.
    expect(sent.indexOf(5)).toBe(0);
    for (const of of [3, 4]) expect(sent.indexOf(of)).toBeLessThan(40);
    expect(lanes.bytes(0)).toBe(0);
  });

  test("a flood of urgent frames closes no peer that takes some of them, and what little others say finds room", () => {
    const lanes = new LaneQueues({
      windowBytes: [1000, 500, 500],
      queueBytesMax: [1_024_000, 1e6, 1e6],
    });
    let refused = 0;
    for (let i = 0; i < 10_000; i++) {
      if (!lanes.push(new Uint8Array(400), 0, "b", "flapping")) refused++;
      if (i % 100 > 0) continue;
      lanes.drained(0);
      lanes.next();
      expect(lanes.isTooSlow).toBe(false);
    }
    expect(refused).toBeGreaterThan(5000);
    expect(lanes.push(new Uint8Array(400), 0, "c", "quiet")).toBe(true);
    // It takes nothing any more.
    for (let i = 0; i < 3000; i++) lanes.push(new Uint8Array(400), 0, "b", "flapping");
    expect(lanes.isTooSlow).toBe(true);
  });

  test("a neighbour that goes is still told what is urgent, and why it goes, however much is in flight", () => {
    const windowBytes = [1000, 500, 500] as const;
    const a = new PlayedNode("a", { lanes: { windowBytes, queueBytesMax: [1e6, 1e6, 1e6] } });
    a.start(1);
    const [b, c] = [a.meet("b"), a.meet("c")];
    for (let i = 0; i < 5; i++) a.receive(c, push(3, i, 0, 500));
    expect(a.sent(b)).toEqual([]);
    a.do({ kind: "parting", peer: b });
    const kinds = a.sent(b).map(({ kind }) => kind);
    expect([kinds[0], kinds.at(-1)]).toEqual(["push", "farewell"]);
  });

  test("of two large frames under way the parts are told apart", () => {
    const max = Number.MAX_SAFE_INTEGER;
    const lanes = new LaneQueues({ windowBytes: [max, max, max], queueBytesMax: [max, max, max] });
    const large = new Uint8Array(2 * partBytesMax);
    lanes.push(large, 2);
    const parts = [lanes.next()];
    // It overtakes the rest of the other.
    lanes.push(large, 1);
    for (let part = lanes.next(); part !== undefined; part = lanes.next()) parts.push(part);
    const transfers = parts.map((part) => {
      const decoded = decodeFrame(part?.bytes as Uint8Array);
      if (decoded.kind !== "frame" || decoded.frame.kind !== "part") throw new Error(decoded.kind);
      return [part?.lane, decoded.frame.transfer];
    });
    expect(transfers).toEqual([
      [2, 1],
      [1, 2],
      [1, 2],
      [2, 1],
    ]);
  });

  test("parts out of order, too long or of too many transfers drop the peer", () => {
    const part = (transfer: number, bytesTotal: number, length: number): Frame => ({
      kind: "part",
      lane: 2,
      transfer,
      bytesTotal,
      bytes: new Uint8Array(length),
    });
    for (const frames of [
      [part(1, 200_000, 5)],
      [part(1, 200_000, partBytesMax), part(1, 300_000, partBytesMax)],
      Array.from({ length: 9 }, (_, i) => part(i, 200_000, partBytesMax)),
    ]) {
      const a = new PlayedNode("a");
      a.start(1);
      const b = a.meet("b");
      for (const frame of frames.slice(0, -1)) a.receive(b, frame);
      expect(a.closed()).toEqual([]);
      a.receive(b, frames.at(-1) as Frame);
      expect(a.closed()).toHaveLength(1);
    }
  });

  test("a peer that takes no urgent frames is closed rather than robbed of one", () => {
    const lanes = { windowBytes: [1000, 500, 500], queueBytesMax: [5000, 1000, 1000] } as const;
    const a = new PlayedNode("a", { lanes });
    a.start(1);
    const [b] = [a.meet("b")];
    const c = a.meet("c");
    for (let i = 0; i < 10; i++) a.receive(c, push(3, i, 0, 500));
    expect(a.closed()).toEqual([]);
    for (let i = 10; i < 20; i++) {
      a.receive(c, push(3, i, 0, 500));
      if (a.closed().length > 0) break;
    }
    expect(a.effects).toContainEqual(expect.objectContaining({ kind: "close", peer: b }));
  });
});

import { describe, expect, test } from "bun:test";
import { seededRandom } from "../../bench/seeded-random.ts";
import type { PeerId } from "../../core/node/border.ts";
import {
  type KnownMember,
  type Neighbour,
  type NeighbourhoodOptions,
  nextDial,
  spareNeighbour,
} from "./neighbourhood.ts";

const options: NeighbourhoodOptions = { ownRegion: "here", peersMin: 8, nearMin: 3, farMin: 3 };
const member = (name: string, region?: string): KnownMember => ({ peer: name as PeerId, region });
const neighbour = (name: string, region: string | undefined, more: Partial<Neighbour> = {}) => ({
  peer: name as PeerId,
  region,
  isPinned: false,
  rttMs: 1,
  ageMs: 60_000,
  ...more,
});
const many = (count: number, region: string) =>
  Array.from({ length: count }, (_, i) => neighbour(`${region}-${i}`, region));
const first = () => 0;

describe("whom to dial", () => {
  test("far ones first when they are short, of the region that is there least", () => {
    const neighbours = [...many(8, "here"), neighbour("b-1", "b")];
    const known = [member("h", "here"), member("b-2", "b"), member("c-1", "c")];
    expect(nextDial(options, neighbours, known, true, first)?.peer).toBe("c-1" as PeerId);
  });
  test("then near ones", () => {
    const known = [member("b", "b"), member("h", "here")];
    expect(nextDial(options, many(9, "far"), known, true, first)?.peer).toBe("h" as PeerId);
  });
  test("then anybody, while there are fewer than peersMin; nobody once there are", () => {
    const known = [member("b", "b")];
    const seven = [...many(4, "here"), ...many(3, "far")];
    expect(nextDial(options, seven, known, true, first)?.peer).toBe("b" as PeerId);
    expect(nextDial(options, [...seven, neighbour("x", "far")], known, true, first)?.peer).toBe(
      undefined,
    );
  });
  test("a peer of unknown region where nobody of a short class is known, if it may", () => {
    const known = [member("h", "here"), member("x")];
    expect(nextDial(options, many(9, "here"), known, true, first)?.peer).toBe("x" as PeerId);
    expect(nextDial(options, many(9, "here"), known, false, first)).toBe(undefined);
  });
  test("never a neighbour", () => {
    expect(nextDial(options, [neighbour("b", "b")], [member("b", "b")], true, first)).toBe(
      undefined,
    );
  });
});

describe("who can go", () => {
  test("the slowest near one where there are more near ones than needed", () => {
    const neighbours = [
      ...many(8, "here"),
      neighbour("slow", "here", { rttMs: 9 }),
      ...many(3, "b"),
    ];
    expect(spareNeighbour(options, neighbours, first)).toBe("slow" as PeerId);
  });
  test("a far one of the region that is there most where far ones abound", () => {
    const neighbours = [...many(3, "here"), ...many(1, "c"), ...many(5, "b")];
    expect(spareNeighbour(options, neighbours, first)).toBe("b-0" as PeerId);
  });
  test("nobody who is configured, new, or of a class that would fall short", () => {
    const pinned = many(9, "here").map((one) => ({ ...one, isPinned: true }));
    expect(spareNeighbour(options, [...pinned, ...many(3, "b")], first)).toBe(undefined);
    const young = many(9, "here").map((one) => ({ ...one, ageMs: 10 }));
    expect(spareNeighbour(options, [...young, ...many(3, "b")], first)).toBe(undefined);
    expect(spareNeighbour(options, [...many(3, "here"), ...many(3, "b")], first)).toBe(undefined);
  });
});

/**
 * A fleet as a graph: every node balances in turn, one step a round; a dial is taken, takes a spare
 * neighbour's place, or is refused, as `swarm.ts` does it.
 */
class Fleet {
  readonly regions: string[] = [];
  readonly streams: Set<number>[] = [];
  readonly random: () => number;
  refused = 0;

  constructor(seed: number) {
    this.random = seededRandom(seed);
  }

  add(region: string): void {
    this.regions.push(region);
    this.streams.push(new Set());
  }

  optionsOf(node: number): NeighbourhoodOptions {
    return { ...options, ownRegion: this.regions[node] as string };
  }

  neighbours(node: number): Neighbour[] {
    return [...(this.streams[node] as Set<number>)].map((other) =>
      neighbour(String(other), this.regions[other]),
    );
  }

  /** Makes room at `node`, if it must and can. */
  makeRoom(node: number, streamsMax: number): boolean {
    const streams = this.streams[node] as Set<number>;
    if (streams.size < streamsMax) return true;
    const spare = spareNeighbour(this.optionsOf(node), this.neighbours(node), this.random);
    if (spare === undefined) return false;
    streams.delete(Number(spare));
    this.streams[Number(spare)]?.delete(node);
    return true;
  }

  round(): void {
    const known = this.regions.map((region, node) => member(String(node), region));
    for (let node = 0; node < this.regions.length; node++) {
      const others = known.filter((_, i) => i !== node);
      const options = this.optionsOf(node);
      const dial = nextDial(options, this.neighbours(node), others, true, this.random)?.peer;
      if (dial === undefined) continue;
      if (!this.makeRoom(Number(dial), 12) || !this.makeRoom(node, 10)) {
        this.refused++;
        continue;
      }
      this.streams[node]?.add(Number(dial));
      this.streams[Number(dial)]?.add(node);
    }
  }

  /** How many nodes node 0 reaches. */
  reached(): number {
    const seen = new Set([0]);
    for (const node of seen) for (const other of this.streams[node] ?? []) seen.add(other);
    return seen.size;
  }
}

for (const seed of [1, 2, 3]) {
  test(`200 nodes that join one by one: one graph, 8 to 12 streams, some of them far (seed ${seed})`, () => {
    const fleet = new Fleet(seed);
    for (let i = 0; i < 200; i++) {
      fleet.add(`region-${Math.floor(fleet.random() * 4)}`);
      for (let round = 0; round < 8; round++) fleet.round();
    }
    for (let round = 0; round < 20; round++) fleet.round();
    expect(fleet.reached()).toBe(200);
    const sizes = fleet.streams.map(({ size }) => size);
    expect(Math.min(...sizes)).toBeGreaterThanOrEqual(8);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(12);
    for (const [node, streams] of fleet.streams.entries()) {
      const own = fleet.regions[node];
      const far = [...streams].filter((other) => fleet.regions[other] !== own).length;
      expect(far).toBeGreaterThanOrEqual(3);
      expect(streams.size - far).toBeGreaterThanOrEqual(3);
    }
  });
}

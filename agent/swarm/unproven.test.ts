import { expect, test } from "bun:test";
import { seededRandom } from "../../bench/seeded-random.ts";
import { whoMakesRoom } from "./unproven.ts";

test("one of the address that has most makes room, whoever comes", () => {
  const streams = ["a", "b", "b", "c"].map((address, id) => ({ address, id }));
  const gone = (newcomer: string) =>
    [0, 0.5, 0.99].map((draw) => whoMakesRoom(streams, newcomer, () => draw)?.id);
  expect(gone("d")).toEqual([1, 2, 2]);
  expect(gone("b")).toEqual([1, 2, 2]);
  // The newcomer counts for its address.
  expect(gone("a")).toEqual([0, 1, 2]);
  expect(whoMakesRoom([], "a", () => 0)).toBeUndefined();
});

/** The share of members, each of which needs 0.3 s to prove itself, that get in while strangers dial so often. */
function admitted(strangersPerSecond: number, addresses: number): number {
  const random = seededRandom(1);
  const places = 64;
  const [fromMs, untilMs, betweenMs] = [1000, 5000, 50];
  interface Stream {
    readonly address: string;
    readonly isMember: boolean;
    readonly endsMs: number;
  }
  const open = new Set<Stream>();
  let members = 0;
  let strangerMs = 0;
  let memberMs = fromMs;
  for (let nowMs = 0; nowMs < untilMs; nowMs = Math.min(strangerMs, memberMs)) {
    for (const stream of open) {
      if (stream.endsMs > nowMs) continue;
      if (stream.isMember) members++;
      open.delete(stream);
    }
    const isMember = memberMs === nowMs;
    const address = isMember ? `member ${nowMs}` : `stranger ${Math.floor(random() * addresses)}`;
    if (isMember) memberMs += betweenMs;
    else strangerMs += 1000 / strangersPerSecond;
    const gone = open.size < places ? undefined : whoMakesRoom([...open], address, random);
    if (gone !== undefined) open.delete(gone);
    open.add({ address, isMember, endsMs: nowMs + (isMember ? 300 : 3000) });
  }
  return (members * betweenMs) / (untilMs - fromMs);
}

test("strangers who dial without a pause keep no member out", () => {
  expect(admitted(1000, 1)).toBeGreaterThan(0.9);
  expect(admitted(500, 30)).toBeGreaterThan(0.9);
  // From an address for each stream one in some tries gets through.
  expect(admitted(300, 1_000_000)).toBeGreaterThan(0.05);
});

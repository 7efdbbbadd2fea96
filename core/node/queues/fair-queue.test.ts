import { expect, test } from "bun:test";
import fc from "fast-check";
import { FairQueue, type FairQueueLimits } from "./fair-queue.ts";

interface Item {
  readonly source: string;
  readonly origin: string;
  readonly bytes: number;
  readonly n: number;
}

function createQueue(limits: Partial<FairQueueLimits> = {}): FairQueue<Item> {
  const all = { turnBytes: 1000, bytesMax: 1e9, ...limits };
  return new FairQueue(all, ({ bytes }: Item) => bytes);
}

const push = (queue: FairQueue<Item>, source: string, origin: string, bytes: number, n = 0) =>
  queue.push({ source, origin, bytes, n }, source, origin);

/** How many come before the first of this source and origin. */
function countBefore(queue: FairQueue<Item>, source: string, origin: string): number {
  for (let count = 0; ; count++) {
    const item = queue.shift();
    if (item === undefined) throw new Error("it never came");
    if (item.source === source && item.origin === origin) return count;
  }
}

test("nothing is lost or doubled, and what one origin sent by one source keeps its order", () => {
  const name = fc.constantFrom("a", "b", "c");
  const step = fc.oneof(
    fc.record({ source: name, origin: name, bytes: fc.integer({ min: 0, max: 3000 }) }),
    fc.constant("shift" as const),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const queue = createQueue();
      const waiting: Item[] = [];
      const take = () => {
        const item = queue.shift();
        if (item === undefined) return expect(waiting).toEqual([]);
        const { source, origin } = item;
        const at = waiting.findIndex((one) => one.source === source && one.origin === origin);
        expect(waiting.splice(at, 1)).toEqual([item]);
      };
      for (const [n, one] of steps.entries()) {
        if (one === "shift") take();
        else {
          waiting.push({ ...one, n });
          expect(push(queue, one.source, one.origin, one.bytes, n)).toBe(true);
        }
        const bytes = waiting.reduce((sum, item) => sum + item.bytes, 0);
        expect([queue.length, queue.bytes]).toEqual([waiting.length, bytes]);
        const lines = new Set(waiting.map(({ source, origin }) => `${source} ${origin}`));
        expect([...queue.firsts()].length).toBe(lines.size);
      }
      const numbers = (items: Iterable<Item>) => [...items].map(({ n }) => n).sort((a, b) => a - b);
      expect(numbers(queue.items())).toEqual(numbers(waiting));
      while (queue.length > 0) take();
    }),
  );
});

test("who sends little waits for one turn of each who floods", () => {
  const queue = createQueue();
  for (let n = 0; n < 5000; n++) push(queue, "p", "flapping", 100);
  push(queue, "p", "quiet", 100);
  push(queue, "q", "quiet", 100);
  expect(countBefore(queue, "q", "quiet")).toBeLessThanOrEqual(10);
  expect(countBefore(queue, "p", "quiet")).toBeLessThanOrEqual(10);
});

test("a source that makes up origins has the turns of one", () => {
  const queue = createQueue();
  for (let n = 0; n < 5000; n++) push(queue, "p", `made up ${n}`, 100);
  for (let n = 0; n < 100; n++) push(queue, "q", "honest", 100, n);
  let [honest, others] = [0, 0];
  while (honest < 100) {
    if (queue.shift()?.source === "q") honest++;
    else others++;
  }
  expect(others).toBeLessThanOrEqual(110);
});

test("turns are of bytes, however large the items are", () => {
  const queue = createQueue();
  const bytesOf: Record<string, number> = { small: 0, large: 0, huge: 0 };
  for (let n = 0; n < 4000; n++) push(queue, "p", "small", 50);
  for (let n = 0; n < 100; n++) push(queue, "p", "large", 2500);
  for (let n = 0; n < 10; n++) push(queue, "p", "huge", 20_000);
  for (let bytes = 0; bytes < 300_000; ) {
    const item = queue.shift() as Item;
    bytes += item.bytes;
    bytesOf[item.origin] = (bytesOf[item.origin] ?? 0) + item.bytes;
  }
  for (const bytes of Object.values(bytesOf))
    expect(Math.abs(bytes - 100_000)).toBeLessThan(21_000);
});

test("who has filled it keeps out nobody who has little waiting, and it stays bounded", () => {
  const bytesMax = 1_024_000;
  const queue = createQueue({ bytesMax });
  while (push(queue, "p", "flapping", 100));
  expect(queue.bytes).toBe(bytesMax);
  // Of other origins by way of the same stream there is less room than by way of others.
  expect([push(queue, "p", "quiet", 1000), push(queue, "p", "quiet", 1)]).toEqual([true, false]);
  for (let n = 0; push(queue, "p", `made up ${n}`, 1000); n++);
  expect(queue.bytes).toBeLessThanOrEqual(bytesMax * 1.125);
  expect([push(queue, "q", "honest", 8000), push(queue, "q", "honest", 1)]).toEqual([true, false]);
  for (let n = 0; push(queue, `stream ${n}`, "honest", 8000); n++);
  expect(queue.bytes).toBeLessThanOrEqual(bytesMax * 1.25);
  // What is larger than all of its room is taken where nothing waits.
  expect(push(createQueue({ bytesMax }), "p", "one", 2 * bytesMax)).toBe(true);
});

test("what else counts against the bound leaves less room", () => {
  const item = { source: "p", origin: "one", bytes: 200, n: 0 };
  const takes = (besidesBytes: number) =>
    createQueue({ bytesMax: 1000 }).push(item, "p", "one", besidesBytes);
  expect([0, 800, 801, 5000].map(takes)).toEqual([true, true, false, false]);
});

test("a turn is of one source, and no longer than its share", () => {
  const queue = createQueue();
  for (let n = 0; n < 100; n++) {
    push(queue, "p", `made up ${n}`, 300, n);
    push(queue, "q", "honest", 100, n);
  }
  const turns: string[] = [];
  while (queue.length > 0) {
    const items = queue.shiftTurn(20);
    const [first] = items as [Item];
    expect(items.every(({ source }) => source === first.source)).toBe(true);
    turns.push(`${first.source} ${items.length}`);
  }
  // Three or four of 300 bytes are a turn of 1,000, and ten of 100.
  expect(turns.slice(0, 6)).toEqual(["p 4", "q 10", "p 3", "q 10", "p 3", "q 10"]);
  // Nor is it longer where nobody else waits.
  for (let n = 0; n < 30; n++) push(queue, "p", "one", 100, n);
  expect([queue.shiftTurn(20).length, queue.shiftTurn(20).length]).toEqual([10, 10]);
  while (queue.shift() !== undefined);
  for (let n = 0; n < 9; n++) push(queue, "p", "one", 0, n);
  expect([queue.shiftTurn(4).length, queue.shiftTurn(20).length]).toEqual([4, 5]);
  expect(queue.shiftTurn(4)).toEqual([]);
});

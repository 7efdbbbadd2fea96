import { expect, test } from "bun:test";
import { keyOf, site } from "../../test/played-node.ts";
import { KeySharing, keysMax } from "./members/key-sharing.ts";
import { PendingCut } from "./push/pending-cut.ts";
import { SeenIds } from "./push/seen.ts";
import { Fifo } from "./queues/fifo.ts";

test("a cut doesn't pass a stamp that waits, and isn't held by one that came too late", () => {
  const pending = new PendingCut();
  // Cut 10 covers what is stamped before 10,000 ms.
  const waiting = pending.add(10_500, 10);
  expect(pending.limit(12)).toBe(10);
  const second = pending.add(11_999, 10);
  expect(pending.limit(12)).toBe(10);
  pending.done(waiting);
  expect(pending.limit(12)).toBe(11);
  pending.done(second);
  expect(pending.limit(12)).toBe(12);
  expect(pending.add(9_999, 10)).toBeUndefined();
  expect(pending.limit(12)).toBe(12);
});

test("two changes of one second hold the cut until both are applied", () => {
  const pending = new PendingCut();
  const [a, b] = [pending.add(10_100, 10), pending.add(10_900, 10)];
  pending.done(a);
  expect(pending.limit(15)).toBe(10);
  pending.done(b);
  expect(pending.limit(15)).toBe(15);
});

test("an id is new once in its time, and memory is bounded", () => {
  const seen = new SeenIds(1000, 100);
  expect([seen.add(1n, 0), seen.add(1n, 10)]).toEqual([true, false]);
  // One generation later it is still known, and known again for another.
  expect(seen.add(1n, 1500)).toBe(false);
  expect(seen.add(1n, 2900)).toBe(false);
  // After two in which nobody spoke of it, it is forgotten.
  expect([seen.add(2n, 4000), seen.add(2n, 5100)]).toEqual([true, false]);
  expect(seen.add(1n, 5200)).toBe(true);
  for (let i = 0; i < 1000; i++) seen.add(BigInt(100 + i), 5300);
  expect(seen.size).toBeLessThanOrEqual(200);
});

test("what is forgotten is told by its time", () => {
  const seen = new SeenIds(1000, 100);
  for (const ms of [0, 500, 1000, 1900]) seen.add(BigInt(ms), ms);
  // The first generation is still there.
  expect(seen.sinceMs).toBe(Number.NEGATIVE_INFINITY);
  seen.add(3n, 2000);
  expect(seen.sinceMs).toBe(1000);
  for (let i = 0; i < 250; i++) seen.add(BigInt(5000 + i), 2500);
  expect(seen.sinceMs).toBe(2500);
});

test("a queue gives what it got in order, also when it is put back", () => {
  const queue = new Fifo<number>();
  const out: (number | undefined)[] = [];
  for (let i = 0; i < 500; i++) {
    queue.push(i);
    if (i % 3 !== 0) out.push(queue.shift());
  }
  const first = queue.shift() as number;
  queue.unshift(first);
  while (queue.length > 0) out.push(queue.shift());
  expect(out).toEqual(Array.from({ length: 500 }, (_, i) => i));
  expect(queue.shift()).toBeUndefined();
});

test("a key that takes turns between two sites is the key of two, also after it was forgotten among too many", () => {
  const sharing = new KeySharing();
  const [key, first, second] = [keyOf("shared"), site(1), site(2)];
  const heard = () => [first, second, first].map((one) => sharing.heard(key, one));
  expect(heard()).toEqual([false, false, true]);
  for (let i = 0; i < keysMax; i++) sharing.heard(keyOf(`other ${i}`), first);
  expect(heard()).toEqual([false, false, true]);
  // One that is heard again and again is kept, whoever else comes.
  for (let i = 0; i < keysMax; i++) {
    sharing.heard(key, first);
    sharing.heard(keyOf(`another ${i}`), first);
  }
  expect(sharing.heard(key, second)).toBe(true);
});

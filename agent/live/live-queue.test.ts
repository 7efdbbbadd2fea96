import { expect, test } from "bun:test";
import { LiveQueue } from "./live-queue.ts";
import { createEntry, type Entry } from "./live-registry.ts";
import type { Subscription } from "./subscription.ts";

function entry(name: string, rerunMs = 0, canLookUp = false): Entry {
  const subscription = { id: name, canLookUp: () => canLookUp } as unknown as Subscription;
  return { ...createEntry(subscription, 1), rerunMs };
}

function drained(queue: LiveQueue): string[] {
  const names: string[] = [];
  for (let taken = queue.takeQuick(); taken !== undefined; taken = queue.takeQuick()) {
    names.push(`${taken.entry.subscription.id}${taken.isUrgent ? "!" : ""}`);
  }
  names.push("|");
  for (let taken = queue.takeSlow(); taken !== undefined; taken = queue.takeSlow()) {
    names.push(`${taken.entry.subscription.id}${taken.isUrgent ? "!" : ""}`);
  }
  return names;
}

test("urgent ones go before the rest, quick ones before slow ones, and otherwise who came first", () => {
  const queue = new LiveQueue();
  for (const kind of ["", "!"]) {
    for (const name of ["a", "b"]) {
      queue.add(entry(name), kind === "!");
      queue.add(entry(`slow ${name}`, 2), kind === "!");
    }
  }
  expect(queue.size).toBe(8);
  expect(drained(queue)).toEqual([
    "a!",
    "b!",
    "a",
    "b",
    "|",
    "slow a!",
    "slow b!",
    "slow a",
    "slow b",
  ]);
  expect(queue.size).toBe(0);
});

test("who is there keeps its place, becomes urgent and stays so", () => {
  const queue = new LiveQueue();
  const [a, b, c] = [entry("a"), entry("b"), entry("c")] as [Entry, Entry, Entry];
  for (const one of [a, b, c]) queue.add(one, false);
  queue.add(a, false);
  queue.add(b, true);
  queue.add(b, false);
  expect(queue.size).toBe(3);
  expect(drained(queue)).toEqual(["b!", "a", "c", "|"]);
});

test("who has become slow leaves the quick ones, as urgent as it was; who was deleted is gone", () => {
  const queue = new LiveQueue();
  const [a, b, c] = [entry("a"), entry("b"), entry("c")] as [Entry, Entry, Entry];
  queue.add(a, true);
  queue.add(b, false);
  queue.add(c, false);
  a.rerunMs = 2;
  queue.add(a, false);
  queue.delete(c);
  expect(queue.size).toBe(2);
  expect(drained(queue)).toEqual(["b", "|", "a!"]);
});

test("what is looked up, or is another thread's, is quick", () => {
  const queue = new LiveQueue();
  const lookedUp = {
    ...entry("looked up", 2, true),
    missed: { changes: new Map(), rows: undefined },
  };
  queue.add(lookedUp, false);
  queue.add({ ...entry("elsewhere", 2), isLong: true }, false);
  queue.add({ ...entry("slow", 2, true) }, false);
  expect(drained(queue)).toEqual(["looked up", "elsewhere", "|", "slow"]);
});

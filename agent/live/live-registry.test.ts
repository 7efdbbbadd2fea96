import { expect, test } from "bun:test";
import type { ChangedCells } from "./changed-cells.ts";
import { FilterIndex } from "./filter-index.ts";
import { createEntry, LiveRegistry } from "./live-registry.ts";
import type { Subscription } from "./subscription.ts";

/** A subscription that reads no table. */
function entryOf(id: string, sql: string, ord: number) {
  const plan = { kind: "rerun", filters: [] };
  return createEntry({ id, sql, plan, dependencies: new Map() } as unknown as Subscription, ord);
}

test("of two that a crash left in the file with one text, the end of one leaves the other to who asks the same", () => {
  const registry = new LiveRegistry(new FilterIndex({} as ChangedCells));
  const [first, second] = [entryOf("a", "SELECT 1", 1), entryOf("b", "SELECT 1", 2)];
  registry.add(first);
  registry.add(second);
  registry.remove(first);
  expect(registry.bySql("SELECT 1")).toBe(second);
  registry.remove(second);
  expect([registry.bySql("SELECT 1"), registry.count]).toEqual([undefined, 0]);
});

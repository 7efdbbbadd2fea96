import { expect, test } from "bun:test";
import { CutRequests } from "./cut-requests.ts";

test("garbage is collected once for thousands of cut requests, and a third of the time at most", () => {
  let nowMs = 0;
  let collections = 0;
  const cut = new CutRequests({
    nowMs: () => nowMs,
    collect: () => {
      collections++;
      nowMs += 100;
    },
  });
  const note = (count: number) => {
    for (let i = 0; i < count; i++) cut.note();
    return collections;
  };
  expect(note(8191)).toBe(0);
  expect(note(1)).toBe(1);
  // More of them don't bring the next one nearer than twice as long as the last took.
  nowMs += 199;
  expect(note(50_000)).toBe(1);
  nowMs += 1;
  expect(note(1)).toBe(2);
  nowMs += 1_000_000;
  expect(note(8191)).toBe(2);
  expect(note(1)).toBe(3);
});

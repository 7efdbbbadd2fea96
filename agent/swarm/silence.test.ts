import { expect, test } from "bun:test";
import { lookMs, SilenceWatch } from "./silence.ts";

/** Looks until `endMs`; `packetsAt` says how many had come by then, and the host answers if `answers`. */
function watched(
  endMs: number,
  packetsAt: (nowMs: number) => number,
  answers: boolean,
): { readonly asked: number[]; readonly lostMs: number | undefined } {
  const watch = new SilenceWatch();
  const asked: number[] = [];
  for (let nowMs = 0; nowMs <= endMs; nowMs += lookMs) {
    const seen = watch.look(nowMs, packetsAt(nowMs));
    if (seen === "lost") return { asked, lostMs: nowMs };
    if (seen === "fine") continue;
    asked.push(nowMs);
    if (answers) watch.answered();
  }
  return { asked, lostMs: undefined };
}

test("a stream on which packets come is never asked about", () => {
  expect(watched(60_000, (nowMs) => Math.floor(nowMs / 200), true)).toEqual({
    asked: [],
    lostMs: undefined,
  });
});

test("a stream that fell silent is lost when its host has answered three times", () => {
  expect(watched(60_000, (nowMs) => Math.min(nowMs, 1000), true)).toEqual({
    asked: [1500, 1600, 1700, 1800],
    lostMs: 1900,
  });
});

test("a host that doesn't answer is asked ever more seldom, and nothing is lost", () => {
  const { asked, lostMs } = watched(13_000, (nowMs) => Math.min(nowMs, 1000), false);
  expect(lostMs).toBeUndefined();
  expect(asked.length).toBeLessThan(50);
  expect((asked.at(-1) as number) - (asked.at(-2) as number)).toBeGreaterThan(1000);
});

test("a packet that comes after the questions makes it fine again", () => {
  const watch = new SilenceWatch();
  for (let nowMs = 0; nowMs < 700; nowMs += lookMs) watch.look(nowMs, 1);
  for (let i = 0; i < 3; i++) watch.answered();
  expect(watch.look(700, 1)).not.toBe("lost");
  expect(watch.look(800, 2)).toBe("fine");
  // The answers were of the silence before.
  for (let nowMs = 900; nowMs < 1400; nowMs += lookMs)
    expect(watch.look(nowMs, 2)).not.toBe("lost");
});

test("a node that was itself asleep begins anew", () => {
  const watch = new SilenceWatch();
  for (let nowMs = 0; nowMs < 700; nowMs += lookMs) watch.look(nowMs, 1);
  for (let i = 0; i < 5; i++) watch.answered();
  expect(watch.look(700, 1)).not.toBe("lost");
  expect(watch.look(20_000, 1)).toBe("fine");
});

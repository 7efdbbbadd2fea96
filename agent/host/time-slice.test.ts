import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { askForSlice } from "./time-slice.ts";

/** The slice of the calling thread, ms; undefined where the kernel doesn't tell. */
function sliceMs(): number | undefined {
  try {
    const text = readFileSync("/proc/thread-self/sched", "latin1");
    const ns = /^se\.slice\s*:\s*(\d+)$/m.exec(text)?.[1];
    return ns === undefined ? undefined : Number(ns) / 1_000_000;
  } catch {
    return undefined;
  }
}

test("a thread is given the slice that it asks for, where the kernel knows of them", () => {
  const before = sliceMs();
  if (!askForSlice(0.3)) return;
  if (before !== undefined) expect(sliceMs()).toBe(0.3);
  expect(askForSlice(before ?? 2.8)).toBe(true);
});

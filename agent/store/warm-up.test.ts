import { expect, test } from "bun:test";
import { warmUp } from "./warm-up.ts";

test("the warm-up does what it is meant to do: inserts, updates, reads, merges", async () => {
  // Answers that aren't 200 reject. More steps than it has rows, so that rows are inserted and updated.
  expect(await warmUp(new AbortController().signal, 70)).toBeUndefined();
});

test("the warm-up ends when the agent stops", async () => {
  const stopping = new AbortController();
  const warming = warmUp(stopping.signal, Number.POSITIVE_INFINITY);
  await Bun.sleep(0);
  stopping.abort();
  expect(await warming).toBeUndefined();
});

import { expect, test } from "bun:test";
import { coresOf } from "./scheduling.ts";

test("each agent has as many cores as the others, and none of theirs", () => {
  expect([coresOf(0, 2, [0, 1]), coresOf(1, 2, [0, 1])]).toEqual([[0], [1]]);
  expect([coresOf(0, 2, [0, 2, 4, 5, 7]), coresOf(1, 2, [0, 2, 4, 5, 7])]).toEqual([
    [0, 2],
    [4, 5],
  ]);
  expect(coresOf(0, 2, [3])).toEqual([]);
});

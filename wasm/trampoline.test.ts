import { expect, test } from "bun:test";
import fc from "fast-check";
import { createTrampolines } from "./trampoline.ts";

test("a callback gets an int64 as two words, between arguments that stay as they are", () => {
  const seen: unknown[][] = [];
  const { callbacks } = createTrampolines(
    new Map([
      [
        "mixed",
        {
          params: "ijdj",
          result: "i",
          target: (...values: unknown[]) => {
            seen.push(values);
            return -7;
          },
        },
      ],
      ["nothing", { params: "", result: "v", target: () => seen.push([]) }],
    ]),
    new Map(),
  );
  const mixed = callbacks.get("mixed") as (...values: unknown[]) => number;
  expect(mixed(1, -1n, 2.5, 2n ** 32n + 5n)).toBe(-7);
  (callbacks.get("nothing") as () => void)();
  expect(seen).toEqual([[1, -1, -1, 2.5, 5, 1], []]);
});

test("the words of any int64 make it again", () => {
  let got = 0n;
  const target = (low: number, high: number) => {
    got = (BigInt(high) << 32n) | BigInt(low >>> 0);
  };
  const { callbacks } = createTrampolines(
    new Map([["f", { params: "j", result: "v", target }]]),
    new Map(),
  );
  const call = callbacks.get("f") as (value: bigint) => void;
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (value) => {
      call(value);
      expect(got).toBe(value);
    }),
    { examples: [[2n ** 63n - 1n], [-(2n ** 63n)], [-1n], [2n ** 32n], [-(2n ** 32n)]] },
  );
});

test("a call takes safe integers where the export takes an int64", () => {
  let got = 0n;
  const echo = createTrampolines(
    new Map([["raw", { params: "ij", result: "i", target: () => 0 }]]),
    new Map(),
  );
  const target = echo.callbacks.get("raw") as CallableFunction;
  expect(target).toBeFunction();
  const { calls } = createTrampolines(
    new Map(),
    new Map([
      [
        "f",
        {
          params: "ij",
          result: "i",
          target: (_: number, value: bigint) => {
            got = value;
            return 3;
          },
        },
      ],
    ]),
  );
  const call = calls.get("f") as (first: number, value: number) => number;
  for (const value of [0, 1, -1, 2 ** 40, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER]) {
    expect([call(9, value), got]).toEqual([3, BigInt(value)]);
  }
});

import { expect, test } from "bun:test";
import { encodeFrame, type Frame } from "../../core/change/frame.ts";
import { hlcZero } from "../../core/clock/stamp.ts";
import { ExchangeBytes } from "./exchange-bytes.ts";
import type { Endpoint } from "./network.ts";

test("an answer to what was asked before anybody looked isn't counted to the exchange that its sender has begun", () => {
  const bytes = new ExchangeBytes();
  const [a, b] = [{ index: 0 }, { index: 1 }] as Endpoint[] as [Endpoint, Endpoint];
  const at = { cut: 1, horizon: hlcZero, live: false, rows: 3, fingerprint: "0".repeat(32) };
  const root = (exchange: number, answer: boolean): Frame => ({
    kind: "root",
    exchange,
    answer,
    ...at,
  });
  bytes.sent(a, b, encodeFrame(root(1, false)));
  // b had asked this.
  bytes.sent(a, b, encodeFrame(root(2, true)));
  bytes.sent(b, a, encodeFrame(root(1, true)));
  const frameBytes = 4 + encodeFrame(root(1, true)).length;
  expect(bytes.costs(64)).toMatchObject({ exchanges: 1, within: 1, largest: [2 * frameBytes] });
});

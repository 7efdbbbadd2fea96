import { expect, test } from "bun:test";
import { Real } from "../../core/row/value.ts";
import { parseParameter } from "./client.ts";

test("an argument is a number only as numbers are written", () => {
  expect(["0", "12", "-5"].map(parseParameter)).toEqual([0, 12, -5]);
  expect(parseParameter("9223372036854775807")).toBe(2n ** 63n - 1n);
  expect(["1.5", "-0.0", "0.5e-3"].map(parseParameter)).toEqual([
    new Real(1.5),
    new Real(-0),
    new Real(0.0005),
  ]);
  // An id or a number of a telephone would lose its zeros.
  for (const text of [
    "007",
    "00",
    "-0",
    "-01",
    "01.5",
    "+5",
    "1e5",
    "9223372036854775808",
    "x'0'",
  ]) {
    expect(parseParameter(text)).toBe(text);
  }
  expect(["null", "x'00ff'", "x''"].map(parseParameter)).toEqual([
    null,
    Uint8Array.of(0, 255),
    new Uint8Array(0),
  ]);
});

import { expect, test } from "bun:test";
import { ClockWatch } from "./clock-watch.ts";

test("a clock that is wrong is told once, and when it is right again; not more often than once a minute", () => {
  const lines: string[] = [];
  const watch = new ClockWatch({
    warn: (text, fields) => lines.push(`${text}: ${fields?.why}`),
    info: (text) => lines.push(text),
  });
  const wrong = { kind: "refused", why: "7 s behind" } as const;
  const right = { kind: "allowed" } as const;
  watch.look(right, 0);
  expect(lines).toEqual([]);
  watch.look(wrong, 1000);
  watch.look(wrong, 2000);
  expect(lines).toEqual(["clock-outlier: 7 s behind"]);
  // To and fro: only what lasts.
  watch.look(right, 3000);
  watch.look(wrong, 4000);
  watch.look(right, 60_999);
  expect(lines).toHaveLength(1);
  watch.look(right, 61_000);
  expect(lines.slice(1)).toEqual(["the clock is right again: writes are accepted"]);
});

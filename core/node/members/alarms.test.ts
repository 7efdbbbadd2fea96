import { expect, test } from "bun:test";
import type { PeerId } from "../border.ts";
import { AlarmLimit } from "./alarms.ts";

const peer = (number: number) => `p${number}` as PeerId;

test("one alarm of one peer is told once a minute, and then how many were not", () => {
  const alarms = new AlarmLimit();
  expect(alarms.text("name-taken", peer(1), "two are a", 0)).toBe("two are a");
  for (let i = 0; i < 59; i++) {
    expect(alarms.text("name-taken", peer(1), "two are a", i * 1000)).toBeUndefined();
  }
  expect(alarms.text("schema-differs", peer(1), "another schema", 59_000)).toBe(
    "another schema (and 59 alarms before it that were not told)",
  );
  expect(alarms.text("name-taken", peer(1), "two are a", 60_000)).toBe("two are a");
});

test("a thousand peers don't fill the log", () => {
  const alarms = new AlarmLimit();
  const told = Array.from({ length: 1000 }, (_, i) =>
    alarms.text("name-taken", peer(i), "two are a", i),
  ).filter((text) => text !== undefined);
  expect(told).toHaveLength(10);
  expect(alarms.text("name-taken", peer(0), "two are a", 60_000)).toBe(
    "two are a (and 990 alarms before it that were not told)",
  );
});

test("what was over and is so again is told at once", () => {
  const alarms = new AlarmLimit();
  expect(alarms.text("schema-differs", peer(1), "another schema", 0)).toBe("another schema");
  alarms.isOver("schema-differs", peer(1));
  expect(alarms.text("schema-differs", peer(1), "another schema", 1)).toBe("another schema");
  expect(alarms.text("schema-differs", peer(1), "another schema", 2)).toBeUndefined();
});

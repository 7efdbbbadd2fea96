import { expect, test } from "bun:test";
import { openMemory } from "../../../test/generators/sqlite-store.ts";
import { ByteReader } from "../../bytes/reader.ts";
import { readHlc } from "../../clock/stamp.ts";
import { createOwnTables, readState } from "./file-header.ts";
import { KeptClock } from "./kept-clock.ts";

const hlc = (ms: number, count = 0) => ({ ms, count });

/** Of a file that names 1000.3 and version 5. */
function keptClock() {
  const db = openMemory();
  createOwnTables(db);
  const kept = new KeptClock(db, 5, hlc(1000, 3));
  /** What a step has written; undefined: nothing. */
  const written = (step: () => void): string | undefined => {
    db.exec("DELETE FROM patina_state");
    step();
    const stored = readState(db, "hlc");
    if (stored === undefined) return undefined;
    const { ms, count } = readHlc(new ByteReader(stored as Uint8Array), "hlc");
    return `${ms}.${count} ${readState(db, "version")}`;
  };
  const reserve = (ms: number, count = 0) => written(() => kept.reserve(hlc(ms, count)));
  const follow = (ms: number) => written(() => kept.follow(hlc(ms)));
  return { kept, reserve, follow, [Symbol.dispose]: () => db.close() };
}

// After a crash the next stamps come after what the file names: it may name more than was given, and never less.
test("while commits follow each other the file names some clock and versions ahead, and each commit is below", () => {
  using clock = keptClock();
  const { kept, reserve } = clock;
  expect(reserve(1000, 4)).toBe("1250.0 262");
  kept.keep();
  for (kept.version = 6; kept.version < 262; kept.version++) expect(reserve(1250)).toBeUndefined();
  // One of the two isn't enough.
  expect(reserve(1250)).toBe("1500.0 519");
  kept.keep();
  expect(reserve(1500)).toBeUndefined();
  expect(reserve(1500, 1)).toBe("1750.0 519");
});

test("after a pause it names the commit, and no more", () => {
  using clock = keptClock();
  expect(clock.reserve(1250)).toBe("1250.0 6");
  clock.kept.forget();
  expect(clock.reserve(1249)).toBe("1499.0 262");
});

test("what was rolled back is named again", () => {
  using clock = keptClock();
  const { kept, reserve } = clock;
  expect(reserve(1100)).toBe("1350.0 262");
  kept.forget();
  // Nor is it what the next transaction that writes no clock has kept.
  kept.keep();
  expect(reserve(1100)).toBe("1350.0 262");
  kept.keep();
  expect(reserve(1100)).toBeUndefined();
});

test("it follows merges a second behind, and gives no version away", () => {
  using clock = keptClock();
  const { kept, follow, reserve } = clock;
  expect([follow(1999), follow(2000)]).toEqual([undefined, "2000.0 5"]);
  kept.keep();
  expect([follow(2999), follow(3000)]).toEqual([undefined, "3000.0 5"]);
  kept.forget();
  expect(follow(3000)).toBe("3000.0 5");
  kept.keep();
  expect(reserve(3000)).toBe("3250.0 262");
});

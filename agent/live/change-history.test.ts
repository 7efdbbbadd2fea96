import { expect, test } from "bun:test";
import fc from "fast-check";
import { ChangeHistory } from "./change-history.ts";

// The law: it is a list of all lines, of which as many of the last are kept as the limits allow.
test("a history keeps the last changes that its limits allow, and says which", () => {
  const command = fc.oneof(
    { weight: 5, arbitrary: fc.record({ line: fc.string({ maxLength: 12 }) }) },
    { weight: 1, arbitrary: fc.record({ through: fc.integer({ min: 0, max: 40 }) }) },
  ) as fc.Arbitrary<{ line?: string; through?: number }>;
  fc.assert(
    fc.property(
      fc.array(command, { maxLength: 40, size: "max" }),
      fc.integer({ min: 1, max: 8 }),
      fc.integer({ min: 0, max: 60 }),
      fc.integer({ min: 0, max: 5 }),
      (commands, changesMax, charsMax, begun) => {
        const history = new ChangeHistory({ changesMax, charsMax }, begun);
        const all: string[] = [];
        let kept = 0;
        for (const { line, through } of commands) {
          if (line !== undefined) {
            history.add(line);
            all.push(line);
            kept++;
          } else if (through !== undefined) {
            kept = Math.min(kept, Math.max(0, begun + all.length - through));
          }
          if (through !== undefined) history.dropThrough(through);
          const chars = () => all.slice(all.length - kept).join("").length;
          while (kept > changesMax || chars() > charsMax) kept--;
          const lastId = begun + all.length;
          expect([history.lastId, history.firstId, history.chars]).toEqual([
            lastId,
            lastId - kept + 1,
            chars(),
          ]);
          for (let id = 0; id <= lastId + 1; id++) {
            const missing = Math.max(0, lastId - id);
            const want = missing > kept ? undefined : all.slice(all.length - missing).join("");
            expect([id, history.after(id)]).toEqual([id, want]);
          }
        }
      },
    ),
  );
});

test("thousands of changes that were dropped take nothing", () => {
  const history = new ChangeHistory({ changesMax: 3, charsMax: 1000 });
  for (let i = 1; i <= 5000; i++) history.add(`${i}\n`);
  expect([history.after(4996), history.after(4997), history.after(4999)]).toEqual([
    undefined,
    "4998\n4999\n5000\n",
    "5000\n",
  ]);
});

import { expect, test } from "bun:test";
import { causalLengthMax, isLive, lengthAfterDelete, lengthAfterInsert } from "./row-clock.ts";

test("a row lives after an insert and not after a delete, also where a peer has used the numbers up", () => {
  for (const before of [0, 1, 2, 7, causalLengthMax - 2, causalLengthMax - 1, causalLengthMax]) {
    const [inserted, deleted] = [lengthAfterInsert(before), lengthAfterDelete(before)];
    const clock = { ms: 1, count: 0, site: "" as never };
    expect(isLive({ ...clock, cl: inserted })).toBe(true);
    expect(isLive({ ...clock, cl: deleted })).toBe(false);
    expect(Math.max(inserted, deleted)).toBeLessThanOrEqual(causalLengthMax);
    if (before >= causalLengthMax - 2) continue;
    expect(inserted).toBeGreaterThan(before);
    expect(deleted).toBeGreaterThan(before);
  }
});

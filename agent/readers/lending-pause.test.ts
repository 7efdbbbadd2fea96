import { expect, test } from "bun:test";
import { LendingPause } from "./lending-pause.ts";

test("it begins with a WAL that is long, and ends with one that isn't", () => {
  const pause = new LendingPause();
  pause.walChanged(false, 0);
  expect(pause.isOn).toBe(false);
  pause.walChanged(true, 10);
  pause.walChanged(true, 30);
  expect([pause.isOn, pause.lastedMs(50)]).toEqual([true, 40]);
  pause.walChanged(false, 60);
  expect([pause.isOn, pause.lastedMs(70)]).toEqual([false, 0]);
});

test("a WAL that doesn't begin anew with nothing lent doesn't keep readers out for ever", () => {
  const pause = new LendingPause();
  pause.walChanged(true, 0);
  // Lent for long: that time is the loan's.
  pause.look(true, 20_000);
  pause.look(false, 20_500);
  pause.look(false, 30_500);
  expect(pause.isOn).toBe(true);
  pause.look(false, 30_501);
  expect(pause.isOn).toBe(false);
  // The next one is a minute later.
  pause.walChanged(true, 90_000);
  expect(pause.isOn).toBe(false);
  pause.walChanged(true, 90_501);
  expect(pause.isOn).toBe(true);
});

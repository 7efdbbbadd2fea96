import { expect, test } from "bun:test";
import { BodyRoom } from "./body-room.ts";

test("bodies have room together, one alone has it always, and small ones aren't counted", () => {
  const room = new BodyRoom(150_000);
  const [one, two, three] = [room.open(), room.open(), room.open()];
  expect([one.hold(200_000), two.hold(70_000), two.hold(60_000)]).toEqual([true, false, true]);
  one.leave();
  // It grows: what it has already is counted once.
  expect([two.hold(70_000), two.hold(100_000), room.heldBytes]).toEqual([true, true, 100_000]);
  expect([three.hold(70_000), room.heldBytes]).toEqual([false, 100_000]);
  // The only one that is counted, again.
  expect([two.hold(300_000), room.heldBytes]).toEqual([true, 300_000]);
  for (const place of [two, two, three]) place.leave();
  expect(room.heldBytes).toBe(0);
});

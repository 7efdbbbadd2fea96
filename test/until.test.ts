import { expect, test } from "bun:test";
import { until } from "./until.ts";

test("ends once the condition is true", async () => {
  let looks = 0;
  await until("five looks", async () => ++looks === 5);
  expect(looks).toBe(5);
});

test("says what was awaited in vain", async () => {
  const never = () => false;
  await expect(until("rain", never, 1, () => "the sky is blue")).rejects.toThrow(
    "not within 1 ms: rain\nthe sky is blue",
  );
});

import { expect, test } from "bun:test";
import { seaHashHex } from "./seahash.ts";

// The published vector of the reference implementation.
test("hashes as SeaHash does", () => {
  expect(seaHashHex("to be or not to be")).toBe(
    1988685042348123509n.toString(16).padStart(16, "0"),
  );
});

test("hashes texts of every length to 16 digits", () => {
  const hashes = Array.from({ length: 40 }, (_, n) => seaHashHex("a".repeat(n)));
  expect(new Set(hashes).size).toBe(40);
  for (const hash of hashes) expect(hash).toMatch(/^[0-9a-f]{16}$/);
});

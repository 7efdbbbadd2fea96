import { expect, test } from "bun:test";
import fc from "fast-check";
import { newestMsOfClockBlob } from "./newest-stamp.ts";

/** Of a blob that stands between other bytes. */
function newestMs(blob: Uint8Array): number {
  const bytes = Uint8Array.of(255, 255, ...blob, 0, 255);
  return newestMsOfClockBlob(bytes, 2, bytes.length - 2);
}

// That it finds the newest stamp of what the store writes: test/contract/row-store.ts.
test("of bytes that are no clock blob it finds nothing, and ends", () => {
  expect(newestMs(new Uint8Array(0))).toBe(0);
  expect(newestMs(Uint8Array.of(2, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0))).toBe(0);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      const ms = newestMs(Uint8Array.of(1, ...bytes));
      expect(ms >= 0 && ms < 2 ** 48).toBe(true);
    }),
    { seed: 4 },
  );
});

test("a cell's own stamp counts, and a blob that is cut short doesn't", () => {
  const hash = [1, 2, 3, 4, 5, 6, 7, 8];
  const blob = Uint8Array.of(
    ...[1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2],
    ...[7, 0, ...hash],
    ...[0x81, 1, 2, 0, 0, 0, 1, 0, 5, 0, 0, 0x80, 1, ...hash],
  );
  expect(newestMs(blob)).toBe(0x10005);
  for (let end = 0; end < blob.length; end++) {
    expect(newestMs(blob.subarray(0, end))).toBe(0);
  }
});

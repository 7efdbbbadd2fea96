/**
 * 32 bits out of bytes, big-endian, without a DataView.
 *
 * @module
 */

/** The unsigned integer in `bytes[at..at + 4)`. */
export function u32At(bytes: Uint8Array, at: number): number {
  return i32At(bytes, at) >>> 0;
}

/** The same as a signed one: quicker to reckon with, for the engine keeps many unsigned ones as doubles. */
export function i32At(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) << 24) |
    ((bytes[at + 1] as number) << 16) |
    ((bytes[at + 2] as number) << 8) |
    (bytes[at + 3] as number)
  );
}

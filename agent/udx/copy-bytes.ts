/**
 * Copies `from[start, end)` to `to` at `at`. Most bytes here are Buffers, whose `copy` needs no view.
 *
 * @module
 */

export function copyBytes(
  from: Uint8Array,
  start: number,
  end: number,
  to: Uint8Array,
  at: number,
): void {
  if (Buffer.isBuffer(from)) from.copy(to, at, start, end);
  else to.set(from.subarray(start, end), at);
}

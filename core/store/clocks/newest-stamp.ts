/**
 * When a row was last stamped, read from its clock blob without decoding it: some 30 ns a row, so that a
 * start finds the rows of the last minutes among all before it does anything else.
 *
 * The layout is that of `clock-blob.ts`. What isn't such a blob gives 0: its row counts as old, and whoever
 * decodes it finds out.
 *
 * @module
 */

import { clockBlobVersion } from "./clock-blob.ts";

/** The largest ms of any stamp in the clock blob `bytes[start..end)`, row clock and cells. */
export function newestMsOfClockBlob(bytes: Uint8Array, start: number, end: number): number {
  if (end - start < rowHeadBytesMin || bytes[start] !== clockBlobVersion) return 0;
  let newestMs = msAt(bytes, start + 1);
  // Site ordinal and causal length.
  let at = varintEnd(bytes, varintEnd(bytes, start + 1 + hlcBytes, end), end);
  let cells = 0;
  for (let factor = 1; at < end; factor *= 0x80) {
    const byte = bytes[at++] as number;
    cells += (byte & 0x7f) * factor;
    if (byte < 0x80) break;
  }
  for (; cells > 0 && at < end; cells--) {
    at = varintEnd(bytes, at, end);
    const hasOwnStamp = ((bytes[at++] as number) & 3) === 2;
    if (hasOwnStamp) {
      if (at + hlcBytes > end) return 0;
      newestMs = Math.max(newestMs, msAt(bytes, at));
      at = varintEnd(bytes, at + hlcBytes, end);
    }
    at += valueHashBytes;
  }
  return cells === 0 && at === end ? newestMs : 0;
}

const hlcBytes = 8;
const valueHashBytes = 8;
/** Version, row hlc, and a byte each for site, causal length and count. */
const rowHeadBytesMin = 12;

function msAt(bytes: Uint8Array, at: number): number {
  const high = ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
  const low =
    (((bytes[at + 2] as number) << 24) |
      ((bytes[at + 3] as number) << 16) |
      ((bytes[at + 4] as number) << 8) |
      (bytes[at + 5] as number)) >>>
    0;
  return high * 2 ** 32 + low;
}

/** Where a varint ends that begins at `from`. */
function varintEnd(bytes: Uint8Array, from: number, end: number): number {
  let at = from;
  while (at < end && (bytes[at] as number) >= 0x80) at++;
  return at + 1;
}

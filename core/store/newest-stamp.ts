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

/** The largest ms of any stamp in a clock blob, row clock and cells. */
export function newestMsOfClockBlob(blob: Uint8Array): number {
  if (blob[0] !== clockBlobVersion || blob.length < rowHeadBytesMin) return 0;
  let newestMs = msAt(blob, 1);
  // Site ordinal and causal length.
  let at = varintEnd(blob, varintEnd(blob, 1 + hlcBytes));
  let cells = 0;
  for (let factor = 1; at < blob.length; factor *= 0x80) {
    const byte = blob[at++] as number;
    cells += (byte & 0x7f) * factor;
    if (byte < 0x80) break;
  }
  for (; cells > 0 && at < blob.length; cells--) {
    at = varintEnd(blob, at);
    const hasOwnStamp = ((blob[at++] as number) & 3) === 2;
    if (hasOwnStamp) {
      if (at + hlcBytes > blob.length) return 0;
      newestMs = Math.max(newestMs, msAt(blob, at));
      at = varintEnd(blob, at + hlcBytes);
    }
    at += valueHashBytes;
  }
  return cells === 0 && at === blob.length ? newestMs : 0;
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

/** Where a varint ends that begins at `at`. */
function varintEnd(bytes: Uint8Array, at: number): number {
  let end = at;
  while (end < bytes.length && (bytes[end] as number) >= 0x80) end++;
  return end + 1;
}

/**
 * Hybrid logical clock readings, and stamps: a reading with the site that issued it.
 *
 * An HLC is 48 bits of wall-clock milliseconds and 16 bits of counter. It is kept as two numbers,
 * because 64 bits don't fit a double and bigints are slow. A *stamp* orders every change of the
 * fleet: by HLC, then by site. Two changes with one stamp come from one commit of one site.
 *
 * Bytes (8): u48 milliseconds since 1970, u16 counter, big-endian, so that they order as the numbers.
 *
 * Source: Kulkarni et al., "Logical Physical Clocks", OPODIS 2014.
 *
 * @module
 */

import type { ByteReader } from "../bytes/reader.ts";
import type { ByteWriter } from "../bytes/writer.ts";

/** One life of one database file: 32 lower-case hex digits, which order as the 16 bytes do. */
export type Site = string & { readonly brand: "Site" };

export interface Hlc {
  /** Milliseconds since 1970 by the wall clock of whoever issued it, in 0..2**48. */
  readonly ms: number;
  /** Orders readings of one millisecond, in 0..2**16. */
  readonly count: number;
}

export interface Stamp extends Hlc {
  readonly site: Site;
}

export const hlcMsMax: number = 2 ** 48 - 1;
export const hlcCountMax: number = 2 ** 16 - 1;

/** The reading before all others; on the wire it also means "none" (a horizon nobody has agreed). */
export const hlcZero: Hlc = { ms: 0, count: 0 };

export function siteOfHex(hex: string): Site {
  return hex as Site;
}

/** Negative, zero or positive as `a` is before, at or after `b`. */
export function compareHlc(a: Hlc, b: Hlc): number {
  return a.ms - b.ms || a.count - b.count;
}

/** The order of all changes: by HLC, then by site, bytewise. */
export function compareStamps(a: Stamp, b: Stamp): number {
  if (a === b) return 0;
  // Most stamps that agree so far are one, and strings are told equal faster than ordered.
  return a.ms - b.ms || a.count - b.count || (a.site === b.site ? 0 : a.site < b.site ? -1 : 1);
}

export function writeHlc(writer: ByteWriter, hlc: Hlc): void {
  writer.u48(hlc.ms);
  writer.u16(hlc.count);
}

export function readHlc(reader: ByteReader, what: string): Hlc {
  const ms = reader.u48(what);
  return { ms, count: reader.u16(what) };
}

/** `1764090000000.3`, for logs and `--json`. */
export function hlcToText(hlc: Hlc): string {
  return `${hlc.ms}.${hlc.count}`;
}

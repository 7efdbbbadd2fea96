/**
 * UTF-8 by loops, and for long text by the platform's `TextEncoder` and `TextDecoder` where it has them: `core` needs none.
 *
 * Decoding is strict (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF): text that
 * would not come back as the same bytes is refused, so that a value is never silently changed.
 *
 * @module
 */

/** Length in bytes of `text` as UTF-8. A lone surrogate counts as U+FFFD, three bytes. */
export function utf8Length(text: string): number {
  let bytes = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) bytes += 1;
    else if (unit < 0x800) bytes += 2;
    else if (isHighSurrogate(unit) && isLowSurrogate(text.charCodeAt(i + 1))) {
      bytes += 4;
      i++;
    } else bytes += 3;
  }
  return bytes;
}

/** Writes `text` at `offset`; the caller has made room (`utf8Length`). Returns the offset after it. */
export function utf8Write(target: Uint8Array, offset: number, text: string): number {
  let at = offset;
  for (let i = 0; i < text.length; i++) {
    let code = text.charCodeAt(i);
    if (code < 0x80) {
      target[at++] = code;
      continue;
    }
    if (code < 0x800) {
      target[at++] = 0xc0 | (code >> 6);
      target[at++] = 0x80 | (code & 0x3f);
      continue;
    }
    if (isHighSurrogate(code)) {
      const low = text.charCodeAt(i + 1);
      if (isLowSurrogate(low)) {
        i++;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        target[at++] = 0xf0 | (code >> 18);
        target[at++] = 0x80 | ((code >> 12) & 0x3f);
        target[at++] = 0x80 | ((code >> 6) & 0x3f);
        target[at++] = 0x80 | (code & 0x3f);
        continue;
      }
      code = 0xfffd;
    } else if (isLowSurrogate(code)) code = 0xfffd;
    target[at++] = 0xe0 | (code >> 12);
    target[at++] = 0x80 | ((code >> 6) & 0x3f);
    target[at++] = 0x80 | (code & 0x3f);
  }
  return at;
}

interface PlatformEncoder {
  encode(text: string): Uint8Array;
}

interface PlatformDecoder {
  /** Throws where it isn't UTF-8. */
  decode(bytes: Uint8Array): string;
}

const { TextEncoder: Encoder, TextDecoder: Decoder } = globalThis as {
  TextEncoder?: new () => PlatformEncoder;
  TextDecoder?: new (
    label: string,
    options: { readonly fatal: boolean; readonly ignoreBOM: boolean },
  ) => PlatformDecoder;
};
const platformEncoder = Encoder && new Encoder();
const platformDecoder = Decoder && new Decoder("utf-8", { fatal: true, ignoreBOM: true });

/** Longer text takes the platform a tenth of the time, or a fiftieth; below, what it makes besides costs more. */
export const shortTextMax = 64;

/** `text` as UTF-8 bytes. */
export function utf8Encode(text: string): Uint8Array {
  if (text.length > shortTextMax && platformEncoder !== undefined) {
    return platformEncoder.encode(text);
  }
  const bytes = new Uint8Array(utf8Length(text));
  utf8Write(bytes, 0, text);
  return bytes;
}

/** As {@link shortTextMax}, in bytes that are read. */
const shortMax = 32;
/** By length: what short text is made of, so that no list is made for each. */
const shortUnits: readonly number[][] = Array.from({ length: shortMax + 1 }, (_, length) =>
  Array.from({ length }, () => 0),
);

/** The text of `bytes[start..end)`, or undefined when they are not UTF-8. */
export function utf8Decode(
  bytes: Uint8Array,
  start = 0,
  end: number = bytes.length,
): string | undefined {
  if (end - start <= shortMax) {
    const units = shortUnits[end - start] as number[];
    let at = start;
    for (; at < end; at++) {
      const unit = bytes[at] as number;
      if (unit >= 0x80) break;
      units[at - start] = unit;
    }
    // Spreading would make a copy of the list.
    if (at === end) return String.fromCharCode.apply(null, units);
  } else if (platformDecoder !== undefined) {
    try {
      return platformDecoder.decode(bytes.subarray(start, end));
    } catch {
      return undefined;
    }
  }
  return utf8DecodeByLoop(bytes, start, end);
}

/** {@link utf8Decode} without the platform. */
export function utf8DecodeByLoop(
  bytes: Uint8Array,
  start: number,
  end: number,
): string | undefined {
  let text = "";
  let at = start;
  // Pieces bound the argument list of `fromCharCode`.
  const units: number[] = [];
  while (at < end) {
    const lead = bytes[at] as number;
    if (lead < 0x80) {
      units.push(lead);
      at++;
    } else {
      const length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
      if (lead < 0xc2 || lead > 0xf4 || at + length > end) return undefined;
      let code = lead & (0xff >> (length + 1));
      for (let i = 1; i < length; i++) {
        const next = bytes[at + i] as number;
        if ((next & 0xc0) !== 0x80) return undefined;
        code = (code << 6) | (next & 0x3f);
      }
      if (length === 3 && (code < 0x800 || (code >= 0xd800 && code <= 0xdfff))) return undefined;
      if (length === 4 && (code < 0x10000 || code > 0x10ffff)) return undefined;
      if (code >= 0x10000) {
        units.push(0xd800 + ((code - 0x10000) >> 10), 0xdc00 + ((code - 0x10000) & 0x3ff));
      } else units.push(code);
      at += length;
    }
    if (units.length >= 4096) {
      text += String.fromCharCode(...units);
      units.length = 0;
    }
  }
  return text + String.fromCharCode(...units);
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff;
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff;
}

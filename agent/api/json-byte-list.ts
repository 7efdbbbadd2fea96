/**
 * BLOBs as JSON has them: lists of byte numbers, of which a body may have millions. Read as other lists are, they take
 * ten times as long, and eight bytes for each byte.
 *
 * @module
 */

/** Shorter ones may as well be lists of parameters. */
const bytesMin = 16;

/**
 * @param from behind the list's bracket
 * @returns undefined: it is another list than of whole numbers from 0 to 255, or a short one
 */
export function readByteList(
  text: string,
  from: number,
): { readonly bytes: Uint8Array; readonly end: number } | undefined {
  let bytes = new Uint8Array(bytesMin);
  let length = 0;
  let at = from;
  for (;;) {
    at = afterSpace(text, at);
    let code = text.charCodeAt(at);
    if (!isDigit(code)) return undefined;
    let byte = code - 0x30;
    code = text.charCodeAt(++at);
    // No number but zero begins with a zero.
    if (byte === 0 && isDigit(code)) return undefined;
    for (; isDigit(code); code = text.charCodeAt(++at)) {
      byte = byte * 10 + code - 0x30;
      if (byte > 255) return undefined;
    }
    if (length === bytes.length) {
      const grown = new Uint8Array(length * 2);
      grown.set(bytes);
      bytes = grown;
    }
    bytes[length++] = byte;
    at = afterSpace(text, at);
    code = text.charCodeAt(at++);
    if (code === 0x5d) break;
    if (code !== 0x2c) return undefined;
  }
  return length < bytesMin ? undefined : { bytes: bytes.slice(0, length), end: at };
}

/** Where white space that begins at `from` has ended. */
export function afterSpace(text: string, from: number): number {
  for (let at = from; ; at++) {
    const code = text.charCodeAt(at);
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return at;
  }
}

export function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

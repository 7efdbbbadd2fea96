/**
 * Lower-case hexadecimal. `core` has no `Buffer`, and `Uint8Array.toHex` is not in ES2025.
 *
 * Hex text of equal length orders as its bytes do, which is why sites and row ids are kept in it.
 *
 * @module
 */

/** Two digits for each byte. */
export const pairByByte: readonly string[] = Array.from({ length: 256 }, (_, byte) =>
  byte.toString(16).padStart(2, "0"),
);

/** `bytes[start..end)` as lower-case hex. */
export function bytesToHex(bytes: Uint8Array, start = 0, end: number = bytes.length): string {
  let text = "";
  for (let i = start; i < end; i++) text += pairByByte[bytes[i] as number];
  return text;
}

/** Bytes of lower- or upper-case hex; undefined when `text` isn't that. */
export function hexToBytes(text: string): Uint8Array | undefined {
  if (text.length % 2 !== 0) return undefined;
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) {
    const high = digit(text.charCodeAt(2 * i));
    const low = digit(text.charCodeAt(2 * i + 1));
    if (high < 0 || low < 0) return undefined;
    bytes[i] = (high << 4) | low;
  }
  return bytes;
}

function digit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  if (code >= 97 && code <= 102) return code - 87;
  if (code >= 65 && code <= 70) return code - 55;
  return -1;
}

/**
 * Which bytes the name and the value of a field may have: 1 for each that they may.
 *
 * @module
 */

/** `tchar` of RFC 9110 §5.6.2. */
export const isTokenByte: Uint8Array = bytesWhere((byte) =>
  /[!#$%&'*+.^_`|~0-9A-Za-z-]/.test(String.fromCharCode(byte)),
);

/** `field-vchar`, blanks and tabs of RFC 9110 §5.5: no control characters. */
export const isValueByte: Uint8Array = bytesWhere(
  (byte) => byte === 0x09 || (byte >= 0x20 && byte !== 0x7f),
);

export function bytesWhere(test: (byte: number) => boolean): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => (test(byte) ? 1 : 0));
}

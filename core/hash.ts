/**
 * The one hash function of Patina, handed in: `core` has none of its own. The agent gives Bun's SHA-256,
 * the tests compare it with `@noble/hashes`.
 *
 * @module
 */

/** SHA-256 (FIPS 180-4). Returns 32 bytes that the callee may overwrite at the next call. */
export type Sha256 = (input: Uint8Array) => Uint8Array;

/**
 * HMAC-SHA-256 (RFC 2104) of `message` under `key`. Used once a connection, so clarity counts more
 * than speed.
 */
export function hmacSha256(sha256: Sha256, key: Uint8Array, message: Uint8Array): Uint8Array {
  const block = new Uint8Array(64);
  block.set(key.length > 64 ? sha256(key) : key);
  const inner = new Uint8Array(64 + message.length);
  const outer = new Uint8Array(64 + 32);
  for (let i = 0; i < 64; i++) {
    inner[i] = (block[i] as number) ^ 0x36;
    outer[i] = (block[i] as number) ^ 0x5c;
  }
  inner.set(message, 64);
  outer.set(sha256(inner), 64);
  return sha256(outer).slice();
}

/** Compares secrets without telling by time where they differ. */
export function equalConstantTime(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= (a[i] as number) ^ (b[i] as number);
  return difference === 0;
}

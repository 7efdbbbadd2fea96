/**
 * A hash of a key's bytes, for tables in memory.
 *
 * @module
 */

/** 32 bits, signed. Four bytes at a time, as MurmurHash3 does. Whoever chooses keys can make hashes equal. */
export function hashOfKey(key: Uint8Array): number {
  const { length } = key;
  let hash = length;
  let at = 0;
  for (; at + 4 <= length; at += 4) {
    const word =
      (key[at] as number) |
      ((key[at + 1] as number) << 8) |
      ((key[at + 2] as number) << 16) |
      ((key[at + 3] as number) << 24);
    hash = mixed(hash, word);
  }
  let rest = 0;
  for (; at < length; at++) rest = (rest << 8) | (key[at] as number);
  hash = mixed(hash, rest);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}

function mixed(hash: number, word: number): number {
  const scrambled = Math.imul(word, 0xcc9e2d51);
  const next = hash ^ Math.imul((scrambled << 15) | (scrambled >>> 17), 0x1b873593);
  return (Math.imul((next << 13) | (next >>> 19), 5) + 0xe6546b64) | 0;
}

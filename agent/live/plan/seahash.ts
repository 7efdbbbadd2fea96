/**
 * SeaHash of a text, 64 bits: what names a query on the wire (`corro-query-hash`), equal on every node.
 * Run once a subscription, so bigints are fast enough.
 *
 * Source: Ticki, "SeaHash: explained", the reference implementation's four lanes.
 *
 * @module
 */

const mask = 0xffff_ffff_ffff_ffffn;
const prime = 0x6eed_0e9d_a4d9_4a4fn;
const seeds = [
  0x16f1_1fe8_9b0d_677cn,
  0xb480_a793_d8e6_c86cn,
  0x6fe2_e5aa_f078_ebc9n,
  0x14f9_94a4_c525_9381n,
] as const;

/** 16 hex digits. */
export function seaHashHex(text: string): string {
  const bytes = Buffer.from(text, "utf8");
  let [a, b, c, d]: [bigint, bigint, bigint, bigint] = [...seeds];
  for (let at = 0; at < bytes.length; at += 8) {
    let word = 0n;
    for (let i = Math.min(8, bytes.length - at) - 1; i >= 0; i--) {
      word = (word << 8n) | BigInt(bytes[at + i] as number);
    }
    [a, b, c, d] = [b, c, d, diffuse(a ^ word)];
  }
  return diffuse(a ^ b ^ c ^ d ^ BigInt(bytes.length))
    .toString(16)
    .padStart(16, "0");
}

function diffuse(value: bigint): bigint {
  let x = (value * prime) & mask;
  x ^= (x >> 32n) >> (x >> 60n);
  return (x * prime) & mask;
}

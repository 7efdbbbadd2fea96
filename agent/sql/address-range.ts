/**
 * IP addresses and CIDR ranges (RFC 4632, RFC 4291 §2.3), for the SQL function `cidr_match`.
 *
 * @module
 */

import { isIPv4, isIPv6 } from "node:net";

/** 4 or 16 bytes; undefined for what is no address. An IPv4 address in IPv6's clothes (`::ffff:…`) is IPv4. */
export function parseAddress(text: string): Uint8Array | undefined {
  if (isIPv4(text)) return Uint8Array.from(text.split(".").map(Number));
  // A zone (`%eth0`) names an interface of one host: no range has it.
  if (!isIPv6(text) || text.includes("%")) return undefined;
  let rest = text;
  const tail: number[] = [];
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (dotted !== null) {
    const [a, b, c, d] = (dotted[2] as string).split(".").map(Number) as number[];
    tail.push(((a as number) << 8) | (b as number), ((c as number) << 8) | (d as number));
    rest = (dotted[1] as string).replace(/([^:]):$/, "$1");
  }
  const [head, end] = rest.split("::") as [string, string | undefined];
  const groups = (part: string | undefined): number[] =>
    part === undefined || part === ""
      ? []
      : part.split(":").map((group) => Number.parseInt(group, 16));
  const left = groups(head);
  const right = [...groups(end), ...tail];
  const all = end === undefined ? [...left, ...right] : left;
  while (all.length + (end === undefined ? 0 : right.length) < 8) all.push(0);
  if (end !== undefined) all.push(...right);
  const bytes = Uint8Array.from(all.flatMap((group) => [group >> 8, group & 0xff]));
  const isMapped = bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff;
  return isMapped && bytes[11] === 0xff ? bytes.slice(12) : bytes;
}

/**
 * Whether `address` lies in `range` (`10.0.0.0/8`, `2001:db8::/32`, or one address). Bits of the range
 * after its prefix don't count. Undefined when one of them is no such thing.
 */
export function cidrMatch(range: string, address: string): boolean | undefined {
  const slash = range.lastIndexOf("/");
  const network = parseAddress(slash < 0 ? range : range.slice(0, slash));
  const one = parseAddress(address);
  if (network === undefined || one === undefined) return undefined;
  let bits = network.length * 8;
  if (slash >= 0) {
    const digits = range.slice(slash + 1);
    if (!/^\d{1,3}$/.test(digits)) return undefined;
    // `::ffff:10.0.0.0/104` counts from the front of all 128 bits.
    const isMapped = network.length === 4 && range.includes(":");
    const prefix = Number(digits) - (isMapped ? 96 : 0);
    if (prefix < 0 || prefix > bits) return undefined;
    bits = prefix;
  }
  if (network.length !== one.length) return false;
  for (let at = 0; bits > 0; at++, bits -= 8) {
    const mask = bits >= 8 ? 0xff : (0xff << (8 - bits)) & 0xff;
    if ((((network[at] as number) ^ (one[at] as number)) & mask) !== 0) return false;
  }
  return true;
}

/**
 * How a peer is written in the configuration: its key, 64 hex digits, or `key@host:port`.
 *
 * @module
 */

import { hexToBytes } from "../../core/bytes/hex.ts";
import type { PeerId } from "../../core/node/border.ts";

export interface PeerAddress {
  readonly peer: PeerId;
  readonly key: Uint8Array;
  /** Where it can be reached without asking a DHT. */
  readonly address: { readonly host: string; readonly port: number } | undefined;
}

/** Undefined for what is no key, or no IPv4 address and port behind the `@`. */
export function parsePeerAddress(text: string): PeerAddress | undefined {
  const match = /^([0-9a-f]{64})(?:@(\d{1,3}(?:\.\d{1,3}){3}):(\d{1,5}))?$/i.exec(text);
  if (match === null) return undefined;
  const [, hex = "", host, digits] = match;
  const key = hexToBytes(hex.toLowerCase());
  if (key === undefined) return undefined;
  const peer = hex.toLowerCase() as PeerId;
  if (host === undefined) return { peer, key, address: undefined };
  const port = Number(digits);
  const isAddress = host.split(".").every((part) => Number(part) < 256) && port > 0 && port < 65536;
  return isAddress ? { peer, key, address: { host, port } } : undefined;
}

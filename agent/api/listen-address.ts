/**
 * Addresses that TCP is listened on: `127.0.0.1:8080`, `[::1]:8080`.
 *
 * @module
 */

import { isIPv4, isIPv6 } from "node:net";

export interface ListenAddress {
  /** An IP address: names could come to mean another host. */
  readonly host: string;
  /** 0 takes any that is free. */
  readonly port: number;
}

/** Undefined for what is no address. */
export function parseListenAddress(text: string): ListenAddress | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  if (match === null) return undefined;
  const [, v6, v4, digits] = match;
  const port = Number(digits);
  if (port > 65_535) return undefined;
  if (v6 !== undefined) return isIPv6(v6) ? { host: v6, port } : undefined;
  return v4 !== undefined && isIPv4(v4) ? { host: v4, port } : undefined;
}

export function listenAddressToText({ host, port }: ListenAddress): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Whether only this host can reach it. */
export function isLoopback({ host }: ListenAddress): boolean {
  return isIPv4(host) ? host.startsWith("127.") : host === "::1";
}

/**
 * Who gets in: decided by the head of a request, before its body is read.
 *
 * On the Unix socket the file's owner, group and mode decide, and who can connect may do everything. On
 * TCP a bearer token says who asks; several may be configured (see `access.ts`), or none on loopback: then it counts
 * by which name the host is asked for ({@link refuseSiteNames}).
 *
 * @module
 */

import { isIPv4 } from "node:net";
import type { Access } from "./access.ts";
import { type ApiResponse, emptyResponse, type RequestHead, textResponse } from "./http.ts";
import { TokenSet } from "./token-set.ts";

export type Admission =
  | { readonly kind: "admitted"; readonly access: Access }
  | { readonly kind: "refused"; readonly response: ApiResponse };

export type Gate = (head: RequestHead) => Admission;

const endpointHeader = "x-corrosion-requested-endpoint-name";

export interface GateOptions {
  /** Who asks; or what whoever can connect may do. */
  readonly tokens: TokenSet | Access;
  /** What a client that names its endpoint must ask for; "" for anything. */
  readonly endpointName: string;
}

export function createGate({ tokens, endpointName }: GateOptions): Gate {
  return (head) => {
    const admission: Admission =
      tokens instanceof TokenSet ? admit(head, tokens) : { kind: "admitted", access: tokens };
    if (admission.kind === "refused" || endpointName === "") return admission;
    const asked = head.header(endpointHeader);
    if (asked === undefined || asked === endpointName) return admission;
    const isText = /^[\x20-\x7e\t]*$/.test(asked);
    return { kind: "refused", response: emptyResponse(isText ? 421 : 400) };
  };
}

/**
 * For where no token is asked for. A page in a browser on this host may have its own name lead to loopback, and then
 * read the answers (DNS rebinding); the browser says for which name it asks. Names on the web have a dot. Other programs
 * ask by an address, as localhost, by a short name, or say no name at all.
 */
export function refuseSiteNames(gate: Gate): Gate {
  return (head) => {
    if (!isSiteName(head.header("host") ?? "")) return gate(head);
    const why = "without a token this host is asked by its address, or as localhost";
    return { kind: "refused", response: textResponse(421, why) };
  };
}

function isSiteName(host: string): boolean {
  const name = host.replace(/:\d*$/, "").replace(/\.$/, "").toLowerCase();
  return (
    name.includes(".") && !isIPv4(name) && !name.startsWith("[") && !name.endsWith(".localhost")
  );
}

function admit(head: RequestHead, tokens: TokenSet): Admission {
  const header = head.header("authorization");
  if (header === undefined) return { kind: "refused", response: emptyResponse(401) };
  const secret = bearerOf(header);
  if (secret === undefined) {
    return { kind: "refused", response: textResponse(400, "invalid HTTP header (authorization)") };
  }
  const access = tokens.accessOf(secret);
  return access === undefined
    ? { kind: "refused", response: emptyResponse(401) }
    : { kind: "admitted", access };
}

/**
 * What stands behind `bearer`, without the spaces around it; undefined: it is something else. Whoever can connect may send a
 * header of thousands of spaces, and a regular expression would go through the rest of them from each.
 */
function bearerOf(header: string): string | undefined {
  const scheme = /^bearer +/i.exec(header)?.[0];
  if (scheme === undefined) return undefined;
  let end = header.length;
  while (end > scheme.length && header.charCodeAt(end - 1) === 0x20) end--;
  return header.slice(scheme.length, end);
}

/**
 * Who gets in: decided by the head of a request, before its body is read.
 *
 * On the Unix socket the file's owner, group and mode decide, and who can connect may do everything. On
 * TCP a bearer token says who asks; several may be configured (see `access.ts`), or none on loopback.
 *
 * @module
 */

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

function admit(head: RequestHead, tokens: TokenSet): Admission {
  const header = head.header("authorization");
  if (header === undefined) return { kind: "refused", response: emptyResponse(401) };
  const bearer = /^bearer +(.*?) *$/i.exec(header);
  if (bearer === null) {
    return { kind: "refused", response: textResponse(400, "invalid HTTP header (authorization)") };
  }
  const access = tokens.accessOf(bearer[1] as string);
  return access === undefined
    ? { kind: "refused", response: emptyResponse(401) }
    : { kind: "admitted", access };
}

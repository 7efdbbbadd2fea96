/**
 * Who may do what: decided by the head of a request, before its body is read.
 *
 * On the Unix socket the file's owner, group and mode decide, and who can connect may do everything. On
 * TCP a bearer token says who asks; several may be configured, each for everything, for reading only, or for some
 * tables. Tables are held against what SQLite's authorizer names, never against the words of a statement.
 *
 * @module
 */

import { type ApiResponse, emptyResponse, type RequestHead, textResponse } from "./http.ts";
import type { TokenSet } from "./token-set.ts";

export interface Access {
  readonly mayWrite: boolean;
  /** Names in ASCII lower case; undefined: every table. */
  readonly tables: ReadonlySet<string> | undefined;
  /** Aborts when the token is taken back: what was begun with it ends. Undefined: it never is. */
  readonly revoked?: AbortSignal;
}

export const fullAccess: Access = { mayWrite: true, tables: undefined };

/** A token as configured. The secret is never logged. */
export interface Token {
  /** For people. */
  readonly name: string;
  readonly secret: string;
  readonly access: Access;
}

export type Admission =
  | { readonly kind: "admitted"; readonly access: Access }
  | { readonly kind: "refused"; readonly response: ApiResponse };

export type Gate = (head: RequestHead) => Admission;

/** Table-valued functions that show nothing but their arguments. */
const openTables: ReadonlySet<string> = new Set(["json_each", "json_tree"]);

/** The first table that isn't the token's; undefined when all are. */
export function foreignTable(access: Access, tables: Iterable<string>): string | undefined {
  if (access.tables === undefined) return undefined;
  for (const table of tables) {
    if (!access.tables.has(table) && !openTables.has(table)) return table;
  }
  return undefined;
}

const endpointHeader = "x-corrosion-requested-endpoint-name";

export interface GateOptions {
  /** Undefined: whoever can connect may do everything. */
  readonly tokens: TokenSet | undefined;
  /** What a client that names its endpoint must ask for; "" for anything. */
  readonly endpointName: string;
}

export function createGate({ tokens, endpointName }: GateOptions): Gate {
  return (head) => {
    const admission: Admission =
      tokens === undefined ? { kind: "admitted", access: fullAccess } : admit(head, tokens);
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

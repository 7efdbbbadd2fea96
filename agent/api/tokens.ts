/**
 * Bearer tokens of the TCP API as people write them: in the configuration (`[[api.tokens]]`), or in a file
 * of their own that nobody else may read (`api.tokens_file`, `[[tokens]]`).
 *
 * ```toml
 * [[tokens]]
 * name = "proxy"                # for people and messages
 * secret = "…"                  # 16 to 512 visible ASCII characters: what a client sends
 * read_only = true              # default: false
 * tables = ["instances"]        # default: all
 * ```
 *
 * No message of this file holds a secret.
 *
 * @module
 */

import { lowerAscii } from "../../core/row/row-state.ts";
import { readSecretFile } from "../host/secret-file.ts";
import type { Token } from "./access.ts";

export type TokensRead =
  | { readonly kind: "tokens"; readonly tokens: readonly Token[] }
  /** Each names the token and what is wrong with it. */
  | { readonly kind: "refused"; readonly problems: readonly string[] };

const tokenKeys = new Set(["name", "secret", "read_only", "tables"]);

export function parseTokens(value: unknown): TokensRead {
  if (!Array.isArray(value)) {
    return { kind: "refused", problems: ["a list of tokens: write [[api.tokens]] for each"] };
  }
  const tokens: Token[] = [];
  const problems: string[] = [];
  for (const [index, item] of value.entries()) {
    const token = parseToken(item, index);
    if (typeof token === "string") problems.push(token);
    else if (tokens.some(({ secret }) => secret === token.secret)) {
      problems.push(`token ${token.name}: another one has the same secret`);
    } else tokens.push(token);
  }
  return problems.length > 0 ? { kind: "refused", problems } : { kind: "tokens", tokens };
}

export function readTokensFile(path: string): TokensRead {
  const refused = (why: string): TokensRead => ({ kind: "refused", problems: [`${path}: ${why}`] });
  const file = readSecretFile(path);
  if (file.kind === "missing") return refused("there is no such file");
  if (file.kind === "refused") return refused(file.why);
  const { table } = file;
  const unknown = Object.keys(table).find((key) => key !== "tokens");
  if (unknown !== undefined) return refused(`unknown key ${unknown}: it holds [[tokens]] only`);
  const read = parseTokens(table.tokens ?? []);
  if (read.kind === "tokens") return read;
  return { kind: "refused", problems: read.problems.map((problem) => `${path}: ${problem}`) };
}

function parseToken(item: unknown, index: number): Token | string {
  if (typeof item !== "object" || item === null) return `token ${index + 1}: a table wanted`;
  const fields = item as Readonly<Record<string, unknown>>;
  const { name = `${index + 1}`, secret, read_only: readOnly = false, tables } = fields;
  const at = `token ${typeof name === "string" ? name : index + 1}`;
  if (typeof name !== "string") return `${at}: name: a text wanted`;
  const unknown = Object.keys(fields).find((key) => !tokenKeys.has(key));
  if (unknown !== undefined) {
    return `${at}: unknown key ${unknown} (known: ${[...tokenKeys].join(", ")})`;
  }
  if (typeof secret !== "string" || !/^[\x21-\x7e]{16,512}$/.test(secret)) {
    return `${at}: secret: 16 to 512 visible ASCII characters wanted, without spaces`;
  }
  if (typeof readOnly !== "boolean") return `${at}: read_only: true or false wanted`;
  if (tables === undefined) {
    return { name, secret, access: { mayWrite: !readOnly, tables: undefined } };
  }
  if (!Array.isArray(tables) || tables.some((table) => typeof table !== "string")) {
    return `${at}: tables: a list of names wanted`;
  }
  const lower = (tables as string[]).map(lowerAscii);
  return { name, secret, access: { mayWrite: !readOnly, tables: new Set(lower) } };
}

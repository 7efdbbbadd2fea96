/**
 * One statement of a schema file: what it creates, and where it stands.
 *
 * @module
 */

import { utf8Length } from "../bytes/utf8.ts";
import { nameBytesMax } from "../change/row-block.ts";
import { lowerAscii } from "../row/row-state.ts";
import type { SchemaFile } from "./schema.ts";
import { isSymbol, type SqlToken, splitStatements, tokenize } from "./sql-token.ts";

export type ObjectKind = "table" | "index" | "view";

export interface SchemaStatement {
  readonly kind: ObjectKind;
  /** In ASCII lower case. */
  readonly name: string;
  readonly sql: string;
  /** Of `sql` alone. */
  readonly tokens: readonly SqlToken[];
  readonly file: string;
  /** Line of the file that the first line of `sql` is. */
  readonly line: number;
  /** Of an index. */
  readonly isUnique: boolean;
}

export type StatementRead =
  | { readonly kind: "statement"; readonly statement: SchemaStatement }
  | { readonly kind: "refused"; readonly line: number; readonly why: string };

/** The statements of a file, in its order. */
export function* readStatements(file: SchemaFile): Generator<StatementRead, void, undefined> {
  // A byte order mark is blank to SQLite.
  const text = file.text.replace(/^\ufeff/, "");
  for (const tokens of splitStatements(tokenize(text))) {
    const first = tokens[0] as SqlToken;
    const last = tokens.at(-1) as SqlToken;
    const { line } = first;
    const head = parseHead(tokens);
    if (head.kind === "refused") {
      yield { kind: "refused", line, why: head.why };
      continue;
    }
    const why = problemOfName(head.name);
    if (why !== undefined) {
      yield { kind: "refused", line, why };
      continue;
    }
    const sql = text.slice(first.at, last.at + last.text.length);
    const statement = { ...head, sql, tokens: tokenize(sql), file: file.name, line };
    yield { kind: "statement", statement };
  }
}

function problemOfName(name: string): string | undefined {
  // One of `pragma_` would stand before SQLite's own functions of that name, by which tables are looked into.
  if (/^(patina|sqlite|pragma)_/.test(name)) {
    return `${name}: names that start with patina_, sqlite_ or pragma_ are kept for Patina and SQLite`;
  }
  if (name === "" || utf8Length(name) > nameBytesMax) {
    return `a name of 1 to ${nameBytesMax} bytes is wanted`;
  }
  return undefined;
}

type Head =
  | { readonly kind: ObjectKind; readonly name: string; readonly isUnique: boolean }
  | { readonly kind: "refused"; readonly why: string };

/** What a statement creates, from its first words. */
function parseHead(tokens: readonly SqlToken[]): Head {
  const words = tokens.map((token) => (token.kind === "word" ? token.value : ""));
  const allowed = "a schema file holds CREATE TABLE, CREATE INDEX and CREATE VIEW";
  const shown = tokens
    .slice(0, 3)
    .map((token) => token.text)
    .join(" ");
  if (words[0] !== "create") return { kind: "refused", why: `${allowed}, got ${shown}` };
  let at = 1;
  if (words[at] === "temp" || words[at] === "temporary") {
    return { kind: "refused", why: `${allowed}, not temporary ones` };
  }
  const isUnique = words[at] === "unique";
  if (isUnique) at++;
  const kind = words[at++];
  if (kind === "trigger") {
    return {
      kind: "refused",
      why: "triggers would run again on every node that merges the row: write what they write yourself",
    };
  }
  if ((kind !== "table" && kind !== "index" && kind !== "view") || (isUnique && kind !== "index")) {
    return { kind: "refused", why: `${allowed}, got ${shown}` };
  }
  if (words[at] === "if" && words[at + 1] === "not" && words[at + 2] === "exists") at += 3;
  const token = tokens[at];
  if (token === undefined || token.kind === "symbol" || token.kind === "number") {
    return { kind: "refused", why: `a name is wanted after CREATE ${kind.toUpperCase()}` };
  }
  if (isSymbol(tokens[at + 1], ".")) {
    return { kind: "refused", why: `a plain name is wanted, without "${token.text}."` };
  }
  if (kind === "table" && !isSymbol(tokens[at + 1], "(")) {
    return { kind: "refused", why: `table ${token.value}: its columns are wanted in parentheses` };
  }
  const name = token.kind === "string" ? lowerAscii(token.value.slice(1, -1)) : token.value;
  return { kind, name, isUnique };
}

/** The token that SQLite's error is about, if it says so; else the statement's first. */
export function tokenOfError(
  { sql, tokens }: SchemaStatement,
  error: unknown,
): SqlToken | undefined {
  const { offset } = error as { readonly offset?: unknown };
  if (typeof offset !== "number" || offset < 0) return tokens[0];
  // SQLite counts bytes.
  const bytesBefore = (token: SqlToken): number => utf8Length(sql.slice(0, token.at));
  return tokens.findLast((token) => bytesBefore(token) <= offset) ?? tokens[0];
}

/**
 * SQL text cut into tokens, as SQLite's own tokenizer cuts it.
 *
 * The schema planner lets SQLite parse statements. What it can't ask SQLite is where one statement of
 * a file ends and which words an expression is made of; that is read off the tokens.
 *
 * @module
 */

import { lowerAscii } from "../row/row-state.ts";

export interface SqlToken {
  /** `word`: keyword or bare name. `quoted`: "name", [name] or `name`. */
  readonly kind: "word" | "quoted" | "string" | "blob" | "number" | "symbol";
  /** As written. */
  readonly text: string;
  /** Words in ASCII lower case; quoted names without quotes, in ASCII lower case; others as written. */
  readonly value: string;
  /** Offset of its first character. */
  readonly at: number;
  /** From 1. */
  readonly line: number;
}

/**
 * A byte order mark is a blank to SQLite, but where it stands behind a name's character.
 *
 * What begins with no quote and is no comment of many lines: those are looked for, since a loop over alternatives fails on a megabyte.
 */
const pattern =
  /([ \t\n\f\r][ \t\n\v\f\r]*|\ufeff|--[^\n]*)|([xX]'[0-9a-fA-F]*')|(0[xX][0-9a-fA-F_]+|(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9_]+)?)|([A-Za-z_\u0080-\uffff][A-Za-z0-9_$\u0080-\uffff]*)|(<>|<=|>=|<<|>>|==|!=|\|\||->>|->|[\s\S])/y;

type Kind = SqlToken["kind"] | "blank";

/** All tokens of `sql` without blanks and comments. Never fails: what is no token is a symbol. */
export function tokenize(sql: string): SqlToken[] {
  const tokens: SqlToken[] = [];
  let line = 1;
  let at = 0;
  // Looked for once: each of many that nothing closes would be followed to the end.
  const lastBracket = sql.lastIndexOf("]");
  while (at < sql.length) {
    const { kind, text } = quotedAt(sql, at, lastBracket) ?? otherAt(sql, at);
    if (kind !== "blank") tokens.push({ kind, text, value: tokenValue(kind, text), at, line });
    for (let i = text.indexOf("\n"); i >= 0; i = text.indexOf("\n", i + 1)) line++;
    at += text.length;
  }
  return tokens;
}

/**
 * @param lastBracket where the last `]` is
 * @returns undefined: none begins here, or it has no end
 */
function quotedAt(
  sql: string,
  at: number,
  lastBracket: number,
): { kind: Kind; text: string } | undefined {
  const first = sql[at] as string;
  if (first === "[" && at < lastBracket) {
    return { kind: "quoted", text: sql.slice(at, sql.indexOf("]", at) + 1) };
  }
  if (first === "/") {
    if (sql[at + 1] !== "*") return undefined;
    const end = sql.indexOf("*/", at + 2);
    return { kind: "blank", text: end < 0 ? sql.slice(at) : sql.slice(at, end + 2) };
  }
  if (first !== "'" && first !== '"' && first !== "`") return undefined;
  let end = sql.indexOf(first, at + 1);
  // Twice is one in it; or the end, where no other follows.
  while (end >= 0 && sql[end + 1] === first) {
    const next = sql.indexOf(first, end + 2);
    if (next < 0) break;
    end = next;
  }
  if (end < 0) return undefined;
  return { kind: first === "'" ? "string" : "quoted", text: sql.slice(at, end + 1) };
}

function otherAt(sql: string, at: number): { kind: Kind; text: string } {
  pattern.lastIndex = at;
  // The last branch takes any character, so there is always a match.
  const match = pattern.exec(sql) as RegExpExecArray;
  const text = match[0];
  const kind = kinds[match.findIndex((part, i) => i > 0 && part !== undefined) - 1] as Kind;
  return { kind, text };
}

/** Of the pattern's groups. */
const kinds: readonly Kind[] = ["blank", "blob", "number", "word", "symbol"];

/** Text that is equal for token lists that mean the same, however they are spaced, cased and quoted. */
export function tokensToText(tokens: readonly SqlToken[]): string {
  return tokens.map((token) => token.value).join(" ");
}

/** Statements of a file, split at `;`. Each has at least one token. */
export function splitStatements(tokens: readonly SqlToken[]): SqlToken[][] {
  const statements: SqlToken[][] = [];
  let statement: SqlToken[] = [];
  for (const token of tokens) {
    if (token.kind === "symbol" && token.value === ";") {
      // The body of a trigger has semicolons of its own, up to END.
      if (isTrigger(statement) && statement.at(-1)?.value !== "end") continue;
      if (statement.length > 0) statements.push(statement);
      statement = [];
    } else statement.push(token);
  }
  if (statement.length > 0) statements.push(statement);
  return statements;
}

function isTrigger(statement: readonly SqlToken[]): boolean {
  return statement[0]?.value === "create" && statement.slice(1, 3).some(isWord("trigger"));
}

export function isWord(word: string): (token: SqlToken) => boolean {
  return (token) => token.kind === "word" && token.value === word;
}

export function isSymbol(token: SqlToken | undefined, symbol: string): boolean {
  return token?.kind === "symbol" && token.value === symbol;
}

/** Index of the `)` that closes the `(` at `open`; the number of tokens when nothing does. */
export function closingParenthesis(tokens: readonly SqlToken[], open: number): number {
  let depth = 0;
  for (let i = open; i < tokens.length; i++) {
    if (isSymbol(tokens[i], "(")) depth++;
    else if (isSymbol(tokens[i], ")") && --depth === 0) return i;
  }
  return tokens.length;
}

/** `"name"`, for SQL text that is built. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

function tokenValue(kind: SqlToken["kind"], text: string): string {
  if (kind === "word") return lowerAscii(text);
  if (kind !== "quoted") return text;
  const inner = text.slice(1, -1);
  const quote = text[0] as string;
  return lowerAscii(quote === "[" ? inner : inner.replaceAll(quote + quote, quote));
}

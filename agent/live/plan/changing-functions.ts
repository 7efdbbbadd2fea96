/**
 * Functions that give another value each time they are asked, as time passes, or as rows move in the file: a query that calls one has no
 * result that could be kept equal to running it again, so it can't be subscribed to.
 *
 * SQLite's authorizer names the functions that a statement calls, those of its views too. Of date functions
 * the text tells whether they look at the clock: by the word `now`, or by default. Where the word is put together or
 * stands in a row, running it does ({@link stepUnclocked}): SQLite asks for the time then.
 *
 * @module
 */

import { lowerAscii } from "../../../core/row/row-state.ts";
import {
  closingParenthesis,
  isSymbol,
  type SqlToken,
  tokenize,
} from "../../../core/schema/sql-token.ts";
import type { Database } from "../../../wasm/database.ts";
import type { Statement } from "../../../wasm/statement.ts";
import { SqlRefused } from "../../sql/prepared.ts";

const nothingTells = "has another value at another time, and nothing tells when";
const advice = "it can't be subscribed to. Give the value as a parameter";

/** Why a query that calls it is refused. */
export const changesUntold = (name: string): string => `${name}() ${nothingTells}: ${advice}`;

const changing = new Set([
  "changes",
  "current_date",
  "current_time",
  "current_timestamp",
  "hlc_time",
  "last_insert_rowid",
  "random",
  "randomblob",
  "sqlite_offset",
  "total_changes",
  "uuid7",
]);

/** How many arguments they have at least when they don't look at the clock. */
const argumentsMin = new Map([
  ["date", 1],
  ["datetime", 1],
  ["julianday", 1],
  ["strftime", 2],
  ["time", 1],
  ["timediff", 2],
  ["unixepoch", 1],
]);

/** As a time value each of them is the present one. */
const nowWords = new Set(["now", "subsec", "subsecond"]);

/**
 * @param sql one statement, which SQLite has compiled
 * @param functions that it calls, in ASCII lower case
 * @returns the first that has another value at another time; undefined for none
 */
export function changingFunctionOf(
  database: Database,
  sql: string,
  functions: ReadonlySet<string>,
): string | undefined {
  for (const name of functions) if (changing.has(name)) return name;
  if (!functions.values().some((name) => argumentsMin.has(name))) return undefined;
  const tokens = tokenize(sql);
  return clockReaderOf(tokens) ?? clockReaderOf(viewTokensOf(database, tokens));
}

/**
 * The next row of a live query.
 *
 * @throws SqliteError; SqlRefused where a date function was given `now`
 */
export function stepUnclocked(statement: Statement): boolean {
  const { clockReads } = statement;
  const isRow = statement.step();
  if (statement.clockReads === clockReads) return isRow;
  throw new SqlRefused(`a date function was given 'now', which ${nothingTells}: ${advice}`);
}

function clockReaderOf(tokens: readonly SqlToken[]): string | undefined {
  for (const [i, { value }] of tokens.entries()) {
    const least = argumentsMin.get(value);
    if (least === undefined || !isSymbol(tokens[i + 1], "(")) continue;
    const inner = tokens.slice(i + 2, closingParenthesis(tokens, i + 1));
    const isNow = inner.some(
      ({ kind, text }) => kind === "string" && nowWords.has(lowerAscii(text.slice(1, -1))),
    );
    if (isNow || argumentCount(inner) < least) return value;
  }
  return undefined;
}

function argumentCount(inner: readonly SqlToken[]): number {
  let depth = 0;
  let commas = 0;
  for (const token of inner) {
    if (isSymbol(token, "(")) depth++;
    else if (isSymbol(token, ")")) depth--;
    else if (depth === 0 && isSymbol(token, ",")) commas++;
  }
  return inner.length === 0 ? 0 : commas + 1;
}

/** Of all views that are named, also by other views. */
function viewTokensOf(database: Database, tokens: readonly SqlToken[]): SqlToken[] {
  const views = new Map<string, SqlToken[]>();
  const rows = database.all("SELECT name, sql FROM main.sqlite_schema WHERE type = 'view'");
  for (const [name, sql] of rows) views.set(lowerAscii(String(name)), tokenize(String(sql)));
  const named = [...tokens];
  // What is appended is gone through as well.
  for (const { value } of named) {
    const own = views.get(value);
    views.delete(value);
    if (own !== undefined) named.push(...own);
  }
  return named.slice(tokens.length);
}

/**
 * JSON in expressions of replicated tables: the forms that are total.
 *
 * `json_extract` fails on text that is no JSON, and `->` and `->>` do. Behind `json_valid` of the same column, with a
 * path that is a well-formed literal, they can't: CASE looks at what follows THEN only where WHEN holds, and
 * what `json_valid` calls valid is what `json_extract` reads (RFC 8259; a BLOB in SQLite's own binary JSON is not
 * valid here, so it gives NULL). What is cut out is never larger than what it was cut from.
 *
 * ```sql
 * json_valid(info)
 * CASE WHEN json_valid(info) THEN json_extract(info, '$.name') END
 * CASE WHEN json_valid(info) THEN info ->> '$.address.port' ELSE 80 END
 * ```
 *
 * The forms are known token by token; anything else with JSON in it is refused.
 *
 * @module
 */

import type { SqlToken } from "./sql-token.ts";

/** Steps of a path: far below where SQLite stops. */
const pathStepsMax = 64;
/** `$`, then names that need no quotes or have double ones, and indexes from the left. */
const pathPattern = /^'\$((?:\.[^.[\]"'\\\s]+|\."[^"'\\]+"|\[[0-9]{1,6}\])*)'$/;
const stepPattern = /\."[^"]*"|\.[^.[]+|\[[0-9]+\]/g;

/** The tokens with each total form of JSON replaced by the column that it reads. */
export function withoutTotalJson(tokens: readonly SqlToken[]): SqlToken[] {
  const rest: SqlToken[] = [];
  for (let i = 0; i < tokens.length; ) {
    const length = extractLength(tokens, i);
    if (length > 0) {
      // CASE WHEN column THEN column, and what follows stays.
      rest.push(...tokens.slice(i, i + 2), tokens[i + 4] as SqlToken);
      rest.push(tokens[i + 6] as SqlToken, tokens[i + 4] as SqlToken);
      i += length;
    } else if (matches(tokens, i, validForm)) {
      rest.push(tokens[i + 2] as SqlToken);
      i += validForm.length;
    } else rest.push(tokens[i++] as SqlToken);
  }
  return rest;
}

/** How to write what `token`, a JSON function or arrow, is refused for. Undefined when it is neither. */
export function jsonAdvice(tokens: readonly SqlToken[], token: SqlToken): string | undefined {
  const isArrow = token.value === "->" || token.value === "->>";
  if (!isArrow && !/^jsonb?_/.test(token.value)) return undefined;
  const at = tokens.indexOf(token);
  let column = "column";
  let path = "'$.path'";
  if (isArrow) {
    const [before, after] = [tokens[at - 1], tokens[at + 1]];
    if (isName(before) && after?.kind === "string") [column, path] = [before.text, after.text];
  } else if (matches(tokens, at, extractForm)) {
    [column, path] = [(tokens[at + 2] as SqlToken).text, (tokens[at + 4] as SqlToken).text];
  }
  const form = (what: string): string => `CASE WHEN json_valid(${column}) THEN ${what} END`;
  if (!isPath(path)) {
    return `a path of names and indexes is wanted, such as '$.a.b[0]': ${form(`json_extract(${column}, '$.a.b[0]')`)}`;
  }
  const extract = isArrow ? `${column} ${token.text} ${path}` : `json_extract(${column}, ${path})`;
  return `it fails on a value that is no JSON, and so would the merge of that row: write ${form(extract)}`;
}

/** Each place of a form: the token's value, or what it must be. */
type Place = string | "column" | "path";
const validForm: readonly Place[] = ["json_valid", "(", "column", ")"];
const headForm: readonly Place[] = ["case", "when", ...validForm, "then"];
const extractForm: readonly Place[] = ["json_extract", "(", "column", ",", "path", ")"];
const arrowForms: readonly (readonly Place[])[] = [
  ["column", "->", "path"],
  ["column", "->>", "path"],
];

/** How many tokens from CASE to before ELSE or END are a guarded extract; 0 when they are none. */
function extractLength(tokens: readonly SqlToken[], at: number): number {
  if (!matches(tokens, at, headForm)) return 0;
  const body = at + headForm.length;
  const column = tokens[at + 4] as SqlToken;
  for (const form of [extractForm, ...arrowForms]) {
    if (!matches(tokens, body, form)) continue;
    const read = tokens[body + form.indexOf("column")] as SqlToken;
    const path = tokens[body + form.indexOf("path")] as SqlToken;
    const after = tokens[body + form.length];
    const isLast = after?.kind === "word" && (after.value === "end" || after.value === "else");
    if (read.value === column.value && isPath(path.text) && isLast) return body + form.length - at;
  }
  return 0;
}

function matches(tokens: readonly SqlToken[], at: number, form: readonly Place[]): boolean {
  return form.every((place, i) => {
    const token = tokens[at + i];
    if (token === undefined) return false;
    if (place === "column") return isName(token);
    if (place === "path") return token.kind === "string";
    return (token.kind === "word" || token.kind === "symbol") && token.value === place;
  });
}

function isName(token: SqlToken | undefined): token is SqlToken {
  return token?.kind === "word" || token?.kind === "quoted";
}

/** @param text as written, with its quotes */
function isPath(text: string): boolean {
  const steps = pathPattern.exec(text)?.[1];
  return steps !== undefined && (steps.match(stepPattern) ?? []).length <= pathStepsMax;
}

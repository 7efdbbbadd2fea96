/**
 * Which expressions a replicated table may have in an index, a partial index's WHERE, a generated
 * column and a default.
 *
 * They are evaluated while a remote row is merged, and a virtual column's with every `SELECT *`. One
 * that can fail on some value (`json_extract` of malformed JSON, `abs` of the smallest integer) would
 * make every merge of that row fail, for good. So only what can't fail is let through: columns,
 * literals, comparisons, IS NULL, IN a list, BETWEEN, AND, OR, NOT, `||`, CASE, COLLATE, coalesce,
 * ifnull, lower, upper, length and substr, and JSON in the forms of `json-expression.ts`.
 *
 * Only `||` makes something larger than it was given, up to where SQLite refuses it. Ten of them on
 * values of at most 8 MB stay far below, as long as none is a generated column that has done the same:
 * callers leave those out of `columns`.
 *
 * @module
 */

import { withoutTotalJson } from "./json-expression.ts";
import { isSymbol, type SqlToken } from "./sql-token.ts";

const functions = new Set([
  "coalesce",
  "ifnull",
  "lower",
  "upper",
  "length",
  "substr",
  "substring",
]);
const words = new Set(
  (
    "is not null isnull notnull case when then else end and or between in from distinct " +
    "collate binary nocase rtrim asc desc true false where"
  ).split(" "),
);
const symbols = new Set(["(", ")", ",", "=", "==", "<>", "!=", "<", "<=", ">", ">=", "||"]);
const clockWords = new Set(["current_time", "current_date", "current_timestamp"]);

const concatenationsMax = 10;

/**
 * The first token that may not be there; undefined when the expression is total.
 *
 * @param columns In ASCII lower case.
 */
export function forbiddenToken(
  expression: readonly SqlToken[],
  columns: ReadonlySet<string>,
): SqlToken | undefined {
  const tokens = withoutTotalJson(expression);
  let concatenations = 0;
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i] as SqlToken;
    if (token.value === "||" && ++concatenations > concatenationsMax) return token;
    const isCall = isSymbol(tokens[i + 1], "(");
    switch (token.kind) {
      case "string":
      case "blob":
      case "number":
        break;
      case "quoted":
        // In double quotes SQLite would take an unknown name for text; here it is a mistake.
        if (isCall || !columns.has(token.value)) return token;
        break;
      case "word":
        if (isCall && functions.has(token.value)) break;
        if (words.has(token.value) || (columns.has(token.value) && !isCall)) break;
        return token;
      case "symbol":
        if (symbols.has(token.value)) break;
        // A sign of a number, not a sum.
        if ((token.value === "-" || token.value === "+") && isSign(tokens, i)) break;
        return token;
    }
  }
  return undefined;
}

/** Whether a column default, as `table_xinfo` tells it, is a literal. */
export function isLiteral(tokens: readonly SqlToken[]): boolean {
  const sign = isSymbol(tokens[0], "-") || isSymbol(tokens[0], "+") ? 1 : 0;
  const token = tokens[sign];
  if (token === undefined || tokens.length !== sign + 1) return false;
  if (sign === 1) return token.kind === "number";
  if (token.kind === "symbol") return false;
  // SQLite reads a bare or quoted name as text here, except for the three that tell the time.
  return token.kind !== "word" || !clockWords.has(token.value);
}

function isSign(tokens: readonly SqlToken[], at: number): boolean {
  if (tokens[at + 1]?.kind !== "number") return false;
  const before = tokens[at - 1];
  if (before === undefined) return true;
  return before.kind === "symbol"
    ? before.value !== ")"
    : before.kind === "word" && words.has(before.value) && before.value !== "end";
}

/**
 * A CREATE TABLE statement taken apart: one definition a column, and the rest.
 *
 * Used to compare a table with what its file says now, to word ALTER TABLE ADD COLUMN, and to find the
 * line of a column.
 *
 * @module
 */

import { closingParenthesis, isSymbol, type SqlToken, tokensToText } from "./sql-token.ts";

export interface ColumnDefinition {
  /** In ASCII lower case. */
  readonly name: string;
  /** As written, for ALTER TABLE. */
  readonly sql: string;
  readonly tokens: readonly SqlToken[];
  /** Equal for definitions that mean the same. */
  readonly text: string;
}

export interface TableDefinition {
  readonly columns: readonly ColumnDefinition[];
  /** Table constraints, then what follows the parenthesis (WITHOUT ROWID, STRICT). */
  readonly constraints: readonly (readonly SqlToken[])[];
  readonly rest: string;
}

const constraintWords = new Set(["constraint", "primary", "unique", "check", "foreign"]);

/** @param sql The statement that `tokens` were cut from. Undefined for CREATE TABLE … AS SELECT. */
export function parseTable(sql: string, tokens: readonly SqlToken[]): TableDefinition | undefined {
  const open = tokens.findIndex((token) => isSymbol(token, "("));
  if (open < 0) return undefined;
  const close = closingParenthesis(tokens, open);
  const columns: ColumnDefinition[] = [];
  const constraints: SqlToken[][] = [];
  for (const item of splitAtCommas(tokens.slice(open + 1, close))) {
    const first = item[0];
    if (first === undefined) continue;
    if (first.kind === "word" && constraintWords.has(first.value)) constraints.push(item);
    // SQLite lets table constraints follow each other without a comma; columns come first.
    else if (constraints.length > 0) constraints.push(item);
    else columns.push(columnOf(sql, item));
  }
  const rest = tokens.slice(close + 1).filter((token) => !isSymbol(token, ";"));
  const restText = splitAtCommas(rest).map(tokensToText).sort().join(" , ");
  return {
    columns,
    constraints,
    rest: [...constraints.map(tokensToText), restText].join(" ; "),
  };
}

function columnOf(sql: string, tokens: readonly SqlToken[]): ColumnDefinition {
  const first = tokens[0] as SqlToken;
  const last = tokens.at(-1) as SqlToken;
  const text = tokens.slice(1).map((token) => token.value);
  return {
    // A column may be named by a string.
    name: first.kind === "string" ? first.value.slice(1, -1) : first.value,
    sql: sql.slice(first.at, last.at + last.text.length),
    tokens,
    text: text.join(" "),
  };
}

function splitAtCommas(tokens: readonly SqlToken[]): SqlToken[][] {
  const items: SqlToken[][] = [];
  let item: SqlToken[] = [];
  let depth = 0;
  for (const token of tokens) {
    if (isSymbol(token, "(")) depth++;
    if (isSymbol(token, ")")) depth--;
    if (depth === 0 && isSymbol(token, ",")) {
      items.push(item);
      item = [];
    } else item.push(token);
  }
  if (item.length > 0) items.push(item);
  return items;
}

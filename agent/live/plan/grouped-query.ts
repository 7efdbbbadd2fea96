/**
 * The shape of query that is maintained group by group:
 *
 * ```sql
 * SELECT service, count(*) FROM instances WHERE status = 'up' GROUP BY service
 * ```
 *
 * one table, counted (or its least and greatest values named) by columns of it. A row of the result comes from the rows
 * with the same values in these columns, and from nothing else. So after a change of a row it is enough to run the
 * query for the group that the row was in, and for that which it is in.
 *
 * What that gives has to be what running the whole query gives, to the letter. So results and HAVING are made of the
 * group's columns and of `count`, `min` and `max`, which are the same in whichever order rows are read (a
 * sum of REALs isn't, and another column is that of any row). And for the group's columns and those of which
 * the least is asked, values that SQLite holds equal have to be the same: TEXT without a collation, or INTEGER in a STRICT table.
 *
 * When in doubt a query isn't of this shape: that is slower, never wrong.
 *
 * @module
 */

import {
  closingParenthesis,
  isSymbol,
  quoteName,
  type SqlToken,
  tokenize,
} from "../../../core/schema/sql-token.ts";
import { clausesOf, isName, isWordOf, parseFrom } from "./clauses.ts";

export interface GroupedQuery {
  /** In ASCII lower case, as the columns. */
  readonly table: string;
  /** What it is grouped by; they follow the query's own columns. */
  readonly columns: readonly string[];
  /** The query with the group's columns after its own, and its own order. */
  readonly all: string;
  /** The same for one group, whose values are the parameters. */
  readonly one: string;
}

/** Columns of which equal values are the same, in ASCII lower case; undefined for what is no table with a key. */
export type ExactColumnsOf = (table: string) => ReadonlySet<string> | undefined;

/** Any of these, anywhere: the words mean more than is looked at here. */
const stopWords = new Set([
  "except",
  "full",
  "indexed",
  "intersect",
  "join",
  "left",
  "limit",
  "natural",
  "returning",
  "right",
  "select",
  "union",
  "using",
  "values",
  "window",
  "with",
]);

/** @param sql one statement without parameters, which SQLite has compiled */
export function groupedQuery(
  sql: string,
  exactColumnsOf: ExactColumnsOf,
): GroupedQuery | undefined {
  const tokens = tokenize(sql);
  if (isSymbol(tokens.at(-1), ";")) tokens.pop();
  const clauses = clausesOf(tokens, stopWords);
  if (clauses === undefined || isWordOf(tokens[1], "distinct")) return undefined;
  const { from, where, group, having, order } = clauses;
  if (group === having || !isWordOf(tokens[group + 1], "by")) return undefined;
  const [source, ...others] = parseFrom(tokens.slice(from + 1, where)) ?? [];
  if (source === undefined || others.length > 0) return undefined;
  const { table, alias } = source;
  const exact = exactColumnsOf(table);
  if (exact === undefined) return undefined;
  const columnOf = (name: readonly SqlToken[]): string | undefined => {
    const [first, dot, last] = name;
    if (name.length === 1 && isName(first)) return first.value;
    const isQualified = name.length === 3 && isName(first) && isSymbol(dot, ".") && isName(last);
    return isQualified && first.value === alias ? last.value : undefined;
  };
  const columns: string[] = [];
  for (const term of listOf(tokens.slice(group + 2, having))) {
    const column = columnOf(term);
    if (column === undefined || !exact.has(column)) return undefined;
    columns.push(column);
  }
  const isOfGroup = (expression: readonly SqlToken[]): boolean =>
    isMadeOf(expression, {
      isColumn: (name) => columns.includes(columnOf(name) ?? ""),
      isExact: (name) => exact.has(columnOf(name) ?? ""),
    });
  const results = listOf(tokens.slice(1, from)).map(withoutAlias);
  if (!results.every(isOfGroup) || !isOfGroup(tokens.slice(having + 1, order))) return undefined;
  const textOf = (first: number, end: number): string => {
    const last = tokens[end - 1] as SqlToken;
    return end <= first
      ? ""
      : sql.slice((tokens[first] as SqlToken).at, last.at + last.text.length);
  };
  const named = columns.map((column) => `${quoteName(alias)}.${quoteName(column)}`);
  const keys = named.map((name, i) => `${name} AS patina_key_${i}`).join(", ");
  const head = `${textOf(0, from)}, ${keys}`;
  const isGroup = named.map((name, i) => `${name} IS ?${i + 1}`).join(" AND ");
  // With a plus before it no index serves the condition: the group's does.
  const condition = where < group ? `+(${textOf(where + 1, group)}) AND ` : "";
  return {
    table,
    columns,
    all: `${head} ${textOf(from, tokens.length)}`,
    one: `${head} ${textOf(from, where)} WHERE ${condition}${isGroup} ${textOf(group, order)}`,
  };
}

/** What stands between commas outside of parentheses. */
function listOf(tokens: readonly SqlToken[]): SqlToken[][] {
  const list: SqlToken[][] = [[]];
  let depth = 0;
  for (const token of tokens) {
    if (isSymbol(token, "(")) depth++;
    else if (isSymbol(token, ")")) depth--;
    if (depth === 0 && isSymbol(token, ",")) list.push([]);
    else list.at(-1)?.push(token);
  }
  return list;
}

/** A result without the name that it is given. */
function withoutAlias(result: readonly SqlToken[]): readonly SqlToken[] {
  const as = result.findIndex((token) => isWordOf(token, "as"));
  if (as >= 0) return as === result.length - 2 ? result.slice(0, as) : result;
  const [before, last] = [result.at(-2), result.at(-1)];
  const isNamed = isName(last) && before !== undefined && isOperandEnd(before);
  return isNamed ? result.slice(0, -1) : result;
}

function isOperandEnd(token: SqlToken): boolean {
  if (token.kind === "symbol") return isSymbol(token, ")");
  return !isOperator(token) || token.value.endsWith("null");
}

function isOperator({ kind, value }: SqlToken): boolean {
  return kind === "word" && operators.has(value);
}

/** Words that name nothing. */
const operators = new Set(["and", "between", "in", "is", "isnull", "not", "notnull", "null", "or"]);

interface Columns {
  /** Of the group. */
  readonly isColumn: (name: readonly SqlToken[]) => boolean;
  /** Equal values of it are the same. */
  readonly isExact: (name: readonly SqlToken[]) => boolean;
}

/** Whether all that has a name in an expression is a column of the group or one of three aggregates. */
function isMadeOf(expression: readonly SqlToken[], columns: Columns): boolean {
  for (let i = 0; i < expression.length; i++) {
    const token = expression[i] as SqlToken;
    // `*` is a factor only where something stands before it.
    if (isSymbol(token, "*") && i === 0) return false;
    if (token.kind !== "word" && token.kind !== "quoted") continue;
    if (isOperator(token)) continue;
    if (isSymbol(expression[i + 1], "(")) {
      const end = closingParenthesis(expression, i + 1);
      const inner = expression.slice(i + 2, end);
      if (token.kind !== "word" || !isAggregate(token.value, inner, columns)) return false;
      i = end;
      continue;
    }
    const length = isSymbol(expression[i + 1], ".") ? 3 : 1;
    if (!columns.isColumn(expression.slice(i, i + length))) return false;
    i += length - 1;
  }
  return true;
}

function isAggregate(name: string, inner: readonly SqlToken[], { isExact }: Columns): boolean {
  // However many of them there are: whatever is counted, that is the same in any order.
  if (name === "count") return true;
  const argument = isWordOf(inner[0], "distinct") ? inner.slice(1) : inner;
  return (name === "min" || name === "max") && isExact(argument);
}

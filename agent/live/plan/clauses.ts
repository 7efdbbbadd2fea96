/**
 * The clauses of a SELECT that live queries look at, read off SQLite's tokens: the tables of a FROM, and the terms
 * of a condition.
 *
 * @module
 */

import { closingParenthesis, isSymbol, type SqlToken } from "../../../core/schema/sql-token.ts";

export interface Source {
  /** In ASCII lower case. */
  readonly table: string;
  readonly alias: string;
  /** On the right of a LEFT JOIN. */
  readonly isOptional: boolean;
  /** What stands behind its ON. */
  readonly on: readonly SqlToken[];
}

/** Where each clause of a SELECT begins, by token; where there is none, where the next one does. */
export interface Clauses {
  readonly from: number;
  readonly where: number;
  readonly group: number;
  readonly having: number;
  readonly order: number;
  readonly limit: number;
}

/**
 * @param tokens of one statement, without a semicolon at its end
 * @param stopWords with any of these, anywhere, it is undefined
 * @returns undefined for what is no single SELECT, too
 */
export function clausesOf(
  tokens: readonly SqlToken[],
  stopWords: ReadonlySet<string>,
): Clauses | undefined {
  if (!isWordOf(tokens[0], "select")) return undefined;
  const found = new Map<string, number>();
  let depth = 0;
  for (let i = 1; i < tokens.length; i++) {
    const token = tokens[i] as SqlToken;
    if (isSymbol(token, "(")) depth++;
    else if (isSymbol(token, ")")) depth--;
    if (token.kind !== "word") continue;
    const { value } = token;
    if (stopWords.has(value)) return undefined;
    // `x IN table` reads a table that stands in no FROM.
    if (value === "in" && !isSymbol(tokens[i + 1], "(")) return undefined;
    if (depth > 0 || !clauseWords.has(value)) continue;
    // IS DISTINCT FROM has one too.
    if (found.has(value)) return undefined;
    found.set(value, i);
  }
  const from = found.get("from");
  if (from === undefined || depth !== 0) return undefined;
  const limit = found.get("limit") ?? tokens.length;
  const order = found.get("order") ?? limit;
  const having = found.get("having") ?? order;
  const group = found.get("group") ?? having;
  const where = found.get("where") ?? group;
  const isInOrder =
    from < where && where <= group && group <= having && having <= order && order <= limit;
  return isInOrder ? { from, where, group, having, order, limit } : undefined;
}

const clauseWords = new Set(["from", "where", "group", "having", "order", "limit"]);

const joinWords = new Set(["left", "outer", "inner", "cross", "natural", "join"]);

/** The tables of a FROM clause; undefined for anything but plain tables and joins of them. */
export function parseFrom(tokens: readonly SqlToken[]): Source[] | undefined {
  const sources: Source[] = [];
  let at = 0;
  let isOptional = false;
  for (;;) {
    const name = tokens[at];
    if (!isName(name)) return undefined;
    at++;
    if (isWordOf(tokens[at], "as")) at++;
    const alias = tokens[at];
    const hasAlias = isName(alias) && !isWordOf(alias, "on") && !isWordOf(alias, "using");
    if (hasAlias) at++;
    const begin = at + 1;
    const hasOn = isWordOf(tokens[at], "on");
    if (hasOn || isWordOf(tokens[at], "using")) {
      let depth = 0;
      for (at++; at < tokens.length; at++) {
        if (isSymbol(tokens[at], "(")) depth++;
        else if (isSymbol(tokens[at], ")")) depth--;
        else if (depth === 0 && (isJoinWord(tokens[at]) || isSymbol(tokens[at], ","))) break;
      }
    }
    sources.push({
      table: name.value,
      alias: (hasAlias ? alias : name).value,
      isOptional,
      on: hasOn ? tokens.slice(begin, at) : [],
    });
    if (at >= tokens.length) return sources;
    isOptional = false;
    if (isSymbol(tokens[at], ",")) at++;
    else {
      // LEFT may be a column's name as well; then no JOIN follows, and this isn't for us.
      while (isJoinWord(tokens[at]) && !isWordOf(tokens[at], "join")) {
        if (isWordOf(tokens[at], "left")) isOptional = true;
        at++;
      }
      if (!isWordOf(tokens[at], "join")) return undefined;
      at++;
    }
  }
}

/** A word or a quoted name, and none that joins tables. */
export function isName(token: SqlToken | undefined): token is SqlToken {
  if (token?.kind === "quoted") return true;
  return token?.kind === "word" && !joinWords.has(token.value);
}

function isJoinWord(token: SqlToken | undefined): boolean {
  return token?.kind === "word" && joinWords.has(token.value);
}

export function isWordOf(token: SqlToken | undefined, word: string): boolean {
  return token?.kind === "word" && token.value === word;
}

/** Outside of parentheses these leave no terms, or have an AND of their own. */
const termWords = new Set(["or", "case", "end"]);

/** What is between ANDs that stand in no parentheses; none where it can't be told. */
export function termsOf(condition: readonly SqlToken[]): SqlToken[][] {
  const terms: SqlToken[][] = [];
  let term: SqlToken[] = [];
  let depth = 0;
  let betweens = 0;
  for (const token of condition) {
    if (isSymbol(token, "(")) depth++;
    else if (isSymbol(token, ")")) depth--;
    if (depth === 0 && token.kind === "word") {
      if (termWords.has(token.value)) return [];
      if (token.value === "between") betweens++;
      // BETWEEN has an AND of its own.
      if (token.value === "and" && --betweens < 0) {
        betweens = 0;
        terms.push(term);
        term = [];
        continue;
      }
    }
    term.push(token);
  }
  terms.push(term);
  return terms;
}

export interface ColumnName {
  readonly alias: string;
  readonly column: string;
}

/** `alias.column`, and nothing else. */
export function columnOf(tokens: readonly SqlToken[]): ColumnName | undefined {
  const [alias, dot, column] = tokens;
  const isColumn = tokens.length === 3 && isName(alias) && isSymbol(dot, ".") && isName(column);
  return isColumn ? { alias: alias.value, column: column.value } : undefined;
}

export function isConstant(token: SqlToken | undefined): boolean {
  return token?.kind === "string" || token?.kind === "number";
}

/**
 * Sources as they are in effect: a LEFT JOIN is an inner one where the WHERE, or the ON of a table that stands in each
 * result, asks something of its right side that isn't true of a row that is missing. (SQLite takes it so, too.)
 *
 * @param where undefined: there is none
 */
export function sourcesInEffect(
  sources: readonly Source[],
  where: readonly SqlToken[] | undefined,
): Source[] {
  const required = new Set<string>();
  const require = (condition: readonly SqlToken[]): void => {
    for (const term of termsOf(condition)) {
      for (const alias of requiredBy(term)) {
        if (required.has(alias)) continue;
        required.add(alias);
        for (const source of sources) if (source.alias === alias) require(source.on);
      }
    }
  };
  require(where ?? []);
  for (const { isOptional, on } of sources) if (!isOptional) require(on);
  return sources.map((source) =>
    source.isOptional && required.has(source.alias) ? { ...source, isOptional: false } : source,
  );
}

const comparisons = new Set(["=", "==", "<>", "!=", "<", "<=", ">", ">="]);

/** Aliases of tables whose columns are NULL in no row of which the term is true. */
function requiredBy(term: readonly SqlToken[]): string[] {
  const at = term.findIndex(
    ({ kind, value }) =>
      (kind === "symbol" && comparisons.has(value)) ||
      (kind === "word" && (value === "in" || value === "is" || value === "notnull")),
  );
  const operator = term[at];
  if (operator === undefined) return [];
  const left = columnOf(term.slice(0, at));
  const right = term.slice(at + 1);
  if (operator.kind === "symbol") {
    const other = columnOf(right);
    const isPlain = (side: readonly SqlToken[]): boolean =>
      columnOf(side) !== undefined || (side.length === 1 && isConstant(side[0]));
    if (!isPlain(term.slice(0, at)) || !isPlain(right)) return [];
    return [left, other].flatMap((column) => (column === undefined ? [] : [column.alias]));
  }
  if (left === undefined) return [];
  const rest = right.map(({ value }) => value).join(" ");
  const isRequired =
    operator.value === "notnull"
      ? right.length === 0
      : operator.value === "is"
        ? rest === "not null" || (right.length === 1 && isConstant(right[0]))
        : isSymbol(right[0], "(") && closingParenthesis(right, 0) === right.length - 1;
  return isRequired ? [left.alias] : [];
}

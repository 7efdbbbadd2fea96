/**
 * The one shape of query that is maintained row by row for now: a selection from one table,
 *
 * ```sql
 * SELECT … FROM table [[AS] alias] [WHERE …] [ORDER BY …]
 * ```
 *
 * without DISTINCT, aggregates, window functions, LIMIT or a second SELECT. Each of its rows comes from
 * exactly one row of the table, so after a change of some rows it is enough to ask for those, by key.
 * Everything else is run again and compared (`subscription.ts`).
 *
 * The words are read off SQLite's tokens. When in doubt a query isn't of this shape: that is slower,
 * never wrong.
 *
 * @module
 */

import { isSymbol, quoteName, type SqlToken, tokenize } from "../../core/schema/sql-token.ts";

export interface KeyedQuery {
  /** The query with the key's columns after its own. */
  readonly all: string;
  /** The rows of one key, whose values are the parameters ?1 and so on; the same columns. */
  readonly one: string;
}

/** Names whose call makes many rows one. `min` and `max` of two values don't, but it is all the same. */
const aggregates = new Set([
  "avg",
  "count",
  "geopoly_group_bbox",
  "group_concat",
  "json_group_array",
  "json_group_object",
  "jsonb_group_array",
  "jsonb_group_object",
  "max",
  "median",
  "min",
  "percentile",
  "percentile_cont",
  "percentile_disc",
  "string_agg",
  "sum",
  "total",
]);

const stopWords = new Set([
  "compound",
  "distinct",
  "except",
  "filter",
  "group",
  "having",
  "intersect",
  "join",
  "limit",
  "over",
  "returning",
  "union",
  "values",
  "window",
  "with",
]);

/**
 * @param sql without parameters, one statement
 * @param table in ASCII lower case: the only one that it reads
 * @param keyColumns in the order of the primary key
 */
export function keyedQuery(
  sql: string,
  table: string,
  keyColumns: readonly string[],
): KeyedQuery | undefined {
  const tokens = tokenize(sql);
  if (isSymbol(tokens.at(-1), ";")) tokens.pop();
  if (!isWordOf(tokens[0], "select") || isWordOf(tokens[1], "all")) return undefined;
  let depth = 0;
  let from = -1;
  let where = -1;
  let order = -1;
  for (let i = 1; i < tokens.length; i++) {
    const token = tokens[i] as SqlToken;
    if (isSymbol(token, "(")) depth++;
    else if (isSymbol(token, ")")) depth--;
    if (token.kind !== "word") {
      // "quoted"(…) may call a function too.
      if (token.kind === "quoted" && isSymbol(tokens[i + 1], "(")) return undefined;
      continue;
    }
    if (token.value === "select" || stopWords.has(token.value)) return undefined;
    if (aggregates.has(token.value) && isSymbol(tokens[i + 1], "(")) return undefined;
    // `x IN table` reads a table that stands in no FROM.
    if (token.value === "in" && !isSymbol(tokens[i + 1], "(")) return undefined;
    if (depth > 0) continue;
    if (token.value === "from") {
      if (from >= 0) return undefined;
      from = i;
    } else if (token.value === "where") where = i;
    else if (token.value === "order") order = i;
  }
  if (from < 0) return undefined;
  const fromEnd = where >= 0 ? where : order >= 0 ? order : tokens.length;
  const alias = aliasOf(tokens.slice(from + 1, fromEnd), table);
  if (alias === undefined) return undefined;

  const textOf = (first: number, end: number): string => {
    const last = tokens[end - 1] as SqlToken;
    return sql.slice((tokens[first] as SqlToken).at, last.at + last.text.length);
  };
  const keys = keyColumns.map(
    (column, i) => `${quoteName(alias)}.${quoteName(column)} AS patina_key_${i}`,
  );
  const head = `${textOf(0, from)}, ${keys.join(", ")} `;
  const unordered = head + textOf(from, order >= 0 ? order : tokens.length);
  const conditions = keyColumns.map((_, i) => `patina_key_${i} = ?${i + 1}`);
  return {
    all: head + textOf(from, tokens.length),
    one: `SELECT * FROM (${unordered}) WHERE ${conditions.join(" AND ")}`,
  };
}

/** The name by which the columns of the FROM clause's only table can be told; undefined for others. */
function aliasOf(clause: readonly SqlToken[], table: string): string | undefined {
  const names = clause.filter((token, i) => !(i === 1 && isWordOf(token, "as")));
  const isPlain = names.every((token) => token.kind === "word" || token.kind === "quoted");
  if (!isPlain || names.length < 1 || names.length > 2) return undefined;
  if (names[0]?.value !== table) return undefined;
  return (names[1] ?? names[0])?.value;
}

function isWordOf(token: SqlToken | undefined, word: string): boolean {
  return token?.kind === "word" && token.value === word;
}

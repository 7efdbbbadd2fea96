/**
 * The shape of query that is maintained row by row: a selection from tables that are joined,
 *
 * ```sql
 * SELECT … FROM table [[AS] alias] [[LEFT] JOIN table … [ON …]]… [WHERE …] [ORDER BY …]
 * ```
 *
 * without DISTINCT, aggregates, window functions, LIMIT, a second SELECT or the same table twice. Each
 * row of its result comes from one row of each table (or none, on the right of a LEFT JOIN), so that the
 * keys of those rows name it; and after a change of a row it is enough to look at the results in which
 * its key stands. That holds for all tables but those on the right of a LEFT JOIN, where a row that
 * comes or goes also changes results in which it doesn't stand: those of the rows on the left that it
 * matched, or matches now. Where WHERE looks at the left alone, a row that matches stands in a result; so
 * these left rows are known, before by the results that are held and now by a query, and all their
 * results are looked at. Where WHERE asks something of the right that isn't true of a missing row, the join is
 * an inner one in effect (`clauses.ts`). Where it looks at the right otherwise, the query is run again.
 *
 * Everything else is run again and compared (`subscription.ts`). The words are read off SQLite's tokens.
 * When in doubt a query isn't of this shape: that is slower, never wrong.
 *
 * Queries that differ only in the strings and small integers of their ON and WHERE have one text here,
 * with parameters in their place, and so share their compiled statements. Which of them a changed row
 * can come to concern is asked of SQLite itself: `affected` puts a table of all their parameters into
 * the query in the parameters' place, so that one look answers for all (`keyed-group.ts`).
 *
 * @module
 */

import { isSymbol, quoteName, type SqlToken, tokenize } from "../../../core/schema/sql-token.ts";
import { clausesOf, isWordOf, parseFrom, type Source, sourcesInEffect } from "./clauses.ts";

export interface KeyedTable {
  /** In ASCII lower case. */
  readonly table: string;
  /** How many columns its key has; they follow the query's own, table by table. */
  readonly keyColumns: number;
  /**
   * The results of one of its rows: the key's values are the parameters after those of
   * {@link KeyedQuery.values}. Undefined right of a LEFT JOIN.
   */
  readonly one: string | undefined;
  /**
   * Right of a LEFT JOIN: keys of the first table in whose results one of its rows stands. The parameters
   * are those of {@link one}. Undefined where that doesn't tell all.
   */
  readonly left: string | undefined;
  /**
   * Which members of the group, by number, have results of one of its rows: ?1 is the group, ?2 and so
   * on the key's values. A member may come several times, and one without results may come too.
   */
  readonly affected: string | undefined;
}

export interface KeyedQuery {
  /** The query with all keys' columns after its own, and its own order. */
  readonly all: string;
  /** In the order of FROM. */
  readonly tables: readonly KeyedTable[];
  /** Of the parameters ?1 and so on, taken out of the text; at most {@link valuesMax}. */
  readonly values: readonly (string | number)[];
}

/** Parameters of a group; further strings and integers stay in the text. */
export const valuesMax = 4;
/** Each is looked for as a number and as text, whichever a column compares with. */
const numbersMax = 2;
/** Columns patina_grp, patina_member, patina_form, patina_v1 … patina_v4; made by `keyed-group.ts`. */
export const parameterTable = "temp.patina_parameter";

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
  "distinct",
  "except",
  "filter",
  "full",
  "group",
  "having",
  "indexed",
  "intersect",
  "limit",
  "over",
  "returning",
  "right",
  "select",
  "union",
  "values",
  "window",
  "with",
]);

/**
 * @param sql without parameters, one statement
 * @param keyColumnsOf in the order of the primary key; undefined for what is no table with a key
 * @param takeValues false leaves the text as it is
 */
export function keyedQuery(
  sql: string,
  keyColumnsOf: (table: string) => readonly string[] | undefined,
  takeValues = true,
): KeyedQuery | undefined {
  const tokens = tokenize(sql);
  if (isSymbol(tokens.at(-1), ";")) tokens.pop();
  const clauses = clausesOf(tokens, stopWords);
  if (clauses === undefined || isWordOf(tokens[1], "all") || callsAggregate(tokens))
    return undefined;
  const { from, where: fromEnd, order } = clauses;
  const isFiltered = fromEnd < order;
  const where = tokens.slice(fromEnd + 1, order);
  const written = parseFrom(tokens.slice(from + 1, fromEnd));
  if (written === undefined || hasSame(written, "table") || hasSame(written, "alias"))
    return undefined;
  const sources = sourcesInEffect(written, where);
  const columns: string[] = [];
  const keys: { source: Source; first: number; count: number }[] = [];
  for (const source of sources) {
    const keyColumns = keyColumnsOf(source.table);
    if (keyColumns === undefined || keyColumns.length === 0) return undefined;
    keys.push({ source, first: columns.length, count: keyColumns.length });
    for (const column of keyColumns) {
      const name = `${quoteName(source.alias)}.${quoteName(column)}`;
      columns.push(`${name} AS patina_key_${columns.length}`);
    }
  }
  const places = takeValues ? findValues(tokens, from, order) : new Map<number, string | number>();
  const textOf = (first: number, end: number, name: (n: number) => string): string => {
    let text = "";
    let at = (tokens[first] as SqlToken).at;
    let n = 0;
    for (const place of places.keys()) {
      n++;
      if (place < first || place >= end) continue;
      const token = tokens[place] as SqlToken;
      text += sql.slice(at, token.at) + name(n);
      at = token.at + token.text.length;
    }
    const last = tokens[end - 1] as SqlToken;
    return text + sql.slice(at, last.at + last.text.length);
  };
  const bound = (n: number) => `?${n}`;
  const joined = (n: number) => `patina_p.patina_v${n}`;
  const select = textOf(0, from, bound);
  const head = `${select}, ${columns.join(", ")} `;
  // A bare parameter of LIKE or GLOB, or one that may imply a partial index's condition, has SQLite compile
  // the statement again whenever it is bound anew. Where the key finds the row, neither helps.
  const signed = (n: number) => `+?${n}`;
  const unordered = `${textOf(0, from, signed)}, ${columns.join(", ")} ${textOf(from, order, signed)}`;
  // A condition on the left of a LEFT JOIN's could mean another thing; here it stands behind all of them.
  const filter = isFiltered ? `(${textOf(fromEnd + 1, order, joined)}) AND ` : "";
  const affected = `${select}, ${columns.join(", ")}, patina_p.patina_member AS patina_member FROM ${parameterTable} AS patina_p JOIN ${textOf(from + 1, fromEnd, joined)} WHERE ${filter}patina_p.patina_grp = ?1`;
  const values = [...places.values()];
  const isPlainLeft = whereIsOfLeft(tokens.slice(from + 1, fromEnd), where, sources);
  const firstKey = columns.slice(0, keys[0]?.count).map((_, i) => `patina_key_${i}`);
  return {
    all: head + textOf(from, tokens.length, bound),
    values,
    tables: keys.map(({ source, first, count }) => {
      const is = (offset: number) =>
        Array.from({ length: count }, (_, i) => `patina_key_${first + i} = ?${offset + i + 1}`);
      const isKey = is(values.length).join(" AND ");
      const isAffectedKey = is(1).join(" AND ");
      const { table, isOptional } = source;
      const found = `(${unordered}) WHERE ${isKey}`;
      return {
        table,
        keyColumns: count,
        one: isOptional ? undefined : `SELECT * FROM ${found}`,
        left:
          isOptional && isPlainLeft
            ? `SELECT DISTINCT ${firstKey.join(", ")} FROM ${found}`
            : undefined,
        affected:
          isOptional && !isPlainLeft
            ? undefined
            : `SELECT patina_member FROM (${affected}) WHERE ${isAffectedKey}`,
      };
    }),
  };
}

/** Words of a WHERE that name no column. */
const plainWords = new Set([
  "and",
  "between",
  "glob",
  "in",
  "is",
  "isnull",
  "like",
  "not",
  "notnull",
  "null",
  "or",
]);

/**
 * Whether, of a FROM with LEFT JOINs at its end, the WHERE looks at the tables before them alone: at
 * columns that are written `alias.column`, and at nothing else that has a name. The same for what stands in
 * ON before the first LEFT JOIN, which SQLite takes for a part of the WHERE.
 */
function whereIsOfLeft(
  from: readonly SqlToken[],
  where: readonly SqlToken[],
  sources: readonly Source[],
): boolean {
  const first = sources.findIndex(({ isOptional }) => isOptional);
  if (first < 0 || sources.slice(first).some(({ isOptional }) => !isOptional)) return false;
  if (from.some((token) => isWordOf(token, "using") || isWordOf(token, "natural"))) return false;
  const leftSources = sources.slice(0, first);
  const left = new Set(leftSources.map(({ alias }) => alias));
  return areOf(left, where) && leftSources.every(({ on }) => areOf(left, on));
}

/** Whether all that has a name in an expression is a column of these tables. */
function areOf(aliases: ReadonlySet<string>, tokens: readonly SqlToken[]): boolean {
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i] as SqlToken;
    if (token.kind !== "word" && token.kind !== "quoted") continue;
    if (isSymbol(tokens[i + 1], ".")) {
      if (!aliases.has(token.value) || isSymbol(tokens[i + 3], "(")) return false;
      i += 2;
    } else if (token.kind === "quoted" || !plainWords.has(token.value)) return false;
  }
  return true;
}

/**
 * Strings and small integers of FROM and WHERE, by the place of their token. SQLite compares a
 * parameter as it compares a literal. Where the grammar wants a literal and nothing else, the text with
 * a parameter doesn't compile, and the query is taken as it is.
 */
function findValues(
  tokens: readonly SqlToken[],
  first: number,
  end: number,
): Map<number, string | number> {
  const places = new Map<number, string | number>();
  let numbers = 0;
  for (let i = first; i < end && places.size < valuesMax; i++) {
    const { kind, text } = tokens[i] as SqlToken;
    if (kind === "string") {
      const value = text.slice(1, -1).replaceAll("''", "'");
      // A text with such a character isn't bound as it is written.
      if (!value.includes("\0") && value.isWellFormed()) places.set(i, value);
    } else if (kind === "number" && /^(0|[1-9][0-9]{0,14})$/.test(text) && numbers < numbersMax) {
      numbers++;
      places.set(i, Number(text));
    }
  }
  return places;
}

function hasSame(sources: readonly Source[], field: "table" | "alias"): boolean {
  return new Set(sources.map((source) => source[field])).size < sources.length;
}

/** `"quoted"(…)` may call one, too. */
function callsAggregate(tokens: readonly SqlToken[]): boolean {
  return tokens.some(
    ({ kind, value }, i) =>
      isSymbol(tokens[i + 1], "(") &&
      (kind === "quoted" || (kind === "word" && aggregates.has(value))),
  );
}

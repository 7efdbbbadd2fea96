/**
 * Which rows of a table a query can see at all, read off its WHERE and ON: those with one value in one column, or one of some.
 *
 * ```sql
 * SELECT service, count(*) FROM instances WHERE region = 'fra' GROUP BY service
 * ```
 *
 * A row of another region, before and after a change, is nothing to this query, whatever it does with the
 * rows that pass: aggregates, DISTINCT, ORDER BY and LIMIT come after WHERE. This holds when
 *
 * - the statement is one SELECT without another in it, and each table stands once in its FROM, so that
 *   nothing reads the table past this WHERE;
 * - `column = constant`, `column IS constant` or `column IN (constant, …)` is one of the terms that a WHERE
 *   without OR ANDs together, or an ON;
 * - no join is RIGHT or FULL. On the right of a LEFT JOIN it holds as well: a row that fails the term and
 *   one that is missing both leave a result that fails it, since NULL equals no constant. What stands in a LEFT JOIN's
 *   ON is asked of its right side alone: a row that fails it is as good as missing.
 *
 * `column = column` hands it on: with `ON i.service = s.name WHERE s.name = 'web'` no instance counts but those of
 * `web`. In a LEFT JOIN's ON to its right side only.
 *
 * And the equality has to be one that is known here: a TEXT column with BINARY collation and a string (or
 * an integer, which SQLite turns into text then), or an INTEGER column and a small integer. When in doubt
 * there is no filter: then the query is looked at more often, which is never wrong.
 *
 * @module
 */

import { isSymbol, type SqlToken, tokenize } from "../../../core/schema/sql-token.ts";
import {
  clausesOf,
  columnOf,
  isConstant,
  isName,
  isWordOf,
  parseFrom,
  type Source,
  termsOf,
} from "./clauses.ts";

export interface ConstantFilter {
  /** Both in ASCII lower case. */
  readonly table: string;
  readonly column: string;
  /** What the column holds in rows that count: text, or integers; each once. */
  readonly values: readonly (string | number)[];
}

/** Of more constants in one IN each commit would be looked up no faster than by table. */
const valuesMax = 256;

/** Affinity of columns that are stored and compared plainly, by name in ASCII lower case; undefined: no table of that kind. */
export type PlainColumnsOf = (table: string) => ReadonlyMap<string, "text" | "integer"> | undefined;

/**
 * Any of these, anywhere: a row that fails may leave a result all the same, or another SELECT may see it. A compound one,
 * and a common table, has `select` in it as well.
 */
const stopWords = new Set(["full", "right", "select"]);

/**
 * At most one for each table.
 *
 * @param sql one statement without parameters, which SQLite has compiled
 */
export function constantFilters(sql: string, plainColumnsOf: PlainColumnsOf): ConstantFilter[] {
  const tokens = tokenize(sql);
  if (isSymbol(tokens.at(-1), ";")) tokens.pop();
  const clauses = clausesOf(tokens, stopWords);
  if (clauses === undefined) return [];
  const { from, where, group } = clauses;
  const sources = parseFrom(tokens.slice(from + 1, where));
  if (sources === undefined || new Set(sources.map(({ table }) => table)).size < sources.length) {
    return [];
  }
  const columns = sources.map(({ table }) => plainColumnsOf(table));
  // A view may read the tables beside it.
  if (columns.includes(undefined)) return [];
  const filters = new Map<number, ConstantFilter>();
  const links: Link[] = [];
  const placeOf = (alias: string): number => sources.findIndex((one) => one.alias === alias);
  for (const { term, only } of termsWithReach(sources, tokens.slice(where + 1, group))) {
    const link = linkOf(term, placeOf);
    if (link !== undefined) links.push(...directionsOf(link, only));
    const equality = equalityOf(term);
    if (equality === undefined) continue;
    const { alias, column, constants } = equality;
    const place = alias !== undefined ? placeOf(alias) : sources.length === 1 ? 0 : -1;
    const table = sources[place]?.table;
    const affinity = columns[place]?.get(column);
    if (table === undefined || affinity === undefined || filters.has(place)) continue;
    if (only !== undefined && only !== place) continue;
    const isText = affinity === "text";
    // A number as text is to an INTEGER column the number.
    if (!isText && constants.some((constant) => typeof constant !== "number")) continue;
    const values = [...new Set(isText ? constants.map(String) : constants)];
    filters.set(place, { table, column, values });
  }
  const isFollowed = ({ from, fromColumn, to, toColumn }: Link): boolean => {
    const known = filters.get(from);
    const table = sources[to]?.table;
    if (known?.column !== fromColumn || table === undefined || filters.has(to)) return false;
    const affinity = columns[to]?.get(toColumn);
    if (affinity === undefined || affinity !== columns[from]?.get(fromColumn)) return false;
    filters.set(to, { table, column: toColumn, values: known.values });
    return true;
  };
  while (links.some(isFollowed));
  return [...filters.values()];
}

/** A term, and of which source alone it says anything: that whose LEFT JOIN has it in its ON. */
interface ReachingTerm {
  readonly term: readonly SqlToken[];
  readonly only: number | undefined;
}

function termsWithReach(
  sources: readonly Source[],
  where: readonly SqlToken[],
): readonly ReachingTerm[] {
  return [
    ...termsOf(where).map((term) => ({ term, only: undefined })),
    ...sources.flatMap(({ on, isOptional }, i) =>
      termsOf(on).map((term) => ({ term, only: isOptional ? i : undefined })),
    ),
  ];
}

/** What one column holds in rows that count, the other does. */
interface Link {
  readonly from: number;
  readonly fromColumn: string;
  readonly to: number;
  readonly toColumn: string;
}

/** `alias.column = alias.column` */
function linkOf(term: readonly SqlToken[], placeOf: (alias: string) => number): Link | undefined {
  if (term.length !== 7 || !(isSymbol(term[3], "=") || isSymbol(term[3], "=="))) return undefined;
  const [one, other] = [columnOf(term.slice(0, 3)), columnOf(term.slice(4))];
  if (one === undefined || other === undefined) return undefined;
  const [from, to] = [placeOf(one.alias), placeOf(other.alias)];
  return { from, fromColumn: one.column, to, toColumn: other.column };
}

function directionsOf(link: Link, only: number | undefined): Link[] {
  const { from, fromColumn, to, toColumn } = link;
  const back = { from: to, fromColumn: toColumn, to: from, toColumn: fromColumn };
  return [link, back].filter((one) => only === undefined || only === one.to);
}

interface Equality {
  readonly alias: string | undefined;
  readonly column: string;
  readonly constants: readonly (string | number)[];
}

/** `column = constant`, either way round, the same with IS, or `column IN (constant, …)`, and nothing else. */
function equalityOf(term: readonly SqlToken[]): Equality | undefined {
  const at = term.findIndex(
    (token) =>
      isSymbol(token, "=") ||
      isSymbol(token, "==") ||
      isWordOf(token, "is") ||
      isWordOf(token, "in"),
  );
  if (at < 0) return undefined;
  const isIn = isWordOf(term[at], "in");
  const sides = [term.slice(0, at), term.slice(at + 1)];
  const isTurned = sides[0]?.length === 1 && isConstant(sides[0][0]);
  const [name = [], other = []] = isTurned ? sides.reverse() : sides;
  const constants = isIn ? listOf(other) : other.length === 1 ? constantsOf(other) : undefined;
  if (constants === undefined) return undefined;
  const [first, dot, last] = name;
  if (name.length === 1 && isName(first)) {
    return { alias: undefined, column: first.value, constants };
  }
  if (name.length === 3 && isName(first) && isSymbol(dot, ".") && isName(last)) {
    return { alias: first.value, column: last.value, constants };
  }
  return undefined;
}

/** `(constant, …)` */
function listOf(tokens: readonly SqlToken[]): (string | number)[] | undefined {
  if (!isSymbol(tokens[0], "(") || !isSymbol(tokens.at(-1), ")")) return undefined;
  const inner = tokens.slice(1, -1);
  if (inner.length % 2 === 0 || inner.length > valuesMax * 2) return undefined;
  if (inner.some((token, i) => i % 2 === 1 && !isSymbol(token, ","))) return undefined;
  return constantsOf(inner.filter((_, i) => i % 2 === 0));
}

function constantsOf(tokens: readonly SqlToken[]): (string | number)[] | undefined {
  const constants: (string | number)[] = [];
  for (const token of tokens) {
    const constant = constantOf(token);
    if (constant === undefined) return undefined;
    constants.push(constant);
  }
  return constants;
}

function constantOf({ kind, text }: SqlToken): string | number | undefined {
  if (kind === "number") return /^(0|[1-9][0-9]{0,14})$/.test(text) ? Number(text) : undefined;
  if (kind !== "string") return undefined;
  const value = text.slice(1, -1).replaceAll("''", "'");
  return value.includes("\0") || !value.isWellFormed() ? undefined : value;
}

/**
 * What may stand in a replicated table.
 *
 * The reason behind every refusal is one of two. Merge must be total: no row that a peer can send
 * may make a write or a later SELECT fail, so nothing may stand in a replicated table that rejects or
 * throws on a value. And `SELECT *` must be a function of what is held and the schema, the same on
 * every node, so nothing may change other rows or fill in what differs from node to node.
 *
 * @module
 */

import { keyColumnsMax } from "../row/key.ts";
import type { ColumnDefinition, TableDefinition } from "./definition.ts";
import { forbiddenToken, isLiteral } from "./expression.ts";
import { jsonAdvice } from "./json-expression.ts";
import type { PlannedColumn } from "./schema.ts";
import type { IndexInfo, ScratchTables, TableOptions } from "./scratch-tables.ts";
import { closingParenthesis, isSymbol, isWord, type SqlToken, tokenize } from "./sql-token.ts";

/** What is known of a table when it is judged. */
export interface TableFacts {
  readonly options: TableOptions;
  readonly columns: readonly PlannedColumn[];
  /** In the order of the primary key. */
  readonly keyColumns: readonly PlannedColumn[];
  readonly indexes: readonly IndexInfo[];
  /** The key is an INTEGER PRIMARY KEY, another name of the rowid. */
  readonly rowidAlias: boolean;
  /** A name of the rowid that no column has taken. */
  readonly rowidName: string | undefined;
  readonly definition: TableDefinition;
  /** Of its CREATE TABLE. */
  readonly tokens: readonly SqlToken[];
}

export interface TableProblem {
  /** Undefined: the table as a whole. */
  readonly column?: string;
  readonly why: string;
}

/** All that keeps a table from being replicated. */
export function* tableProblems(
  table: TableFacts,
  scratch: ScratchTables,
): Generator<TableProblem, void, undefined> {
  const { options, columns, definition, rowidName } = table;
  if (options.isStrict) {
    yield {
      why: "STRICT tables refuse values of another type, and so would a merge: leave STRICT out",
    };
  }
  yield* keyProblems(table, scratch);
  yield* constraintProblems(table, scratch);
  const plain = plainNames(columns);
  for (const column of columns) {
    const written = definition.columns.find(({ name }) => name === column.name);
    const why = column.generated
      ? generatedProblems(column, written, plain)
      : defaultProblems(column);
    for (const one of why) yield { column: column.name, why: one };
  }
  if (rowidName === undefined && !options.withoutRowid) {
    yield { why: "columns have taken all names of the rowid (rowid, _rowid_, oid): rename one" };
  }
  // All of them are read at once, with the rowid, and SQLite's results have 2,000 columns at most.
  if (!options.withoutRowid && plain.size >= 2000) {
    yield { why: "a table has 2,000 columns at most, and its rowid is one: leave one out" };
  }
}

function* keyProblems(
  { keyColumns, indexes, rowidAlias, options, tokens }: TableFacts,
  scratch: ScratchTables,
): Generator<TableProblem, void, undefined> {
  if (keyColumns.length === 0) {
    yield { why: "a replicated table needs a PRIMARY KEY: rows are told apart by it" };
  }
  if (keyColumns.length > keyColumnsMax) {
    yield {
      why: `at most ${keyColumnsMax} columns in the PRIMARY KEY, got ${keyColumns.length}`,
    };
  }
  for (const { name: column, type, notNull } of keyColumns) {
    if (type === "") {
      yield { column, why: "a PRIMARY KEY column needs a type, such as TEXT or INTEGER" };
    }
    if (!notNull && !rowidAlias && !options.withoutRowid) {
      yield {
        column,
        why: "SQLite allows NULL in a PRIMARY KEY that doesn't say NOT NULL: write NOT NULL, or WITHOUT ROWID after the table",
      };
    }
  }
  const keyIndex = indexes.find(({ origin }) => origin === "pk");
  if (keyIndex === undefined) return;
  const collations = scratch.collationsOf(keyIndex.name);
  // The key may compare by another one than its column does in every WHERE.
  if (tokens.some(isWord("collate"))) {
    for (const { name, sqlName } of keyColumns) {
      collations.push([name, scratch.collationOf(options.sqlName, sqlName)]);
    }
  }
  for (const [column, collation] of new Map(collations.filter(isOtherCollation))) {
    yield {
      column,
      why: `COLLATE ${collation} in a PRIMARY KEY would hold different keys equal: only BINARY can be replicated`,
    };
  }
}

function isOtherCollation([, collation]: readonly [column: string, collation: string]): boolean {
  return collation.toLowerCase() !== "binary";
}

function* constraintProblems(
  { tokens, indexes, options }: TableFacts,
  scratch: ScratchTables,
): Generator<TableProblem, void, undefined> {
  if (tokens.some(isWord("autoincrement"))) {
    yield {
      why: "AUTOINCREMENT counts on each node by itself, and two nodes hand out the same key",
    };
  }
  if (indexes.some(({ isUnique, origin }) => isUnique && origin === "u")) {
    yield {
      why: "UNIQUE besides the PRIMARY KEY can't hold: two nodes may each add a row that breaks it",
    };
  }
  if (scratch.foreignKeyCount(options.sqlName) > 0) {
    yield {
      why: "FOREIGN KEY can't hold: a row may come before, or stay after, the row that it names",
    };
  }
}

function* generatedProblems(
  column: PlannedColumn,
  definition: ColumnDefinition | undefined,
  plain: ReadonlySet<string>,
): Generator<string, void, undefined> {
  if (column.notNull) {
    yield "a generated column can't be NOT NULL: the merge of a row would fail on it";
  }
  const tokens = definition?.tokens ?? [];
  const open =
    tokens.findIndex((token, i) => isWord("as")(token) && isSymbol(tokens[i + 1], "(")) + 1;
  const expression = tokens.slice(open + 1, closingParenthesis(tokens, open));
  const forbidden = open === 0 ? tokens[0] : forbiddenToken(expression, plain);
  if (forbidden !== undefined) yield forbiddenText("a generated column", forbidden, expression);
}

function* defaultProblems(column: PlannedColumn): Generator<string, void, undefined> {
  if (column.defaultText !== null && !isLiteral(tokenize(column.defaultText))) {
    yield `DEFAULT ${column.defaultText} is no literal: nodes would fill in different values`;
  } else if (column.key === 0 && column.notNull && column.defaultValue === null) {
    yield "NOT NULL needs a DEFAULT that isn't NULL: it is shown where a row comes without this column";
  }
}

export interface IndexProblem {
  readonly token: SqlToken | undefined;
  readonly why: string;
}

/**
 * All that keeps an index from standing on a replicated table.
 *
 * @param tokens of its CREATE INDEX
 */
export function* indexProblems(
  { tokens, isUnique }: { readonly tokens: readonly SqlToken[]; readonly isUnique: boolean },
  columns: readonly PlannedColumn[],
): Generator<IndexProblem, void, undefined> {
  if (isUnique) {
    yield {
      token: tokens[0],
      why: "UNIQUE besides the PRIMARY KEY can't hold on a replicated table: two nodes may each add a row that breaks it",
    };
  }
  const expressions = tokens.slice(tokens.findIndex((token) => isSymbol(token, "(")));
  const joinsText = expressions.some((token) => isSymbol(token, "||"));
  const allowed = joinsText ? plainNames(columns) : new Set(columns.map(({ name }) => name));
  const token = forbiddenToken(expressions, allowed);
  if (token !== undefined) yield { token, why: forbiddenText("an index", token, expressions) };
}

/** Names of the columns that are not generated. */
function plainNames(columns: readonly PlannedColumn[]): ReadonlySet<string> {
  return new Set(columns.filter(({ generated }) => !generated).map(({ name }) => name));
}

function forbiddenText(where: string, token: SqlToken, expression: readonly SqlToken[]): string {
  const advice = jsonAdvice(expression, token);
  if (advice !== undefined) {
    return `${token.text} can't stand alone in ${where} of a replicated table: ${advice}`;
  }
  if (token.value === "||") return `more than 10 || in ${where} may grow larger than SQLite allows`;
  return `${token.text} can't stand in ${where} of a replicated table: only columns, literals, comparisons, IS NULL, ||, CASE, coalesce, lower, upper, length, substr and guarded JSON are known never to fail on a value`;
}

/**
 * Schema files, read and judged: SQLite parses them in a scratch database, and what it understood is
 * checked against what a replicated table may be.
 *
 * The reason behind every refusal is one of two. Merge must be total: no row that a peer can send
 * may make a write or a later SELECT fail, so nothing may stand in a replicated table that rejects or
 * throws on a value. And `SELECT *` must be a function of what is held and the schema, the same on
 * every node, so nothing may change other rows or fill in what differs from node to node.
 *
 * @module
 */

import { assert } from "../assert.ts";
import { utf8Length } from "../bytes/utf8.ts";
import { nameBytesMax } from "../change/row-block.ts";
import { keyColumnsMax } from "../row/key.ts";
import { lowerAscii } from "../row/row-state.ts";
import type { SqlValue } from "../row/value.ts";
import type { SqlDatabase } from "../store/database.ts";
import { type Affinity, affinityOfType } from "./affinity.ts";
import { type ColumnDefinition, parseTable } from "./definition.ts";
import { forbiddenToken, isLiteral } from "./expression.ts";
import { jsonAdvice } from "./json-expression.ts";
import type {
  PlannedColumn,
  PlannedObject,
  PlannedSchema,
  PlannedTable,
  SchemaFile,
  SchemaProblem,
  TableRules,
} from "./schema.ts";
import {
  closingParenthesis,
  isSymbol,
  isWord,
  quoteName,
  type SqlToken,
  splitStatements,
  tokenize,
} from "./sql-token.ts";

export type SchemaRead =
  | { readonly kind: "schema"; readonly schema: PlannedSchema }
  /** Nothing was changed anywhere; `problems` has at least one, in the order of the files. */
  | { readonly kind: "refused"; readonly problems: readonly SchemaProblem[] };

/**
 * Reads schema files.
 *
 * @param scratch An empty in-memory database. What the files say stands in it afterwards.
 * @param rules By table name.
 */
export function readSchema(
  scratch: SqlDatabase,
  files: readonly SchemaFile[],
  rules: ReadonlyMap<string, TableRules>,
): SchemaRead {
  const reader = new SchemaReader(scratch, rules);
  for (const file of files) reader.readFile(file);
  return reader.finish();
}

type ObjectKind = "table" | "index" | "view";

interface Statement {
  readonly kind: ObjectKind;
  readonly name: string;
  readonly sql: string;
  /** Of `sql` alone. */
  readonly tokens: readonly SqlToken[];
  readonly file: string;
  /** Line of the file that the first line of `sql` is. */
  readonly line: number;
  readonly isUnique: boolean;
}

/** Column of `pragma table_xinfo`. */
interface ColumnInfo {
  readonly name: string;
  readonly type: string;
  readonly notNull: boolean;
  readonly default: string | null;
  readonly key: number;
  readonly hidden: number;
}

/** Row of `pragma table_list`. */
interface TableOptions {
  readonly sqlName: string;
  readonly withoutRowid: boolean;
  readonly isStrict: boolean;
}

class SchemaReader {
  readonly #scratch: SqlDatabase;
  readonly #rules: ReadonlyMap<string, TableRules>;
  readonly #statements: Statement[] = [];
  readonly #problems: SchemaProblem[] = [];
  readonly #warnings: SchemaProblem[] = [];
  /** What SQLite says of the scratch tables, by name: asked for once, for it goes through all of them. */
  #options: ReadonlyMap<string, TableOptions> = new Map();
  /** What columns show by default, by affinity and text: most have one of a few. */
  readonly #defaults = new Map<string, SqlValue>();

  constructor(scratch: SqlDatabase, rules: ReadonlyMap<string, TableRules>) {
    this.#scratch = scratch;
    this.#rules = new Map([...rules].map(([name, rule]) => [lowerAscii(name), rule]));
  }

  readFile(file: SchemaFile): void {
    // A byte order mark is blank to SQLite.
    const text = file.text.replace(/^\ufeff/, "");
    for (const tokens of splitStatements(tokenize(text))) {
      const first = tokens[0] as SqlToken;
      const last = tokens.at(-1) as SqlToken;
      const sql = text.slice(first.at, last.at + last.text.length);
      const problem = (why: string): void => {
        this.#problems.push({ file: file.name, line: first.line, why });
      };
      const head = parseHead(tokens);
      if (head.kind === "refused") {
        problem(head.why);
        continue;
      }
      if (/^(patina|sqlite)_/.test(head.name)) {
        problem(
          `${head.name}: names that start with patina_ or sqlite_ are kept for Patina and SQLite`,
        );
        continue;
      }
      if (head.name === "" || utf8Length(head.name) > nameBytesMax) {
        problem(`a name of 1 to ${nameBytesMax} bytes is wanted`);
        continue;
      }
      const same = this.#statements.find(({ name }) => name === head.name);
      if (same !== undefined) {
        problem(`${head.name} is already defined at ${same.file}:${same.line}`);
        continue;
      }
      const { kind, name, isUnique } = head;
      this.#statements.push({
        kind,
        name,
        sql,
        tokens: tokenize(sql),
        file: file.name,
        line: first.line,
        isUnique,
      });
    }
  }

  finish(): SchemaRead {
    const tables = new Map<string, PlannedTable>();
    const parsed = new Set<Statement>();
    // An index may stand in a file before that of its table.
    for (const kind of ["table", "index", "view"] as const) {
      for (const statement of this.#statements) {
        if (statement.kind !== kind) continue;
        try {
          this.#scratch.exec(statement.sql);
          // SQLite looks into a view only when it is used.
          if (kind === "view")
            this.#scratch.prepare(`SELECT * FROM ${quoteName(statement.name)}`)[Symbol.dispose]();
          parsed.add(statement);
        } catch (error) {
          this.#report(statement, tokenOfError(statement, error), messageOf(error));
        }
      }
    }
    this.#options = this.#tableOptions();
    for (const statement of parsed) {
      if (statement.kind !== "table") continue;
      const table = this.#readTable(statement);
      if (table !== undefined) tables.set(table.name, table);
    }
    const indexes: PlannedObject[] = [];
    const views: PlannedObject[] = [];
    const tableByIndex = this.#tableByIndex();
    for (const statement of parsed) {
      const { kind, name, sql } = statement;
      if (kind === "view") views.push({ kind, name, table: "", sql });
      if (kind !== "index") continue;
      const table = tableByIndex.get(name) ?? "";
      indexes.push({ kind, name, table, sql });
      const planned = tables.get(table);
      if (planned?.replicated) this.#checkIndex(statement, planned);
    }
    for (const name of this.#rules.keys()) {
      if (
        !this.#statements.some((statement) => statement.kind === "table" && statement.name === name)
      ) {
        this.#problems.push({
          file: "",
          line: 0,
          why: `[tables.${name}]: no schema file creates a table of that name`,
        });
      }
    }
    if (this.#problems.length > 0) return { kind: "refused", problems: this.#problems };
    const shapes = [...tables.values()]
      .filter(({ replicated }) => replicated)
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .map((table) => ({
        table: table.name,
        columns: table.columns
          .filter(({ generated }) => !generated)
          .map(({ name, type, defaultText, key }) => ({ name, type, default: defaultText, key })),
      }));
    return {
      kind: "schema",
      schema: { tables, indexes, views, shapes, warnings: this.#warnings },
    };
  }

  #tableOptions(): Map<string, TableOptions> {
    const rows = this.#scratch.all(
      "SELECT name, wr, strict FROM pragma_table_list WHERE schema = 'main'",
    );
    return new Map(
      rows.map(([name, withoutRowid, strict]) => [
        lowerAscii(String(name)),
        { sqlName: String(name), withoutRowid: withoutRowid === 1, isStrict: strict === 1 },
      ]),
    );
  }

  #tableByIndex(): Map<string, string> {
    const rows = this.#scratch.all("SELECT name, tbl_name FROM sqlite_schema WHERE type = 'index'");
    return new Map(
      rows.map(([name, table]) => [lowerAscii(String(name)), lowerAscii(String(table))]),
    );
  }

  #readTable(statement: Statement): PlannedTable | undefined {
    const { name, tokens, sql } = statement;
    const rule = this.#rules.get(name);
    const replicated = rule?.replicated !== false;
    const definition = parseTable(sql, tokens);
    if (definition === undefined) {
      this.#report(statement, tokens[0], `table ${name}: its columns are wanted in parentheses`);
      return undefined;
    }
    const options = this.#options.get(name);
    assert(options !== undefined, `a table that SQLite has made, got ${name}`);
    const { sqlName, withoutRowid } = options;
    const infos = this.#columns(sqlName);
    const lineOf = new Map(definition.columns.map((column) => [column.name, column.tokens[0]]));
    const refuse = (column: string | undefined, why: string): void => {
      const token = column === undefined ? undefined : lineOf.get(column);
      const where = column === undefined ? `table ${name}` : `${name}.${column}`;
      this.#report(statement, token ?? tokens[0], `${where}: ${why}`);
    };
    const problemsBefore = this.#problems.length;
    const columns: PlannedColumn[] = [];
    for (const info of infos) {
      const column = lowerAscii(info.name);
      if (column === "" || utf8Length(column) > nameBytesMax) {
        refuse(column, `a column name of 1 to ${nameBytesMax} bytes is wanted`);
      }
      const affinity = affinityOfType(info.type);
      columns.push({
        name: column,
        sqlName: info.name,
        type: info.type,
        affinity,
        notNull: info.notNull,
        defaultText: info.default,
        defaultValue: replicated ? this.#defaultValue(affinity, info.default) : null,
        key: info.key,
        generated: info.hidden === 2 || info.hidden === 3,
      });
    }
    const keyColumns = columns.filter(({ key }) => key > 0).sort((a, b) => a.key - b.key);
    const indexes = this.#scratch.all(
      'SELECT name, "unique", origin FROM pragma_index_list(?)',
      sqlName,
    );
    const keyIndex = indexes.find(([, , origin]) => origin === "pk");
    const rowidAlias = keyColumns.length === 1 && !withoutRowid && keyIndex === undefined;
    const taken = new Set(columns.map((column) => column.name));
    const rowidName = ["rowid", "_rowid_", "oid"].find((candidate) => !taken.has(candidate));
    if (replicated) {
      if (options.isStrict) {
        refuse(
          undefined,
          "STRICT tables refuse values of another type, and so would a merge: leave STRICT out",
        );
      }
      this.#checkKey(keyColumns, rowidAlias, withoutRowid, keyIndex?.[0], refuse);
      this.#checkConstraints(sqlName, tokens, indexes, refuse);
      for (const column of columns) {
        const columnDefinition = definition.columns.find((item) => item.name === column.name);
        this.#checkColumn(column, columnDefinition, plainNames(columns), refuse);
      }
      if (rowidName === undefined && !withoutRowid) {
        refuse(
          undefined,
          "columns have taken all names of the rowid (rowid, _rowid_, oid): rename one",
        );
      }
      if (rowidAlias) {
        this.#warnings.push({
          file: statement.file,
          line: statement.line,
          why: `table ${name}: SQLite hands out the next free integer where an INSERT leaves out the key, and two nodes hand out the same: give keys yourself, or use text keys`,
        });
      }
    }
    if (rule?.urgent !== undefined) {
      const why = this.#problemOfUrgent(rule.urgent, sqlName, replicated);
      if (why !== undefined) {
        this.#problems.push({ file: "", line: 0, why: `[tables.${name}] urgent: ${why}` });
      }
    }
    if (this.#problems.length > problemsBefore) return undefined;
    return {
      name,
      sqlName,
      columns,
      keyColumns,
      valueColumns: columns
        .filter((column) => column.key === 0 && !column.generated)
        .sort((a, b) => (a.name < b.name ? -1 : 1)),
      withoutRowid,
      rowidAlias,
      rowidName: withoutRowid ? "" : (rowidName ?? ""),
      replicated,
      urgent: rule?.urgent ?? null,
      hasCheck: tokens.some(isWord("check")),
      sql,
      file: statement.file,
      line: statement.line,
    };
  }

  #columns(table: string): ColumnInfo[] {
    const rows = this.#scratch.all(
      'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?)',
      table,
    );
    return rows.map(([name, type, notNull, fallback, key, hidden]) => ({
      name: String(name),
      type: String(type),
      notNull: notNull === 1,
      default: fallback === null || fallback === undefined ? null : String(fallback),
      key: Number(key),
      hidden: Number(hidden),
    }));
  }

  #checkKey(
    keyColumns: readonly PlannedColumn[],
    rowidAlias: boolean,
    withoutRowid: boolean,
    keyIndex: SqlValue | undefined,
    refuse: (column: string | undefined, why: string) => void,
  ): void {
    if (keyColumns.length === 0) {
      refuse(undefined, "a replicated table needs a PRIMARY KEY: rows are told apart by it");
    }
    if (keyColumns.length > keyColumnsMax) {
      refuse(
        undefined,
        `at most ${keyColumnsMax} columns in the PRIMARY KEY, got ${keyColumns.length}`,
      );
    }
    for (const column of keyColumns) {
      if (column.type === "")
        refuse(column.name, "a PRIMARY KEY column needs a type, such as TEXT or INTEGER");
      if (!column.notNull && !rowidAlias && !withoutRowid) {
        refuse(
          column.name,
          "SQLite allows NULL in a PRIMARY KEY that doesn't say NOT NULL: write NOT NULL, or WITHOUT ROWID after the table",
        );
      }
    }
    if (keyIndex === undefined) return;
    const parts = this.#scratch.all(
      "SELECT name, coll FROM pragma_index_xinfo(?) WHERE key = 1",
      keyIndex,
    );
    for (const [name, collation] of parts) {
      if (lowerAscii(String(collation)) !== "binary") {
        refuse(
          lowerAscii(String(name)),
          `COLLATE ${String(collation)} in a PRIMARY KEY would hold different keys equal: only BINARY can be replicated`,
        );
      }
    }
  }

  #checkConstraints(
    sqlName: string,
    tokens: readonly SqlToken[],
    indexes: readonly (readonly SqlValue[])[],
    refuse: (column: string | undefined, why: string) => void,
  ): void {
    if (tokens.some(isWord("autoincrement"))) {
      refuse(
        undefined,
        "AUTOINCREMENT counts on each node by itself, and two nodes hand out the same key",
      );
    }
    if (indexes.some(([, unique, origin]) => unique === 1 && origin === "u")) {
      refuse(
        undefined,
        "UNIQUE besides the PRIMARY KEY can't hold: two nodes may each add a row that breaks it",
      );
    }
    const [foreignKeys] = this.#scratch.all(
      "SELECT count(*) FROM pragma_foreign_key_list(?)",
      sqlName,
    );
    if (foreignKeys?.[0] !== 0) {
      refuse(
        undefined,
        "FOREIGN KEY can't hold: a row may come before, or stay after, the row that it names",
      );
    }
  }

  #checkColumn(
    column: PlannedColumn,
    definition: ColumnDefinition | undefined,
    columns: ReadonlySet<string>,
    refuse: (column: string | undefined, why: string) => void,
  ): void {
    if (column.generated) {
      if (column.notNull)
        refuse(
          column.name,
          "a generated column can't be NOT NULL: the merge of a row would fail on it",
        );
      const tokens = definition?.tokens ?? [];
      const open =
        tokens.findIndex((token, i) => isWord("as")(token) && isSymbol(tokens[i + 1], "(")) + 1;
      const expression = tokens.slice(open + 1, closingParenthesis(tokens, open));
      const forbidden = open === 0 ? tokens[0] : forbiddenToken(expression, columns);
      if (forbidden !== undefined)
        refuse(column.name, forbiddenText("a generated column", forbidden, expression));
      return;
    }
    if (column.defaultText !== null && !isLiteral(tokenize(column.defaultText))) {
      refuse(
        column.name,
        `DEFAULT ${column.defaultText} is no literal: nodes would fill in different values`,
      );
    } else if (column.key === 0 && column.notNull && column.defaultValue === null) {
      refuse(
        column.name,
        "NOT NULL needs a DEFAULT that isn't NULL: it is shown where a row comes without this column",
      );
    }
  }

  #checkIndex(statement: Statement, table: PlannedTable): void {
    const { name, tokens } = statement;
    if (statement.isUnique) {
      this.#report(
        statement,
        tokens[0],
        `index ${name}: UNIQUE besides the PRIMARY KEY can't hold on a replicated table: two nodes may each add a row that breaks it`,
      );
    }
    const expressions = tokens.slice(tokens.findIndex((token) => isSymbol(token, "(")));
    const joinsText = expressions.some((token) => isSymbol(token, "||"));
    const forbidden = forbiddenToken(
      expressions,
      joinsText ? plainNames(table.columns) : new Set(table.columns.map((column) => column.name)),
    );
    if (forbidden === undefined) return;
    this.#report(
      statement,
      forbidden,
      `index ${name}: ${forbiddenText("an index", forbidden, expressions)}`,
    );
  }

  /** What is wrong with an urgent rule; undefined when nothing is. */
  #problemOfUrgent(predicate: string, sqlName: string, replicated: boolean): string | undefined {
    if (!replicated) return "the table is not replicated";
    const tokens = tokenize(predicate);
    const wrapped = tokenize(`(${predicate}\n)`);
    if (tokens.length === 0) return "an expression is wanted, got nothing";
    const parameter = tokens.find(({ kind, value }) => kind === "symbol" && "?:@$".includes(value));
    if (parameter !== undefined) return `it can't have parameters, got ${parameter.value}`;
    // One expression and nothing after it: the parenthesis around it closes at the end.
    if (
      tokens.some((token) => isSymbol(token, ";")) ||
      closingParenthesis(wrapped, 0) !== wrapped.length - 1
    ) {
      return `one expression is wanted, got ${predicate}`;
    }
    try {
      using compiled = this.#scratch.prepare(urgentSql(predicate, sqlName));
      return compiled.columnCount === 1 ? undefined : "one value is wanted";
    } catch (error) {
      return messageOf(error);
    }
  }

  /** What a column of this affinity shows when a row is inserted without it. */
  #defaultValue(affinity: Affinity, text: string | null): SqlValue {
    if (text === null || !isLiteral(tokenize(text))) return null;
    const name = `${affinity} ${text}`;
    const known = this.#defaults.get(name);
    if (known !== undefined) return known;
    const probe = "patina_probe";
    this.#scratch.exec(`CREATE TABLE ${probe} (value ${affinity} DEFAULT ${text})`);
    this.#scratch.exec(`INSERT INTO ${probe} DEFAULT VALUES`);
    const [row] = this.#scratch.all(`SELECT value FROM ${probe}`);
    this.#scratch.exec(`DROP TABLE ${probe}`);
    const value = row?.[0] ?? null;
    this.#defaults.set(name, value);
    return value;
  }

  #report(statement: Statement, token: SqlToken | undefined, why: string): void {
    const line = statement.line + (token?.line ?? 1) - 1;
    this.#problems.push({ file: statement.file, line, why });
  }
}

/** The statement that tells whether the urgent rule holds for the row that `condition` names. */
export function urgentSql(predicate: string, sqlName: string, condition = ""): string {
  // The line break ends a comment that the predicate may close with.
  return `SELECT (${predicate}\n) IS TRUE FROM ${quoteName(sqlName)} ${condition}`;
}

type Head =
  | { readonly kind: ObjectKind; readonly name: string; readonly isUnique: boolean }
  | { readonly kind: "refused"; readonly why: string };

/** What a statement creates, from its first words. */
function parseHead(tokens: readonly SqlToken[]): Head {
  const words = tokens.map((token) => (token.kind === "word" ? token.value : ""));
  const allowed = "a schema file holds CREATE TABLE, CREATE INDEX and CREATE VIEW";
  const shown = tokens
    .slice(0, 3)
    .map((token) => token.text)
    .join(" ");
  if (words[0] !== "create") return { kind: "refused", why: `${allowed}, got ${shown}` };
  let at = 1;
  if (words[at] === "temp" || words[at] === "temporary") {
    return { kind: "refused", why: `${allowed}, not temporary ones` };
  }
  const isUnique = words[at] === "unique";
  if (isUnique) at++;
  const kind = words[at++];
  if (kind === "trigger") {
    return {
      kind: "refused",
      why: "triggers would run again on every node that merges the row: write what they write yourself",
    };
  }
  if ((kind !== "table" && kind !== "index" && kind !== "view") || (isUnique && kind !== "index")) {
    return { kind: "refused", why: `${allowed}, got ${shown}` };
  }
  if (words[at] === "if" && words[at + 1] === "not" && words[at + 2] === "exists") at += 3;
  const token = tokens[at];
  if (token === undefined || token.kind === "symbol" || token.kind === "number") {
    return { kind: "refused", why: `a name is wanted after CREATE ${kind.toUpperCase()}` };
  }
  if (isSymbol(tokens[at + 1], ".")) {
    return { kind: "refused", why: `a plain name is wanted, without "${token.text}."` };
  }
  if (kind === "table" && !isSymbol(tokens[at + 1], "(")) {
    return { kind: "refused", why: `table ${token.value}: its columns are wanted in parentheses` };
  }
  const name = token.kind === "string" ? lowerAscii(token.value.slice(1, -1)) : token.value;
  return { kind, name, isUnique };
}

/** Names of the columns that are not generated. */
function plainNames(columns: readonly PlannedColumn[]): ReadonlySet<string> {
  return new Set(columns.filter(({ generated }) => !generated).map((column) => column.name));
}

function forbiddenText(where: string, token: SqlToken, expression: readonly SqlToken[]): string {
  const advice = jsonAdvice(expression, token);
  if (advice !== undefined) {
    return `${token.text} can't stand alone in ${where} of a replicated table: ${advice}`;
  }
  if (token.value === "||") return `more than 10 || in ${where} may grow larger than SQLite allows`;
  return `${token.text} can't stand in ${where} of a replicated table: only columns, literals, comparisons, IS NULL, ||, CASE, coalesce, lower, upper, length, substr and guarded JSON are known never to fail on a value`;
}

/** The token that SQLite's error is about, if it says so; else the statement's first. */
function tokenOfError({ sql, tokens }: Statement, error: unknown): SqlToken | undefined {
  const { offset } = error as { readonly offset?: unknown };
  if (typeof offset !== "number" || offset < 0) return tokens[0];
  // SQLite counts bytes.
  const bytesBefore = (token: SqlToken): number => utf8Length(sql.slice(0, token.at));
  return tokens.findLast((token) => bytesBefore(token) <= offset) ?? tokens[0];
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

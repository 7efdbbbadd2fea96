/**
 * Schema files, read and judged: SQLite runs them in a scratch database, and what it understood is
 * checked against what a replicated table may be (`replicated-table.ts`).
 *
 * @module
 */

import { utf8Length } from "../bytes/utf8.ts";
import type { TableShape } from "../change/hello.ts";
import { nameBytesMax } from "../change/row-block.ts";
import type { SqlDatabase } from "../database.ts";
import { lowerAscii } from "../row/row-state.ts";
import { affinityOfType } from "./affinity.ts";
import { parseTable, type TableDefinition } from "./definition.ts";
import { indexProblems, type TableFacts, tableProblems } from "./replicated-table.ts";
import type {
  PlannedColumn,
  PlannedObject,
  PlannedSchema,
  PlannedTable,
  SchemaFile,
  SchemaProblem,
  TableRules,
} from "./schema.ts";
import { readStatements, type SchemaStatement, tokenOfError } from "./schema-statement.ts";
import { ScratchTables, type TableOptions } from "./scratch-tables.ts";
import {
  closingParenthesis,
  isSymbol,
  isWord,
  quoteName,
  type SqlToken,
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

class SchemaReader {
  readonly #scratch: SqlDatabase;
  readonly #rules: ReadonlyMap<string, TableRules>;
  readonly #statements: SchemaStatement[] = [];
  readonly #problems: SchemaProblem[] = [];
  readonly #warnings: SchemaProblem[] = [];

  constructor(scratch: SqlDatabase, rules: ReadonlyMap<string, TableRules>) {
    this.#scratch = scratch;
    this.#rules = new Map([...rules].map(([name, rule]) => [lowerAscii(name), rule]));
  }

  readFile(file: SchemaFile): void {
    for (const read of readStatements(file)) {
      if (read.kind === "refused") {
        this.#problems.push({ file: file.name, line: read.line, why: read.why });
        continue;
      }
      const { statement } = read;
      const same = this.#statements.find(({ name }) => name === statement.name);
      if (same === undefined) this.#statements.push(statement);
      else {
        const why = `${statement.name} is already defined at ${same.file}:${same.line}`;
        this.#problems.push({ file: file.name, line: statement.line, why });
      }
    }
  }

  finish(): SchemaRead {
    const accepted = this.#runStatements();
    const scratchTables = new ScratchTables(this.#scratch);
    const tables = new Map<string, PlannedTable>();
    for (const statement of accepted) {
      if (statement.kind !== "table") continue;
      const table = this.#readTable(statement, scratchTables);
      if (table !== undefined) tables.set(table.name, table);
    }
    const { indexes, views } = this.#readObjects(accepted, tables, scratchTables);
    this.#checkRuleNames();
    if (this.#problems.length > 0) return { kind: "refused", problems: this.#problems };
    const shapes = shapesOf(tables.values());
    const warnings = this.#warnings;
    return { kind: "schema", schema: { tables, indexes, views, shapes, warnings } };
  }

  /** @returns those that SQLite accepts */
  #runStatements(): SchemaStatement[] {
    const accepted: SchemaStatement[] = [];
    // An index may stand in a file before that of its table.
    for (const kind of ["table", "index", "view"] as const) {
      for (const statement of this.#statements) {
        if (statement.kind !== kind) continue;
        try {
          this.#scratch.exec(statement.sql);
          // SQLite looks into a view only when it is used.
          if (kind === "view") {
            this.#scratch.prepare(`SELECT * FROM ${quoteName(statement.name)}`)[Symbol.dispose]();
          }
          accepted.push(statement);
        } catch (error) {
          this.#report(statement, tokenOfError(statement, error), messageOf(error));
        }
      }
    }
    return accepted;
  }

  #readObjects(
    statements: readonly SchemaStatement[],
    tables: ReadonlyMap<string, PlannedTable>,
    scratchTables: ScratchTables,
  ): { indexes: PlannedObject[]; views: PlannedObject[] } {
    const indexes: PlannedObject[] = [];
    const views: PlannedObject[] = [];
    const tableByIndex = scratchTables.tableByIndex();
    for (const statement of statements) {
      const { kind, name, sql } = statement;
      if (kind === "view") views.push({ kind, name, table: "", sql });
      if (kind !== "index") continue;
      const table = tableByIndex.get(name) ?? "";
      indexes.push({ kind, name, table, sql });
      const planned = tables.get(table);
      if (planned?.replicated !== true) continue;
      for (const { token, why } of indexProblems(statement, planned.columns)) {
        this.#report(statement, token, `index ${name}: ${why}`);
      }
    }
    return { indexes, views };
  }

  #checkRuleNames(): void {
    const created = new Set(
      this.#statements.filter(({ kind }) => kind === "table").map(({ name }) => name),
    );
    for (const name of this.#rules.keys()) {
      if (created.has(name)) continue;
      this.#reportRule(`[tables.${name}]: no schema file creates a table of that name`);
    }
  }

  /** Undefined after a problem was reported. */
  #readTable(statement: SchemaStatement, scratchTables: ScratchTables): PlannedTable | undefined {
    const { name, tokens, sql } = statement;
    const definition = parseTable(sql, tokens);
    if (definition === undefined) {
      this.#report(statement, tokens[0], `table ${name}: its columns are wanted in parentheses`);
      return undefined;
    }
    const problemsBefore = this.#problems.length;
    const rule = this.#rules.get(name);
    const replicated = rule?.replicated !== false;
    const options = scratchTables.options(name);
    const { sqlName, withoutRowid } = options;
    const columns = readColumns(options, replicated, scratchTables);
    for (const { name: column } of columns) {
      if (column !== "" && utf8Length(column) <= nameBytesMax) continue;
      const why = `a column name of 1 to ${nameBytesMax} bytes is wanted`;
      this.#reportColumn(statement, definition, column, why);
    }
    const keyColumns = columns.filter(({ key }) => key > 0).sort((a, b) => a.key - b.key);
    const indexes = scratchTables.indexes(sqlName);
    const hasKeyIndex = indexes.some(({ origin }) => origin === "pk");
    const rowidAlias = keyColumns.length === 1 && !withoutRowid && !hasKeyIndex;
    const taken = new Set(columns.map((column) => column.name));
    const rowidName = ["rowid", "_rowid_", "oid"].find((candidate) => !taken.has(candidate));
    if (replicated) {
      this.#judgeTable(
        statement,
        { options, columns, keyColumns, indexes, rowidAlias, rowidName, definition, tokens },
        scratchTables,
      );
    } else if (scratchTables.foreignKeyCount(sqlName) > 0) {
      const why =
        "FOREIGN KEY is not enforced, and nothing is done ON DELETE or ON UPDATE: see to it in your statements";
      this.#warn(statement, why);
    }
    if (rule?.urgent !== undefined) {
      const why = this.#problemOfUrgent(rule.urgent, sqlName, replicated);
      if (why !== undefined) this.#reportRule(`[tables.${name}] urgent: ${why}`);
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
      urgentColumns: this.#urgentColumns(rule?.urgent, sqlName, columns, definition),
      hasCheck: tokens.some(isWord("check")),
      sql,
      file: statement.file,
      line: statement.line,
    };
  }

  #judgeTable(statement: SchemaStatement, facts: TableFacts, scratchTables: ScratchTables): void {
    for (const { column, why } of tableProblems(facts, scratchTables)) {
      this.#reportColumn(statement, facts.definition, column, why);
    }
    if (!facts.rowidAlias) return;
    const why =
      "SQLite hands out the next free integer where an INSERT leaves out the key, and two nodes hand out the same: give keys yourself, or use text keys";
    this.#warn(statement, why);
  }

  /** Of a table. */
  #warn({ file, line, name }: SchemaStatement, why: string): void {
    this.#warnings.push({ file, line, why: `table ${name}: ${why}` });
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

  /** Of a rule that has no problem. */
  #urgentColumns(
    predicate: string | undefined,
    sqlName: string,
    columns: readonly PlannedColumn[],
    definition: TableDefinition,
  ): string[] {
    if (predicate === undefined) return [];
    const table = lowerAscii(sqlName);
    const read = new Set<string>();
    for (const one of this.#scratch.columnsRead(urgentSql(predicate, sqlName))) {
      if (lowerAscii(one.table) === table) read.add(lowerAscii(one.column));
    }
    // SQLite tells of a generated column only itself. Its expression stands among its tokens, and a name too many
    // (that of its type, say) does no harm: a cell is only stamped anew where a statement names it.
    for (const { name, tokens } of definition.columns) {
      const isRead = read.has(name) && columns.some((one) => one.name === name && one.generated);
      if (isRead) for (const token of tokens) read.add(token.value);
    }
    return columns
      .filter(({ name, key, generated }) => key === 0 && !generated && read.has(name))
      .map(({ name }) => name)
      .sort();
  }

  /** @param column undefined: the table as a whole */
  #reportColumn(
    statement: SchemaStatement,
    { columns }: TableDefinition,
    column: string | undefined,
    why: string,
  ): void {
    const token = columns.find(({ name }) => name === column)?.tokens[0] ?? statement.tokens[0];
    const where = column === undefined ? `table ${statement.name}` : `${statement.name}.${column}`;
    this.#report(statement, token, `${where}: ${why}`);
  }

  #report(statement: SchemaStatement, token: SqlToken | undefined, why: string): void {
    const line = statement.line + (token?.line ?? 1) - 1;
    this.#problems.push({ file: statement.file, line, why });
  }

  /** Of what the configuration says. */
  #reportRule(why: string): void {
    this.#problems.push({ file: "", line: 0, why });
  }
}

function readColumns(
  { sqlName }: TableOptions,
  replicated: boolean,
  scratchTables: ScratchTables,
): PlannedColumn[] {
  return scratchTables.columns(sqlName).map((info) => {
    const affinity = affinityOfType(info.type);
    return {
      name: lowerAscii(info.name),
      sqlName: info.name,
      type: info.type,
      affinity,
      notNull: info.notNull,
      defaultText: info.default,
      defaultValue: replicated ? scratchTables.defaultValue(affinity, info.default) : null,
      key: info.key,
      generated: info.generated,
    };
  });
}

/** The replicated tables as the hello tells them, ascending by name. */
function shapesOf(tables: Iterable<PlannedTable>): TableShape[] {
  return [...tables]
    .filter(({ replicated }) => replicated)
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map((table) => ({
      table: table.name,
      columns: table.columns
        .filter(({ generated }) => !generated)
        .map(({ name, type, defaultText, key }) => ({ name, type, default: defaultText, key })),
    }));
}

/** The statement that tells whether the urgent rule holds for the row that `condition` names. */
export function urgentSql(predicate: string, sqlName: string, condition = ""): string {
  // The line break ends a comment that the predicate may close with.
  return `SELECT (${predicate}\n) IS TRUE FROM ${quoteName(sqlName)} ${condition}`;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

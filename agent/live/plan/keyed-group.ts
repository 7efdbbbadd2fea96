/**
 * Keyed queries that differ only in their values (`keyed-query.ts`): they share their compiled
 * statements, and a row that changed is looked at for all of them at once.
 *
 * A changed row concerns a member that holds a result of it, which {@link KeyedGroup} knows by the row's
 * key (`key-holders.ts`), and a member that gets one now, which SQLite finds: it runs the query itself over a table of all
 * members' parameters, restricted to the one row. With an index over the parameters this costs the same
 * for ten members and for ten thousand. Members that ask by IN or IS, for which the index is none, are found by a
 * filter where that is possible (`filter-index.ts`).
 *
 * SQLite compares a column of that table as it compares the literal that stood there, but for two
 * things. A TEXT column turns a number literal into text, and no value of a column: so numbers are
 * entered in both forms. And a column brings a collation: so groups over tables with a COLLATE aren't
 * asked, and all members are looked at.
 *
 * @module
 */

import type { SqlValue } from "../../../core/row/value.ts";
import type { Database } from "../../../wasm/database.ts";
import type { Statement } from "../../../wasm/statement.ts";
import { KeyHolders } from "../rows/key-holders.ts";
import { textHash } from "../rows/key-text.ts";
import { stepUnclocked } from "./changing-functions.ts";
import type { ConstantFilter } from "./constant-filter.ts";
import type { Dependencies } from "./dependencies.ts";
import { type KeyedQuery, parameterTable, valuesMax } from "./keyed-query.ts";

/** One table of a keyed query. */
export interface KeyedSource {
  readonly table: string;
  readonly keyColumns: number;
  /** The results of one of its rows; undefined where a change concerns others too. */
  readonly one: Statement | undefined;
  /** Then: keys of the first table whose results it concerns; undefined where that isn't known. */
  readonly left: Statement | undefined;
  /** Undefined: any member. */
  readonly affected: Statement | undefined;
}

/** Fewer members are looked at one by one. */
const askedMin = 4;

/** Rows of values in the connection's own memory, one for each member and form of its numbers. */
export class ParameterTable {
  readonly #database: Database;
  #statements: { readonly insert: Statement; readonly remove: Statement } | undefined;

  constructor(database: Database) {
    this.#database = database;
  }

  /** To be called before a statement that reads it is compiled. */
  make(): void {
    if (this.#statements !== undefined) return;
    const names = Array.from({ length: valuesMax }, (_, i) => `patina_v${i + 1}`);
    const key = "patina_grp, patina_member, patina_form";
    this.#database.exec(
      `CREATE TABLE ${parameterTable} (${key}, ${names.join(", ")}, PRIMARY KEY (${key})) WITHOUT ROWID`,
    );
    // Any of them may be the one that tells; those behind it come along, so that two tell more than one.
    for (const [i, name] of names.entries()) {
      const rest = names.slice(i).join(", ");
      this.#database.exec(
        `CREATE INDEX temp.patina_parameter_${i + 1} ON patina_parameter (patina_grp, ${rest}) WHERE ${name} IS NOT NULL`,
      );
    }
    const marks = names.map((_, i) => `?${i + 4}`).join(", ");
    this.#statements = {
      insert: this.#database.prepare(
        `INSERT INTO ${parameterTable} (${key}, ${names.join(", ")}) VALUES (?1, ?2, ?3, ${marks})`,
      ),
      remove: this.#database.prepare(
        `DELETE FROM ${parameterTable} WHERE patina_grp = ?1 AND patina_member = ?2`,
      ),
    };
  }

  add(group: number, member: number, values: readonly (string | number)[]): void {
    const { insert } = this.#statements as { insert: Statement };
    for (const [form, bound] of formsOf(values).entries()) {
      insert.bind(1, group);
      insert.bind(2, member);
      insert.bind(3, form);
      for (let i = 0; i < valuesMax; i++) insert.bind(i + 4, bound[i] ?? null);
      while (insert.step());
    }
  }

  remove(group: number, member: number): void {
    const { remove } = this.#statements as { remove: Statement };
    remove.bind(1, group);
    remove.bind(2, member);
    while (remove.step());
  }
}

function formsOf(values: readonly (string | number)[]): SqlValue[][] {
  let forms: SqlValue[][] = [[]];
  for (const value of values) {
    forms = forms.flatMap((form) =>
      typeof value === "number"
        ? [
            [...form, value],
            [...form, String(value)],
          ]
        : [[...form, value]],
    );
  }
  return forms;
}

/** What a group's query is under one schema. */
export interface CompiledKeyedQuery {
  readonly all: Statement;
  readonly sources: readonly KeyedSource[];
  readonly dependencies: Dependencies;
  /** Names of the client's columns, which all members have in common: they differ behind FROM. */
  readonly columnsJson: string;
}

/** @typeParam M what stands for a member */
export class KeyedGroup<M> {
  /** Names it in the table of parameters. */
  readonly number: number;
  /** Its query without values. */
  readonly text: string;
  readonly members = new Map<number, M>();
  readonly #parameters: ParameterTable;
  /** Members that hold results of a row, by table and the row's key. */
  readonly holders: readonly KeyHolders[];
  /** The schema is another since it was compiled. */
  isStale = false;
  /** By table: the column that members filter by, and how many do. */
  readonly #filters = new Map<string, { readonly column: string; count: number }>();
  #compiled: CompiledKeyedQuery;
  #lastMember = 0;

  constructor(options: {
    readonly number: number;
    readonly query: KeyedQuery;
    readonly compiled: CompiledKeyedQuery;
    readonly parameters: ParameterTable;
  }) {
    this.number = options.number;
    this.text = options.query.all;
    this.#compiled = options.compiled;
    this.#parameters = options.parameters;
    this.holders = options.compiled.sources.map(() => new KeyHolders());
  }

  get all(): Statement {
    return this.#compiled.all;
  }

  get sources(): readonly KeyedSource[] {
    return this.#compiled.sources;
  }

  get dependencies(): Dependencies {
    return this.#compiled.dependencies;
  }

  get columnsJson(): string {
    return this.#compiled.columnsJson;
  }

  /** Its text means this from now on. The same text has the same tables and keys. */
  renew(compiled: CompiledKeyedQuery): void {
    this.#finalize();
    this.#compiled = compiled;
    this.isStale = false;
  }

  /** @returns its number */
  join(member: M, values: readonly (string | number)[]): number {
    const number = ++this.#lastMember;
    this.members.set(number, member);
    this.#parameters.add(this.number, number, values);
    return number;
  }

  leave(number: number): void {
    this.members.delete(number);
    this.#parameters.remove(this.number, number);
  }

  /** A member is found by the filter. */
  addFilter({ table, column }: ConstantFilter): void {
    const filter = this.#filters.get(table);
    if (filter === undefined) this.#filters.set(table, { column, count: 1 });
    else if (filter.column === column) filter.count++;
  }

  /** Of one that was added. */
  removeFilter({ table, column }: ConstantFilter): void {
    const filter = this.#filters.get(table);
    if (filter?.column === column && --filter.count === 0) this.#filters.delete(table);
  }

  /** The column by which all members filter the table; undefined: not all of them by one. */
  filterColumn(table: string): string | undefined {
    const filter = this.#filters.get(table);
    return filter?.count === this.members.size ? filter.column : undefined;
  }

  /** Who has, had or gets results of a row; undefined: anyone may. @throws SqliteError */
  affected(source: number, key: string, values: readonly SqlValue[]): Iterable<M> | undefined {
    const { affected } = this.sources[source] as KeyedSource;
    if (this.members.size < askedMin || affected === undefined) return undefined;
    // Where half of all hold it, asking costs more than looking.
    const holders = (this.holders[source] as KeyHolders).of(textHash(key), this.members.size / 2);
    if (holders === undefined) return undefined;
    const found = new Set<M>();
    const name = (number: number): void => {
      const member = this.members.get(number);
      if (member !== undefined) found.add(member);
    };
    for (const number of holders) name(number);
    affected.bind(1, this.number);
    for (let i = 0; i < values.length; i++) affected.bind(i + 2, values[i] as SqlValue);
    try {
      while (stepUnclocked(affected)) name(affected.columnNumber(0));
    } finally {
      affected.reset();
    }
    return found;
  }

  dispose(): void {
    this.#finalize();
  }

  #finalize(): void {
    this.all.finalize();
    for (const { one, left, affected } of this.sources) {
      one?.finalize();
      left?.finalize();
      affected?.finalize();
    }
  }
}

/**
 * Which way a live query is run: keyed where its text and SQLite agree on that, again and compared
 * otherwise. Keeps the groups that keyed queries share.
 *
 * @module
 */

import { lowerAscii } from "../../core/row/row-state.ts";
import { tokenize } from "../../core/schema/sql-token.ts";
import type { Database } from "../../wasm/database.ts";
import type { Statement } from "../../wasm/statement.ts";
import type { Refused } from "../api/store-service.ts";
import type { SqlGuard } from "../sql/guard.ts";
import { errorText, SqlRefused } from "../sql/prepared.ts";
import type { HistoryLimits } from "./change-history.ts";
import type { ChangedCells } from "./changed-cells.ts";
import { GroupedPlan } from "./grouped-plan.ts";
import { changesUntold, changingFunctionOf } from "./plan/changing-functions.ts";
import { isWordOf } from "./plan/clauses.ts";
import { type ConstantFilter, constantFilters } from "./plan/constant-filter.ts";
import {
  type Dependencies,
  dependenciesOf,
  isPlainlyCompared,
  isStrictTable,
  plainColumnsOf,
} from "./plan/dependencies.ts";
import { type GroupedQuery, groupedQuery } from "./plan/grouped-query.ts";
import {
  type CompiledKeyedQuery,
  KeyedGroup,
  type KeyedSource,
  ParameterTable,
} from "./plan/keyed-group.ts";
import { type KeyedQuery, keyedQuery } from "./plan/keyed-query.ts";
import { seaHashHex } from "./plan/seahash.ts";
import { type Before, type Plan, Subscription } from "./subscription.ts";

/** Key columns of a table in the order of its primary key; undefined for a table without one, and for views. */
export type KeyColumnsOf = (table: string) => readonly string[] | undefined;

export class QueryPlanner {
  readonly #database: Database;
  readonly #guard: SqlGuard;
  readonly #keyColumnsOf: KeyColumnsOf;
  readonly #limits: HistoryLimits;
  readonly #cells: ChangedCells;
  readonly #parameters: ParameterTable;
  readonly #groups = new Map<string, KeyedGroup<Subscription>>();
  readonly #groupsByTable = new Map<string, Set<KeyedGroup<Subscription>>>();
  #lastGroup = 0;

  constructor(options: {
    /** The connection that the queries will run on, and its guard. */
    readonly database: Database;
    readonly guard: SqlGuard;
    readonly keyColumnsOf: KeyColumnsOf;
    readonly limits: HistoryLimits;
    readonly cells: ChangedCells;
  }) {
    this.#database = options.database;
    this.#guard = options.guard;
    this.#keyColumnsOf = options.keyColumnsOf;
    this.#limits = options.limits;
    this.#cells = options.cells;
    this.#parameters = new ParameterTable(options.database);
  }

  groupsOf(table: string): Iterable<KeyedGroup<Subscription>> {
    return this.#groupsByTable.get(table) ?? [];
  }

  /** The schema is another, and so are these tables: their groups' statements mean what they meant no more. */
  schemaChanged(isChanged: (table: string) => boolean): void {
    for (const group of this.#groups.values()) {
      if (group.dependencies.keys().some(isChanged)) group.isStale = true;
    }
  }

  /**
   * Makes the plan of one anew that was built under another schema. Its rows stay as they are.
   *
   * @returns false when it can't go on like that: it is to be built anew, and what it had is to be given back
   */
  renew(subscription: Subscription): boolean {
    const { plan, sql, columnsJson } = subscription;
    if (plan.kind === "keyed") {
      const { group } = plan;
      if (group.isStale) this.#renewGroup(group, sql);
      // Where that failed the next of its members is told so, too.
      if (group.isStale || group.columnsJson !== columnsJson) return false;
      if (plan.filters.length > 0) subscription.takeFilters(this.#listFilters(sql));
      return true;
    }
    const built = this.build(sql, subscription.id);
    if ("kind" in built) return false;
    const isTaken =
      built.columnsJson === columnsJson && subscription.takePlan(built.plan, built.isSteep);
    if (!isTaken) this.dispose(built);
    return isTaken;
  }

  #renewGroup(group: KeyedGroup<Subscription>, sql: string): void {
    this.#noted(sql, (plain, notes) => {
      for (const takeValues of [true, false]) {
        const query = keyedQuery(sql, this.#keyColumnsOf, takeValues);
        if (query?.all === group.text) this.#groupOf(query, sql, plain, notes);
      }
      plain.finalize();
    });
    if (group.isStale) this.#forgetGroup(group);
  }

  /** Nobody joins it any more. */
  #forgetGroup(group: KeyedGroup<Subscription>): void {
    if (this.#groups.get(group.text) === group) this.#groups.delete(group.text);
    for (const table of group.dependencies.keys()) {
      const groups = this.#groupsByTable.get(table);
      groups?.delete(group);
      if (groups?.size === 0) this.#groupsByTable.delete(table);
    }
  }

  /**
   * Without rows yet.
   *
   * @param sql without parameters
   * @param before what it goes on from
   */
  build(sql: string, id: string, before?: Before): Subscription | Refused {
    return this.#noted(sql, (plain, notes) => {
      const name = changingFunctionOf(this.#database, sql, notes.functions);
      if (name !== undefined) throw new SqlRefused(changesUntold(name));
      const columns = plain.columnNames();
      const plan = this.#plan(sql, plain, notes);
      const hash = seaHashHex(sql);
      const { isSteep } = notes;
      const limits = this.#limits;
      return new Subscription({ id, hash, sql, columns, plan, isSteep, limits, before });
    });
  }

  /** @param use of the compiled statement, which is its own from then on, and of what the guard noted */
  #noted<T>(sql: string, use: (plain: Statement, notes: SqlGuard["notes"]) => T): T | Refused {
    const guard = this.#guard;
    let plain: Statement | undefined;
    try {
      guard.beginNotes();
      plain = guard.within("read", () => this.#database.prepare(sql));
      return use(plain, guard.notes);
    } catch (error) {
      plain?.finalize();
      return { kind: "refused", status: 400, why: errorText(error, guard) };
    }
  }

  dispose(subscription: Subscription): void {
    subscription.dispose();
    const { plan } = subscription;
    if (plan.kind !== "keyed" || plan.group.members.size > 0) return;
    this.#forgetGroup(plan.group);
    plan.group.dispose();
  }

  #plan(sql: string, plain: Statement, notes: SqlGuard["notes"]): Plan {
    for (const takeValues of [true, false]) {
      const query = keyedQuery(sql, this.#keyColumnsOf, takeValues);
      if (query === undefined) break;
      const group = this.#groupOf(query, sql, plain, notes);
      if (group === undefined) continue;
      plain.finalize();
      return { kind: "keyed", group, values: query.values, filters: this.#listFilters(sql) };
    }
    const dependencies = dependenciesOf(this.#database, sql, notes, true);
    if (dependencies.size === 0) {
      throw new SqlRefused("at least 1 table is required in FROM / JOIN clause");
    }
    const filters = constantFilters(sql, (table) => this.#plainColumnsOf(table));
    const query = groupedQuery(sql, (table) => this.#exactColumnsOf(table));
    const grouped = query === undefined ? undefined : this.#grouped(query, dependencies);
    if (grouped !== undefined) {
      plain.finalize();
      return { kind: "rerun", ...grouped, dependencies, identity: [], filters };
    }
    const identity = this.#identityColumns(plain);
    return { kind: "rerun", all: plain, grouped: undefined, dependencies, identity, filters };
  }

  /** Of a keyed query: where SQLite would go through the values of all who ask, as it does for IN and IS. By `=` it has an index. */
  #listFilters(sql: string): ConstantFilter[] {
    const filters = constantFilters(sql, (table) => this.#plainColumnsOf(table));
    const asksIs = tokenize(sql).some((token) => isWordOf(token, "is"));
    return filters.filter(({ values }) => asksIs || values.length > 1);
  }

  /** Undefined where finding a group's rows takes as long as running the query again. */
  #grouped(
    query: GroupedQuery,
    dependencies: Dependencies,
  ): { readonly all: Statement; readonly grouped: GroupedPlan } | undefined {
    const { table, columns } = query;
    if (dependencies.size !== 1 || !dependencies.has(table)) return undefined;
    const database = this.#database;
    const statements: Statement[] = [];
    const prepare = (text: string): Statement => {
      const statement = this.#guard.within("read", () => database.prepare(text));
      statements.push(statement);
      return statement;
    };
    try {
      const steps = prepare(`EXPLAIN QUERY PLAN ${query.one}`);
      let isFound = false;
      while (steps.step()) {
        const step = String(steps.column(3)).toLowerCase();
        isFound ||= columns.some((column) => step.includes(`(${column}=?`));
      }
      steps.finalize();
      if (!isFound) return undefined;
      const all = prepare(query.all);
      return { all, grouped: new GroupedPlan(query, prepare(query.one), this.#cells) };
    } catch {
      // SQLite reads the words otherwise.
      for (const statement of statements) statement.finalize();
      return undefined;
    }
  }

  #exactColumnsOf(table: string): ReadonlySet<string> | undefined {
    const columns = this.#plainColumnsOf(table);
    if (columns === undefined) return undefined;
    const isStrict = isStrictTable(this.#database, table);
    return new Set(
      [...columns].flatMap(([name, kind]) => (kind === "text" || isStrict ? [name] : [])),
    );
  }

  #plainColumnsOf(table: string): ReadonlyMap<string, "text" | "integer"> | undefined {
    // Changes of a table without a key name no rows.
    if ((this.#keyColumnsOf(table) ?? []).length === 0) return undefined;
    return plainColumnsOf(this.#database, table);
  }

  /** That of its text, as it is under this schema; undefined: there can't be one. */
  #groupOf(
    query: KeyedQuery,
    sql: string,
    plain: Statement,
    notes: SqlGuard["notes"],
  ): KeyedGroup<Subscription> | undefined {
    const known = this.#groups.get(query.all);
    if (known?.isStale === false) return known;
    const compiled = this.#compile(query, sql, plain, notes);
    if (compiled === undefined) {
      if (known !== undefined) this.#forgetGroup(known);
      return undefined;
    }
    if (known !== undefined) {
      known.renew(compiled);
      return known;
    }
    const parameters = this.#parameters;
    const number = ++this.#lastGroup;
    const group = new KeyedGroup<Subscription>({ number, query, compiled, parameters });
    this.#groups.set(query.all, group);
    for (const table of compiled.dependencies.keys()) {
      const groups = this.#groupsByTable.get(table);
      if (groups === undefined) this.#groupsByTable.set(table, new Set([group]));
      else groups.add(group);
    }
    return group;
  }

  #compile(
    query: KeyedQuery,
    sql: string,
    plain: Statement,
    notes: SqlGuard["notes"],
  ): CompiledKeyedQuery | undefined {
    const database = this.#database;
    const dependencies = dependenciesOf(database, sql, notes, false);
    // What else SQLite saw it read (a view's tables, say) is beyond what its words tell.
    const tables = new Set(query.tables.map(({ table }) => table));
    if (tables.size !== dependencies.size) return undefined;
    // Its own column would be taken for the key's.
    const columnNames = plain.columnNames();
    if (columnNames.some((name) => isOfKeys(lowerAscii(name)))) return undefined;
    for (const table of tables) if (!dependencies.has(table)) return undefined;
    this.#parameters.make();
    const isPlain = [...tables].every((table) => isPlainlyCompared(database, table));
    const statements: Statement[] = [];
    const prepare = (text: string): Statement => {
      const statement = this.#guard.within("read", () => database.prepare(text));
      statements.push(statement);
      return statement;
    };
    try {
      const all = prepare(query.all);
      const sources = query.tables.map(
        ({ table, keyColumns, one, left, affected }): KeyedSource => {
          return {
            table,
            keyColumns,
            one: one === undefined ? undefined : prepare(one),
            left: left === undefined ? undefined : prepare(left),
            affected:
              affected === undefined || !isPlain || query.values.length === 0
                ? undefined
                : tried(() => prepare(affected)),
          };
        },
      );
      const columnsJson = JSON.stringify(columnNames);
      return { all, sources, dependencies, columnsJson };
    } catch {
      // SQLite reads the words otherwise: run it again and compare.
      for (const statement of statements) statement.finalize();
      return undefined;
    }
  }

  /** Columns of the result that are key columns, of tables whose whole key is there. */
  #identityColumns(statement: Statement): number[] {
    const found = new Map<string, Map<string, number>>();
    for (let i = 0; i < statement.columnCount; i++) {
      const origin = statement.columnOrigin(i);
      if (origin === null) continue;
      const table = lowerAscii(origin.table);
      const columns = found.get(table) ?? new Map<string, number>();
      const column = lowerAscii(origin.column);
      if (!columns.has(column)) columns.set(column, i);
      found.set(table, columns);
    }
    const identity: number[] = [];
    for (const [table, columns] of found) {
      const key = this.#keyColumnsOf(table);
      if (key?.every((column) => columns.has(column))) {
        identity.push(...key.map((column) => columns.get(column) as number));
      }
    }
    return identity;
  }
}

/** A name as `keyed-query.ts` gives them. @param name in ASCII lower case */
function isOfKeys(name: string): boolean {
  return name.startsWith("patina_key_") || name === "patina_member";
}

function tried<T>(use: () => T): T | undefined {
  try {
    return use();
  } catch {
    return undefined;
  }
}

/**
 * Runs lists of writing statements of clients as one transaction of the store.
 *
 * Every statement is looked at before and after it runs: what returns rows isn't a write, and one that
 * ends the transaction by itself (`INSERT OR ROLLBACK`) must not let the rest commit alone. On any
 * failure nothing is applied.
 *
 * @module
 */

import { valueBytesMax } from "../../core/row/value.ts";
import type { MergedRow } from "../../core/row-store.ts";
import type { NamedColumns } from "../../core/store/local/capture.ts";
import type { Database } from "../../wasm/database.ts";
import { type Access, fullAccess } from "../api/access.ts";
import type { SqlText } from "../api/statement.ts";
import type { TransactOutcome } from "../api/store-service.ts";
import { Deadline } from "./deadline.ts";
import { SqlGuard } from "./guard.ts";
import {
  bindParameters,
  errorText,
  misuseText,
  PreparedStatements,
  SqlRefused,
} from "./prepared.ts";
import { addSteepFunctions } from "./steep-functions.ts";
import { TokenRights } from "./token-rights.ts";
import {
  isTooBig,
  matchBounds,
  withHeapBound,
  withMatchBound,
  withValueBound,
  writerHeapBytesMax,
} from "./value-bound.ts";

/** What the runner needs of the store: one transaction at a time, on the runner's own connection. */
export interface WriteStore<C extends WriteCommit = WriteCommit> {
  begin(): void;
  /** Before each statement: what it names. */
  beginStatement(named: NamedColumns | undefined): void;
  /** Ends the transaction, also when it throws. */
  commit(nowMs: number, unsure?: ReadonlySet<string>): C;
  rollback(): void;
}

export type WriteCommit =
  | {
      readonly kind: "committed";
      readonly version: number | null;
      readonly merged: readonly MergedRow[];
    }
  | { readonly kind: "refused"; readonly why: string; readonly isUnheard?: boolean };

export interface TransactionLimits {
  /** Store time of the whole list. */
  readonly timeoutMs: number;
  /** SQLite's memory isn't made larger for a statement, which would be for good. Default: 512 MiB */
  readonly heapBytesMax?: number;
  /**
   * Columns that decide whether a row of the table is urgent, while others may have said so of a row that isn't here yet;
   * undefined otherwise, and for tables without such a rule. An INSERT that doesn't set all of them whatever it finds
   * is then refused where it would make a row that isn't urgent (`core/store/local-transaction.ts`).
   */
  readonly unsureColumns?: (table: string) => readonly string[] | undefined;
  /** Hears of what was thrown: a statement that isn't one, a disk that is full. */
  readonly onFailed?: (error: unknown) => void;
}

/** What a local transaction wrote to, in ASCII lower case. */
export interface LocalWrites {
  /** Whether replicated or not. */
  readonly tables: ReadonlySet<string>;
  /** Those whose rows can have got another rowid: by INSERT (OR REPLACE), or because it was set. */
  readonly moved: ReadonlySet<string>;
}

export class TransactionRunner<C extends WriteCommit = WriteCommit> {
  readonly guard: SqlGuard;
  readonly database: Database;
  readonly deadline: Deadline;
  readonly #prepared: PreparedStatements;
  readonly #rights: TokenRights;
  readonly #store: WriteStore<C>;
  readonly #limits: TransactionLimits;
  /** Tables of the transaction at hand in which a row may be one that others have. */
  readonly #unsure = new Set<string>();
  #writes: LocalWrites | undefined;
  /** Of the statement that ran last; undefined: it has neither LIKE nor GLOB. */
  #matched: keyof typeof matchBounds | undefined;

  constructor(database: Database, store: WriteStore<C>, limits: TransactionLimits) {
    this.database = database;
    this.#store = store;
    this.#limits = limits;
    this.guard = new SqlGuard(database);
    this.deadline = new Deadline(database);
    addSteepFunctions(database, () => this.deadline.isOver);
    this.#prepared = new PreparedStatements(database, this.guard);
    this.#rights = new TokenRights(database, this.guard, this.#prepared, "write");
  }

  /**
   * @param nowMs wall clock at the commit
   * @param onCommit told of a commit, in the same turn, before the client is answered
   * @param access what the client may do; `mayWrite` was looked at before
   */
  transact(
    statements: readonly SqlText[],
    timeoutMs: number | undefined,
    nowMs: () => number,
    onCommit: (commit: C) => void,
    access: Access = fullAccess,
  ): TransactOutcome {
    const limitMs = Math.min(timeoutMs ?? Number.POSITIVE_INFINITY, this.#limits.timeoutMs);
    const untilMs = performance.now() + limitMs;
    const small = this.#transact(statements, limitMs, nowMs, onCommit, access, "small");
    if (small !== "too-big") return small;
    const leftMs = Math.max(0, untilMs - performance.now());
    const large = this.#transact(statements, leftMs, nowMs, onCommit, access, "large");
    if (large === "too-big") throw new Error("only small values are tried again");
    return large;
  }

  /** @returns `"too-big"` when nothing was applied, since LIKE or GLOB stands beside a value that isn't `size` */
  #transact(
    statements: readonly SqlText[],
    limitMs: number,
    nowMs: () => number,
    onCommit: (commit: C) => void,
    access: Access,
    size: keyof typeof matchBounds,
  ): TransactOutcome | "too-big" {
    const results: { rowsAffected: number; tookMs: number }[] = [];
    this.#unsure.clear();
    const writes = { tables: new Set<string>(), moved: new Set<string>() };
    this.#writes = writes;
    const refused = (error: unknown): TransactOutcome => {
      this.#limits.onFailed?.(error);
      const status = error instanceof NotAllowed ? 403 : 500;
      return { kind: "refused", status, why: errorText(error, this.guard) };
    };
    try {
      this.#store.begin();
    } catch (error) {
      return refused(error);
    }
    try {
      this.deadline.within(limitMs, () => {
        for (const text of statements) {
          // Compiling isn't looked at, and there may be much of it.
          if (this.deadline.isOver) throw new SqlRefused("interrupted");
          const begunMs = performance.now();
          const rowsAffected = this.guard.within("write", () =>
            this.#runOne(text, writes, access, size),
          );
          results.push({ rowsAffected, tookMs: performance.now() - begunMs });
        }
      });
    } catch (error) {
      try {
        if (size === "small" && this.#matched === size && isTooBig(error)) return "too-big";
        return refused(error);
      } finally {
        this.#writes = undefined;
        this.#store.rollback();
      }
    } finally {
      this.deadline.expect(false);
    }
    let commit: C;
    try {
      commit = this.#store.commit(nowMs(), this.#unsure);
    } catch (error) {
      return refused(error);
    } finally {
      this.#writes = undefined;
    }
    if (commit.kind === "refused") {
      const { why, isUnheard } = commit;
      return { kind: "refused", status: 500, why, ...(isUnheard === true ? { isUnheard } : {}) };
    }
    onCommit(commit);
    return { kind: "committed", results, version: commit.version };
  }

  /** What the transaction that is open has written to; of one of another's nothing is known. */
  get writes(): LocalWrites | undefined {
    return this.#writes;
  }

  /** To be called between transactions. */
  schemaChanged(): void {
    this.#prepared.clear();
    this.#rights.clear();
  }

  /** Of a table with rows that came. @param names what a DO UPDATE sets */
  #isUnsure(table: string, names: NamedColumns | undefined): boolean {
    const columns = this.#limits.unsureColumns?.(table);
    if (columns === undefined) return false;
    return names?.table !== table || !columns.every((column) => names.columns.has(column));
  }

  #runOne(
    text: SqlText,
    { tables, moved }: { readonly tables: Set<string>; readonly moved: Set<string> },
    access: Access,
    size: keyof typeof matchBounds,
  ): number {
    this.#matched = undefined;
    if (access.tables !== undefined) {
      const problem = this.#rights.problem(access.tables, text.sql);
      if (problem?.kind === "foreign")
        throw new NotAllowed(`this token is not for ${problem.table}`);
      if (problem !== undefined) throw new SqlRefused(problem.why);
    }
    const prepared = this.#prepared.get(text.sql);
    if (prepared === "empty") throw new SqlRefused(misuseText);
    const { statement } = prepared;
    bindParameters(statement, text.parameters);
    if (statement.columnCount > 0) {
      throw new SqlRefused("Execute returned results - did you mean to call query?");
    }
    this.#store.beginStatement(prepared.names);
    const { heapBytesMax = writerHeapBytesMax } = this.#limits;
    const step = (): void => {
      while (statement.step());
    };
    const run = (): void => {
      try {
        withHeapBound(this.database, step, heapBytesMax);
      } finally {
        statement.reset();
      }
    };
    this.deadline.expect(prepared.calls > 0);
    this.#matched = prepared.isMatching ? size : undefined;
    // What such a function does can't be interrupted. No larger value is kept in a table that replicates.
    if (prepared.isMatching) withMatchBound(this.database, matchBounds[size], prepared.calls, run);
    else if (prepared.isSteep) withValueBound(this.database, valueBytesMax, run);
    else run();
    if (this.database.autocommit) {
      throw new SqlRefused("the statement ended the transaction: nothing was applied");
    }
    for (const table of prepared.writes) tables.add(table);
    for (const table of prepared.moves) {
      moved.add(table);
      if (this.#isUnsure(table, prepared.names)) this.#unsure.add(table);
    }
    return this.database.changes;
  }
}

/** Of a token for some tables. */
class NotAllowed extends SqlRefused {}

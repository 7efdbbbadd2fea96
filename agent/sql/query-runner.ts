/**
 * Runs read-only statements of clients, on a connection of their own.
 *
 * A query runs from its first to its last row in one go, and its lines are kept in memory: so no read
 * transaction outlives its turn of the event loop, and nobody waits for a slow client. One that takes more
 * than a small budget is given up before anything of it was sent, and is another thread's (agent/readers/).
 *
 * @module
 */

import { SQLITE_INTERRUPT } from "../../wasm/constants.ts";
import type { Database } from "../../wasm/database.ts";
import { SqliteError } from "../../wasm/error.ts";
import type { Statement } from "../../wasm/statement.ts";
import { errorJson, utf8 } from "../api/http.ts";
import { NotUtf8Error, secondsToJson, sqlValueToJson } from "../api/json-writer.ts";
import type { SqlText } from "../api/statement.ts";
import type { QueryOutcome } from "../api/store-service.ts";
import { Deadline, type DeadlineHooks } from "./deadline.ts";
import { SqlGuard } from "./guard.ts";
import { LineWriter } from "./line-writer.ts";
import {
  bindParameters,
  errorText,
  misuseText,
  type Prepared,
  PreparedStatements,
  SqlRefused,
} from "./prepared.ts";
import {
  isOutOfMemory,
  isTooBig,
  valueBytesMax,
  withHeapBound,
  withValueBound,
} from "./value-bound.ts";

export interface QueryLimits {
  /** Store time of one statement. */
  readonly timeoutMs: number;
  /** Of one result. */
  readonly resultBytesMax: number;
}

/** What a query may take of the store thread where another thread can run it. */
export interface QueryBudget {
  /** Of its own: that the machine stood still meanwhile hardly counts (deadline.ts). */
  readonly ms: number;
  /** Of its lines. */
  readonly bytes: number;
}

/** Lines are handed on in pieces of about this size. */
const chunkBytesMin = 64 * 1024;

export class QueryRunner {
  readonly database: Database;
  readonly guard: SqlGuard;
  readonly deadline: Deadline;
  readonly prepared: PreparedStatements;
  readonly #limits: QueryLimits;
  readonly #lines = new LineWriter();

  /** @param database read-only; nobody else uses it, or sets its callbacks */
  constructor(database: Database, limits: QueryLimits, hooks?: DeadlineHooks) {
    this.database = database;
    this.guard = new SqlGuard(database);
    this.deadline = new Deadline(database, hooks);
    this.prepared = new PreparedStatements(database, this.guard);
    this.#limits = limits;
  }

  get timeoutMs(): number {
    return this.#limits.timeoutMs;
  }

  get resultBytesMax(): number {
    return this.#limits.resultBytesMax;
  }

  /** What a client may have at most, with its own limit or without. */
  limitMs(timeoutMs: number | undefined): number {
    return Math.min(timeoutMs ?? Number.POSITIVE_INFINITY, this.#limits.timeoutMs);
  }

  /** @returns `"long"` when it was given up for `budget`, or for a value that is too large for a turn of the store thread */
  query(text: SqlText, timeoutMs: number | undefined): QueryOutcome;
  query(text: SqlText, timeoutMs: number | undefined, budget: QueryBudget): QueryOutcome | "long";
  query(text: SqlText, timeoutMs: number | undefined, budget?: QueryBudget): QueryOutcome | "long" {
    const { guard, deadline } = this;
    const before = guard.enter("read");
    try {
      const checked = this.#check(text);
      if (!("statement" in checked)) return checked;
      const limitMs = this.limitMs(timeoutMs);
      const ms = Math.min(limitMs, budget?.ms ?? limitMs);
      const isBudgeted = ms < limitMs;
      const run = () => {
        deadline.begin(ms, isBudgeted ? "budget" : "clock");
        return this.#run(checked, budget, isBudgeted);
      };
      if (budget === undefined) return run();
      deadline.expect(checked.calls > 0);
      const bytesMax = valueBytesMax(checked.isSteep, checked.calls);
      return withValueBound(this.database, bytesMax, () => withHeapBound(this.database, run));
    } finally {
      deadline.end();
      guard.leave(before);
    }
  }

  /** Whether it can be run: everything that can be said of it before its first row. */
  check(text: SqlText): Prepared | QueryOutcome {
    return this.guard.within("read", () => this.#check(text));
  }

  #check(text: SqlText): Prepared | QueryOutcome {
    let prepared: Prepared | "empty";
    try {
      prepared = this.prepared.get(text.sql);
    } catch (error) {
      if (!(error instanceof SqlRefused)) throw error;
      return { kind: "refused", status: 400, why: error.message };
    }
    if (prepared === "empty") {
      const lines = `{"columns":[]}\n${errorJson(misuseText)}\n`;
      return { kind: "rows", chunks: [utf8(lines)] };
    }
    if (!prepared.isReadonly) {
      return { kind: "refused", status: 400, why: "statement is not readonly" };
    }
    try {
      bindParameters(prepared.statement, text.parameters);
    } catch (error) {
      if (!(error instanceof SqlRefused)) throw error;
      return { kind: "refused", status: 500, why: error.message };
    }
    return prepared;
  }

  #run(
    prepared: Prepared,
    budget: QueryBudget | undefined,
    isBudgeted: boolean,
  ): QueryOutcome | "long" {
    const begunMs = performance.now();
    const chunks: Uint8Array[] = [];
    const { statement } = prepared;
    const lines = this.#lines;
    lines.clear();
    lines.bytes(columnsLine(prepared));
    let bytes = 0;
    try {
      for (let row = 1; statement.step(); row++) {
        lines.row(row, statement);
        if (lines.length < chunkBytesMin) continue;
        if (budget !== undefined && lines.length >= budget.bytes) return "long";
        bytes += lines.length;
        if (bytes > this.#limits.resultBytesMax) throw tooManyBytes(this.#limits.resultBytesMax);
        chunks.push(lines.take());
      }
      lines.ascii(eoqLine(performance.now() - begunMs));
    } catch (error) {
      if (isBudgeted && isInterrupt(error)) return "long";
      if (budget !== undefined && (isTooBig(error) || isOutOfMemory(error))) return "long";
      const isOurs = error instanceof NotUtf8Error;
      lines.text(`${errorJson(isOurs ? error.message : errorText(error, this.guard))}\n`);
    } finally {
      statement.reset();
    }
    chunks.push(lines.take());
    return { kind: "rows", chunks };
  }
}

/** The last line of a result that is whole. */
export function eoqLine(tookMs: number): string {
  return `{"eoq":{"time":${secondsToJson(tookMs)}}}\n`;
}

/** `{"columns":…}`, the first line of every result. */
export function columnsLine(prepared: Prepared): Uint8Array {
  prepared.columnsLine ??= utf8(
    `{"columns":${JSON.stringify(prepared.statement.columnNames())}}\n`,
  );
  return prepared.columnsLine;
}

export function tooManyBytes(bytesMax: number): SqlRefused {
  return new SqlRefused(`the result is larger than ${bytesMax} bytes: use LIMIT, or ask in parts`);
}

export function isInterrupt(error: unknown): boolean {
  return error instanceof SqliteError && error.code === SQLITE_INTERRUPT;
}

/** The row at hand as a JSON array. @throws NotUtf8Error */
export function cellsJson(statement: Statement, columnCount: number): string {
  let text = "[";
  for (let column = 0; column < columnCount; column++) {
    if (column > 0) text += ",";
    text += sqlValueToJson(statement.column(column));
  }
  return `${text}]`;
}

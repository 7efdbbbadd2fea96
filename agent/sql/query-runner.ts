/**
 * Runs read-only statements of clients, on a connection of their own.
 *
 * A query runs from its first to its last row in one go, and its lines are kept in memory, up to a
 * bound: so no read transaction outlives its turn of the event loop, and no checkpoint waits for a slow
 * client. (Paging long results by key, with flat memory, comes with the reader threads.)
 *
 * @module
 */

import type { Database } from "../../wasm/database.ts";
import type { Statement } from "../../wasm/statement.ts";
import { errorJson, utf8 } from "../api/http.ts";
import { NotUtf8Error, secondsToJson, sqlValueToJson } from "../api/json-writer.ts";
import type { SqlText } from "../api/statement.ts";
import type { QueryOutcome } from "../api/store-service.ts";
import { Deadline } from "./deadline.ts";
import { SqlGuard } from "./guard.ts";
import {
  bindParameters,
  errorText,
  misuseText,
  type Prepared,
  PreparedStatements,
  SqlRefused,
} from "./prepared.ts";

export interface QueryLimits {
  /** Store time of one statement. */
  readonly timeoutMs: number;
  /** Of one result. */
  readonly resultBytesMax: number;
}

/** Lines are handed on in pieces of about this size. */
const chunkCharsMin = 64 * 1024;

export class QueryRunner {
  readonly database: Database;
  readonly guard: SqlGuard;
  readonly deadline: Deadline;
  readonly prepared: PreparedStatements;
  readonly #limits: QueryLimits;

  /** @param database read-only; nobody else uses it, or sets its callbacks */
  constructor(database: Database, limits: QueryLimits) {
    this.database = database;
    this.guard = new SqlGuard(database);
    this.deadline = new Deadline(database);
    this.prepared = new PreparedStatements(database, this.guard, "read");
    this.#limits = limits;
  }

  get timeoutMs(): number {
    return this.#limits.timeoutMs;
  }

  query(text: SqlText, timeoutMs: number | undefined): QueryOutcome {
    return this.guard.within("read", () => {
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
      const { statement } = prepared;
      if (!statement.readonly) {
        return { kind: "refused", status: 400, why: "statement is not readonly" };
      }
      try {
        bindParameters(statement, text.parameters);
      } catch (error) {
        if (!(error instanceof SqlRefused)) throw error;
        return { kind: "refused", status: 500, why: error.message };
      }
      const limitMs = Math.min(timeoutMs ?? Number.POSITIVE_INFINITY, this.#limits.timeoutMs);
      return this.deadline.within(limitMs, () => this.#run(prepared, statement));
    });
  }

  #run(prepared: Prepared, statement: Statement): QueryOutcome {
    const begunMs = performance.now();
    const chunks: Uint8Array[] = [];
    prepared.columnsJson ??= JSON.stringify(statement.columnNames());
    let text = `{"columns":${prepared.columnsJson}}\n`;
    let bytes = 0;
    const columnCount = statement.columnCount;
    try {
      for (let row = 1; statement.step(); row++) {
        text += `{"row":[${row},${cellsJson(statement, columnCount)}]}\n`;
        if (text.length < chunkCharsMin) continue;
        const chunk = utf8(text);
        bytes += chunk.length;
        if (bytes > this.#limits.resultBytesMax) {
          throw new SqlRefused(
            `the result is larger than ${this.#limits.resultBytesMax} bytes: use LIMIT, or ask in parts`,
          );
        }
        chunks.push(chunk);
        text = "";
      }
      text += `{"eoq":{"time":${secondsToJson(performance.now() - begunMs)}}}\n`;
    } catch (error) {
      const isOurs = error instanceof NotUtf8Error;
      text += `${errorJson(isOurs ? error.message : errorText(error, this.guard))}\n`;
    } finally {
      statement.reset();
    }
    chunks.push(utf8(text));
    return { kind: "rows", chunks };
  }
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

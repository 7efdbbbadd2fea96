/**
 * Finds out what became of a live query's rows, on the connection that writes, between two transactions.
 * Bounded in time, and what it took is counted.
 *
 * @module
 */

import type { MergedRow } from "../../core/store/row-store.ts";
import type { Database } from "../../wasm/database.ts";
import { NotUtf8Error } from "../api/json-writer.ts";
import type { Deadline } from "../sql/deadline.ts";
import type { SqlGuard } from "../sql/guard.ts";
import { errorText } from "../sql/prepared.ts";
import type { Entry } from "./live-registry.ts";
import type { Change } from "./subscription.ts";

/** The connection that live queries run on: the writer's. */
export interface LiveConnection {
  readonly database: Database;
  readonly guard: SqlGuard;
  readonly deadline: Deadline;
}

/** What became of one of them. */
export type Finding = { readonly entry: Entry } & (
  | {
      readonly kind: "changes";
      readonly changes: readonly Change[];
      /** All rows of the one commit that made it so; undefined when it was several. */
      readonly rows?: readonly MergedRow[] | undefined;
    }
  | { readonly kind: "failed"; readonly why: string }
);

export class Evaluation {
  readonly #connection: LiveConnection;
  readonly #timeoutMs: () => number;

  /** @param timeoutMs how long one query may run */
  constructor(connection: LiveConnection, timeoutMs: () => number) {
    this.#connection = connection;
    this.#timeoutMs = timeoutMs;
  }

  /** What it missed comes to; it misses nothing any more. */
  ofMissed(entry: Entry): Finding | undefined {
    const { missed, subscription } = entry;
    if (missed === undefined) return undefined;
    entry.missed = undefined;
    entry.looked++;
    const canLookUp = subscription.canLookUp(missed.changes);
    const find = () => subscription.find(canLookUp ? missed.changes : undefined);
    const finding = this.of(entry, find, !canLookUp);
    if (finding.kind === "failed") return finding;
    return finding.changes.length === 0 ? undefined : { ...finding, rows: missed.rows };
  }

  /** Runs `find` for an entry. @param isRerun it runs the whole query */
  of(entry: Entry, find: () => readonly Change[], isRerun: boolean): Finding {
    const { guard, deadline } = this.#connection;
    const begunMs = performance.now();
    try {
      const changes = guard.within("read", () => deadline.within(this.#timeoutMs(), find));
      return { kind: "changes", entry, changes };
    } catch (error) {
      const why = error instanceof NotUtf8Error ? error.message : errorText(error, guard);
      return { kind: "failed", entry, why };
    } finally {
      const tookMs = performance.now() - begunMs;
      entry.busyMs += tookMs;
      if (isRerun) entry.rerunMs = tookMs;
    }
  }
}

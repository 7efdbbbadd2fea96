/**
 * Finds out what became of a live query's rows, on the connection that writes: it sees a transaction
 * before its COMMIT. Bounded in time, and what it took is counted.
 *
 * @module
 */

import type { Database } from "../../wasm/database.ts";
import { NotUtf8Error } from "../api/json-writer.ts";
import type { Deadline } from "../sql/deadline.ts";
import type { SqlGuard } from "../sql/guard.ts";
import { errorText } from "../sql/prepared.ts";
import type { Entry } from "./live-registry.ts";
import type { Change } from "./subscription.ts";
import type { TableChanges } from "./table-changes.ts";

/** The connection that live queries run on: the writer's. */
export interface LiveConnection {
  readonly database: Database;
  readonly guard: SqlGuard;
  readonly deadline: Deadline;
}

/** What a transaction comes to, for one of them. */
export type Finding = { readonly entry: Entry } & (
  | { readonly kind: "changes"; readonly changes: readonly Change[] }
  | { readonly kind: "later" }
  /** It is starting: to be looked at when its rows are there. */
  | { readonly kind: "missed"; readonly changes: TableChanges }
  | { readonly kind: "failed"; readonly why: string }
);

/** What may be found out in the turn of the commit itself: one query run again, and all of them. */
const rerunMsMax = 1;
const rerunsMsMax = 5;

export class Evaluation {
  readonly #connection: LiveConnection;
  readonly #timeoutMs: () => number;

  /** @param timeoutMs how long one query may run */
  constructor(connection: LiveConnection, timeoutMs: () => number) {
    this.#connection = connection;
    this.#timeoutMs = timeoutMs;
  }

  /** What a transaction that is open comes to, for those that it concerns. */
  ofTransaction(affected: ReadonlyMap<Entry, TableChanges>): Finding[] {
    const findings: Finding[] = [];
    const begunMs = performance.now();
    for (const [entry, own] of affected) {
      if (entry.starting !== undefined) {
        findings.push({ kind: "missed", entry, changes: own });
        continue;
      }
      if (entry.isStale) continue;
      entry.looked++;
      const { subscription } = entry;
      const canLookUp = subscription.canLookUp(own);
      const isIdleRerun = entry.listeners.size === 0 && subscription.plan.kind === "rerun";
      const isLong = entry.rerunMs > rerunMsMax || performance.now() - begunMs > rerunsMsMax;
      if (!canLookUp && (isIdleRerun || isLong)) findings.push({ kind: "later", entry });
      else {
        const find = () => subscription.find(canLookUp ? own : undefined);
        const finding = this.of(entry, find, !canLookUp);
        if (finding.kind === "failed" || finding.changes.length > 0) findings.push(finding);
      }
    }
    return findings;
  }

  /** Runs `find` for an entry. @param isRerun it runs the whole query */
  of(
    entry: Entry,
    find: () => readonly Change[],
    isRerun: boolean,
  ): Finding & { kind: "changes" | "failed" } {
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

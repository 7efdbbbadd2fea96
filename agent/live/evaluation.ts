/**
 * Finds out what became of a live query's rows, on the connection that writes, between two transactions.
 * Bounded in time, and what it took is counted. Where another thread can run queries (`live-reruns.ts`), one look has
 * a small budget, and what takes longer is left to it.
 *
 * @module
 */

import type { MergedRow } from "../../core/row-store.ts";
import type { Database } from "../../wasm/database.ts";
import { NotUtf8Error } from "../api/json-writer.ts";
import type { Deadline } from "../sql/deadline.ts";
import type { SqlGuard } from "../sql/guard.ts";
import { errorText } from "../sql/prepared.ts";
import { isInterrupt, type QueryBudget } from "../sql/query-runner.ts";
import { isTooBig, valueBytesMax, withValueBound } from "../sql/value-bound.ts";
import type { Change } from "./changes.ts";
import type { Entry } from "./live-registry.ts";
import { LongResultError } from "./subscription.ts";

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

/** It would take longer than there is time for here; it still misses what it missed. */
export interface LongFinding {
  readonly kind: "long";
}

/** What one look may take of the store thread where another thread can run the query. 0 ms: it isn't tried here. */
export interface LookBudget {
  /** Where the whole query is run. */
  readonly rerun: QueryBudget;
  /** Where the rows that changed are looked up. */
  readonly lookUpMs: number;
}

/** Of more rows that readers have it takes too long to find those that are gone. */
const rowsMax = 2000;

/** For one that is found in another way since the schema is another, where another thread could run it. */
const renewMsMax = 50;

/** For running the groups that a commit concerns. */
const groupsMsMax = 2;
/** After a group that took longer the whole query is run so many times elsewhere. */
const looksWithoutGroups = 100;

export class Evaluation {
  readonly #connection: LiveConnection;
  readonly #timeoutMs: () => number;
  readonly #budget: LookBudget | undefined;

  /**
   * @param timeoutMs how long one query may run
   * @param budget undefined where there is no other thread
   */
  constructor(
    connection: LiveConnection,
    timeoutMs: () => number,
    budget: LookBudget | undefined = undefined,
  ) {
    this.#connection = connection;
    this.#timeoutMs = timeoutMs;
    this.#budget = budget;
  }

  /** What it missed comes to; it misses nothing any more. */
  ofMissed(entry: Entry): Finding | LongFinding | undefined {
    const { missed, subscription } = entry;
    if (missed === undefined) return undefined;
    const canLookUp = subscription.canLookUp(missed.changes);
    const find = () => subscription.find(missed.changes, this.#budget?.rerun.bytes);
    const found = this.#looked(entry, find, canLookUp);
    if (found.kind === "long") return found;
    entry.missed = undefined;
    entry.looked++;
    if (found.kind === "failed") return found;
    if (found.changes.length > 0) return { ...found, rows: missed.rows };
    subscription.named();
    return undefined;
  }

  /** What has become of it since it was told last, in one run here; undefined: nothing, or that isn't found out in time. */
  ofUntold(entry: Entry, budgetMs: number): Finding | undefined {
    const { missed, rerun, subscription } = entry;
    if (missed === undefined && rerun === undefined) return undefined;
    // What a run that is under way has taken off isn't known here.
    const changes = rerun === undefined ? missed?.changes : undefined;
    const found = this.within(entry, () => subscription.find(changes), budgetMs);
    if (found.kind !== "changes" || found.changes.length === 0) return undefined;
    entry.missed = undefined;
    return found;
  }

  #looked(entry: Entry, find: () => readonly Change[], isLookUp: boolean): Finding | LongFinding {
    const budget = this.#budget;
    if (budget === undefined) return this.of(entry, find, !isLookUp);
    const isOfGroups = isLookUp && entry.subscription.plan.kind === "rerun";
    if (isOfGroups && entry.looksWithoutGroups > 0) {
      entry.looksWithoutGroups--;
      return { kind: "long" };
    }
    const budgetMs = isOfGroups
      ? Math.min(budget.lookUpMs, groupsMsMax)
      : isLookUp
        ? budget.lookUpMs
        : budget.rerun.ms;
    const isOver = !isLookUp && (entry.isLong || entry.subscription.rowCount > rowsMax);
    if (isOver || budgetMs === 0) {
      entry.isLong = true;
      return { kind: "long" };
    }
    const found = this.#found(entry, find, budgetMs);
    if (found.kind === "long") {
      entry.isLong = true;
      if (isOfGroups) entry.looksWithoutGroups = looksWithoutGroups;
    } else if (!isLookUp) entry.rerunMs = found.tookMs;
    return found;
  }

  /** What it comes to that it is found in another way now: rows that readers have, and all that there are, held together. */
  ofRenewed(entry: Entry, find: () => readonly Change[]): Finding | LongFinding {
    if (this.#budget === undefined) return this.of(entry, find, true);
    if (entry.subscription.rowCount > rowsMax) return { kind: "long" };
    return this.within(entry, find, renewMsMax);
  }

  /** Runs `find`, which runs the whole query, for an entry. */
  within(entry: Entry, find: () => readonly Change[], budgetMs: number): Finding | LongFinding {
    const found = this.#found(entry, find, budgetMs);
    if (found.kind !== "long") entry.rerunMs = found.tookMs;
    return found;
  }

  /** Runs `find` for an entry. @param isRerun it runs the whole query */
  of(entry: Entry, find: () => readonly Change[], isRerun: boolean): Finding {
    const found = this.#found(entry, find, Number.POSITIVE_INFINITY);
    if (found.kind === "long") return { kind: "failed", entry, why: "interrupted" };
    if (isRerun) entry.rerunMs = found.tookMs;
    return found;
  }

  #found(
    entry: Entry,
    find: () => readonly Change[],
    budgetMs: number,
  ): (Finding & { readonly tookMs: number }) | LongFinding {
    const { database, guard, deadline } = this.#connection;
    const timeoutMs = this.#timeoutMs();
    const hasBudget = budgetMs < Number.POSITIVE_INFINITY;
    const begunMs = performance.now();
    const tookMs = (): number => performance.now() - begunMs;
    try {
      const ms = Math.min(timeoutMs, budgetMs);
      const kind = budgetMs < timeoutMs ? "budget" : "clock";
      const run = () => guard.within("read", () => deadline.within(ms, find, kind));
      const { isSteep } = entry.subscription;
      // What no other thread is asked for isn't given up, but it isn't to stand still for hours either.
      deadline.expect(isSteep);
      const isBound = hasBudget || (isSteep && this.#budget !== undefined);
      const bytesMax = valueBytesMax(isSteep && hasBudget);
      const changes = isBound ? withValueBound(database, bytesMax, run) : run();
      return { kind: "changes", entry, changes, tookMs: tookMs() };
    } catch (error) {
      const isForTime = budgetMs < timeoutMs && isInterrupt(error);
      const isForSize = hasBudget && isTooBig(error);
      if (isForTime || isForSize || error instanceof LongResultError) return { kind: "long" };
      const why = error instanceof NotUtf8Error ? error.message : errorText(error, guard);
      return { kind: "failed", entry, why, tookMs: tookMs() };
    } finally {
      deadline.expect(false);
      entry.busyMs += tookMs();
    }
  }
}

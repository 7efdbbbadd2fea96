/**
 * The store as the HTTP handlers see it: asynchronous, and nothing but plain data in and out, so that
 * handlers can move to another thread without a change.
 *
 * Rows and events cross as finished NDJSON lines: the store writes each value once, as the text that
 * the client gets, and bytes are what crosses between threads most cheaply.
 *
 * @module
 */

import type { Access } from "./access.ts";
import type { Metric } from "./exposition.ts";
import type { SqlText } from "./statement.ts";

/** A refusal before anything was streamed. Nothing was applied. */
export interface Refused {
  readonly kind: "refused";
  readonly status: 400 | 403 | 404 | 500;
  readonly why: string;
  /** Others may have the row that was to come: it isn't known yet. */
  readonly isUnheard?: boolean;
}

export type TransactOutcome =
  | {
      readonly kind: "committed";
      /** One for each statement, in order. */
      readonly results: readonly { readonly rowsAffected: number; readonly tookMs: number }[];
      /** Counts this site's commits that changed something, after a crash with a gap; null when this one changed nothing. */
      readonly version: number | null;
    }
  | Refused;

export type QueryOutcome =
  | {
      readonly kind: "rows";
      /** All lines: `columns`, each `row`, then `eoq` or `error`. */
      readonly chunks: readonly Uint8Array[];
    }
  | {
      readonly kind: "stream";
      /** The same lines as they come, the first at once. */
      readonly chunks: AsyncIterable<Uint8Array>;
      /** Nobody wants the rest. */
      readonly cancel: () => void;
      /** Nobody is to have the rest: it ends with a line that says why. */
      readonly refuse: (why: string) => void;
    }
  | Refused;

export interface SubscribeOptions {
  /** Go on after this change; undefined for rows first. */
  readonly from: number | undefined;
  readonly skipRows: boolean;
  /** Lines of our own tell where transactions end (`agent/store/transaction-lines.ts`). */
  readonly transactions?: boolean;
  /** Aborts when the client is gone, or its token taken back: what only it waits for isn't begun. */
  readonly gone?: AbortSignal;
}

export type StreamEvent =
  /** Whole lines. `isSnapshot` for rows and replayed changes, which count to no buffer limit. */
  | { readonly kind: "lines"; readonly bytes: Uint8Array; readonly isSnapshot: boolean }
  /** Nothing follows. `isCut` when more would, but the agent ends: the client is to see that the answer is unfinished. */
  | { readonly kind: "end"; readonly isCut: boolean };

export type StreamListener = (event: StreamEvent) => void;

export type SubscribeOutcome =
  | {
      readonly kind: "subscribed";
      /** Ends with {@link StoreService.unsubscribe}. */
      readonly subscriber: number;
      /** UUID with hyphens; one for all who ask the same. */
      readonly id: string;
      /** 16 hex digits, a function of the query; undefined for table updates. */
      readonly hash: string | undefined;
    }
  | Refused;

export interface TableStats {
  readonly totalRowCount: number;
  readonly invalidTables: readonly string[];
}

export interface HealthReport {
  /** Members that are ALIVE, as this node sees it, itself included. */
  readonly members: number;
  /** Changesets of others that wait to be applied. */
  readonly queueSize: number;
  /** Seconds from a changeset's stamp to its commit here; undefined before the first. */
  readonly p99LagSeconds: number | undefined;
  /** The index is built and a first exchange is done, or the node stands alone. */
  readonly ready: boolean;
  /** Why no writes are accepted: a full disk, a clock that is off. */
  readonly refusedWhy?: string | undefined;
}

/** Why a host isn't healthy, whatever thresholds are asked for; undefined when these decide. */
export function healthProblem({
  ready,
  refusedWhy,
  p99LagSeconds,
}: HealthReport): string | undefined {
  if (!ready) return `not ready: ${refusedWhy ?? "still catching up with the others"}`;
  return p99LagSeconds === undefined ? noLagText : undefined;
}

/** As the contract has it: until a first change of another host has come. */
export const noLagText = "no p99 lag information available";

/** What an operator asks of a running agent. */
export type Operation =
  /** Copies the database into a new file, an absolute path of this host's. */
  | { readonly kind: "backup"; readonly path: string }
  /** Reads the schema files again; `dryRun` only says what would be done. */
  | { readonly kind: "reload"; readonly dryRun: boolean };

export type OperationOutcome =
  /** Lines of JSON: any number of `progress`, then `done` or `error`. Ends early when they aren't read. */
  { readonly kind: "started"; readonly lines: AsyncIterable<Uint8Array> } | Refused;

export interface StoreService {
  /** This site: 32 hex digits. */
  readonly actorId: string;
  /** All or nothing. @param timeoutMs of store time for the whole list; undefined: the configured one */
  transact(
    statements: readonly SqlText[],
    timeoutMs: number | undefined,
    access: Access,
  ): Promise<TransactOutcome>;
  /** At once, where it can be. */
  query(
    statement: SqlText,
    timeoutMs: number | undefined,
    access: Access,
  ): Promise<QueryOutcome> | QueryOutcome;
  /** The listener is called first during this call, in order, and until `end` or `unsubscribe`. */
  subscribe(
    statement: SqlText,
    options: SubscribeOptions,
    listener: StreamListener,
    access: Access,
  ): Promise<SubscribeOutcome>;
  /** The same by id. */
  attach(
    id: string,
    options: SubscribeOptions,
    listener: StreamListener,
    access: Access,
  ): Promise<SubscribeOutcome>;
  /** Keys of changed rows of one table. */
  updates(table: string, listener: StreamListener, access: Access): Promise<SubscribeOutcome>;
  unsubscribe(subscriber: number): void;
  tableStats(tables: readonly string[], access: Access): Promise<TableStats>;
  /** Milliseconds since this node was last found identical with a peer; undefined for never. */
  agreedMs(): number | undefined;
  health(): Promise<HealthReport>;
  /** For people and `patina status`: JSON of one object. */
  status(): Promise<string>;
  /** For `patina subs`: JSON of one object, which lists live queries, and which way each runs. */
  subscriptions(): Promise<string>;
  /** Peers as the net thread sees them: JSON of one object. */
  swarm(): Promise<string>;
  /** What both threads count. */
  metrics(): Promise<readonly Metric[]>;
  /** Holds CREATE statements against the schema: accepted when they change nothing. */
  migrate(statements: readonly string[]): Promise<{ readonly kind: "accepted" } | Refused>;
  operate(operation: Operation): Promise<OperationOutcome>;
}

/**
 * What `/v1/health` and `patina status` say of the store.
 *
 * @module
 */

import type { Hlc } from "../clock/stamp.ts";
import type { ImageRoot } from "../index/settled-image.ts";
import type { RowRef } from "../row-store.ts";

export interface ReplicaStatus {
  /** The index is being rebuilt: no peer gets an answer yet. */
  readonly starting: boolean;
  /** Rows held, tombstones too; what the rebuild has counted so far while starting. */
  readonly rows: number;
  /** 0 while starting. */
  readonly cut: number;
  readonly roots: readonly ImageRoot[];
  readonly hlc: Hlc;
  /** Of the last 1,000 changesets of others: from their stamp to here, ms, by the two wall clocks. */
  readonly lagMs: { readonly samples: number; readonly p50: number; readonly p99: number };
  readonly refused: {
    /** Bodies that didn't decode. */
    readonly malformed: number;
    /** Changesets, and rows of repair, stamped too far ahead. */
    readonly ahead: number;
    /** Bodies lost to a failed write. */
    readonly storeFailed: number;
  };
  /** Changesets taken that were stamped more than a warning's worth ahead. */
  readonly driftWarnings: number;
  /** Rows in which two writers under one identity were seen: an alarm. */
  readonly conflicts: number;
  /** The last such row. */
  readonly lastConflict: RowRef | undefined;
  readonly clock: {
    /** Peers whose clocks are known. */
    readonly peers: number;
    /** Fleet's time less the own wall clock; undefined with too few peers. */
    readonly medianOffsetMs: number | undefined;
    /** This host's clock is off; local writes are refused. */
    readonly outlier: boolean;
    /** It shows a time long before this release: it has never been set. */
    readonly unset: boolean;
    /** Rows of this host's that were stamped anew, since the agent started: its clock had been far ahead. */
    readonly restampedRows: number;
    /**
     * How far the clock is behind the newest stamp that is held, if that is so far that nothing stamped so is sent: 0 while
     * all is. Then what is written here stays here, for it is stamped still later.
     */
    readonly heldBackMs: number;
  };
  /** Why the store last failed; undefined again once others' rows were merged, or no more row comes that it can't hold. */
  readonly storeError: string | undefined;
  readonly recentRows: number;
  /** Rows with clocks after the oldest askable cut: what the settled image keeps in memory. */
  readonly touchedRows: number;
  /** Questions that wait for a scan, are in one, or whose rows are being sent. */
  readonly rowQuestions: number;
}

const samplesMax = 1000;

/** The last 1,000 samples of a duration. */
export class LagSamples {
  readonly #samplesMs: number[] = [];
  #next = 0;

  add(lagMs: number): void {
    // A sender whose clock is ahead would seem to arrive before it left.
    this.#samplesMs[this.#next] = Math.max(0, lagMs);
    this.#next = (this.#next + 1) % samplesMax;
  }

  summary(): ReplicaStatus["lagMs"] {
    const sorted = [...this.#samplesMs].sort((a, b) => a - b);
    const at = (part: number) => sorted[Math.floor(sorted.length * part)] ?? 0;
    return { samples: sorted.length, p50: at(0.5), p99: at(0.99) };
  }
}

/**
 * What a history of `faulty-store.ts` went through.
 *
 * @module
 */

/** A draw in which some of it never happens proves nothing. */
export interface HistoryCounts {
  commits: number;
  merges: number;
  checkpoints: number;
  /** Checkpoints in steps that came to their end. */
  rounds: number;
  /** Those after which the WAL could begin anew without a sync. */
  blanked: number;
  /** Transactions that a fault undid, and the store went on. */
  undone: number;
  refusedFull: number;
  deaths: number;
  powerCuts: number;
  /** Power cuts that took acknowledged commits back, and how many. */
  cutsBack: number;
  commitsLost: number;
  /** Transactions that nobody had been told of and that were there after a restart. */
  unansweredKept: number;
  unansweredGone: number;
  /** Restarts in which a fault kept the database from opening at first. */
  failedStarts: number;
  /** Failed syncs after which the file refused to be written until the restart. */
  distrusted: number;
}

export function createCounts(): HistoryCounts {
  return {
    commits: 0,
    merges: 0,
    checkpoints: 0,
    blanked: 0,
    rounds: 0,
    undone: 0,
    refusedFull: 0,
    deaths: 0,
    powerCuts: 0,
    cutsBack: 0,
    commitsLost: 0,
    unansweredKept: 0,
    unansweredGone: 0,
    failedStarts: 0,
    distrusted: 0,
  };
}

/**
 * When the WAL is copied into the database: after enough has been written, and all of it once nothing has
 * happened for a while. How it is copied is `checkpointer.ts`.
 *
 * @module
 */

import { dueAfterPause, type Pace } from "../../core/replica/pace.ts";
import type { SqliteStore } from "../../core/store/sqlite-store.ts";
import type { Database } from "../../wasm/database.ts";
import type { Statement } from "../../wasm/statement.ts";
import type { Vfs } from "../../wasm/vfs/vfs.ts";
import type { WallClock } from "../host/wall-clock.ts";
import type { Log } from "../log.ts";
import { walFrameBytes } from "./checkpoint-frames.ts";
import { afterFailureMs, Checkpointer, type WalState } from "./checkpointer.ts";

export interface WalUpkeepParts {
  readonly path: string;
  readonly vfs: Vfs;
  readonly writer: Database;
  readonly store: SqliteStore;
  readonly clock: WallClock;
  readonly log: Log;
  /** A merge is under way. */
  readonly isMerging: () => boolean;
  /** This node is ready: somebody may be disturbed. */
  readonly isServed: () => boolean;
  /** The oldest snapshot that is lent to another thread; undefined: none is. */
  readonly oldestLoan: () => number | undefined;
  /** From how many frames the WAL is brought to its beginning; for tests. */
  readonly framesMax: number | undefined;
  /** The WAL's size, whenever it may be another. @param isLong it is to begin anew, which a loan keeps it from */
  readonly onSize: (bytes: number, isLong: boolean) => void;
  /** Runs a step that takes time, and takes note of how much. */
  readonly measured: (work: () => void) => void;
  /** How long a slice of copying is. */
  readonly pace: Pace;
  /** A round has ended, or holds back less: there may be more to do. */
  readonly onEnd: () => void;
}

/** All of them are copied once nothing has happened for so long. */
const idleMs = 500;

export class WalUpkeep {
  readonly #parts: WalUpkeepParts;
  readonly #walFrames: Statement;
  readonly #checkpointer: Checkpointer;
  #lastState: WalState = { frames: 0, waiting: 0 };
  #lastWorkMs = 0;
  /** Nothing is tried before: it has failed just now. */
  #notBeforeMs = 0;
  #hasUncheckpointed = true;
  /** A loan kept the WAL's file from being cut. */
  #isKept = false;

  constructor(parts: WalUpkeepParts) {
    this.#parts = parts;
    const { path, vfs, writer, store, log } = parts;
    this.#walFrames = writer.prepare("PRAGMA wal_checkpoint(NOOP)");
    this.#checkpointer = new Checkpointer({
      path,
      vfs,
      checkpoint: (mode) => {
        writer.checkpoint(mode);
        // The first commit into a WAL that begins anew syncs the disk: it shan't be one that somebody waits for.
        store.keepClock();
      },
      isBusy: () => !writer.autocommit,
      oldestLoan: parts.oldestLoan,
      ...(parts.framesMax === undefined ? {} : { framesMax: parts.framesMax }),
      measured: parts.measured,
      pace: parts.pace,
      onFailure: (why) => {
        log.error("checkpoint failed", { why });
        this.#notBeforeMs = parts.clock.nowMs() + afterFailureMs;
      },
      onEnd: () => {
        this.#tellSize(this.#state());
        parts.onEnd();
      },
    });
  }

  /** The WAL may have grown, and soon more may come. */
  noteWork(): void {
    this.#lastWorkMs = this.#parts.clock.nowMs();
    this.#hasUncheckpointed = true;
  }

  /** It isn't work, or a host that is read and not written would never be idle; but what a loan kept may go on. */
  noteLoanEnded(): void {
    if (this.#isKept) this.#hasUncheckpointed = true;
    this.#isKept = false;
  }

  /** A round is under way in which bulk merges had better wait. Its end is told. */
  get holdsBack(): boolean {
    return this.#checkpointer.holdsBack;
  }

  /** Clients' writes had better wait a moment. Its end is told as that of a round. */
  get holdsBackWrites(): boolean {
    return this.#checkpointer.holdsBackWrites;
  }

  /** Urgent changes, too. */
  get holdsBackUrgent(): boolean {
    return this.#checkpointer.holdsBackUrgent;
  }

  /** Wall clock in ms at which the rest is copied unless something happens; infinite when there is none. */
  get idleAtMs(): number {
    if (!this.#hasUncheckpointed) return Number.POSITIVE_INFINITY;
    const nowMs = this.#parts.clock.nowMs();
    const againMs = dueAfterPause(this.#notBeforeMs, afterFailureMs, nowMs);
    return Math.max(dueAfterPause(this.#lastWorkMs + idleMs, idleMs, nowMs), againMs);
  }

  /** Frames in the WAL that aren't in the database yet. */
  get framesWaiting(): number {
    return this.#state().waiting;
  }

  /** Does what is due, or begins it. */
  checkpointWhenDue(): void {
    if (!this.#hasUncheckpointed) return;
    const { clock, isMerging, isServed } = this.#parts;
    const nowMs = clock.nowMs();
    const isIdle = dueAfterPause(this.#lastWorkMs + idleMs, idleMs, nowMs) <= nowMs && !isMerging();
    const state = this.#state();
    this.#tellSize(state);
    const isDone = this.#checkpointer.work(state, isIdle, isServed());
    // It may have been cut.
    if (isDone && this.#checkpointer.isLong(state)) this.#tellSize(this.#state());
    if (!isIdle || !isDone) return;
    this.#hasUncheckpointed = false;
    this.#isKept = this.#parts.oldestLoan() !== undefined && this.#checkpointer.isFileLong;
  }

  /** Nothing is begun any more. */
  close(): void {
    this.#checkpointer.close();
  }

  #tellSize(state: WalState): void {
    this.#parts.onSize(state.frames * walFrameBytes, this.#checkpointer.isLong(state));
  }

  #state(): WalState {
    const state = this.#checkpointer.state;
    if (state !== undefined) return state;
    // The connection that writes can't say it inside a transaction.
    if (!this.#parts.writer.autocommit) return this.#lastState;
    const statement = this.#walFrames;
    statement.step();
    const frames = statement.columnNumber(1);
    const waiting = frames - statement.columnNumber(2);
    statement.reset();
    this.#lastState = { frames, waiting };
    return this.#lastState;
  }
}

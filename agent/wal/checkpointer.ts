/**
 * Copies the WAL into the database without the thread that everybody waits for standing still.
 *
 * A checkpoint is two fsyncs and a copy of some pages. The copy takes 3 µs a page, the fsyncs from a
 * millisecond to a tenth of a second, and in SQLite's own checkpoint the thread waits for both. Here they run on another
 * thread, one after the other, in a *round*: `wasm/vfs/checkpoint-sync.ts` has the steps, and why no crash and
 * no power cut in between does harm.
 *
 * The WAL begins anew only when a commit finds all of it copied, and while commits follow each other none
 * does: the round has left behind what came meanwhile. So when the WAL has grown long, bulk merges
 * are held back for a round, but for its first pass, which has the most to copy and lasts as long as the disk takes
 * ({@link Checkpointer.holdsBack}), and clients' writes for its last passes, which have the
 * little that came during the one before ({@link Checkpointer.holdsBackWrites}). If there was something all the
 * same, urgent changes are for the very last ({@link Checkpointer.holdsBackUrgent}). Reads never are. What came in spite of
 * that, on a slow disk, is copied by an ordinary checkpoint, which syncs on this thread.
 *
 * A WAL that is wholly copied is made ready to begin anew without a sync (`wasm/vfs/wal-start.ts`); and what it doesn't need
 * is cut off on another thread (`wal-end.ts`).
 *
 * A disk may be slower than those who write. So from three times that length on clients' writes and merges wait until
 * the round that is under way has ended.
 *
 * What a round copies can be a lot, on a slow disk under many writes. So its pages are copied before SQLite's
 * checkpoint, a slice a turn (`wasm/vfs/copy-ahead.ts`). The checkpoint itself then takes half a microsecond a page, and
 * a look through the frames that wait: for that marks are set while the WAL grows (`read-marks.ts`), and there is one from
 * each to the next.
 *
 * @module
 */

import { assert } from "../../core/assert.ts";
import { type Pace, untilTheEnd } from "../../core/replica/pace.ts";
import { type Database, openDatabase } from "../../wasm/database.ts";
import type { Statement } from "../../wasm/statement.ts";
import type { CopyAhead } from "../../wasm/vfs/copy-ahead.ts";
import type { CheckpointSync, Vfs } from "../../wasm/vfs/vfs.ts";
import {
  cutBytesMax,
  frameHeadBytes,
  pieceFrames,
  restFramesMax,
  roundFrames,
  roundFramesCatchingUp,
  walFramesMax,
  walHeadBytes,
} from "./checkpoint-frames.ts";
import { marksMax, ReadMarks } from "./read-marks.ts";

type CheckpointMode = "PASSIVE" | "TRUNCATE";

export interface CheckpointerOptions {
  readonly path: string;
  readonly vfs: Vfs;
  /** Copies and syncs in one go, on the connection that writes; not in a transaction. Throws what SQLite throws. */
  readonly checkpoint: (mode: CheckpointMode) => void;
  /** The connection that writes is in a transaction. */
  readonly isBusy: () => boolean;
  /** Which is the oldest snapshot that is lent: what is younger can't be copied. Undefined: none is lent. */
  readonly oldestLoan?: () => number | undefined;
  /** From how many frames the WAL is brought to its beginning. */
  readonly framesMax?: number;
  /** Runs a step that takes time, and takes note of how much. */
  readonly measured: (work: () => void) => void;
  /** How long a slice of copying is; until the end unless told. */
  readonly pace?: Pace;
  readonly onFailure: (why: string) => void;
  /** A round has ended, or holds back less: there may be more to do. */
  readonly onEnd: () => void;
}

export interface WalState {
  /** In the WAL. */
  readonly frames: number;
  /** Of those, not yet in the database. */
  readonly waiting: number;
}

/** Of a round that holds merges back: each leaves less than the one before. */
const passesMax = 4;
/** Bulk merges wait from this one on. */
const bulkHeldPass = 2;
/** Clients' writes wait from this one on, which is three short syncs, at most for so long. */
const heldPass = 3;
const holdMsMax = 1000;
/** Urgent changes wait for the last, which few rounds need, at most for so long. */
const urgentHoldMsMax = 250;
/** How many times as long as one that is to begin anew: then all that can wait does. */
const tooLong = 3;
/** How often its length is looked at during a round. */
const watchMs = 50;
/** A failed round isn't followed by another at once. */
export const afterFailureMs = 1000;

export class Checkpointer {
  readonly #options: CheckpointerOptions;
  readonly #sync: CheckpointSync | undefined;
  /** Those of a round, and those set meanwhile for the next. */
  readonly #marks: ReadMarks | undefined;
  /** Frames in the WAL when the last mark was set. */
  #markedFrames = 0;
  #pieceFrames = pieceFrames;
  /** Of the marks that are set: those of the round that is under way. */
  #roundMarks = 0;
  /** Than {@link tooLong}. */
  #mayBeLonger = false;
  #isCutting = false;
  /** That was done last, and nothing has happened since. */
  #isGivenBack = false;
  /** Copies, also while the connection that writes is in a transaction. */
  readonly #copier: Database | undefined;
  readonly #state: Statement | undefined;
  /** Of a frame: the file may have been made with other pages than ours. */
  readonly #frameBytes: number = 0;
  #isUnderWay = false;
  readonly #framesMax: number;
  #holdsBack = false;
  #holdTimer: ReturnType<typeof setTimeout> | undefined;
  #urgentHoldTimer: ReturnType<typeof setTimeout> | undefined;
  #watch: ReturnType<typeof setInterval> | undefined;
  #isTooLong = false;
  /** What an ordinary checkpoint may copy after a round. More each time that wasn't enough. */
  #restFrames = restFramesMax;
  /** The loan because of which the last round left frames. */
  #heldBy: number | undefined;
  /** Nothing happens any more, and what there was has been copied as far as readers let it. */
  #isIdleDone = false;
  #isClosed = false;
  #notBeforeMs = 0;

  constructor(options: CheckpointerOptions) {
    this.#options = options;
    const { vfs, path } = options;
    this.#framesMax = options.framesMax ?? walFramesMax;
    if (vfs.openCheckpointSync === undefined) return;
    this.#sync = vfs.openCheckpointSync(path);
    this.#marks = new ReadMarks(path, vfs);
    this.#copier = openDatabase(path, { vfs });
    this.#copier.pragma("cache_size", 10);
    this.#copier.pragma("wal_autocheckpoint", 0);
    this.#frameBytes = Number(this.#copier.pragma("page_size")) + frameHeadBytes;
    this.#state = this.#copier.prepare("PRAGMA wal_checkpoint(NOOP)");
  }

  /** A round is under way, and bulk merges had better wait for its end. */
  get holdsBack(): boolean {
    return this.#holdsBack;
  }

  /** Clients' writes had better wait a moment. Its end is told as that of a round. */
  get holdsBackWrites(): boolean {
    return this.#holdTimer !== undefined || this.#isTooLong;
  }

  /** Its file is longer than an idle host keeps it, however little of it is used. */
  get isFileLong(): boolean {
    if (this.#sync === undefined || this.#isClosed) return false;
    return this.#sync.walBytes() > this.#bytesOf(restFramesMax);
  }

  /** Urgent changes had better wait, too. */
  get holdsBackUrgent(): boolean {
    return this.#urgentHoldTimer !== undefined;
  }

  /** The WAL is to begin anew. One that is wholly copied does at the next commit. */
  isLong({ frames, waiting }: WalState): boolean {
    const isRead = this.#isUnderWay || this.#options.oldestLoan?.() !== undefined;
    return frames >= this.#framesMax && (waiting > 0 || isRead);
  }

  /**
   * Does what is due, or begins it.
   *
   * @param isIdle nothing has happened for a while: all of it is copied, and the WAL cut
   * @param isServed somebody may be disturbed
   * @returns whether there is no more to do until something happens
   */
  work(wal: WalState, isIdle: boolean, isServed: boolean): boolean {
    this.#lookAtLength(wal);
    this.#markWhenDue(wal);
    if (this.#isUnderWay) return false;
    const oldestLoan = this.#options.oldestLoan?.();
    // Trying costs time in proportion to the WAL, and nothing has changed for it. The end of the loan is work.
    if (this.#heldBy !== undefined && this.#heldBy === oldestLoan) return true;
    if (this.#isClosed) return true;
    if (performance.now() < this.#notBeforeMs) return false;
    const { waiting } = wal;
    if (isIdle && (waiting === 0 || this.#isIdleDone || this.#sync === undefined)) {
      this.#isIdleDone = false;
      return this.#giveBackWhenCopied(wal);
    }
    this.#isGivenBack = false;
    // With a snapshot lent it can't begin anew, and merges would wait for nothing.
    const isLong = this.isLong(wal) && oldestLoan === undefined && !this.#options.isBusy();
    const dueFrames = isServed ? roundFrames : roundFramesCatchingUp;
    if (!isIdle && !isLong && waiting < dueFrames) return true;
    this.#isIdleDone = isIdle;
    if (this.#sync === undefined) {
      this.#now("PASSIVE");
      return true;
    }
    void this.#round(isLong);
    return false;
  }

  /** At any time, with a file system that syncs elsewhere. */
  get state(): WalState | undefined {
    const statement = this.#state;
    if (statement === undefined || this.#isClosed) return undefined;
    statement.step();
    const frames = statement.columnNumber(1);
    const waiting = frames - statement.columnNumber(2);
    statement.reset();
    return { frames, waiting };
  }

  /** Nothing is begun any more. What a round has left undone or owes the disk, the next checkpoint does. */
  close(): void {
    this.#isClosed = true;
    this.#release();
    this.#endWatch();
    this.#marks?.close();
    this.#copier?.close();
    this.#closeSync();
  }

  async #round(isLong: boolean): Promise<void> {
    const sync = this.#sync as CheckpointSync;
    const marks = this.#marks as ReadMarks;
    this.#isUnderWay = true;
    let isDone = false;
    this.#watch = setInterval(() => this.#look(), watchMs);
    this.#look();
    try {
      for (let pass = 1; pass <= passesMax; pass++) {
        if (isLong && pass === bulkHeldPass) this.#holdsBack = true;
        if (isLong && pass === heldPass) this.#hold();
        if (isLong && pass === passesMax) this.#holdUrgent();
        const { frames: mark, waiting } = this.state as WalState;
        const isMarked = marks.count > 0 && this.#markedFrames === mark;
        if (!isMarked) marks.set();
        this.#markedFrames = mark;
        // As many as came during this one come during the next.
        this.#pieceFrames = Math.max(pieceFrames, Math.ceil(waiting / marksMax));
        // With all of them copied a read transaction keeps nothing from anybody.
        assert(waiting > 0, "checkpoint: a mark needs frames that wait");
        // Those set later are the next round's.
        const pieces = marks.count;
        this.#roundMarks = pieces;
        await sync.syncWal();
        if (this.#isClosed) return;
        for (let piece = 1; piece <= pieces; piece++) {
          const ahead = await this.#copyAhead(sync, mark);
          if (this.#isClosed) return;
          this.#copy(sync, mark, piece === pieces, ahead);
          if (piece === pieces) break;
          this.#releaseFirst(marks);
          await nextTurn();
          if (this.#isClosed) return;
        }
        await sync.syncDatabase();
        if (this.#isClosed) return;
        // Its mark keeps commits from beginning the WAL anew before that.
        if (this.state?.waiting === 0) await this.#blank(sync);
        if (this.#isClosed) return;
        this.#releaseFirst(marks);
        if (isLong) marks.releaseAll();
        if (!isLong || this.state?.waiting === 0) break;
      }
      isDone = true;
    } catch (error) {
      // What a closed one leaves undone, the next start does.
      if (!this.#isClosed) this.#failed(error);
    } finally {
      this.#isUnderWay = false;
      this.#roundMarks = 0;
      this.#holdsBack = false;
      this.#release();
      this.#endWatch();
      if (this.#isClosed) this.#closeSync();
      else this.#end(isDone, isLong);
    }
  }

  /** What is wholly copied may begin anew without a sync on this thread. */
  #blank(sync: CheckpointSync): Promise<void> {
    return sync.blankWal((this.#copier as Database).module.heap.u8);
  }

  /** Once nothing of it is under way any more. */
  #closeSync(): void {
    if (!this.#isUnderWay && !this.#isCutting) this.#sync?.close();
  }

  #releaseFirst(marks: ReadMarks): void {
    this.#roundMarks--;
    marks.releaseFirst();
  }

  /** Most of what {@link #copy} has to do, a slice a turn. */
  async #copyAhead(sync: CheckpointSync, mark: number): Promise<CopyAhead | undefined> {
    const { pace = untilTheEnd, measured } = this.#options;
    let ahead: CopyAhead | undefined;
    const slice = (): boolean => {
      let isDone = ahead === undefined;
      while (!isDone && !pace.isOver(0)) isDone = ahead?.copy() !== false;
      return isDone;
    };
    let isDone = false;
    measured(() => {
      pace.begin();
      ahead = sync.copyAhead((this.#copier as Database).module.heap.u8, mark);
      isDone = slice();
    });
    // What one slice is enough for, the checkpoint follows in its turn.
    if (isDone) return ahead;
    do {
      await nextTurn();
      measured(() => {
        pace.begin();
        isDone = this.#isClosed || slice();
      });
    } while (!isDone);
    await nextTurn();
    return ahead;
  }

  /** Copies up to the first mark. @param mark Frames up to the last of the round. */
  #copy(sync: CheckpointSync, mark: number, isLast: boolean, ahead: CopyAhead | undefined): void {
    const copier = this.#copier as Database;
    this.#options.measured(() => {
      const checkpoint = () => copier.checkpoint("PASSIVE");
      const { checkpointedFrames } = sync.withoutSyncs(checkpoint, ahead);
      assert(checkpointedFrames <= mark, "checkpoint: no frame beyond the mark");
      if (isLast)
        this.#heldBy = checkpointedFrames < mark ? this.#options.oldestLoan?.() : undefined;
    });
  }

  /** Once it has begun anew: what a large transaction or a slow disk made of it is given back, a piece a turn. */
  #lookAtLength({ frames }: WalState): void {
    if (frames < this.#markedFrames) {
      this.#markedFrames = 0;
      this.#mayBeLonger = true;
    }
    const sync = this.#sync;
    if (!this.#mayBeLonger || sync === undefined || this.#isCutting || !this.#mayCut) return;
    void this.#cut(sync, this.#bytesOf(Math.max(frames, this.#framesMax * tooLong)));
  }

  /** What an open transaction has written stands behind the frames that are counted. */
  get #mayCut(): boolean {
    return !this.#isClosed && !this.#options.isBusy();
  }

  /** A piece. @returns whether it may be longer still */
  async #cut(sync: CheckpointSync, bytes: number): Promise<boolean> {
    this.#isCutting = true;
    this.#mayBeLonger = false;
    try {
      this.#mayBeLonger = await sync.cutWal(bytes, cutBytesMax);
    } catch (error) {
      if (!this.#isClosed) this.#failed(error);
    }
    this.#isCutting = false;
    if (this.#isClosed) this.#closeSync();
    return this.#mayBeLonger;
  }

  /** Sets a mark for the next round where the WAL has grown by a piece since the last. */
  #markWhenDue({ frames, waiting }: WalState): void {
    const marks = this.#marks;
    if (marks === undefined || this.#isClosed || this.#holdsBack) return;
    if (waiting === 0 || frames - this.#markedFrames < this.#pieceFrames) return;
    // All marks are the round's: it takes as long as the disk is slow.
    if (!marks.hasRoom && marks.count === this.#roundMarks) return;
    try {
      if (marks.hasRoom) {
        marks.set();
        this.#markedFrames = frames;
      } else {
        // Every other one goes, so that no piece is larger than half of what comes.
        this.#pieceFrames *= 2;
        marks.release(this.#roundMarks);
      }
    } catch (error) {
      this.#failed(error);
    }
  }

  #end(isDone: boolean, isLong: boolean): void {
    try {
      if (isLong || !isDone) this.#marks?.releaseAll();
      // What came during a round, if it isn't much: the next commit begins the WAL anew.
      if (isLong && isDone) {
        if ((this.state as WalState).waiting <= this.#restFrames) this.#now("PASSIVE");
        // On a slow disk too much may come each time, and it has to begin anew some time.
        const isStillLong = this.isLong(this.state as WalState);
        this.#restFrames = isStillLong ? this.#restFrames * 4 : restFramesMax;
      }
    } catch (error) {
      this.#failed(error);
    }
    this.#options.onEnd();
  }

  #look(): void {
    const frames = this.state?.frames ?? 0;
    if (frames < this.#framesMax * tooLong) return;
    this.#holdsBack = true;
    this.#isTooLong = true;
  }

  #endWatch(): void {
    clearInterval(this.#watch);
    this.#isTooLong = false;
  }

  /** What isn't needed now is given back. @returns whether there is no more to do */
  #giveBackWhenCopied({ frames, waiting }: WalState): boolean {
    const sync = this.#sync;
    if (sync === undefined || waiting > 0) {
      if (frames > 0) this.#now(sync === undefined ? "TRUNCATE" : "PASSIVE");
      return sync === undefined || this.#options.isBusy() || (this.state?.waiting ?? 0) > 0;
    }
    // As far as readers let it; the end of the last of them is work again.
    const isDone = this.#isGivenBack || this.#options.isBusy();
    this.#isGivenBack = !isDone;
    if (!isDone) void this.#giveBack(sync);
    return isDone;
  }

  /** All of a WAL that is wholly copied, from its end and a piece at a time: to free 64 MB takes 35 ms. */
  async #giveBack(sync: CheckpointSync): Promise<void> {
    this.#isUnderWay = true;
    try {
      if (!sync.isWalBlank()) await this.#blank(sync);
      // SQLite only takes note of it then. Unless somebody still reads in it.
      if (sync.isWalBlank() && !this.#isClosed && !this.#options.isBusy()) {
        this.#options.measured(() => (this.#copier as Database).checkpoint("TRUNCATE"));
      }
      while (this.#isCutting) await nextTurn();
      while (this.#mayCut && this.state?.frames === 0) if (!(await this.#cut(sync, 0))) break;
    } catch (error) {
      if (!this.#isClosed) this.#failed(error);
    } finally {
      this.#isUnderWay = false;
      if (this.#isClosed) this.#closeSync();
      else this.#options.onEnd();
    }
  }

  /** Of a WAL of so many frames. */
  #bytesOf(frames: number): number {
    return walHeadBytes + frames * this.#frameBytes;
  }

  #hold(): void {
    this.#holdTimer = setTimeout(() => {
      this.#holdTimer = undefined;
      this.#options.onEnd();
    }, holdMsMax);
  }

  #holdUrgent(): void {
    this.#urgentHoldTimer = setTimeout(() => {
      this.#urgentHoldTimer = undefined;
      this.#options.onEnd();
    }, urgentHoldMsMax);
  }

  #release(): void {
    clearTimeout(this.#holdTimer);
    this.#holdTimer = undefined;
    clearTimeout(this.#urgentHoldTimer);
    this.#urgentHoldTimer = undefined;
  }

  #now(mode: CheckpointMode): void {
    if (this.#options.isBusy()) return;
    try {
      this.#marks?.releaseAll();
      this.#options.measured(() => this.#options.checkpoint(mode));
    } catch (error) {
      this.#failed(error);
    }
  }

  #failed(error: unknown): void {
    this.#notBeforeMs = performance.now() + afterFailureMs;
    this.#options.onFailure((error as Error).message);
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * What a database file owes the disk after a checkpoint that didn't sync it.
 *
 * SQLite syncs twice in a checkpoint, and the thread stands still for both: the WAL before its frames are
 * copied, so that the database is never ahead of it, and the database before the WAL may begin anew, since
 * from then on nobody could copy them again. Neither has to be *inside* the checkpoint:
 *
 * 1. A read transaction is begun on a connection of its own. Its mark keeps a checkpoint from copying
 *    frames that are younger, and the WAL from beginning anew.
 * 2. The WAL is synced on another thread: all frames up to the mark are on the disk.
 * 3. SQLite's own checkpoint copies them, without syncs, or finds them copied already (`copy-ahead.ts`). It
 *    takes note in the wal-index, which is memory: whoever recovers after a crash or a power cut finds the WAL
 *    as it was, and reads all of it.
 * 4. The database is synced on another thread.
 * 5. The read transaction is ended. Now the WAL may begin anew.
 *
 * Should it do so, be cut off or deleted before 4 (an agent that stops in the middle, say), the database is synced
 * at that moment: the VFS looks whether it {@link Owed.owes}. A sync of the database that fails after 3 can't be
 * tried again: the wal-index says that its pages are there, and the kernel may have dropped them. So it
 * counts as a failed sync of the WAL: nothing is written any more, and the next start recovers from a WAL that is whole.
 * Until then the WAL stays, for SQLite would delete one that is wholly copied when its last connection is closed.
 *
 * @module
 */

import type { CopyAhead } from "./copy-ahead.ts";
import type { FileSystem } from "./file-system.ts";

export class Owed {
  #checkpoints = 0;
  #paid = 0;
  #isRelaxed = false;
  #ahead: CopyAhead | undefined;
  #failure: string | null = null;
  /**
   * Opened before anything was owed, while the syncs of this process go by it: the kernel tells each descriptor of
   * failures since it was opened, so one that is opened later may not hear of an earlier one.
   */
  descriptor: number | undefined;

  /** Syncs that SQLite asks for now are left out. */
  get isRelaxed(): boolean {
    return this.#isRelaxed;
  }

  /** What of the checkpoint that is under way was done before. */
  get ahead(): CopyAhead | undefined {
    return this.#ahead;
  }

  /** A checkpoint wrote what hasn't been synced since. */
  get owes(): boolean {
    return this.#failure !== null || this.#paid < this.#checkpoints;
  }

  /** Why it can't be paid any more: only the WAL has what checkpoints wrote. */
  get failure(): string | null {
    return this.#failure;
  }

  /** A sync has failed. */
  failed(why: string): void {
    this.#failure ??= why;
  }

  /** The WAL is read from its beginning, and all of it will be copied once more. */
  walOpened(): void {
    this.#failure = null;
  }

  withoutSyncs<T>(checkpoint: () => T, ahead?: CopyAhead): T {
    // Also if it fails in its middle: pages may have been written.
    this.#checkpoints++;
    this.#isRelaxed = true;
    this.#ahead = ahead;
    try {
      return checkpoint();
    } finally {
      this.#isRelaxed = false;
      this.#ahead = undefined;
    }
  }

  /** A sync begins. @returns to be called when it has succeeded */
  begin(): () => void {
    const covered = this.#checkpoints;
    return () => {
      this.#paid = Math.max(this.#paid, covered);
    };
  }
}

/** By disk and path of the database: kept while its WAL comes and goes. */
const owedByDisk = new WeakMap<FileSystem, Map<string, Owed>>();

/** The same for all handles of a database and of its WAL. */
export function owedOf(fs: FileSystem, databasePath: string): Owed {
  let byPath = owedByDisk.get(fs);
  if (byPath === undefined) {
    byPath = new Map();
    owedByDisk.set(fs, byPath);
  }
  let owed = byPath.get(databasePath);
  if (owed === undefined) {
    owed = new Owed();
    byPath.set(databasePath, owed);
  }
  return owed;
}

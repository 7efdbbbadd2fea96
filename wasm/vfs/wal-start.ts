/**
 * How a WAL begins anew without a sync that somebody waits for.
 *
 * When all frames have been copied into the database, the next commit writes a new header and overwrites the frames from
 * the first. SQLite syncs the new header before the frames, for a power cut mustn't leave the old header with
 * some of the new frames: what recovery would then read is the *beginning* of the old WAL, older than the
 * database that it covers.
 *
 * All that has to be on the disk before a frame is overwritten is that the old header isn't. So once the database is synced
 * the header is made *blank* (32 zeros, which is no header) and another thread syncs that. From then on a power cut finds
 * no WAL, or a new one, and either is right; a SQLite that begins the WAL anew needs no sync for it.
 *
 * | state | in the file       | on the disk       | a commit that begins anew | a commit that appends        |
 * | ----- | ----------------- | ----------------- | ------------------------- | ---------------------------- |
 * | valid | the header        | it, or nothing    | syncs the header          | appends                      |
 * | blank | zeros             | the header, zeros | syncs the header          | puts the header back, appends |
 * | gone  | zeros             | zeros             | syncs nothing             | puts the header back, appends |
 *
 * A commit appends to a WAL that is wholly copied only where somebody has a read mark in it. It is back to *valid* then, as
 * after each commit. Nobody reads the header but a recovery: the wal-index has what it says.
 *
 * Source: `sqlite3WalFrames` in SQLite's `src/wal.c`, "Sync the header", and its ticket ff5be73dee.
 *
 * @module
 */

import type { FileSystem } from "./file-system.ts";

export const walHeaderBytes = 32;

export class WalStart {
  /** What stood where zeros are now. */
  #header: Uint8Array | undefined;
  #isGone = false;

  /** The header is blank, and on the disk as well. */
  get isGone(): boolean {
    return this.#isGone;
  }

  /**
   * Makes the header blank. All frames have been copied, and the database is synced. Throws what the file system throws.
   *
   * @returns to be called when the file has been synced since
   */
  makeBlank(fs: FileSystem, fd: number): () => void {
    if (this.#header === undefined) {
      const header = new Uint8Array(walHeaderBytes);
      const read = fs.pread(fd, header, 0, walHeaderBytes, 0);
      // A file that is cut short has none.
      if (read < walHeaderBytes) return () => {};
      // Before it is written: some of it may be there though the call fails.
      this.#header = header;
      write(fs, fd, new Uint8Array(walHeaderBytes));
    }
    const blanked = this.#header;
    return () => {
      if (this.#header === blanked) this.#isGone = true;
    };
  }

  /**
   * A range is about to be written. Puts back a blank header that is still needed; throws what the file system throws.
   *
   * @returns whether it is a new header, which needn't be synced before its frames are written
   */
  beforeWrite(fs: FileSystem, fd: number, offset: number): boolean {
    const header = this.#header;
    if (header === undefined) return false;
    if (offset > 0) write(fs, fd, header);
    const needsNoSync = offset === 0 && this.#isGone;
    this.#header = undefined;
    this.#isGone = false;
    return needsNoSync;
  }
}

function write(fs: FileSystem, fd: number, header: Uint8Array): void {
  for (let done = 0; done < header.length; ) {
    const more = fs.pwrite(fd, header, done, header.length - done, done);
    if (more === 0) throw Object.assign(new Error("nothing was written"), { code: "ENOSPC" });
    done += more;
  }
}

/**
 * A checkpoint's copying, done before it in pieces as small as one likes. SQLite's own checkpoint holds the thread
 * from its first page to its last, 3 µs each, and there may be thousands.
 *
 * 1. {@link CopyAhead.copy} writes pages from the WAL into the database, those that a checkpoint would copy
 *    (wal-index.ts). They have been synced in the WAL. Nobody sees it: until a checkpoint has taken note in the
 *    wal-index, every reader finds these pages in the WAL. Whoever recovers after a crash does too.
 * 2. SQLite's checkpoint then reads each frame and writes its page. Where both are the ones that were copied,
 *    neither call reaches the disk ({@link CopyAhead.skipsRead}, {@link CopyAhead.skipsWrite}). Where a newer frame of the page
 *    may be copied by now, they do.
 *
 * The WAL must not begin anew in between: a read mark behind the last of these frames sees to it.
 *
 * @module
 */

import type { FileSystem } from "./file-system.ts";
import type { FramesToCopy } from "./wal-index.ts";

const walHeadBytes = 32;
const frameHeadBytes = 24;
/** Frames that are read together, if they stand together. */
const togetherMax = 16;

export class CopyAhead {
  readonly #fs: FileSystem;
  readonly #walFd: number;
  readonly #databaseFd: number;
  readonly #pageBytes: number;
  readonly #frames: readonly number[];
  readonly #pages: readonly number[];
  readonly #buffer: Uint8Array;
  #next = 0;
  /** Where a page of the database begins, by where its copied frame's content does in the WAL. */
  readonly #pageOffsets = new Map<number, number>();
  /** What SQLite believes to have read. */
  #skipped: number | undefined;

  /** The descriptors stay the caller's. */
  constructor(fs: FileSystem, walFd: number, databaseFd: number, toCopy: FramesToCopy) {
    this.#fs = fs;
    this.#walFd = walFd;
    this.#databaseFd = databaseFd;
    this.#pageBytes = toCopy.pageBytes;
    this.#frames = toCopy.frames;
    this.#pages = toCopy.pages;
    this.#buffer = new Uint8Array(togetherMax * (frameHeadBytes + toCopy.pageBytes));
  }

  /** The next few. Throws what the file system throws. @returns whether that were all */
  copy(): boolean {
    const first = this.#frames[this.#next];
    if (first === undefined) return true;
    const frameBytes = frameHeadBytes + this.#pageBytes;
    let count = 1;
    while (count < togetherMax && this.#frames[this.#next + count] === first + count) count++;
    const offset = walHeadBytes + (first - 1) * frameBytes;
    this.#read(this.#buffer, 0, count * frameBytes, offset);
    for (let i = 0; i < count; i++) {
      const at = i * frameBytes + frameHeadBytes;
      const pageOffset = ((this.#pages[this.#next] as number) - 1) * this.#pageBytes;
      this.#write(at, pageOffset);
      this.#pageOffsets.set(offset + at, pageOffset);
      this.#next++;
    }
    return this.#next === this.#frames.length;
  }

  /** SQLite's checkpoint reads from the WAL. @returns whether that can be left out, for now */
  skipsRead(bytes: number, offset: number): boolean {
    const isCopied = bytes === this.#pageBytes && this.#pageOffsets.has(offset);
    this.#skipped = isCopied ? offset : undefined;
    return isCopied;
  }

  /**
   * It writes into the database what it has read last. @returns whether that can be left out; otherwise what was left out of
   * reading is now at `heap[pointer]`
   */
  skipsWrite(heap: Uint8Array, pointer: number, bytes: number, offset: number): boolean {
    const skipped = this.#skipped;
    if (skipped === undefined) return false;
    this.#skipped = undefined;
    if (bytes === this.#pageBytes && this.#pageOffsets.get(skipped) === offset) return true;
    this.#read(heap, pointer, this.#pageBytes, skipped);
    return false;
  }

  #read(into: Uint8Array, at: number, bytes: number, offset: number): void {
    for (let done = 0; done < bytes; ) {
      const more = this.#fs.pread(this.#walFd, into, at + done, bytes - done, offset + done);
      if (more === 0)
        throw Object.assign(new Error("a frame of the WAL ends early"), { code: "EIO" });
      done += more;
    }
  }

  #write(at: number, offset: number): void {
    for (let done = 0; done < this.#pageBytes; ) {
      const left = this.#pageBytes - done;
      const fd = this.#databaseFd;
      const more = this.#fs.pwrite(fd, this.#buffer, at + done, left, offset + done);
      if (more === 0) throw Object.assign(new Error("nothing was written"), { code: "ENOSPC" });
      done += more;
    }
  }
}

/**
 * Has the kernel begin to write what is going to be synced, while we go on: the sync then finds little left to
 * wait for.
 *
 * It is for syncs that the writing thread makes itself, inside a checkpoint of SQLite. Where they are left to another
 * thread (`checkpoint-sync.ts`), as in the agent, beginning would only take time from this one.
 *
 * A sync of 1,000 frames of a WAL takes 2.9 ms on the machine that this was measured on; begun in pieces of 256 KB
 * as they come it is 1.0 ms in all, of which beginning is 0.7. Nothing is promised by it: durability is what
 * `fdatasync` says, which also reports what failed in writing that was begun here, as it does for what the kernel
 * begins by itself. Where there is no such call nothing is begun.
 *
 * What makes the file longer isn't begun: a file system finds room for it when it goes to the disk, and finds it better
 * for all of it at once.
 *
 * Source: sync_file_range(2), Linux 2.6.17.
 *
 * @module
 */

import { FFIType } from "bun:ffi";
import { openCLibrary } from "./c-library.ts";

const SYNC_FILE_RANGE_WRITE = 2;
const pageBytes = 4096;
/** Begun at once: 64 pages, which takes 45 µs. */
const pieceBytes = 256 * 1024;

/** Begins to write the dirty pages of a range of a file. Doesn't wait for them, and tells of no failure. */
export type BeginWriteback = (fd: number, offset: number, bytes: number) => void;

/** The operating system's. */
export const beginWriteback: BeginWriteback = (fd, offset, bytes) => {
  call ??= load();
  call(fd, offset, bytes, SYNC_FILE_RANGE_WRITE);
};

type SyncFileRange = (fd: number, offset: number, bytes: number, flags: number) => void;

let call: SyncFileRange | undefined;

function load(): SyncFileRange {
  if (process.platform === "linux") {
    const opened = openCLibrary({
      sync_file_range: {
        args: [FFIType.i32, FFIType.i64_fast, FFIType.i64_fast, FFIType.u32],
        returns: FFIType.i32,
      },
    });
    if (opened.kind === "open") return opened.symbols.sync_file_range;
  }
  // It is only faster with it.
  return () => {};
}

/** What of a file was written and neither begun nor synced. */
export class EarlyWriteback {
  readonly #begin: BeginWriteback;
  /** The range that it is in, and how many bytes of it were written. */
  #from = 0;
  #end = 0;
  #bytes = 0;
  /** Where the file ends, as far as was written here. */
  #size = 0;

  constructor(begin: BeginWriteback) {
    this.#begin = begin;
  }

  /** A range was written. */
  wrote(fd: number, offset: number, bytes: number): void {
    const end = offset + bytes;
    if (end > this.#size) {
      this.#size = end;
      return;
    }
    if (this.#bytes === 0) {
      this.#from = offset;
      this.#end = end;
    } else {
      if (offset < this.#from) this.#from = offset;
      if (end > this.#end) this.#end = end;
    }
    this.#bytes += bytes;
    if (this.#bytes < pieceBytes) return;
    const from = this.#from - (this.#from % pageBytes);
    // A page that isn't full will be written again, and would have to go again.
    const rest = this.#end % pageBytes;
    this.#begin(fd, from, this.#end - rest - from);
    this.#from = this.#end - rest;
    this.#bytes = rest;
  }

  truncated(bytes: number): void {
    this.#size = Math.min(this.#size, bytes);
    this.#bytes = 0;
  }

  /** All was synced. */
  synced(): void {
    this.#bytes = 0;
  }
}

/**
 * Has the file system find room for a WAL before it grows into it.
 *
 * A file system that finds room when pages go to the disk (ext4's delayed allocation) does so during the sync, which
 * is another thread's (`checkpoint-sync.ts`); whoever makes the file longer meanwhile waits until it has. COMMITs that found a
 * sync under way stood still for 10 to 25 ms, two or three times while a WAL grew to its 64 MB. Where there is room they
 * needn't ask for any. Once the WAL has begun anew it is overwritten, which never needed room.
 *
 * The file's size stays as it is, and nothing depends on this: where there is no such call, or the file system refuses,
 * nothing is done. A file that is cut gives back what is behind its end.
 *
 * Source: fallocate(2), `FALLOC_FL_KEEP_SIZE`.
 *
 * @module
 */

import { FFIType } from "bun:ffi";
import { openCLibrary } from "./c-library.ts";

const FALLOC_FL_KEEP_SIZE = 1;
/** Found at once. */
const pieceBytes = 4 * 1024 * 1024;
/** A WAL that stays this short needs no room for more. */
const shortBytes = 1024 * 1024;

/** Finds room for a range of a file, without a change of its size. @returns whether there is some */
export type FindRoom = (fd: number, offset: number, bytes: number) => boolean;

/** The operating system's. */
export const findRoom: FindRoom = (fd, offset, bytes) => {
  call ??= load();
  return call(fd, FALLOC_FL_KEEP_SIZE, offset, bytes) === 0;
};

type Fallocate = (fd: number, mode: number, offset: number, bytes: number) => number;

let call: Fallocate | undefined;

function load(): Fallocate {
  if (process.platform === "linux") {
    const opened = openCLibrary({
      fallocate: {
        args: [FFIType.i32, FFIType.i32, FFIType.i64_fast, FFIType.i64_fast],
        returns: FFIType.i32,
      },
    });
    if (opened.kind === "open") return opened.symbols.fallocate;
  }
  // It only waits less with it.
  return () => -1;
}

export class RoomAhead {
  readonly #find: FindRoom;
  /** There is room up to here, as far as is known. */
  #end = shortBytes;
  #isRefused = false;

  constructor(find: FindRoom) {
    this.#find = find;
  }

  /** A range is about to be written. */
  before(fd: number, offset: number, bytes: number): void {
    // It begins anew: what was behind its end may be cut off.
    if (offset === 0) this.#end = shortBytes;
    const end = offset + bytes;
    if (end <= this.#end || this.#isRefused) return;
    this.#isRefused = !this.#find(fd, offset, bytes + pieceBytes);
    this.#end = end + pieceBytes;
  }

  truncated(): void {
    this.#end = shortBytes;
  }
}

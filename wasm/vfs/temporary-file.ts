/**
 * A temporary file of SQLite's: what a sort has sorted so far, or a table that lives as long as its statement. It is in
 * memory, outside of SQLite's heap, and gone with its handle: a full or read-only disk doesn't matter, nor a crash.
 *
 * With `PRAGMA temp_store = FILE` SQLite sorts no more at once than its page cache has room for, and merges the pieces
 * later, row by row. In its heap it would sort everything in one step, which nothing interrupts: six million rows took
 * eighty seconds.
 *
 * @module
 */

import { SQLITE_NOMEM } from "../constants.ts";
import type { VfsFile } from "./vfs.ts";
import { VfsError } from "./vfs-error.ts";

/** Of all of them in one thread. */
const bytesMax = 256 * 1024 * 1024;
/** Growing copies nothing. */
const pieceBytes = 256 * 1024;

let usedBytes = 0;

export class TemporaryFile implements VfsFile {
  readonly shared = null;
  #pieces: Uint8Array[] = [];
  #size = 0;

  xClose(): void {
    this.xTruncate(0);
  }

  xRead(heap: Uint8Array, pointer: number, bytes: number, offset: number): number {
    const end = Math.min(offset + bytes, this.#size);
    for (let at = offset; at < end; ) {
      const piece = this.#pieces[Math.floor(at / pieceBytes)] as Uint8Array;
      const from = at % pieceBytes;
      const length = Math.min(end - at, pieceBytes - from);
      heap.set(piece.subarray(from, from + length), pointer + at - offset);
      at += length;
    }
    return Math.max(0, end - offset);
  }

  xWrite(heap: Uint8Array, pointer: number, bytes: number, offset: number): void {
    const end = offset + bytes;
    this.#grow(Math.ceil(end / pieceBytes));
    for (let at = offset; at < end; ) {
      const piece = this.#pieces[Math.floor(at / pieceBytes)] as Uint8Array;
      const from = at % pieceBytes;
      const length = Math.min(end - at, pieceBytes - from);
      const source = pointer + at - offset;
      piece.set(heap.subarray(source, source + length), from);
      at += length;
    }
    this.#size = Math.max(this.#size, end);
  }

  xTruncate(bytes: number): void {
    if (bytes >= this.#size) return;
    const kept = Math.ceil(bytes / pieceBytes);
    usedBytes -= (this.#pieces.length - kept) * pieceBytes;
    this.#pieces.length = kept;
    // A later write beyond the end must find zeros.
    if (bytes % pieceBytes > 0) this.#pieces[kept - 1]?.fill(0, bytes % pieceBytes);
    this.#size = bytes;
  }

  xSync(): void {}

  xFileSize(): number {
    return this.#size;
  }

  hasMoved(): boolean {
    return false;
  }

  #grow(pieces: number): void {
    const more = (pieces - this.#pieces.length) * pieceBytes;
    if (more <= 0) return;
    if (usedBytes + more > bytesMax) {
      throw new VfsError(SQLITE_NOMEM, `temporary files may take ${bytesMax} bytes`);
    }
    usedBytes += more;
    while (this.#pieces.length < pieces) this.#pieces.push(new Uint8Array(pieceBytes));
  }
}

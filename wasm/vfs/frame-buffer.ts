/**
 * Gathers the frames of a transaction on their way into the WAL, so that a commit is one write.
 *
 * SQLite writes each frame by two calls, and a system call costs as much as the page that it copies:
 *
 * | offset in a frame | bytes | what                                                              |
 * | ----------------- | ----- | ----------------------------------------------------------------- |
 * | 0                 | 4     | page number                                                       |
 * | 4                 | 4     | pages in the database after the commit; 0 if no commit ends here  |
 * | 8                 | 16    | salts and checksums                                               |
 * | 24                | page  | the page                                                          |
 *
 * Frames wait only while a transaction is still writing: with the page of a frame that ends one they are
 * written, before SQLite is told that this page is. So whatever SQLite believes to be committed was
 * handed to the operating system, and a frame that is lost here is one that no commit has reached. What
 * isn't a frame behind the ones that wait, and every other call on the file, finds them written.
 *
 * Source: https://sqlite.org/fileformat2.html#walformat and `walWriteOneFrame` in SQLite's `src/wal.c`.
 *
 * @module
 */

const headerBytes = 24;
const firstBytes = 64 * 1024;
/** More than this doesn't wait: a long transaction would hold its frames twice. */
const waitingBytesMax = 512 * 1024;

export class FrameBuffer {
  #bytes = new Uint8Array(0);
  #length = 0;
  #offset = 0;
  /** The last thing taken was a header: its page comes next. */
  #wantsPage = false;
  #isLast = false;

  /** Bytes that wait. */
  get length(): number {
    return this.#length;
  }

  /** Where in the file they belong. */
  get offset(): number {
    return this.#offset;
  }

  /** Valid until the next {@link take}. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** Whether a write is a frame's, right behind what waits. */
  fits(bytes: number, offset: number): boolean {
    if (this.#length > 0 && offset !== this.#offset + this.#length) return false;
    return this.#wantsPage || bytes === headerBytes;
  }

  /** Whether bytes of the file at `offset` are among those that wait, or are behind them. */
  overlaps(bytes: number, offset: number): boolean {
    return this.#length > 0 && offset + bytes > this.#offset;
  }

  /** Whether a write is the header of a frame in the place of the first that waits. */
  isBegunAgain(bytes: number, offset: number): boolean {
    return this.#length > 0 && bytes === headerBytes && offset === this.#offset;
  }

  /** Takes a copy of a write that {@link fits}. @returns whether all of them are to be written now */
  take(heap: Uint8Array, pointer: number, bytes: number, offset: number): boolean {
    if (this.#length === 0) this.#offset = offset;
    this.#room(bytes);
    const into = this.#bytes;
    if (this.#wantsPage) {
      into.set(heap.subarray(pointer, pointer + bytes), this.#length);
      this.#length += bytes;
      this.#wantsPage = false;
      return this.#isLast || this.#length >= waitingBytesMax;
    }
    for (let at = 0; at < bytes; at++) into[this.#length + at] = heap[pointer + at] as number;
    this.#length += bytes;
    this.#wantsPage = true;
    this.#isLast =
      ((heap[pointer + 4] as number) |
        (heap[pointer + 5] as number) |
        (heap[pointer + 6] as number) |
        (heap[pointer + 7] as number)) !==
      0;
    return false;
  }

  clear(): void {
    this.#length = 0;
    this.#wantsPage = false;
  }

  #room(bytes: number): void {
    const wanted = this.#length + bytes;
    if (wanted <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(wanted, firstBytes, 2 * this.#bytes.length));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
  }
}

/**
 * How a WAL becomes shorter while it is open: another thread cuts it, a piece at a time.
 *
 * To free what a file has takes time in proportion (2 ms for 4 MB, and a hundred where the file system's journal is busy).
 * So SQLite's own cut to nothing is left out where the WAL's header is gone (`wal-start.ts`): what is behind counts for nothing
 * then. The cuts come later, behind all that SQLite uses. Should it use more before one is done, whoever writes there waits
 * for it; what stands before it may be written at any time.
 *
 * @module
 */

import { assert } from "../../core/assert.ts";
import type { FileSystem } from "./file-system.ts";

/** A cut that takes longer isn't waited for. */
const waitMsMax = 10_000;

export class WalEnd {
  /** To how many bytes it is being cut. */
  #cutTo: number | undefined;

  /** At most one at a time. Rejects as the file system does. */
  async cut(fs: FileSystem, fd: number, bytes: number): Promise<void> {
    assert(this.#cutTo === undefined, "a WAL is cut once at a time");
    this.#cutTo = bytes;
    try {
      await fs.ftruncateLater(fd, bytes);
    } finally {
      this.#cutTo = undefined;
    }
  }

  /**
   * Bytes up to `end` are about to be written, or the file to be cut here (infinite).
   * Throws if it doesn't become as short as was asked for.
   */
  beforeWrite(fs: FileSystem, fd: number, end: number): void {
    const cutTo = this.#cutTo;
    if (cutTo === undefined || end <= cutTo) return;
    for (const endMs = performance.now() + waitMsMax; fs.size(fd) > cutTo; Bun.sleepSync(1)) {
      if (performance.now() < endMs) continue;
      throw Object.assign(new Error("the file is still being cut"), { code: "EIO" });
    }
    // What is written from here on makes it longer again.
    this.#cutTo = undefined;
  }
}

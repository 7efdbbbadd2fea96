/**
 * Whether a file that this process works on still stands at its path. Somebody may delete it, move its folder away, or put
 * another one in its place; descriptors and sockets that are open don't notice.
 *
 * @module
 */

import * as fs from "node:fs";
import { promisify } from "node:util";

const stat = promisify(fs.stat);

export type KeptState = "kept" | "deleted" | "replaced";

export class KeptFile {
  readonly path: string;
  /** Device and inode, as they were when it was first seen; undefined: it wasn't there yet. */
  #identity: string | undefined;

  constructor(path: string) {
    this.path = path;
    this.renew();
  }

  /** What is there now is the one; where nobody can tell, what is seen next. */
  renew(): void {
    this.#identity = undefined;
    try {
      const { dev, ino } = fs.statSync(this.path);
      this.#identity = `${dev}:${ino}`;
    } catch {
      // It isn't there yet, or the disk fails to say: whoever uses the file hears of that.
    }
  }

  /** Where nobody can tell, it is taken for kept. The disk may be slow: another thread asks it. */
  async look(): Promise<KeptState> {
    let identity: string;
    try {
      const { dev, ino } = await stat(this.path);
      identity = `${dev}:${ino}`;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const isGone = code === "ENOENT" || code === "ENOTDIR";
      return isGone && this.#identity !== undefined ? "deleted" : "kept";
    }
    this.#identity ??= identity;
    return identity === this.#identity ? "kept" : "replaced";
  }
}

/**
 * Calls `look` again and again, `everyMs` after it has ended, and tells what it found.
 *
 * @returns what ends it: nothing is told any more
 */
export function lookAgain<T>(
  look: () => Promise<T>,
  onFound: (found: T) => void,
  everyMs: number,
): () => void {
  let isStopped = false;
  let timer: Timer | undefined;
  const wait = (): void => {
    if (!isStopped) timer = setTimeout(() => void lookOnce(), everyMs);
  };
  const lookOnce = async (): Promise<void> => {
    const found = await look();
    if (!isStopped) onFound(found);
    wait();
  };
  wait();
  return () => {
    isStopped = true;
    clearTimeout(timer);
  };
}

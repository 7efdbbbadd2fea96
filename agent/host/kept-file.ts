/**
 * Whether a file that this process works on still stands at its path. Somebody may delete it, move its folder away, or put
 * another one in its place; descriptors and sockets that are open don't notice.
 *
 * @module
 */

import { stat as statLater, statSync } from "node:fs";
import { promisify } from "node:util";

const stat = promisify(statLater);

export type KeptState = "kept" | "deleted" | "replaced";

export class KeptFile {
  readonly path: string;
  /** Device and inode, as they were when it was first seen; undefined: it wasn't there yet. */
  #identity: string | undefined;

  constructor(path: string) {
    this.path = path;
    this.renew();
  }

  /** What is there now is the one. */
  renew(): void {
    const found = statSync(this.path, { throwIfNoEntry: false });
    this.#identity = found === undefined ? undefined : `${found.dev}:${found.ino}`;
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

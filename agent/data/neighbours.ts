/**
 * Where this node's neighbours were met last, kept in the data directory: at its next start it dials them there,
 * without asking a DHT. After a crash nobody else may know how to bring the two together (a peer that has only
 * this node's address holds a stream to a process that is gone), and a bootstrap may be down.
 *
 * @module
 */

import type { PeerId } from "../../core/node/border.ts";
import type { DataDirectory } from "./data-directory.ts";

/** Remembered at most: as many as a node has neighbours. */
const neighboursMax = 12;

export class Neighbours {
  readonly #directory: Pick<DataDirectory, "writeNeighbours">;
  /** By peer, the earliest first. */
  readonly #addresses = new Map<string, string>();
  #writing: Promise<void> | undefined;
  #isStale = false;

  constructor(directory: Pick<DataDirectory, "readNeighbours" | "writeNeighbours">) {
    this.#directory = directory;
    for (const line of directory.readNeighbours().slice(0, neighboursMax).reverse()) {
      const [peer, address] = line.split("@");
      if (peer !== undefined && address !== undefined) this.#addresses.set(peer, address);
    }
  }

  /** `key@host:port`, the latest first. */
  get list(): string[] {
    return [...this.#addresses].map(([peer, address]) => `${peer}@${address}`).reverse();
  }

  /** A connection was made. @param address `host:port`, or nothing where it isn't known any more */
  met(peer: PeerId, address: string): void {
    if (address === "") return;
    this.#addresses.delete(peer);
    this.#addresses.set(peer, address);
    for (const eldest of this.#addresses.keys()) {
      if (this.#addresses.size <= neighboursMax) break;
      this.#addresses.delete(eldest);
    }
    this.#isStale = true;
    this.#writing ??= this.#write();
  }

  /** What is known is in the directory. */
  async written(): Promise<void> {
    await this.#writing;
  }

  /** One write at a time; what is met meanwhile is in the next. */
  async #write(): Promise<void> {
    while (this.#isStale) {
      this.#isStale = false;
      await this.#directory.writeNeighbours(this.list);
    }
    this.#writing = undefined;
  }
}

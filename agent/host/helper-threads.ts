/**
 * The engine's helpers let those go first whom somebody waits for.
 *
 * Beside its own threads the process has some of Bun's: they compile what runs often, JavaScript and SQLite's WebAssembly,
 * and give memory back. On a host with one processor for the agent such a thread took it from the store thread for 1 to
 * 3 ms at a time: of the reads that waited longest while rows were merged, it had held up a third. So their niceness is
 * raised by {@link helperNiceness}. Where a processor is free they are as fast as ever.
 *
 * The pool's threads sync the disk, a millisecond of processor at a time within the kernel, and are helpers as well
 * unless an answer waits for a sync (`store.durability = "full"`): a fifth of what the slowest reads waited for.
 *
 * By name, of threads that nobody waits for: not the garbage collector's. And not by more than that, for a collection
 * waits until a compiler thread pauses. They come and go, so they are looked for again and again.
 *
 * @module
 */

import { readdirSync, readFileSync } from "node:fs";
import * as os from "node:os";

/** Above the process's own: a tenth of what others get where all want the processor. */
export const helperNiceness = 10;
const nicenessMax = 19;
const lookEveryMs = 1000;

/** As Linux shows them, which has the last 15 bytes: the rest of "Wasm Worklist Helper Thread" is one. */
export const helperNames: ReadonlySet<string> = new Set([
  "JITWorker",
  "JSCWarmUp",
  "t Helper Thread",
  "mi-scavenger",
]);

/** "Bun Pool 0", and so on. */
const poolPrefix = "Bun Pool ";

export interface HelperThreadsOptions {
  /** The pool's too: no answer waits for a sync of theirs. */
  readonly withPool: boolean;
  /** Of this process's threads. */
  readonly folder?: string;
  readonly makeNicer?: (thread: number) => void;
}

export class HelperThreads {
  readonly #withPool: boolean;
  readonly #folder: string;
  readonly #makeNicer: (thread: number) => void;
  /** Threads that were looked at. */
  #known: ReadonlySet<string> = new Set();
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(options: HelperThreadsOptions) {
    this.#withPool = options.withPool;
    this.#folder = options.folder ?? "/proc/self/task";
    this.#makeNicer = options.makeNicer ?? makeNicer;
  }

  /** Looks for them now, and every second from then on. */
  start(): void {
    this.look();
    this.#timer ??= setInterval(() => this.look(), lookEveryMs);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Makes new ones nicer. Where nothing tells of threads, or they may not be changed, nothing happens. */
  look(): void {
    let threads: string[];
    try {
      threads = readdirSync(this.#folder);
    } catch {
      return;
    }
    for (const thread of threads) {
      if (this.#known.has(thread)) continue;
      try {
        const name = readFileSync(`${this.#folder}/${thread}/comm`, "utf8");
        if (this.#isHelper(name.trimEnd())) this.#makeNicer(Number(thread));
      } catch {
        // It has ended.
      }
    }
    this.#known = new Set(threads);
  }

  #isHelper(name: string): boolean {
    return helperNames.has(name) || (this.#withPool && name.startsWith(poolPrefix));
  }
}

function makeNicer(thread: number): void {
  os.setPriority(thread, Math.min(nicenessMax, os.getPriority() + helperNiceness));
}

/**
 * A queue in which nobody's items wait for all that another has put there.
 *
 * An item has a *source*, the stream that it came over, and an *origin*, the site that is said to have made it. Sources
 * take turns, by bytes, and within each its origins; what one origin sent over one stream keeps its order. Changesets
 * aren't signed: a member may make up origins, and a thousand of them have a thousand turns. But its stream is one, and
 * has one turn. (Whoever hears of them from a third host tells them from what that one says by whether the sites are known:
 * `known-sites.ts`. So a stream is two sources.)
 *
 * A turn goes on until its bytes are used up, and what the last item took beyond them is taken off the next ones
 * (surplus round robin). So the cost of an item is constant but for its bytes, and none of it arises while only one origin
 * waits, which is nearly always: that is a plain queue.
 *
 * Source: Shreedhar and Varghese, "Efficient fair queueing using deficit round robin", SIGCOMM 1995, with the surplus of
 * Adiseshu, Parulkar and Varghese, "A reliable and scalable striping protocol", SIGCOMM 1996.
 *
 * @module
 */

import { Fifo } from "./fifo.ts";

export interface FairQueueLimits {
  /** Of one turn. */
  readonly turnBytes: number;
  /**
   * Of all that may wait. A quarter more is kept for those of whom little waits, so that whoever has filled it keeps nobody
   * else out: an eighth for origins, and the last for streams.
   */
  readonly bytesMax: number;
}

/** Above the bound a stream may still have this share of it waiting, and an origin that. */
const smallSourceShare = 1 / 128;
const smallOriginShare = 1 / 1024;

/** Of one origin by way of one source; or all of one source. */
interface Line {
  bytes: number;
  /** What it may still send in this turn; what it took too much, if negative. */
  balance: number;
}

interface Origin<T> extends Line {
  readonly queue: Fifo<T>;
}

interface Source<T> extends Line {
  /** In the order of their turns. */
  readonly origins: Map<string, Origin<T>>;
}

export class FairQueue<T> {
  readonly #limits: FairQueueLimits;
  readonly #bytesOf: (item: T) => number;
  /** While all that waits is of one origin by way of one source. */
  #only = new Fifo<T>();
  #onlySource = "";
  #onlyOrigin = "";
  /** In the order of their turns; empty while {@link #only} isn't. */
  readonly #sources = new Map<string, Source<T>>();
  #length = 0;
  #bytes = 0;

  constructor(limits: FairQueueLimits, bytesOf: (item: T) => number) {
    this.#limits = limits;
    this.#bytesOf = bytesOf;
  }

  get length(): number {
    return this.#length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** That came by way of one source. */
  bytesOfSource(source: string): number {
    if (this.#sources.size > 0) return this.#sources.get(source)?.bytes ?? 0;
    return source === this.#onlySource ? this.#bytes : 0;
  }

  /**
   * False when there is no room, and the item was not taken. An empty queue takes any.
   *
   * @param besidesBytes What else counts against the bound.
   */
  push(item: T, source: string, origin: string, besidesBytes = 0): boolean {
    const bytes = this.#bytesOf(item);
    if (!this.#hasRoom(bytes, source, origin, besidesBytes)) return false;
    this.#length++;
    this.#bytes += bytes;
    if (this.#sources.size === 0) {
      if (this.#only.length === 0) {
        this.#onlySource = source;
        this.#onlyOrigin = origin;
      }
      if (source === this.#onlySource && origin === this.#onlyOrigin) {
        this.#only.push(item);
        return true;
      }
      const bytesBefore = this.#bytes - bytes;
      this.#line(this.#onlySource, this.#onlyOrigin, bytesBefore, this.#only);
      this.#only = new Fifo();
    }
    this.#line(source, origin, bytes).queue.push(item);
    return true;
  }

  /** The item whose turn it is. */
  shift(): T | undefined {
    if (this.#length === 0) return undefined;
    this.#length--;
    if (this.#sources.size === 0) {
      const item = this.#only.shift() as T;
      this.#bytes -= this.#bytesOf(item);
      return item;
    }
    const { turnBytes } = this.#limits;
    const [sourceName, source] = nextInTurn(this.#sources, turnBytes);
    const [originName, origin] = nextInTurn(source.origins, turnBytes);
    const item = origin.queue.shift() as T;
    const bytes = this.#bytesOf(item);
    this.#bytes -= bytes;
    for (const line of [source, origin]) {
      line.bytes -= bytes;
      line.balance -= bytes;
    }
    if (origin.queue.length === 0) source.origins.delete(originName);
    if (source.origins.size === 0) this.#sources.delete(sourceName);
    return item;
  }

  /** What is left of the turn of one source, `countMax` at most: one item at least, unless nothing waits. */
  shiftTurn(countMax: number): T[] {
    const items: T[] = [];
    let bytes = 0;
    const source = this.#sourceInTurn;
    while (items.length < countMax && bytes < this.#limits.turnBytes) {
      if (items.length > 0 && this.#sourceInTurn !== source) break;
      const item = this.shift();
      if (item === undefined) break;
      bytes += this.#bytesOf(item);
      items.push(item);
    }
    return items;
  }

  get #sourceInTurn(): string {
    if (this.#sources.size === 0) return this.#onlySource;
    return nextInTurn(this.#sources, this.#limits.turnBytes)[0];
  }

  /** The eldest of each origin; as many looks as origins. */
  *firsts(): Generator<T> {
    for (const queue of this.#queues()) if (queue.first !== undefined) yield queue.first;
  }

  /** All that waits, in no order but that of each origin. */
  *items(): Generator<T> {
    for (const queue of this.#queues()) yield* queue.items();
  }

  *#queues(): Generator<Fifo<T>> {
    yield this.#only;
    for (const { origins } of this.#sources.values()) {
      for (const { queue } of origins.values()) yield queue;
    }
  }

  #hasRoom(bytes: number, source: string, origin: string, besidesBytes: number): boolean {
    const { bytesMax } = this.#limits;
    const bytesThen = this.#bytes + besidesBytes + bytes;
    if (bytesThen <= bytesMax || this.#bytes + besidesBytes === 0) return true;
    if (bytesThen > bytesMax * 1.25) return false;
    if (this.bytesOfSource(source) + bytes <= bytesMax * smallSourceShare) return true;
    if (bytesThen > bytesMax * 1.125) return false;
    return this.#bytesOfOrigin(source, origin) + bytes <= bytesMax * smallOriginShare;
  }

  #bytesOfOrigin(source: string, origin: string): number {
    if (this.#sources.size > 0) return this.#sources.get(source)?.origins.get(origin)?.bytes ?? 0;
    return source === this.#onlySource && origin === this.#onlyOrigin ? this.#bytes : 0;
  }

  /** The line of an origin, with so many bytes more. */
  #line(sourceName: string, originName: string, bytes: number, queue?: Fifo<T>): Origin<T> {
    const { turnBytes } = this.#limits;
    let source = this.#sources.get(sourceName);
    if (source === undefined) {
      source = { bytes: 0, balance: turnBytes, origins: new Map() };
      this.#sources.set(sourceName, source);
    }
    let origin = source.origins.get(originName);
    if (origin === undefined) {
      origin = { bytes: 0, balance: turnBytes, queue: queue ?? new Fifo() };
      source.origins.set(originName, origin);
    }
    source.bytes += bytes;
    origin.bytes += bytes;
    return origin;
  }
}

/** The first that has something left of its turn. The others go to the end: a map keeps the order of insertion. */
function nextInTurn<L extends Line>(lines: Map<string, L>, turnBytes: number): [string, L] {
  for (;;) {
    const [entry] = lines;
    const [name, line] = entry as [string, L];
    if (line.balance > 0) return [name, line];
    line.balance += turnBytes;
    lines.delete(name);
    lines.set(name, line);
  }
}

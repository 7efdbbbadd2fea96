/**
 * Live queries whose new run takes longer than the store thread has time for: they run in another thread, on a
 * snapshot, and come back as what differs from what their readers know.
 *
 * One after another, those that an urgent commit concerns first, but the rest at least every third time. A run
 *
 * 1. takes the hashes of the rows that readers have (`known-result.ts`), and waits for a snapshot, however long
 *    that takes;
 * 2. has, from when it is lent, seen all that was committed until then: what comes later has it run once more, when
 *    this one is over;
 * 3. brings rows that are others, and which are gone. What these come to is worked out in slices, written down in
 *    parts, and told when all of it is: nobody looks at the subscription in between.
 *
 * A run that went wrong for reasons that aren't its own (its snapshot was wanted back, the thread died) is begun anew
 * after a pause, a few times.
 *
 * @module
 */

import { NotOfQueryError } from "../sql/not-of-query-error.ts";
import type { QueryBudget } from "../sql/query-runner.ts";
import { joinMissed } from "./affected.ts";
import type { Change } from "./changes.ts";
import { KnownResult } from "./known-result.ts";
import type { Entry, LiveRegistry, Missed, Rerun } from "./live-registry.ts";
import type { WholeQuery } from "./read-row.ts";
import type { HeldRow, ReadRow } from "./rows/row.ts";
import type { GoneRows, RowHashes } from "./rows/row-hashes.ts";
import { inSlices } from "./slices.ts";

/** Runs queries elsewhere. */
export interface RerunSource {
  /**
   * Those rows of a query that aren't known, and at the end which of the known ones are gone.
   *
   * @param onLent called between two transactions: what was committed before is in it, and nothing else is
   * @throws what is wrong with the query, while iterating; {@link NotOfQueryError} when it may be run again
   */
  rerun(
    query: WholeQuery,
    known: RowHashes,
    onLent: () => void,
  ): AsyncIterable<readonly ReadRow[] | GoneRows>;
}

export interface LiveRerunsOptions {
  readonly source: RerunSource;
  readonly registry: LiveRegistry;
  /** Below both, the store thread may run it the next time. */
  readonly budget: QueryBudget;
  /** Commits were made that nobody has noted yet. */
  readonly isUnnoted: () => boolean;
  /** Resolves between two transactions, when all that was committed is noted; false: nothing happens any more. */
  readonly quiet: () => Promise<boolean>;
  /** Resolves between two transactions; undefined: it is. */
  readonly closed: () => Promise<void> | undefined;
  /** Writes changes down and takes them in. @returns their lines; undefined: it couldn't, and has ended */
  readonly take: (entry: Entry, changes: readonly Change[]) => Uint8Array | undefined;
  /** Those of {@link Rerun.untold} first. @param rows all of the one commit; undefined when it was several */
  readonly tell: (entry: Entry, lines: Uint8Array, rows: Missed["rows"]) => void;
  /** Its rows are known again, and it can look at what it missed meanwhile. */
  readonly settled: (entry: Entry) => void;
  readonly end: (entry: Entry, why: string) => void;
  /** After a run that went wrong; as many times as long after as many. */
  readonly pauseMs: number;
}

/** What is written down at once. */
const partChangesMax = 1000;
const partCharsMax = 64 * 1024;
const attemptsMax = 5;
/** After this many urgent ones another has its turn. */
const urgentInARowMax = 2;
/** More changes at once: their hashes are read anew, in slices. */
const keptChangesMax = 1000;

interface Found {
  readonly gone: Uint32Array;
  readonly rows: readonly ReadRow[];
  readonly commit: Missed["rows"];
}

export class LiveReruns {
  readonly #options: LiveRerunsOptions;
  readonly #urgent = new Set<Entry>();
  readonly #others = new Set<Entry>();
  #urgentInARow = 0;
  #running: Entry | undefined;
  /** Of whichever run is over next. */
  #nextSettled = Promise.withResolvers<void>();
  #isClosed = false;

  constructor(options: LiveRerunsOptions) {
    this.#options = options;
  }

  get isBehind(): boolean {
    return this.#running !== undefined || this.#urgent.size + this.#others.size > 0;
  }

  /** It is to be run, or once more where it is being run: then that has to say so itself, when it is over. */
  add(entry: Entry, isUrgent: boolean): void {
    if (entry.isDropped || entry.rerun !== undefined) return;
    if (isUrgent) this.#others.delete(entry);
    if (!this.#urgent.has(entry)) (isUrgent ? this.#urgent : this.#others).add(entry);
    void this.#runAll();
  }

  /** Resolves when a run of it is over; undefined when none is asked for. */
  settled(entry: Entry): Promise<void> | undefined {
    if (entry.rerun !== undefined) return entry.rerun.settled;
    const isWaiting = this.#urgent.has(entry) || this.#others.has(entry);
    return isWaiting ? this.#nextSettled.promise.then(() => this.settled(entry)) : undefined;
  }

  /** It is to be run no more, or is another. */
  forget(entry: Entry): void {
    this.#urgent.delete(entry);
    this.#others.delete(entry);
  }

  close(): void {
    this.#isClosed = true;
    this.#urgent.clear();
    this.#others.clear();
  }

  async #runAll(): Promise<void> {
    if (this.#running !== undefined) return;
    for (;;) {
      const entry = this.#next();
      if (entry === undefined) break;
      this.#running = entry;
      const { promise, resolve } = Promise.withResolvers<void>();
      entry.rerun = { settled: promise, untold: [] };
      try {
        await this.#run(entry);
      } catch (error) {
        this.#options.end(entry, (error as Error).message);
      }
      // One that was given up ends whenever its next rows come.
      const closed = this.#options.closed();
      if (closed !== undefined) await closed;
      const isTold = entry.rerun.untold.length === 0 || this.#isClosed || entry.isDropped;
      if (!isTold) this.#options.tell(entry, new Uint8Array(0), undefined);
      entry.rerun = undefined;
      this.#running = undefined;
      if (!this.#isClosed) this.#options.settled(entry);
      resolve();
      this.#nextSettled.resolve();
      this.#nextSettled = Promise.withResolvers<void>();
    }
  }

  #next(): Entry | undefined {
    if (this.#isClosed) return undefined;
    const isOthersTurn = this.#urgentInARow >= urgentInARowMax && this.#others.size > 0;
    const place = isOthersTurn || this.#urgent.size === 0 ? this.#others : this.#urgent;
    this.#urgentInARow = place === this.#urgent ? this.#urgentInARow + 1 : 0;
    for (const entry of place) {
      place.delete(entry);
      return entry;
    }
    return undefined;
  }

  async #run(entry: Entry): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const { subscription } = entry;
      const isOver = (): boolean =>
        this.#isClosed || entry.isDropped || entry.isStale || entry.subscription !== subscription;
      if (isOver()) return;
      try {
        const known = await this.#knownOf(entry, isOver);
        if (known === undefined) return;
        const found = await this.#read(entry, known, isOver);
        if (found !== undefined) await this.#tell(entry, known, found, isOver);
        return;
      } catch (error) {
        if (isOver()) return;
        const isAgain = error instanceof NotOfQueryError && attempt < attemptsMax;
        if (!isAgain) throw error;
      }
      await Bun.sleep(this.#options.pauseMs * attempt);
      if (isOver()) return;
    }
  }

  async #knownOf(entry: Entry, isOver: () => boolean): Promise<KnownResult | undefined> {
    const { subscription } = entry;
    if (entry.known?.isOf(subscription) === true) return entry.known;
    const known = new KnownResult(subscription);
    entry.known = known;
    return (await inSlices(known.read(), isOver)) === undefined ? undefined : known;
  }

  /** @returns undefined when nobody wants it any more */
  async #read(entry: Entry, known: KnownResult, isOver: () => boolean): Promise<Found | undefined> {
    const { source, budget, registry, isUnnoted } = this.#options;
    const { subscription } = entry;
    let seen: Missed | undefined;
    let commit: Missed["rows"];
    // Which rows it will hold isn't known until it has ended.
    registry.setUnsettled(entry, true);
    const onLent = (): void => {
      if (isOver()) return;
      commit = isUnnoted() ? undefined : entry.missed?.rows;
      seen = entry.missed;
      entry.missed = undefined;
      entry.lentMs = performance.now();
      entry.looked++;
    };
    const rows: ReadRow[] = [];
    try {
      for await (const piece of source.rerun(subscription.wholeQuery, known.hashes(), onLent)) {
        if (isOver()) return undefined;
        if (!("gone" in piece)) {
          rows.push(...piece);
          continue;
        }
        const { gone, chars, runMs } = piece;
        entry.rerunMs = runMs;
        entry.readerMs += runMs;
        // With a margin: one that is at the edge isn't tried in vain every time.
        entry.isLong = runMs >= budget.ms / 2 || chars > budget.bytes;
        return { gone, rows, commit };
      }
      throw new NotOfQueryError("it ended early");
    } catch (error) {
      if (seen !== undefined) {
        entry.missed = entry.missed === undefined ? seen : joinMissed(seen, entry.missed);
      }
      throw error;
    }
  }

  async #tell(
    entry: Entry,
    known: KnownResult,
    { gone, rows, commit }: Found,
    isOver: () => boolean,
  ): Promise<void> {
    const { take, tell, quiet } = this.#options;
    const held: HeldRow[] = Array.from(gone, (place) => known.rowAt(place));
    const changes: Change[] = [];
    const steps = entry.subscription.changes(held, rows);
    const worked = await inSlices(steps, isOver, (change) => {
      if (change !== undefined) changes.push(change);
    });
    if (worked === undefined) return;
    let at = 0;
    do {
      if (!(await quiet()) || isOver()) return;
      const end = partEnd(changes, at);
      const begunMs = performance.now();
      const lines = end === at ? undefined : take(entry, changes.slice(at, end));
      at = end;
      if (lines !== undefined && at === changes.length) tell(entry, lines, commit);
      else if (lines !== undefined) entry.rerun?.untold.push(lines);
      entry.busyMs += performance.now() - begunMs;
      if (isOver()) return;
    } while (at < changes.length);
    entry.subscription.named();
    entry.asOfMs = entry.lentMs;
    if (changes.length > keptChangesMax || entry.listeners.size === 0) entry.known = undefined;
    else known.take(gone, changes);
  }
}

function partEnd(changes: readonly Change[], from: number): number {
  let end = from;
  let chars = 0;
  while (end < changes.length && end - from < partChangesMax && chars < partCharsMax) {
    chars += (changes[end] as Change).line.length;
    end++;
  }
  return end;
}

/**
 * Finds out what commits come to, writes it down and tells listeners, in this order.
 *
 * After a COMMIT, when it has been handed to the other nodes:
 *
 * 1. {@link LiveTeller.tell} notes what it may concern (`affected.ts`), with the rows that changed, and
 *    puts these in line, urgent ones first (`live-queue.ts`). Of thousands of rows this is done in slices,
 *    too, and nobody looks before it is done.
 * 2. One after another looks at what it missed (`evaluation.ts`). A slice of about a millisecond is written
 *    down in one transaction (`live-journal.ts`), then its rows are taken in and its listeners hear of it:
 *    what anybody was told is in the file.
 * 3. After two milliseconds the rest waits for the next turn, so that a commit that concerns thousands
 *    doesn't hold the thread; one that took over a millisecond the last time gets a turn to itself.
 * 4. What would take longer than a look may is run in another thread, if there is one (`live-reruns.ts`).
 *
 * Whoever has its turn sees the database as it is then. So commits that came meanwhile are told with the
 * one that it waited for, as their net difference: no subscription ever hears of half a transaction, nor
 * of a later one before an earlier.
 *
 * @module
 */

import type { MergedRow } from "../../core/row-store.ts";
import { utf8 } from "../api/http.ts";
import type { StreamEvent, StreamListener } from "../api/store-service.ts";
import { affectedBy, joinMissed } from "./affected.ts";
import type { Change } from "./changes.ts";
import type { Evaluation, Finding, LiveConnection } from "./evaluation.ts";
import type { LiveJournal } from "./live-journal.ts";
import { LiveQueue } from "./live-queue.ts";
import type { Entry, LiveRegistry } from "./live-registry.ts";
import { LiveReruns, type LiveRerunsOptions } from "./live-reruns.ts";
import type { QueryPlanner } from "./query-planner.ts";
import type { TableChanges } from "./table-changes.ts";
import { type Commit, type Unnoted, UnnotedCommits } from "./unnoted-commits.ts";

interface Noting extends Unnoted {
  readonly steps: ReturnType<typeof affectedBy>;
}

export interface LiveTellerOptions {
  readonly writer: LiveConnection;
  readonly registry: LiveRegistry;
  readonly planner: QueryPlanner;
  readonly evaluation: Evaluation;
  readonly journal: LiveJournal | undefined;
  /** How long a commit may wait until it is found out whom it concerns, before those that wait become one. */
  readonly noteMsMax: number;
  /** Of one turn; what half of it finds out is written down and told at once. */
  readonly turnMsMax: number;
  /** Runs queries in another thread; undefined: there is none. */
  readonly reruns: Pick<LiveRerunsOptions, "source" | "budget" | "pauseMs"> | undefined;
  /** A subscription can't go on, and its readers are to be told why. */
  readonly end: (entry: Entry, why: string) => void;
  /** Makes a stale one's plan anew, and maybe finds out at once what has become of its rows. */
  readonly renew: (entry: Entry) => Finding | undefined;
}

export class LiveTeller {
  readonly #writer: LiveConnection;
  readonly #registry: LiveRegistry;
  readonly #planner: QueryPlanner;
  readonly #evaluation: Evaluation;
  readonly #journal: LiveJournal | undefined;
  readonly #end: (entry: Entry, why: string) => void;
  readonly #renew: (entry: Entry) => Finding | undefined;
  readonly #turnMsMax: number;
  readonly #queue = new LiveQueue();
  readonly #reruns: LiveReruns | undefined;
  /** Commits that aren't noted yet, and the one that is being noted. */
  readonly #committed: UnnotedCommits;
  #noting: Noting | undefined;
  #toldRows: readonly MergedRow[] | undefined;
  #isTurnAsked = false;
  #isClosed = false;

  constructor(options: LiveTellerOptions) {
    this.#writer = options.writer;
    this.#registry = options.registry;
    this.#planner = options.planner;
    this.#evaluation = options.evaluation;
    this.#journal = options.journal;
    this.#committed = new UnnotedCommits(options.noteMsMax);
    this.#end = options.end;
    this.#renew = options.renew;
    this.#turnMsMax = options.turnMsMax;
    const { reruns, registry } = options;
    this.#reruns =
      reruns === undefined
        ? undefined
        : new LiveReruns({
            ...reruns,
            registry,
            isUnnoted: () => this.#noting !== undefined || this.#committed.size > 0,
            quiet: () => this.quiet(),
            closed: () => (this.isOpen ? this.closed() : undefined),
            take: (entry, changes) => this.#takeUntold(entry, changes),
            tell: (entry, bytes, rows) => this.#tell(entry, bytes, rows),
            settled: (entry) => this.settled(entry),
            end: options.end,
          });
  }

  /** A transaction was committed. Whoever committed tells soon; otherwise it is told in a turn of its own. */
  committed(commit: Commit): void {
    if (this.#registry.count === 0) return;
    this.#committed.add(commit);
    this.askTurn();
  }

  /**
   * Tells listeners what was committed, as far as that is quick; the rest in the next turns. To be called
   * between transactions.
   */
  tell(isUrgent: boolean): void {
    if (this.#committed.size === 0 || this.isOpen) return;
    if (isUrgent) this.#committed.hurry();
    if (this.#noteUntil(performance.now() + this.#turnMsMax)) this.#work();
    else this.askTurn();
  }

  /** All rows of the commit that a listener is being told of; undefined when it was several. */
  get toldRows(): readonly MergedRow[] | undefined {
    return this.#toldRows;
  }

  /**
   * A transaction is open, and what it wrote is to be seen on this connection and nowhere else. After {@link close} none
   * is, and the connection may be closed, too: a run in another thread may end only then.
   */
  get isOpen(): boolean {
    return !this.#isClosed && !this.#writer.database.autocommit;
  }

  /** Resolves between transactions. */
  async closed(): Promise<void> {
    while (this.isOpen) await new Promise((resolve) => setImmediate(resolve));
  }

  /** Finds all whom the commits concern that aren't noted yet. */
  note(): void {
    this.#noteUntil(Number.POSITIVE_INFINITY);
  }

  /** The same, for so long; nobody looks at anything before it is done. @returns whether it is */
  #noteUntil(untilMs: number): boolean {
    for (;;) {
      const noting = this.#noting ?? this.#nextNoting();
      this.#noting = noting;
      if (noting === undefined) return true;
      const step = this.#writer.guard.within("read", () => noting.steps.next());
      if (step.done === true) {
        this.#noting = undefined;
        this.#noted(noting, step.value);
      } else if (performance.now() > untilMs) return false;
    }
  }

  #nextNoting(): Noting | undefined {
    const next = this.#committed.take();
    if (next === undefined) return undefined;
    const changes = next.commit.changes();
    return { ...next, steps: affectedBy(changes, this.#registry, this.#planner) };
  }

  #noted({ commit, isUrgent }: Noting, affected: ReadonlyMap<Entry, TableChanges>): void {
    const { rows } = commit;
    for (const [entry, changes] of affected) {
      if (entry.isDropped) continue;
      entry.missed = joinMissed(entry.missed, { changes, rows });
      this.#putInLine(entry, isUrgent);
    }
  }

  /** It missed something. It looks at that in its turn, or when it is over what it is at, or when somebody asks. */
  #putInLine(entry: Entry, isUrgent: boolean): void {
    if (entry.starting !== undefined || entry.rerun !== undefined) return;
    const isIdle = entry.listeners.size === 0 && entry.subscription.plan.kind === "rerun";
    if (!isIdle) this.#queue.add(entry, isUrgent);
  }

  /** The schema is another, and so may be its rows. @param changes of all its tables */
  stale(entry: Entry, changes: TableChanges): void {
    entry.isStale = true;
    entry.missed = { changes, rows: undefined };
    this.#putInLine(entry, false);
    this.askTurn();
  }

  /** Looks for those whose turn it is, as far as that is quick. */
  #work(): void {
    const begunMs = performance.now();
    let nowMs = begunMs;
    while (nowMs - begunMs < this.#turnMsMax) {
      const findings: Finding[] = [];
      const sliceMs = nowMs + this.#turnMsMax / 2;
      let entry: Entry | undefined;
      while (nowMs < sliceMs) {
        const next = this.#queue.takeQuick();
        entry = next?.entry;
        if (next === undefined) break;
        const finding = this.#look(next.entry, next.isUrgent);
        if (finding !== undefined) findings.push(finding);
        nowMs = performance.now();
      }
      this.take(findings);
      if (entry === undefined) break;
      nowMs = performance.now();
    }
    if (this.#hasWork) this.askTurn();
  }

  /** What it missed comes to; undefined: nothing, or it is found out in another thread. */
  #look(entry: Entry, isUrgent: boolean): Finding | undefined {
    const renewed = entry.isStale ? this.#renew(entry) : undefined;
    const found = renewed ?? this.#evaluation.ofMissed(entry);
    if (found?.kind !== "long") return found;
    this.#reruns?.add(entry, isUrgent);
    return undefined;
  }

  /** Writes down and tells. */
  take(findings: readonly Finding[]): void {
    if (!this.#record(findings)) return;
    for (const finding of findings) {
      const { entry } = finding;
      // What was told before no longer leads to what is: the subscription ends, never lies.
      if (finding.kind === "failed") this.#end(entry, finding.why);
      else {
        entry.subscription.take(finding.changes);
        entry.subscription.named();
        this.#tell(entry, linesOf(finding.changes), finding.rows);
      }
    }
  }

  /** Writes down, and leaves the telling to the caller. @returns the lines; undefined: it has ended */
  #takeUntold(entry: Entry, changes: readonly Change[]): Uint8Array | undefined {
    if (!this.#record([{ kind: "changes", entry, changes }])) return undefined;
    entry.subscription.take(changes);
    return linesOf(changes);
  }

  /** Nobody is told what isn't written: then these end. */
  #record(findings: readonly Finding[]): boolean {
    if (findings.length === 0) return false;
    try {
      this.#journal?.record(findings);
      return true;
    } catch (error) {
      // A full disk, say: they may try again.
      for (const { entry } of findings) this.#end(entry, (error as Error).message);
      return false;
    }
  }

  #tell(entry: Entry, bytes: Uint8Array, rows: readonly MergedRow[] | undefined): void {
    const before = entry.rerun?.untold.splice(0) ?? [];
    const all = before.length === 0 ? bytes : Buffer.concat([...before, bytes]);
    if (all.length === 0) return;
    entry.told++;
    this.#toldRows = rows;
    for (const listener of entry.listeners.values()) {
      listener({ kind: "lines", bytes: all, isSnapshot: false });
    }
    this.#toldRows = undefined;
  }

  /** Tells one that was told nothing when the others were. */
  tellLate(
    listener: StreamListener,
    event: StreamEvent,
    rows: readonly MergedRow[] | undefined,
  ): void {
    this.#toldRows = rows;
    listener(event);
    this.#toldRows = undefined;
  }

  // ---- In turns of their own --------------------------------------------------------------------

  /** Also when it is another thread's turn. */
  get isBehind(): boolean {
    return this.#isBehindHere || this.#reruns?.isBehind === true;
  }

  get #isBehindHere(): boolean {
    return this.#noting !== undefined || this.#committed.size + this.#queue.size > 0;
  }

  get #hasWork(): boolean {
    return this.#isBehindHere || this.#journal?.isBehind === true;
  }

  /** There may be something to do: it is looked for in a turn of its own. */
  askTurn(): void {
    if (this.#isTurnAsked) return;
    this.#isTurnAsked = true;
    setImmediate(() => {
      this.#isTurnAsked = false;
      this.#turn();
    });
  }

  #turn(): void {
    if (this.#isClosed || !this.#hasWork) return;
    if (this.isOpen) {
      this.askTurn();
      return;
    }
    if (!this.#noteUntil(performance.now() + this.#turnMsMax)) {
      this.askTurn();
      return;
    }
    const slow = this.#queue.takeSlow();
    if (slow !== undefined) void this.freshen(slow.entry, slow.isUrgent);
    else if (this.#queue.size === 0) this.#journal?.keepUp();
    this.#work();
  }

  /**
   * Brings one up to date that missed something.
   *
   * @returns when it may have been, where another thread is asked or a transaction is open; undefined: it is
   */
  freshen(entry: Entry, isUrgent = true): Promise<void> | undefined {
    if (this.isOpen) return this.closed();
    if (entry.rerun !== undefined) return entry.rerun.settled;
    this.#queue.delete(entry);
    if (entry.isDropped) return undefined;
    const finding = this.#look(entry, isUrgent);
    if (finding !== undefined) this.take([finding]);
    return entry.missed === undefined ? undefined : this.#reruns?.settled(entry);
  }

  /** The last look, without another thread. What isn't found out now, the next start does. */
  freshenAtEnd(entry: Entry, budgetMs: number): void {
    // Under this schema it hasn't been run.
    if (entry.isStale) return;
    const finding = this.#evaluation.ofUntold(entry, budgetMs);
    if (finding !== undefined) this.take([finding]);
  }

  /** Its rows are known: now for what was committed since they were asked for. */
  settled(entry: Entry): void {
    // Whose noting is under way has seen it as one whose rows aren't.
    this.note();
    this.#registry.setStarting(entry, undefined);
    if (entry.isDropped || entry.missed === undefined) return;
    this.#queue.add(entry, true);
    this.askTurn();
  }

  /** A turn between transactions, when all that was committed is noted; false: there are none any more. */
  async quiet(): Promise<boolean> {
    do {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.#isClosed) return false;
    } while (this.isOpen || !this.#noteUntil(performance.now() + this.#turnMsMax));
    return true;
  }

  forget(entry: Entry): void {
    this.#queue.delete(entry);
    this.#reruns?.forget(entry);
    this.askTurn();
  }

  /** No turns any more. */
  close(): void {
    this.#isClosed = true;
    this.#reruns?.close();
  }
}

function linesOf(changes: readonly Change[]): Uint8Array {
  let lines = "";
  for (const { line } of changes) lines += line;
  return utf8(lines);
}

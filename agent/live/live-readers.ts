/**
 * How readers come to a live query: a new one is made, or they come to one that is there, at once or when what was
 * committed before they asked has been found out. They get its rows, or the changes after one that they name.
 *
 * @module
 */

import { errorJson, utf8 } from "../api/http.ts";
import type { SqlText } from "../api/statement.ts";
import type {
  Refused,
  StreamListener,
  SubscribeOptions,
  SubscribeOutcome,
} from "../api/store-service.ts";
import type { QueryRunner } from "../sql/query-runner.ts";
import type { Evaluation } from "./evaluation.ts";
import type { HeldLimit } from "./held-limit.ts";
import { HeldListener } from "./held-listener.ts";
import {
  eoqLine,
  type InitialRowsSource,
  readInitialRows,
  snapshotLines,
  takeInitialRows,
} from "./initial-rows.ts";
import type { LiveJournal } from "./live-journal.ts";
import { createEntry, type Entry, type LiveRegistry } from "./live-registry.ts";
import type { LiveRestorer } from "./live-restorer.ts";
import type { LiveTeller } from "./live-teller.ts";
import { expandedText } from "./plan/expanded-text.ts";
import type { QueryPlanner } from "./query-planner.ts";
import type { ReadRow } from "./rows/row.ts";

export interface LiveReadersOptions {
  /** Compiles what clients send, and says how long they wait. */
  readonly reader: QueryRunner;
  /** Where new subscriptions get their rows; undefined: from the writer's connection, in one turn. */
  readonly initialRows: InitialRowsSource | undefined;
  /** Numbers that are unique among all listeners of the store. */
  readonly nextSubscriber: () => number;
  readonly registry: LiveRegistry;
  readonly planner: QueryPlanner;
  readonly evaluation: Evaluation;
  readonly journal: LiveJournal | undefined;
  readonly teller: LiveTeller;
  readonly restorer: LiveRestorer | undefined;
  readonly heldLimit: HeldLimit;
  /** A subscription can't go on, and its readers are to be told why. */
  readonly end: (entry: Entry, why: string) => void;
  readonly drop: (entry: Entry) => void;
}

type Outcome = SubscribeOutcome | Promise<SubscribeOutcome>;

/** More are handed to a reader in more than one turn. */
const rowsAtOnceMax = 2000;

export class LiveReaders {
  readonly #reader: QueryRunner;
  readonly #initialRows: InitialRowsSource | undefined;
  readonly #nextSubscriber: () => number;
  readonly #registry: LiveRegistry;
  readonly #planner: QueryPlanner;
  readonly #evaluation: Evaluation;
  readonly #journal: LiveJournal | undefined;
  readonly #teller: LiveTeller;
  readonly #restorer: LiveRestorer | undefined;
  readonly #heldLimit: HeldLimit;
  readonly #end: (entry: Entry, why: string) => void;
  readonly #drop: (entry: Entry) => void;

  constructor(options: LiveReadersOptions) {
    this.#reader = options.reader;
    this.#initialRows = options.initialRows;
    this.#nextSubscriber = options.nextSubscriber;
    this.#registry = options.registry;
    this.#planner = options.planner;
    this.#evaluation = options.evaluation;
    this.#journal = options.journal;
    this.#teller = options.teller;
    this.#restorer = options.restorer;
    this.#heldLimit = options.heldLimit;
    this.#end = options.end;
    this.#drop = options.drop;
  }

  /** Streams may begin while a promise of the outcome is pending. */
  subscribe(text: SqlText, options: SubscribeOptions, listener: StreamListener): Outcome {
    if (this.#teller.isOpen)
      return this.#teller.closed().then(() => this.subscribe(text, options, listener));
    const { database, guard, prepared } = this.#reader;
    const expanded = guard.within("read", () => expandedText(database, prepared, text));
    if (typeof expanded !== "string") return expanded;
    const restored = this.#restorer?.whenSqlOver(expanded);
    if (restored !== undefined) return restored.then(() => this.subscribe(text, options, listener));
    const known = this.#registry.bySql(expanded);
    if (known !== undefined) {
      return this.#attach(known, options, listener, () => this.subscribe(text, options, listener));
    }
    if (options.from !== undefined) {
      const why = "a `from` query param was supplied, but no existing subscription found";
      return refused(400, why);
    }
    return this.#create(expanded, options, listener);
  }

  attach(id: string, options: SubscribeOptions, listener: StreamListener): Outcome {
    if (this.#teller.isOpen)
      return this.#teller.closed().then(() => this.attach(id, options, listener));
    const restored = this.#restorer?.whenOver(id);
    if (restored !== undefined) return restored.then(() => this.attach(id, options, listener));
    const entry = this.#registry.byId(id);
    if (entry === undefined) return refused(404, `could not find subscription with id ${id}`);
    return this.#attach(entry, options, listener, () => this.attach(id, options, listener));
  }

  #create(sql: string, options: SubscribeOptions, listener: StreamListener): Outcome {
    if (/^\s*pragma/i.test(sql)) return refused(400, "unsupported statement");
    this.#teller.note();
    const begunMs = performance.now();
    const subscription = this.#planner.build(sql, crypto.randomUUID());
    if ("kind" in subscription) return subscription;
    const entry = createEntry(subscription, this.#journal?.nextOrd() ?? 0);
    const pieces = this.#initialRows?.read(subscription.wholeQuery);
    if (pieces !== undefined) {
      entry.isLong = true;
      return this.#start(entry, pieces, begunMs, options, listener);
    }
    const why = readInitialRows(entry, this.#evaluation);
    if (why !== undefined) {
      this.#planner.dispose(subscription);
      return refused(400, why);
    }
    this.#registry.add(entry);
    const full = this.#heldLimit.grown(subscription.heldBytes);
    if (full !== undefined) {
      this.#drop(entry);
      return refused(400, full);
    }
    this.#created(entry);
    return this.#attachNow(entry, options, listener, performance.now() - begunMs);
  }

  #created(entry: Entry): void {
    if (this.#journal === undefined) return;
    this.#journal.created(entry);
    this.#teller.askTurn();
  }

  /**
   * Streams rows as they come; commits that come meanwhile are told after them. The outcome is there
   * with the first piece: what fails later ends the stream with a line that says so.
   */
  async #start(
    entry: Entry,
    source: AsyncIterable<readonly ReadRow[]>,
    begunMs: number,
    { skipRows, gone }: SubscribeOptions,
    listener: StreamListener,
  ): Promise<SubscribeOutcome> {
    const { subscription } = entry;
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    this.#registry.add(entry);
    this.#registry.setStarting(entry, ended);
    const pieces = source[Symbol.asyncIterator]();
    const first = await this.#firstPiece(entry, pieces, gone);
    if (typeof first === "string") {
      entry.endedBecause = first;
      this.#drop(entry);
      resolve();
      return refused(400, first);
    }
    if (entry.isDropped) {
      resolve();
      await pieces.return?.();
      return refused(400, "the schema changed: subscribe again");
    }
    const head = this.#head(entry);
    let heldBytes = 0;
    const tell = (text: string): void => {
      const why = this.#heldLimit.grown(subscription.heldBytes - heldBytes);
      if (why !== undefined) throw new Error(why);
      heldBytes = subscription.heldBytes;
      if (!skipRows && !entry.isDropped) linesTo(listener, text);
    };
    this.#registry.listen(entry, head.subscriber, listener);
    takeInitialRows(entry, first, pieces, tell)
      .then(async (isWhole) => {
        if (this.#teller.isOpen) await this.#teller.closed();
        if (!isWhole || entry.isDropped) return;
        tell(eoqLine(subscription.history.lastId, performance.now() - begunMs));
        await this.#started(entry);
      })
      .catch((error) => this.#end(entry, (error as Error).message))
      .finally(() => {
        resolve();
        // Where it ended early the source needs its snapshot no more.
        void pieces.return?.();
      });
    return head;
  }

  /** It may be in line for long: where only one client waits, and goes, it leaves. @returns why there is none */
  async #firstPiece(
    entry: Entry,
    pieces: AsyncIterator<readonly ReadRow[]>,
    gone: AbortSignal | undefined,
  ): Promise<IteratorResult<readonly ReadRow[]> | string> {
    let isLeft = false;
    const onGone = (): void => {
      if (entry.startingWaits > 0) return;
      isLeft = true;
      void pieces.return?.();
    };
    gone?.addEventListener("abort", onGone);
    try {
      if (gone?.aborted === true) onGone();
      const first = await pieces.next();
      return isLeft ? "nobody waits for it any more" : first;
    } catch (error) {
      return (error as Error).message;
    } finally {
      gone?.removeEventListener("abort", onGone);
    }
  }

  /** All its rows are there: now for what was committed since they were asked for. */
  async #started(entry: Entry): Promise<void> {
    const { subscription } = entry;
    const isOver = (): boolean => entry.isDropped || entry.subscription !== subscription;
    await this.#journal?.createdLarge(entry, isOver, () => this.#teller.quiet());
    if (!isOver()) this.#teller.settled(entry);
    this.#teller.askTurn();
  }

  /** @param again asks anew: it has ended meanwhile, or its first rows are there */
  #attach(
    entry: Entry,
    options: SubscribeOptions,
    listener: StreamListener,
    again: () => Outcome,
  ): Outcome {
    const { starting } = entry;
    if (starting !== undefined) {
      entry.startingWaits++;
      return starting.then(() => {
        const { isDropped, endedBecause } = entry;
        if (isDropped && endedBecause !== undefined) return refused(400, endedBecause);
        return again();
      });
    }
    this.#teller.note();
    const fresh = this.#teller.freshen(entry);
    if (fresh !== undefined) return this.#attachLater(entry, options, listener, fresh, again);
    return entry.isDropped ? again() : this.#attachNow(entry, options, listener, 0);
  }

  /**
   * Of a query that another thread runs: as it was when it was asked for, or later. Where that takes too long (or the
   * thread has no snapshot), as it was told last, and what has become of it is told when it is known.
   */
  async #attachLater(
    entry: Entry,
    options: SubscribeOptions,
    listener: StreamListener,
    fresh: Promise<void>,
    again: () => Outcome,
  ): Promise<SubscribeOutcome> {
    const askedMs = performance.now();
    const late = Promise.withResolvers<"late">();
    const timer = setTimeout(() => late.resolve("late"), this.#reader.timeoutMs);
    let next: Promise<void> | undefined = fresh;
    while (next !== undefined && entry.asOfMs < askedMs) {
      if ((await Promise.race([next, late.promise])) === "late") break;
      next = this.#teller.freshen(entry);
    }
    clearTimeout(timer);
    // Between two parts of one change nobody comes in.
    while ((entry.rerun?.untold.length ?? 0) > 0) await entry.rerun?.settled;
    return entry.isDropped ? again() : this.#attachNow(entry, options, listener, 0);
  }

  /** @param tookMs what running it took */
  #attachNow(
    entry: Entry,
    options: SubscribeOptions,
    listener: StreamListener,
    tookMs: number,
  ): SubscribeOutcome {
    const { subscription } = entry;
    const { history } = subscription;
    const head = this.#head(entry);
    if (options.from !== undefined && options.from > 0) {
      const replay = history.after(options.from);
      if (replay === undefined) {
        const why = `subscription already deleted older changes, min change id: ${history.firstId}`;
        linesTo(listener, `${errorJson(why)}\n`);
        listener({ kind: "end", isCut: false });
        return head;
      }
      if (replay !== "") linesTo(listener, replay);
    } else if (!options.skipRows) {
      if (subscription.rowCount > rowsAtOnceMax) return this.#attachSliced(entry, head, listener);
      for (const piece of snapshotLines(subscription, () => tookMs)) linesTo(listener, piece);
    }
    this.#registry.listen(entry, head.subscriber, listener);
    return head;
  }

  /** Many rows, of which a piece is handed on in each turn. */
  #attachSliced(
    entry: Entry,
    head: SubscribeOutcome & { kind: "subscribed" },
    listener: StreamListener,
  ): SubscribeOutcome {
    const held = new HeldListener({
      listener,
      toldRows: () => this.#teller.toldRows,
      tell: (...told) => this.#teller.tellLate(...told),
    });
    const { subscriber } = head;
    this.#registry.listen(entry, subscriber, held.take);
    const begunMs = performance.now();
    const lines = snapshotLines(entry.subscription, () => performance.now() - begunMs);
    const isWanted = (): boolean => entry.listeners.has(subscriber) || entry.isDropped;
    void held.hand(
      lines.map((text) => utf8(text)),
      isWanted,
    );
    return head;
  }

  #head({ subscription }: Entry): SubscribeOutcome & { kind: "subscribed" } {
    const { id, hash } = subscription;
    return { kind: "subscribed", subscriber: this.#nextSubscriber(), id, hash };
  }
}

/** What counts to no limit of the reader's. */
export function linesTo(listener: StreamListener, lines: string): void {
  listener({ kind: "lines", bytes: utf8(lines), isSnapshot: true });
}

function refused(status: 400 | 404, why: string): Refused {
  return { kind: "refused", status, why };
}

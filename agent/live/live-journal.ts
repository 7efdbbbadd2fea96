/**
 * Keeps the store of live queries (`live-store.ts`) in step with them: what is going to be told is written
 * first, in a transaction of its own, so that a crash in between leaves what a restart finds out anew;
 * everything else (new subscriptions, those that are gone, a log that is too long) has time, and goes in
 * slices.
 *
 * @module
 */

import { toldOf } from "./changes.ts";
import type { Finding } from "./evaluation.ts";
import type { Entry, LiveRegistry } from "./live-registry.ts";
import {
  type LiveStore,
  type LogPart,
  type LogRecord,
  type RowsImage,
  rowsImage,
} from "./live-store.ts";
import { inSlices, oneSlice } from "./slices.ts";
import type { Subscription } from "./subscription.ts";

/** Subscriptions that are written, or records that are dropped, in one slice. */
const upkeepMax = 100;
/** Of one with more rows, what is to be written is made in slices. */
const rowsMax = 1000;

/** What one large subscription is going to be saved as. */
interface Imaging {
  readonly entry: Entry;
  readonly subscription: Subscription;
  readonly steps: Generator<undefined, RowsImage>;
}

export class LiveJournal {
  readonly #store: LiveStore;
  readonly #registry: LiveRegistry;
  readonly #logCharsMax: number;
  /** Not in the store yet, and in it still. */
  readonly #unsaved = new Set<Entry>();
  readonly #unremoved = new Set<number>();
  /** What couldn't be saved: tried again with the next that is, and at the end. */
  readonly #postponed = new Set<Entry>();
  /** Commits that are in the store, oldest first. */
  #log: LogRecord[] = [];
  #logChars = 0;
  #imaging: Imaging | undefined;
  /** Whose records are wanted: they aren't taken up yet. */
  readonly #held = new Set<number>();
  /** The last slice couldn't be written (a full disk): the next is tried when there is more to write, or something was. */
  #hasFailed = false;

  /** @param logCharsMax changes of all subscriptions together */
  constructor(store: LiveStore, registry: LiveRegistry, logCharsMax: number) {
    this.#store = store;
    this.#registry = registry;
    this.#logCharsMax = logCharsMax;
  }

  get logChars(): number {
    return this.#logChars;
  }

  /** {@link keepUp} has something to do. */
  get isBehind(): boolean {
    if (this.#hasFailed) return false;
    const isLong = this.#logChars > this.#logCharsMax && this.#held.size === 0;
    return this.#unsaved.size + this.#unremoved.size > 0 || isLong;
  }

  nextOrd(): number {
    return this.#store.nextOrd();
  }

  created(entry: Entry): void {
    this.#hasFailed = false;
    this.#unsaved.add(entry);
  }

  /**
   * Saves a new one that may have many rows.
   *
   * @param isOver it isn't wanted any more
   * @param quiet resolves between two transactions; false: nothing happens any more
   */
  async createdLarge(
    entry: Entry,
    isOver: () => boolean,
    quiet: () => Promise<boolean>,
  ): Promise<void> {
    this.created(entry);
    const { subscription } = entry;
    if (subscription.rowCount <= rowsMax) return;
    const image = await inSlices(rowsImage(subscription), isOver);
    if (image === undefined || !(await quiet()) || isOver()) return;
    this.#saveImage(entry, image.value);
  }

  dropped(entry: Entry): void {
    this.#unsaved.delete(entry);
    this.#postponed.delete(entry);
    if (entry.savedChangeId !== undefined) this.lost(entry.ord);
  }

  /** The log isn't cut until all that are held are released. */
  hold(ord: number): void {
    this.#held.add(ord);
  }

  release(ord: number): void {
    this.#held.delete(ord);
  }

  /** It can't be taken up. */
  lost(ord: number): void {
    this.#hasFailed = false;
    this.#unremoved.add(ord);
  }

  /**
   * Writes down what is going to be told. Those that failed end, and are removed with others that do.
   *
   * @throws SqliteError when it isn't written: then nothing is
   */
  record(findings: readonly Finding[]): void {
    const parts: LogPart[] = [];
    const saved: Entry[] = [];
    let record: LogRecord | undefined;
    try {
      this.#store.within(() => {
        for (const finding of findings) {
          if (finding.kind === "failed") continue;
          const changes = toldOf(finding.changes);
          const { entry } = finding;
          if (entry.savedChangeId === undefined) {
            this.#save(entry);
            saved.push(entry);
          }
          const { ord, subscription } = entry;
          parts.push({ ord, changes, lastChangeId: subscription.history.lastId + changes.length });
        }
        if (parts.length > 0) record = this.#store.append(parts);
      });
    } catch (error) {
      for (const entry of saved) {
        entry.savedChangeId = undefined;
        this.#unsaved.add(entry);
      }
      throw error;
    }
    this.#hasFailed = false;
    if (record !== undefined) this.#keep(record);
  }

  /** Records of the last run, in their order: what restoring finds out is recorded after them. */
  restored(log: readonly LogRecord[]): void {
    for (const record of log) this.#keep(record);
  }

  /** A slice of what the store is to have, and of what it has too much. */
  keepUp(): void {
    const store = this.#store;
    const removed = [...this.#unremoved].slice(0, upkeepMax);
    const saved = [...this.#unsaved].slice(0, upkeepMax);
    let dropped = 0;
    let droppedChars = 0;
    /** With what they were saved as of before. */
    const again = new Map<Entry, number | undefined>();
    const droppedMax = this.#held.size > 0 ? 0 : upkeepMax;
    while (dropped < droppedMax && this.#logChars - droppedChars > this.#logCharsMax) {
      const record = this.#log[dropped] as LogRecord;
      droppedChars += record.chars;
      dropped++;
      for (const { ord, lastChangeId } of record.parts) {
        const entry = this.#registry.byOrd(ord);
        // What the record says is to stand in the rows that are saved before it goes.
        if (entry !== undefined && (entry.savedChangeId ?? 0) < lastChangeId) {
          again.set(entry, entry.savedChangeId);
        }
      }
    }
    if (removed.length + saved.length + dropped === 0) return;
    if (this.#keepUpLarge([...saved, ...again.keys()])) return;
    const last = this.#log[dropped - 1];
    try {
      store.within(() => {
        for (const ord of removed) store.remove(ord);
        for (const entry of saved) this.#save(entry);
        for (const entry of again.keys()) this.#save(entry);
        if (last !== undefined) store.trim(last.seq);
      });
    } catch {
      this.#hasFailed = true;
      for (const entry of saved) this.#postpone(entry);
      for (const [entry, changeId] of again) entry.savedChangeId = changeId;
      return;
    }
    for (const entry of this.#postponed) this.#unsaved.add(entry);
    this.#postponed.clear();
    for (const ord of removed) this.#unremoved.delete(ord);
    for (const entry of saved) this.#unsaved.delete(entry);
    for (const { parts } of this.#log.splice(0, dropped)) {
      for (const { ord, lastChangeId } of parts) {
        this.#registry.byOrd(ord)?.subscription.history.dropThrough(lastChangeId);
      }
    }
    this.#logChars -= droppedChars;
  }

  /** A slice of one that has many rows. @returns false when none has */
  #keepUpLarge(entries: readonly Entry[]): boolean {
    const entry = entries.find(({ subscription }) => subscription.rowCount > rowsMax);
    if (entry === undefined) return false;
    const { subscription } = entry;
    if (this.#imaging?.entry !== entry || this.#imaging.subscription !== subscription) {
      this.#imaging = { entry, subscription, steps: rowsImage(subscription) };
    }
    const image = oneSlice(this.#imaging.steps);
    if (image === undefined) return true;
    this.#imaging = undefined;
    this.#saveImage(entry, image.value);
    return true;
  }

  #saveImage(entry: Entry, image: RowsImage): void {
    // A change that was told meanwhile has had it saved with its rows as they were before it.
    if ((entry.savedChangeId ?? -1) >= image.changeId) return;
    try {
      this.#store.within(() => this.#store.save(entry.ord, entry.subscription, image));
      entry.savedChangeId = image.changeId;
    } catch {
      this.#hasFailed = true;
      // One that was saved before stays as it was.
      if (this.#unsaved.has(entry)) this.#postpone(entry);
    }
    this.#unsaved.delete(entry);
  }

  /** A full disk: until it is saved it is unknown after a crash. */
  #postpone(entry: Entry): void {
    this.#unsaved.delete(entry);
    entry.savedChangeId = undefined;
    this.#postponed.add(entry);
  }

  /** Writes down all that isn't yet. */
  close(): void {
    this.#store.within(() => {
      for (const ord of this.#unremoved) this.#store.remove(ord);
      for (const entry of [...this.#unsaved, ...this.#postponed]) this.#save(entry);
    });
    this.#unremoved.clear();
    this.#postponed.clear();
    this.#unsaved.clear();
  }

  #save(entry: Entry): void {
    this.#store.save(entry.ord, entry.subscription);
    entry.savedChangeId = entry.subscription.history.lastId;
    this.#unsaved.delete(entry);
  }

  #keep(record: LogRecord): void {
    this.#log.push(record);
    this.#logChars += record.chars;
  }
}

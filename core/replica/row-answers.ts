/**
 * Answers that need rows, or a scan for them: complete lists, comparisons with them, and rows by id or range.
 *
 * Rows are sent as they are when they are sent, in blocks, one block a tick, so that an urgent change never
 * waits for more than one.
 *
 * @module
 */

import type { Entry } from "../change/frame.ts";
import { encodeRowBlock } from "../change/row-block.ts";
import { nodeOfRange, rangeCount, rangeLevel, rangesOfNode } from "../index/fingerprint-tree.ts";
import { entryOf } from "../index/recent-rows.ts";
import type { RowIndex } from "../index/row-index.ts";
import type { StoreReply, StoreRequest, Ticket, TreeNodes } from "../node/border.ts";
import { type Digester, type RowId, rangeOfRow } from "../row/digest.ts";
import { type RowState, stampOfRow } from "../row/row-state.ts";
import type { RangeFilter, RowRef, ScannedRow, ScanPosition } from "../row-store.ts";
import { compareEntries, isCovered, isUnder } from "./entry-comparison.ts";
import { PlaceWindow } from "./place-window.ts";
import { piecesOf, valueBytesOf } from "./row-pieces.ts";
import { type ReadSlice, RowScan, type ScanOptions } from "./row-scan.ts";
import { decodeCursor, encodeCursor } from "./stream-cursor.ts";

export interface RowAnswersOptions extends ScanOptions {
  /** Rows of one block, at most 1,000: some 5 µs each to read. */
  readonly blockRowsMax: number;
  /** Places that one scan notes for fetches by range, some 40 bytes each. */
  readonly windowRowsMax: number;
}

export const rowAnswersDefaults: RowAnswersOptions = {
  scanRowsPerTick: 500,
  scanPauseMs: 9,
  scanQuestionsMax: 16,
  blockRowsMax: 500,
  windowRowsMax: 200_000,
};

/** A block is ended early once its values take about this much. */
export const blockBytesMax: number = 1024 * 1024;
/** No block has more, whatever its rows are, but for one value: a frame carries 65 MiB. */
const pieceBytesMax = 16 * 1024 * 1024;
/** How long noted places are good for: rows that come later are not among them. */
const windowMs = 60_000;
/** For how many fetching peers they are kept. */
const windowsMax = 4;

type Asked<Kind extends StoreRequest["kind"]> = Extract<StoreRequest, { kind: Kind }>;

/**
 * A store's `writeRows`, as a block; undefined when the store can't be read, or some rows are not to be sent: then
 * they are read one by one.
 */
export type WriteRows = (
  position: ScanPosition | undefined,
  rowsMax: number,
  bytesMax: number,
) => { readonly block: Uint8Array; readonly next: ScanPosition | undefined } | undefined;

/** A store's `read`; an empty list when the store can't be read. */
export type ReadRows = (refs: readonly RowRef[]) => readonly (RowState | undefined)[];

/** Rows on their way out. */
interface RowStream {
  readonly ticket: Ticket;
  readonly places: Iterator<RowRef>;
}

interface KeptWindow {
  readonly window: PlaceWindow;
  /** Questions that wait for its scan. */
  readonly waiting: { readonly ticket: Ticket; readonly ranges: ReadonlySet<number> }[];
  /** Wall clock after which it is too old; infinite while it is scanned for. */
  untilMs: number;
}

/** Places of rows that lists have told peers about, for the fetches that follow; so many of usual keys. */
const placesMax = 50_000;
/** Of the keys of these: some may have 64 KiB. */
export const placesBytesMax: number = 16 * 1024 * 1024;
/** Rows that are read before it is looked at how large they are. */
const stepRowsMax = 125;
/** Of a row in a stream, which has no pieces. A larger one is left out, and fetched by its id when a walk finds it. */
const streamedBytesMax = 48 * 1024 * 1024;

export class RowAnswers {
  readonly #index: RowIndex;
  readonly #digester: Digester;
  readonly #readRows: ReadRows;
  readonly #options: RowAnswersOptions;
  readonly #writeRows: WriteRows;
  readonly #readSlice: ReadSlice;
  readonly #scan: RowScan;
  readonly #streams: RowStream[] = [];
  #windows: KeptWindow[] = [];
  readonly #places = new Map<RowId, RowRef>();
  #placesBytes = 0;
  /** Positions of another life are void. */
  #life: number;
  /** Of the call under way. */
  #replies: StoreReply[] = [];
  #nowMs = 0;

  constructor(
    index: RowIndex,
    digester: Digester,
    readSlice: ReadSlice,
    readRows: ReadRows,
    writeRows: WriteRows,
    options: RowAnswersOptions,
    life: number,
  ) {
    this.#life = life;
    this.#index = index;
    this.#digester = digester;
    this.#readRows = readRows;
    this.#writeRows = writeRows;
    this.#options = options;
    this.#readSlice = readSlice;
    this.#scan = new RowScan(readSlice, options);
  }

  /** Wall clock at which `tick` is wanted. */
  dueMs(nowMs: number): number {
    return this.#streams.length > 0 ? Number.NEGATIVE_INFINITY : this.#scan.dueMs(nowMs);
  }

  /** Questions that aren't answered to their end. */
  get open(): number {
    return this.#scan.questions + this.#streams.length;
  }

  /** Rows that were asked for are on their way out. */
  get isSending(): boolean {
    return this.#streams.length > 0;
  }

  /** Whether these rows can be found without a scan. */
  knows(ids: readonly RowId[]): boolean {
    return ids.every((id) => this.#index.recent.has(id) || this.#places.has(id));
  }

  /** One block of a stream, or one slice of the scan. */
  tick(nowMs: number, replies: StoreReply[]): void {
    this.#begin(nowMs, replies);
    const stream = this.#streams.shift();
    if (stream !== undefined) this.#sendBlock(stream);
    else this.#scan.tick(nowMs);
  }

  /** Ends every question: the index is rebuilt. Rows that were being sent end here, the rest are found again. */
  end(replies: StoreReply[], nextLife: number): void {
    this.#begin(this.#nowMs, replies);
    this.#life = nextLife;
    this.#scan.fail(this.#nowMs);
    for (const { ticket } of this.#streams.splice(0)) {
      replies.push({ kind: "rows", ticket, block: encodeRowBlock([]), last: true });
    }
  }

  list(request: Asked<"list">, nowMs: number, replies: StoreReply[]): void {
    this.#begin(nowMs, replies);
    const { ticket } = request;
    if (request.recentOnly) {
      const entries = this.#recentEntries(request).filter((entry) => isCovered(entry, request));
      replies.push({ kind: "listed", ticket, entries });
      return;
    }
    const isListed = isUnder(request);
    const entries = new Map<RowId, Entry>();
    this.#ask(ticket, {
      wantsRange: isListed,
      wants: (row) => isListed(rangeOfRow(row.id)),
      meet: (row) => {
        const entry = this.#entryOf(row);
        if (!isCovered(entry, request)) return;
        entries.set(row.id, entry);
        this.#notePlace(row);
      },
      finish: () => this.#replies.push({ kind: "listed", ticket, entries: [...entries.values()] }),
    });
  }

  compare(request: Asked<"compare">, nowMs: number, replies: StoreReply[]): void {
    this.#begin(nowMs, replies);
    const { ticket, level, recentOnly } = request;
    const own = new Map<RowId, Entry>();
    const finish = () => {
      const differences = compareEntries(own, request.entries, request, level, !recentOnly);
      this.#replies.push({ kind: "compared", ticket, ...differences });
    };
    if (recentOnly) {
      for (const entry of this.#recentEntries(request)) own.set(entry.id, entry);
      finish();
      return;
    }
    const isListed = isUnder(request);
    this.#ask(ticket, {
      wantsRange: isListed,
      wants: (row) => isListed(rangeOfRow(row.id)),
      meet: (row) => {
        own.set(row.id, this.#entryOf(row));
        this.#notePlace(row);
      },
      finish,
    });
  }

  rowsById(request: Asked<"rows">, nowMs: number, replies: StoreReply[]): void {
    this.#begin(nowMs, replies);
    const { ticket } = request;
    const places: RowRef[] = [];
    const unknown = new Set<RowId>();
    for (const id of new Set(request.ids)) {
      const place = this.#index.recent.get(id)?.ref ?? this.#places.get(id);
      if (place === undefined) unknown.add(id);
      else places.push(place);
    }
    if (unknown.size === 0) {
      this.#stream(ticket, places.values());
      return;
    }
    if (request.atOnce) {
      this.#replies.push({ kind: "unavailable", ticket, why: "scan" });
      return;
    }
    const ranges = new Set([...unknown].map(rangeOfRow));
    this.#ask(ticket, {
      wantsRange: (range) => ranges.has(range),
      wants: (row) => unknown.has(row.id),
      meet: (row) => {
        unknown.delete(row.id);
        places.push({ table: row.table, key: row.key });
      },
      finish: () => this.#stream(ticket, places.values()),
    });
  }

  rowsByRange(request: Asked<"range-rows">, nowMs: number, replies: StoreReply[]): void {
    this.#begin(nowMs, replies);
    const { ticket } = request;
    const ranges = rangesOf(request);
    this.#windows = this.#windows.filter(({ untilMs }) => untilMs > nowMs);
    const known = this.#windows.find(({ window }) => window.covers(ranges));
    if (known === undefined) this.#scanWindow(ticket, ranges);
    else if (known.untilMs === Number.POSITIVE_INFINITY) known.waiting.push({ ticket, ranges });
    else this.#stream(ticket, known.window.places(ranges));
  }

  /** Reads on where the cursor stands. Keeps nothing: what it needs to know comes with each question. */
  streamRows(request: Asked<"stream-rows">, nowMs: number, replies: StoreReply[]): void {
    this.#begin(nowMs, replies);
    const { ticket, cursor } = request;
    let position = cursor.length === 0 ? undefined : decodeCursor(cursor, this.#life);
    if (cursor.length > 0 && position === undefined) {
      this.#busy(ticket);
      return;
    }
    const { blockRowsMax } = this.#options;
    if (request.level === 0 && request.nodes.includes(0)) {
      const written = this.#writeRows(position, blockRowsMax, blockBytesMax);
      if (written !== undefined && written.block.length <= streamedBytesMax) {
        const { block, next } = written;
        const nextCursor = next && encodeCursor(next, this.#life);
        this.#replies.push({ kind: "streamed", ticket, block, cursor: nextCursor });
        return;
      }
    }
    const isWanted = isUnder(request);
    const rows: RowState[] = [];
    let bytes = 0;
    let scanned = 0;
    let stepMax = stepRowsMax;
    do {
      const slice = this.#readSlice(position, Math.min(stepMax, this.#rowsThatFit(scanned, bytes)));
      if (slice === undefined) {
        this.#busy(ticket);
        return;
      }
      const wanted = slice.rows.filter((row) => isWanted(rangeOfRow(row.id)));
      const read = wanted.length === 0 ? [] : this.#readRows(wanted);
      const step = read.filter((row) => row !== undefined);
      const stepBytes = step.reduce((sum, row) => sum + valueBytesOf(row), 0);
      const isTooMuch = bytes + stepBytes > streamedBytesMax;
      if (isTooMuch && slice.rows.length > 1) {
        stepMax = 1;
        continue;
      }
      if (isTooMuch && rows.length > 0) break;
      if (!isTooMuch) {
        rows.push(...step);
        bytes += stepBytes;
      }
      // Damaged rows are none, and take time too.
      scanned += Math.max(1, slice.rows.length);
      position = slice.next;
    } while (position !== undefined && scanned < blockRowsMax && bytes < blockBytesMax);
    const next = position === undefined ? undefined : encodeCursor(position, this.#life);
    this.#replies.push({ kind: "streamed", ticket, block: encodeRowBlock(rows), cursor: next });
  }

  #begin(nowMs: number, replies: StoreReply[]): void {
    this.#nowMs = nowMs;
    this.#replies = replies;
  }

  #scanWindow(ticket: Ticket, ranges: ReadonlySet<number>): void {
    const window = new PlaceWindow(this.#rangesFrom(ranges));
    const kept: KeptWindow = {
      window,
      waiting: [{ ticket, ranges }],
      untilMs: Number.POSITIVE_INFINITY,
    };
    const isAccepted = this.#ask(
      ticket,
      {
        wantsRange: (range) => window.has(range),
        wants: (row) => window.has(rangeOfRow(row.id)),
        meet: (row) => window.add(row.id, row),
        finish: () => {
          kept.untilMs = this.#nowMs + windowMs;
          for (const { ticket: asked, ranges: of } of kept.waiting.splice(0)) {
            this.#stream(asked, window.places(of));
          }
        },
      },
      () => {
        this.#windows = this.#windows.filter((other) => other !== kept);
        for (const { ticket: asked } of kept.waiting) this.#busy(asked);
      },
    );
    if (!isAccepted) return;
    this.#windows.push(kept);
    // The oldest that isn't scanned for; there are no more than questions may wait.
    const oldest = this.#windows.findIndex(({ untilMs }) => untilMs < Number.POSITIVE_INFINITY);
    if (this.#windows.length > windowsMax && oldest >= 0) {
      this.#windows.splice(oldest, 1);
    }
  }

  /** These ranges, and those after the last of them while their rows are within bounds. */
  #rangesFrom(ranges: ReadonlySet<number>): ReadonlySet<number> {
    const all = new Set(ranges);
    const { live } = this.#index;
    let rows = 0;
    let last = -1;
    for (const range of ranges) {
      rows += live.rows(rangeLevel, range);
      last = Math.max(last, range);
    }
    for (let range = last + 1; range < rangeCount; range++) {
      rows += live.rows(rangeLevel, range);
      if (rows > this.#options.windowRowsMax) break;
      all.add(range);
    }
    return all;
  }

  #stream(ticket: Ticket, places: Iterator<RowRef>): void {
    this.#sendBlock({ ticket, places });
  }

  /** Sends the next block of a stream, of rows as held now, and puts it back while it has more. */
  #sendBlock(stream: RowStream): void {
    const { ticket, places } = stream;
    const { blockRowsMax } = this.#options;
    const rows: RowState[] = [];
    let read = 0;
    let bytes = 0;
    let isLast = false;
    while (!isLast && read < blockRowsMax && bytes < blockBytesMax) {
      const refs: RowRef[] = [];
      const refsMax = this.#rowsThatFit(read, bytes);
      while (refs.length < refsMax && !isLast) {
        const { done, value } = places.next();
        if (done === true) isLast = true;
        else refs.push(value);
      }
      read += refs.length;
      for (const row of refs.length === 0 ? [] : this.#readRows(refs)) {
        if (row === undefined) continue;
        rows.push(row);
        bytes += valueBytesOf(row);
      }
    }
    const lists = piecesOf(rows, pieceBytesMax, ticket);
    if (lists.length === 0 && isLast) lists.push([]);
    for (const [at, list] of lists.entries()) {
      const last = isLast && at === lists.length - 1;
      this.#replies.push({ kind: "rows", ticket, block: encodeRowBlock(list), last });
    }
    if (!isLast) this.#streams.push(stream);
  }

  /** How many rows to read next, if those of a block so far have `bytes`: values may have megabytes. */
  #rowsThatFit(rows: number, bytes: number): number {
    const { blockRowsMax } = this.#options;
    if (rows === 0) return 1;
    const fit = Math.floor((blockBytesMax - bytes) / Math.max(1, bytes / rows));
    return Math.max(1, Math.min(fit, stepRowsMax, blockRowsMax - rows));
  }

  /** Puts a question into a scan; false when too many wait, and then it has been answered. */
  #ask(
    ticket: Ticket,
    question: {
      readonly wantsRange: RangeFilter;
      readonly wants: (row: ScannedRow) => boolean;
      readonly meet: (row: ScannedRow) => void;
      readonly finish: () => void;
    },
    fail: () => void = () => this.#busy(ticket),
  ): boolean {
    const isAccepted = this.#scan.ask({ ...question, fail }, this.#nowMs);
    if (!isAccepted) this.#busy(ticket);
    return isAccepted;
  }

  #busy(ticket: Ticket): void {
    this.#replies.push({ kind: "unavailable", ticket, why: "busy" });
  }

  /** Entries of all rows changed lately under the nodes, whatever their stamps. */
  #recentEntries({ level, nodes }: TreeNodes): Entry[] {
    const wanted = new Set(nodes);
    const entries: Entry[] = [];
    this.#index.recent.forEachIn(
      (range) => wanted.has(nodeOfRange(range, level)),
      ({ id, stamp, digest }) => entries.push(entryOf(id, stamp, digest)),
    );
    return entries;
  }

  #entryOf(row: ScannedRow): Entry {
    const known = this.#index.recent.get(row.id);
    if (known !== undefined) return entryOf(row.id, known.stamp, known.digest);
    return entryOf(row.id, stampOfRow(row.clocks), this.#digester.rowDigest(row.id, row.clocks));
  }

  #notePlace(row: ScannedRow): void {
    if (this.#places.has(row.id)) return;
    this.#places.set(row.id, { table: row.table, key: row.key });
    this.#placesBytes += row.key.length;
    for (const [id, { key }] of this.#places) {
      if (this.#places.size <= placesMax && this.#placesBytes <= placesBytesMax) return;
      this.#places.delete(id);
      this.#placesBytes -= key.length;
    }
  }
}

function rangesOf({ level, nodes }: TreeNodes): ReadonlySet<number> {
  const ranges = new Set<number>();
  for (const node of nodes) {
    const { lower, upper } = rangesOfNode(level, node);
    for (let range = lower; range < upper; range++) ranges.add(range);
  }
  return ranges;
}

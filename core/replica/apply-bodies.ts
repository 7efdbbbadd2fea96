/**
 * What peers sent, read piece by piece: a changeset, or rows that repair fetched. Both may be malformed, or stamped
 * too far ahead of the fleet's time.
 *
 * @module
 */

import { ChangesetReader } from "../change/changeset.ts";
import { decodeRowBlock } from "../change/row-block.ts";
import { compareHlc, type Hlc, type Stamp } from "../clock/stamp.ts";
import { type RowState, stampOfRow } from "../row/row-state.ts";

export interface Refusal {
  readonly body: number;
  readonly why: string;
  readonly kind: "malformed" | "ahead" | "store";
  /** Rows, of a row block of which others were taken. */
  readonly rows?: number;
}

/** One body, being read. */
export interface OpenBody {
  readonly body: number;
  /** Of a changeset; undefined for rows. */
  readonly stamp: Stamp | undefined;
  /** Rows still to be read. */
  readonly left: number;
  /** @returns why the body is refused */
  read(count: number): readonly RowState[] | Pick<Refusal, "kind" | "why">;
}

/** Larger ones are read piece by piece, in a transaction of their own. */
const smallBytesMax = 32 * 1024;

/** A changeset. */
export class ChangesetBody implements OpenBody {
  readonly body: number;
  readonly stamp: Stamp;
  readonly isSmall: boolean;
  readonly #reader: ChangesetReader;
  readonly #limitMs: number;
  readonly #aheadText: (ms: number) => string;
  /** Of a small one, all; of others, none. */
  #rows: readonly RowState[] | undefined;
  #next = 0;

  constructor(body: number, bytes: Uint8Array, limitMs: number, aheadText: (ms: number) => string) {
    this.body = body;
    this.#reader = new ChangesetReader(bytes);
    this.#limitMs = limitMs;
    this.#aheadText = aheadText;
    this.stamp = this.#reader.stamp;
    this.isSmall = bytes.length <= smallBytesMax;
  }

  get left(): number {
    return this.#rows === undefined ? this.#reader.left : this.#rows.length - this.#next;
  }

  /** Reads a small one to its end. @returns why it is refused */
  readAhead(): Pick<Refusal, "kind" | "why"> | undefined {
    if (!this.isSmall) return undefined;
    const rows = this.#read(Number.POSITIVE_INFINITY);
    if ("kind" in rows) return rows;
    this.#rows = rows;
    return undefined;
  }

  read(count: number): readonly RowState[] | Pick<Refusal, "kind" | "why"> {
    if (this.#rows === undefined) return this.#read(count);
    const rows = this.#rows.slice(this.#next, this.#next + count);
    this.#next += rows.length;
    return rows;
  }

  #read(count: number): readonly RowState[] | Pick<Refusal, "kind" | "why"> {
    const rows = this.#reader.read(count);
    const { why } = this.#reader;
    if (why !== undefined) return { kind: "malformed", why };
    const last = rows.reduce((so, row) => laterHlc(so, stampOfRow(row)), this.stamp as Hlc);
    if (last.ms > this.#limitMs) return { kind: "ahead", why: this.#aheadText(last.ms) };
    return rows;
  }
}

/** @returns why the changeset is refused, if that shows at once */
export function openChangeset(
  body: number,
  bytes: Uint8Array,
  limitMs: number,
  aheadText: (ms: number) => string,
): ChangesetBody | Pick<Refusal, "kind" | "why"> {
  const opened = new ChangesetBody(body, bytes, limitMs, aheadText);
  return opened.readAhead() ?? opened;
}

/** The golden ratio, less 1: its multiples lie far from each other. */
const turnShare = 0.618;

/**
 * Repair's rows stand each for itself: one that is ahead doesn't keep the others away.
 *
 * @param turn In which order they are read: with each turn from elsewhere, up and down by turns.
 */
export function openRows(
  body: number,
  bytes: Uint8Array,
  limitMs: number,
  aheadText: (ms: number) => string,
  turn = 0,
): { readonly body?: OpenBody; readonly refused?: Refusal } {
  const decoded = decodeRowBlock(bytes);
  if (decoded.kind === "malformed") {
    return { refused: { body, kind: "malformed", why: decoded.why } };
  }
  let worstMs = 0;
  const taken = decoded.rows.filter((row) => {
    const { ms } = stampOfRow(row);
    worstMs = Math.max(worstMs, ms);
    return ms <= limitMs;
  });
  const first = Math.floor((((turn >> 1) * turnShare) % 1) * taken.length);
  const rows = [...taken.slice(first), ...taken.slice(0, first)];
  if (turn % 2 === 1) rows.reverse();
  let next = 0;
  const opened: OpenBody = {
    body,
    stamp: undefined,
    get left() {
      return rows.length - next;
    },
    read: (count) => {
      const piece = rows.slice(next, next + count);
      next += piece.length;
      return piece;
    },
  };
  const refused = decoded.rows.length - rows.length;
  if (refused === 0) return { body: opened };
  const why = `${refused} of ${decoded.rows.length} rows: ${aheadText(worstMs)}`;
  return { body: opened, refused: { body, kind: "ahead", why, rows: refused } };
}

export function laterHlc(a: Hlc, b: Hlc): Hlc {
  return compareHlc(a, b) >= 0 ? a : b;
}

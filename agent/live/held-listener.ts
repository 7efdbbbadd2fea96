/**
 * A listener that is handed many rows, a piece a turn, and hears of what happens meanwhile after the last of them.
 *
 * @module
 */

import type { MergedRow } from "../../core/row-store.ts";
import type { StreamEvent, StreamListener } from "../api/store-service.ts";

/** What it is told later, with all rows of the commit where it was one. */
interface Held {
  readonly event: StreamEvent;
  readonly rows: readonly MergedRow[] | undefined;
}

export interface HeldListenerOptions {
  readonly listener: StreamListener;
  /** Of the commit that is being told. */
  readonly toldRows: () => readonly MergedRow[] | undefined;
  /** Tells it of that commit. */
  readonly tell: (
    listener: StreamListener,
    event: StreamEvent,
    rows: readonly MergedRow[] | undefined,
  ) => void;
}

export class HeldListener {
  readonly #options: HeldListenerOptions;
  #held: Held[] | undefined = [];
  #isCut = false;

  constructor(options: HeldListenerOptions) {
    this.#options = options;
  }

  readonly take: StreamListener = (event) => {
    const { listener, toldRows } = this.#options;
    if (event.kind === "end" && event.isCut) this.#isCut = true;
    if (this.#held === undefined || this.#isCut) listener(event);
    else this.#held.push({ event, rows: toldRows() });
  };

  /**
   * Hands all pieces on, and then what was held back.
   *
   * @param isWanted asked before each piece
   */
  async hand(pieces: Iterator<Uint8Array>, isWanted: () => boolean): Promise<void> {
    const { listener, tell } = this.#options;
    for (let piece = pieces.next(); piece.done !== true; piece = pieces.next()) {
      if (this.#isCut || !isWanted()) return;
      listener({ kind: "lines", bytes: piece.value, isSnapshot: true });
      await new Promise((resolve) => setImmediate(resolve));
    }
    const held = this.#held ?? [];
    this.#held = undefined;
    if (this.#isCut) return;
    for (const { event, rows } of held) tell(listener, event, rows);
  }
}

/**
 * When no snapshot is lent: while the WAL is long, until it has begun anew.
 *
 * It can only begin anew while nobody has a snapshot, and long reads that overlap always have one. So above a
 * size none is lent any more, those that are lent come to their end, and the checkpointer has the WAL for
 * itself. It may fail (a full disk, say): then reads go on after a while, and the next pause is later.
 *
 * @module
 */

/** With nothing lent, until lending goes on all the same: copying and syncing 100 MB take a slow disk some seconds. */
const waitMsMax = 10_000;
/** Until the next pause after one that came to nothing. */
const againMs = 60_000;

export class LendingPause {
  #sinceMs: number | undefined;
  /** Nothing is lent, and the WAL could begin anew. */
  #freeSinceMs: number | undefined;
  #notBeforeMs = Number.NEGATIVE_INFINITY;

  get isOn(): boolean {
    return this.#sinceMs !== undefined;
  }

  /** For how long it has been, in ms; 0 while it isn't. */
  lastedMs(nowMs: number): number {
    return this.#sinceMs === undefined ? 0 : nowMs - this.#sinceMs;
  }

  /** @param isLong what is lent now would keep it longer still */
  walChanged(isLong: boolean, nowMs: number): void {
    if (!isLong) this.#end();
    else if (!this.isOn && nowMs >= this.#notBeforeMs) this.#sinceMs = nowMs;
  }

  /** A look now and then, while it is on. */
  look(isLent: boolean, nowMs: number): void {
    if (!this.isOn || isLent) {
      this.#freeSinceMs = undefined;
      return;
    }
    this.#freeSinceMs ??= nowMs;
    if (nowMs - this.#freeSinceMs <= waitMsMax) return;
    this.#notBeforeMs = nowMs + againMs;
    this.#end();
  }

  #end(): void {
    this.#sinceMs = undefined;
    this.#freeSinceMs = undefined;
  }
}

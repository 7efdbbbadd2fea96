/**
 * Virtual time: one heap of what is to happen, by (time, order of scheduling). Nothing else moves it.
 *
 * @module
 */

interface Scheduled {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

export class Timeline {
  #nowMs = 0;
  #order = 0;
  #events = 0;
  readonly #heap: Scheduled[] = [];

  /** Virtual milliseconds since the start. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** How many things have happened. */
  get events(): number {
    return this.#events;
  }

  at(atMs: number, run: () => void): void {
    const heap = this.#heap;
    const item: Scheduled = { atMs: Math.max(atMs, this.#nowMs), order: this.#order++, run };
    let at = heap.length;
    heap.push(item);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(item, heap[parent] as Scheduled)) break;
      heap[at] = heap[parent] as Scheduled;
      at = parent;
    }
    heap[at] = item;
  }

  after(ms: number, run: () => void): void {
    this.at(this.#nowMs + ms, run);
  }

  /** Lets happen all that is due until then, and stands there. */
  runUntil(untilMs: number): void {
    for (
      let next = this.#heap[0];
      next !== undefined && next.atMs <= untilMs;
      next = this.#heap[0]
    ) {
      this.#pop();
      this.#nowMs = next.atMs;
      this.#events++;
      next.run();
    }
    this.#nowMs = untilMs;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop() as Scheduled;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (
        child + 1 < heap.length &&
        isBefore(heap[child + 1] as Scheduled, heap[child] as Scheduled)
      ) {
        child++;
      }
      if (!isBefore(heap[child] as Scheduled, last)) break;
      heap[at] = heap[child] as Scheduled;
      at = child;
    }
    heap[at] = last;
  }
}

function isBefore(a: Scheduled, b: Scheduled): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

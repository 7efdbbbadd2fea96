/**
 * What a listener throws is the user's to see, and must not stop what else is due in this turn.
 *
 * @module
 */

/** Throws `error` from a microtask, where it reaches `uncaughtException`. */
export function throwLater(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}

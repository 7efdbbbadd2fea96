/**
 * Deadlines of a stream: milliseconds on its owner's monotonic clock, with a fraction.
 *
 * @module
 */

/** A deadline that isn't set. */
export const NEVER: number = Number.POSITIVE_INFINITY;

/**
 * Without progress for this long, and after several attempts, the peer is dead. The time alone would
 * be ours: a process that was stopped finds all its deadlines past, and the answers unread.
 */
export const DEAD_AFTER_MS = 13_000;

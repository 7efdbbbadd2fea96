/**
 * A run of a query that failed for a reason outside of it.
 *
 * @module
 */

/** Nothing is wrong with the query itself: it may be run again. */
export class NotOfQueryError extends Error {
  override readonly name: string = "NotOfQueryError";
}

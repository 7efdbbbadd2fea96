/**
 * Misuse by our own code stops here. On in production: a broken invariant must not reach a replica.
 *
 * @module
 */

export class AssertionError extends Error {
  override readonly name: string = "AssertionError";
}

/** Throws {@link AssertionError} unless `condition` holds. Never used on input from outside. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** For the default branch of a `switch` over a union: a new member becomes a compile error. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable: ${JSON.stringify(value)}`);
}

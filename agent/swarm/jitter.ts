/**
 * Waits that differ from node to node.
 *
 * @module
 */

/** Give or take a quarter, so that what was started together doesn't stay together. */
export function jittered(waitMs: number): number {
  return waitMs * (0.75 + Math.random() / 2);
}

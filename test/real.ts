/**
 * Tests use the real programs that they find. What is missing is printed at the end of the run; under
 * `PATINA_REQUIRE_REAL=1`, as in CI, it is a failure.
 *
 * @module
 */

import { test } from "bun:test";
import { appendFileSync } from "node:fs";

/** Notes that `what` was not tested, and why. Throws where a skip is a failure. */
export function skipped(what: string, why: string): void {
  if (process.env.PATINA_REQUIRE_REAL === "1") throw new Error(`skipped: ${what} (${why})`);
  notAllowed(what, why);
}

/** Notes that this machine doesn't allow what `what` needs: nothing is missing that could be installed. */
export function notAllowed(what: string, why: string): void {
  const line = `skipped: ${what} (${why})`;
  console.warn(line);
  const log = process.env.TEST_SKIP_LOG;
  if (log !== undefined) appendFileSync(log, `${line}\n`);
}

/** A test that runs if `missing` is undefined, and otherwise notes that it was skipped, and why. */
export function testIf(
  missing: string | undefined,
  name: string,
  body: () => void | Promise<void>,
  timeoutMs?: number,
): void {
  if (missing === undefined) test(name, body, timeoutMs);
  else test(name, () => skipped(name, missing));
}

/** Undefined if `program` is on the PATH, else why a test that needs it can't run. */
export function missingProgram(program: string): string | undefined {
  return Bun.which(program) === null ? `${program} is not installed` : undefined;
}

/**
 * The executable that `npm test` has built before it runs the tests.
 *
 * @module
 */

import { existsSync } from "node:fs";
import { buildDefaults } from "../../agent/build.ts";

/** Its path. Throws if there is none. */
export function builtBinary(): string {
  const path = buildDefaults.outfile;
  if (!existsSync(path)) throw new Error(`${path} is missing: npm run build`);
  return path;
}

/**
 * `patina keygen`: makes a node's key.
 *
 * @module
 */

import { createNodeKey } from "../../secrets/node-key.ts";
import { exitCodes, StartFailure } from "../../start-failure.ts";
import type { GlobalOptions } from "../global-options.ts";
import { print, printDone } from "../output.ts";

export function keygen(file: string, options: GlobalOptions): void {
  process.umask(0o077);
  const made = createNodeKey(file);
  if (made.kind === "refused") throw new StartFailure(exitCodes.failed, made.why);
  const { publicKey } = made.key;
  printDone(`but ${file} was made`, () => {
    print(options.json ? JSON.stringify({ key: publicKey, file }) : publicKey);
  });
}

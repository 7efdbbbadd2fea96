/**
 * The executable: what `patina` runs first. Nothing is imported here but what it needs to tell its
 * version; each command loads its own code.
 *
 * No `await` at the top: bytecode can't have it.
 *
 * @module
 */

import { version } from "./version.ts";

const [first] = process.argv.slice(2);
if (first === "--version" || first === "-V") console.log(version);
else {
  void import("./cli/program.ts").then(({ runProgram }) => runProgram(process.argv.slice(2)));
}

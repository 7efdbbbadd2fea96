/**
 * The executable: what `patina` runs first. Nothing is imported here but what it needs to tell its
 * version; each command loads its own code.
 *
 * No `await` at the top: bytecode can't have it.
 *
 * @module
 */

import { OutputFailure, print } from "./cli/output.ts";
import { exitCodes } from "./start-failure.ts";
import { version } from "./version.ts";

const [first] = process.argv.slice(2);
if (first === "--version" || first === "-V") printVersion();
else {
  void import("./cli/program.ts").then(({ runProgram }) => runProgram(process.argv.slice(2)));
}

function printVersion(): void {
  try {
    print(version);
  } catch (error) {
    if (!(error instanceof OutputFailure)) throw error;
    console.error(`patina: ${error.message}`);
    process.exitCode = exitCodes.failed;
  }
}

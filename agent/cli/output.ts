/**
 * What commands print on stdout: written before they go on, and a failure is told. (`console.log` passes
 * over a full disk, and over a reader that has left.)
 *
 * @module
 */

import { writeSync } from "node:fs";
import { exitCodes } from "../start-failure.ts";

/** Stdout can't be written: a full disk, say. */
export class OutputFailure extends Error {}

const stdout = 1;
const lookAgainMs = 5;

/**
 * Ends the process with 0 when the reader of a pipe has left (`patina query … | head -1`): it has what it wanted.
 *
 * @throws OutputFailure
 */
export function print(line: string): void {
  printText(`${line}\n`);
}

/**
 * Prints what has been done. That it can't be told doesn't undo it: the failure says so.
 *
 * @param done a sentence's rest, after a semicolon
 * @throws OutputFailure
 */
export function printDone(done: string, printAll: () => void): void {
  try {
    printAll();
  } catch (error) {
    throw error instanceof OutputFailure ? new OutputFailure(`${error.message}; ${done}`) : error;
  }
}

/** As it is. @throws OutputFailure */
export function printText(text: string): void {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(stdout, bytes, at);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === "EPIPE") process.exit(exitCodes.ok);
      // A pipe that somebody else made non-blocking, and that is full.
      if (code !== "EAGAIN") throw new OutputFailure(`stdout can't be written: ${message}`);
      Bun.sleepSync(lookAgainMs);
    }
  }
}

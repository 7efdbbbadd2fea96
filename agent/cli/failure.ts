/**
 * How a command that failed says so, and its exit code.
 *
 * @module
 */

import { SqliteError } from "../../wasm/error.ts";
import { ApiFailure, Unreachable } from "../client/client.ts";
import { type ExitCode, exitCodes, StartFailure } from "../start-failure.ts";
import { OutputFailure, print } from "./output.ts";

/** Wrong use that only the command itself can see. */
export class UsageError extends Error {}

const expected = [ApiFailure, OutputFailure, StartFailure, UsageError];

export function reportFailure(error: unknown, json: boolean): ExitCode {
  const exitCode = exitCodeOf(error);
  const message = messageOf(error);
  if (!json || !printed(JSON.stringify({ error: { code: exitCode, message } }))) {
    console.error(`patina: ${message}`);
  }
  return exitCode;
}

function printed(line: string): boolean {
  try {
    print(line);
    return true;
  } catch {
    return false;
  }
}

function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof StartFailure) return error.exitCode;
  if (error instanceof UsageError) return exitCodes.usage;
  if (error instanceof Unreachable) return exitCodes.unreachable;
  if (error instanceof SqliteError) return exitCodes.data;
  return exitCodes.failed;
}

function messageOf(error: unknown): string {
  if (error instanceof Unreachable) {
    if (error.mayBeDone) {
      return `${error.message}\nIt may have been done all the same: look before you do it again.`;
    }
    // An agent that was never started is mended in another way than one that hangs.
    if (error.isLate)
      return `${error.message}\nIt may hang, be stopped, or have too much to do: its log says more.`;
    return `${error.message}\nIs the agent running? Its socket: --socket PATH, or -c FILE of its config.`;
  }
  // Of a database that was opened once already: too many open files, no memory, a disk that has just gone.
  if (error instanceof SqliteError) return `database: ${error.message}`;
  if (expected.some((kind) => error instanceof kind)) return (error as Error).message;
  // A fault of ours: the stack is what helps.
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

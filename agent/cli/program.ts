/**
 * The command line as a whole. What a command does is loaded when it is called.
 *
 * @module
 */

import { isUtf8 } from "node:buffer";
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { exitCodes, StartFailure } from "../start-failure.ts";
import { version } from "../version.ts";
import {
  addBackup,
  addExec,
  addMembers,
  addQuery,
  addReload,
  addStatus,
  addSubs,
  addSwarm,
  addWatch,
} from "./client-commands.ts";
import {
  addAgent,
  addBootstrap,
  addCluster,
  addKeygen,
  addRestore,
  exitCodeHelp,
} from "./host-commands.ts";
import { printText } from "./output.ts";

/** As `--help` lists them. */
const commandsInOrder: readonly ((program: Command) => void)[] = [
  ...[addKeygen, addCluster, addBootstrap, addAgent],
  ...[addQuery, addExec, addWatch, addMembers, addStatus],
  ...[addBackup, addReload, addRestore, addSubs, addSwarm],
];

/** Runs and ends the process with the command's exit code. */
export async function runProgram(args: readonly string[]): Promise<void> {
  const isJson = args.includes("--json");
  const program = createProgram(isJson);
  try {
    refuseRepaired(args);
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    const isUsage = error instanceof CommanderError;
    if (isUsage && (error.exitCode === 0 || !isJson)) {
      process.exitCode = error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
      return;
    }
    const { reportFailure, UsageError } = await import("./failure.ts");
    const failure = isUsage ? new UsageError(error.message.replace(/^error: /, "")) : error;
    process.exitCode = reportFailure(failure, isJson);
  }
}

/**
 * Bytes of an argument that are no UTF-8 have come as U+FFFD. A value that was repaired so would be written to every host.
 * @throws StartFailure
 */
function refuseRepaired(args: readonly string[]): void {
  if (!args.some((argument) => argument.includes("\ufffd"))) return;
  let given: Uint8Array;
  try {
    given = readFileSync("/proc/self/cmdline");
  } catch {
    // Nobody can tell.
    return;
  }
  if (!isUtf8(given)) throw new StartFailure(exitCodes.usage, "an argument is not UTF-8");
}

/** @param isJson What is wrong with the arguments is told as JSON, by the caller. */
function createProgram(isJson: boolean): Command {
  const program = new Command("patina")
    .description(
      "Service discovery for edge hosts: a replicated SQLite database on every host, without a leader.",
    )
    .version(version, "-V, --version", "print the version")
    .helpOption("-h, --help", "print help; also for a command: patina agent --help")
    .addHelpText(
      "after",
      `
A cluster of two, on one machine:
  patina cluster init demo.toml
  patina bootstrap --host 127.0.0.1 --port 7700 &
  patina agent --name a --data-dir a --cluster demo.toml --schema schema.sql \\
      --host 127.0.0.1 --bootstrap 127.0.0.1:7700 &
  patina agent --name b --data-dir b --cluster demo.toml --schema schema.sql \\
      --host 127.0.0.1 --bootstrap 127.0.0.1:7700 &
  patina exec  --socket a/patina.sock "INSERT INTO services VALUES (?)" web
  patina query --socket b/patina.sock "SELECT * FROM services"
${exitCodeHelp}`,
    );
  for (const add of commandsInOrder) add(program);
  // Subcommands copy this: errors are thrown, never `process.exit`.
  for (const command of [program, ...allCommands(program)]) {
    command.exitOverride().configureOutput({
      writeOut: printText,
      ...(isJson ? { writeErr: () => {} } : {}),
      outputError: (text, write) => write(text),
    });
    command.showHelpAfterError("(patina --help, or the command's --help, says more)");
  }
  return program;
}

function allCommands(command: Command): Command[] {
  return command.commands.flatMap((one) => [one, ...allCommands(one)]);
}

/**
 * Who gets the processor in a bench of several processes on few cores. What generates load must leave on
 * time and needs little: it goes first, in real time. What is measured comes next, then its peers: by
 * niceness, or, where the bench itself was started in real time (`chrt -r 10`) because the machine is busy with
 * other things, in real time too. (Not always: from threads that are busy in it, Linux takes the processor away
 * for 50 ms of a second, if anybody else wants it.)
 *
 * Needs the right to do so; without it everything runs as it was started, and the result says so.
 *
 * @module
 */

import { readdirSync, readFileSync } from "node:fs";
import * as os from "node:os";

export type Importance = "generator" | "measured" | "peer";

const niceness = { measured: -20, peer: -5 } as const;
const realTime = { generator: 20, measured: 12, peer: 11 } as const;

/** How this process was started, before it settles itself. */
const isRealTime = policyOf(process.pid) !== 0;

function policyOf(pid: number): number {
  try {
    // Behind the name in brackets, which may have spaces, the fields begin with the third.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ") ?? [];
    return Number(fields[41 - 3] ?? 0);
  } catch {
    return 0;
  }
}

/** Settles all threads that the process has now; those they make later inherit it. Returns what it did. */
export function settle(pid: number, importance: Importance): string {
  if (importance === "generator" || isRealTime) {
    const level = realTime[importance];
    const isSettled = run("chrt", "-a", "-r", "-p", String(level), String(pid));
    return isSettled ? `real time ${level}` : "as started";
  }
  try {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      os.setPriority(Number(thread), niceness[importance]);
    }
    return `nice ${niceness[importance]}`;
  } catch {
    return "as started";
  }
}

function run(...command: string[]): boolean {
  try {
    return Bun.spawnSync(command, { stdout: "ignore", stderr: "ignore" }).exitCode === 0;
  } catch {
    return false;
  }
}

/**
 * Who gets the processor in a bench of several processes on few cores.
 *
 * What generates load must leave on time and needs little: it goes first, in real time, on any core. Each agent
 * has cores of its own, for so have hosts. (Before, all had all, and what is measured went first by its niceness: a busy
 * peer's net thread then waited up to 0.1 s for a processor, and that was counted as the measured agent's.)
 *
 * Where the bench itself was started in real time (`chrt -r 10`), because the machine is busy with other things,
 * agents are in real time too. (Not always: from threads that are busy in it, Linux takes the processor away for 50 ms
 * of a second, if anybody else wants it.)
 *
 * Needs the right to do so; without it everything runs as it was started, and the result says so.
 *
 * @module
 */

import { readdirSync, readFileSync } from "node:fs";
import * as os from "node:os";

const agentNiceness = -20;
const realTime = { generator: 20, agent: 12 } as const;

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
export function settleGenerator(pid: number): string {
  return inRealTime(pid, realTime.generator);
}

/** The same for one of some agents. @param index from 0 */
export function settleAgent(pid: number, index: number, agents: number): string {
  const cores = coresOfAgent(index, agents);
  const isPinned = cores.length > 0 && run("taskset", "-a", "-c", "-p", cores.join(), String(pid));
  const where = isPinned ? `core ${cores.join(", ")}` : "all cores";
  return `${where}, ${isRealTime ? inRealTime(pid, realTime.agent) : nice(pid)}`;
}

/** Those that {@link settleAgent} gives it. */
export function coresOfAgent(index: number, agents: number): number[] {
  return coresOf(index, agents, allowedCores());
}

/** Those of one agent, as many as of the others; none where there aren't enough. */
export function coresOf(index: number, agents: number, cores: readonly number[]): number[] {
  const each = Math.floor(cores.length / agents);
  return cores.slice(index * each, (index + 1) * each);
}

/** That this process may use. */
function allowedCores(): number[] {
  try {
    const status = readFileSync("/proc/self/status", "utf8");
    const list = /Cpus_allowed_list:\s*(\S+)/.exec(status)?.[1] ?? "";
    return list.split(",").flatMap((range) => {
      const [first, last = first] = range.split("-").map(Number) as [number, number?];
      return Array.from({ length: last - first + 1 }, (_, i) => first + i);
    });
  } catch {
    return [];
  }
}

function inRealTime(pid: number, level: number): string {
  const isSettled = run("chrt", "-a", "-r", "-p", String(level), String(pid));
  return isSettled ? `real time ${level}` : "as started";
}

/** What an agent has set among its own threads stays between them. */
function nice(pid: number): string {
  try {
    const raise = agentNiceness - os.getPriority(pid);
    for (const thread of readdirSync(`/proc/${pid}/task`).map(Number)) {
      os.setPriority(thread, os.getPriority(thread) + raise);
    }
    return `nice ${agentNiceness}`;
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

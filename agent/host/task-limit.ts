/**
 * How many threads this process may still make. Where the engine can't make one of its own, it aborts the process without a
 * word of ours. Linux only; elsewhere nothing is known.
 *
 * Two things limit it: what the user's processes may have together (RLIMIT_NPROC; not root's, nor of those with a capability
 * to pass it), and what a control group and those above it may have (`pids.max`, systemd's `TasksMax=`).
 *
 * Source: getrlimit(2), proc_pid_cgroup(5), cgroups(7); Linux's cgroup-v2 and cgroup-v1/pids.
 *
 * @module
 */

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

interface TaskLimit {
  /** As an operator knows it. */
  readonly name: string;
  readonly max: number;
  /** In use, this process's own among them. */
  readonly used: number;
}

export interface OwnTaskLimit extends TaskLimit {
  /** Threads of this process. */
  readonly own: number;
}

/** Above it others of the same user aren't counted: whoever sets such a limit means no single process. */
const countedMax = 4096;
/** CAP_SYS_ADMIN and CAP_SYS_RESOURCE, either of which passes the user's limit. */
const passing = (1n << 21n) | (1n << 24n);

/**
 * Of an agent: with two processors it has 13 at most, its own three among them. The engine makes several for each processor:
 * to collect garbage, to compile, and to sync the disk.
 */
function tasksWanted(processors: number): number {
  return 12 + 2 * Math.min(processors, 8);
}

/** Why an agent can't run within this limit, and what to do; undefined when it can. */
export function tooFewTasksText(
  { name, max, used, own }: OwnTaskLimit,
  processors: number,
): string | undefined {
  const wanted = tasksWanted(processors);
  const others = used - own;
  if (max - others >= wanted) return undefined;
  const beside = others > 0 ? `, beside ${others} of other processes` : "";
  return `only ${max} threads may run here${beside}, and an agent needs ${wanted}: raise ${name}`;
}

/** The limit that leaves least, undefined: there is none, or nobody can tell. */
export function tightestTaskLimit(
  proc = "/proc",
  cgroups = "/sys/fs/cgroup",
): OwnTaskLimit | undefined {
  if (process.platform !== "linux") return undefined;
  try {
    const limits = [...groupLimits(proc, cgroups), ...userLimits(proc)];
    const own = readdirSync(join(proc, "self/task")).length;
    const [tightest] = limits.sort((a, b) => a.max - a.used - (b.max - b.used));
    return tightest === undefined ? undefined : { ...tightest, own };
  } catch {
    return undefined;
  }
}

function groupLimits(proc: string, cgroups: string): TaskLimit[] {
  const limits: TaskLimit[] = [];
  for (const line of readFileSync(join(proc, "self/cgroup"), "utf8").trim().split("\n")) {
    const [, controllers = "", path = ""] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    const isPids = controllers.split(",").includes("pids");
    if (controllers !== "" && !isPids) continue;
    const root = isPids ? join(cgroups, "pids") : cgroups;
    for (let folder = join(root, path); folder.startsWith(root); folder = dirname(folder)) {
      const [max, used] = [
        numberIn(join(folder, "pids.max")),
        numberIn(join(folder, "pids.current")),
      ];
      if (max === undefined || used === undefined) continue;
      limits.push({ name: `TasksMax= (${join(folder, "pids.max")})`, max, used });
    }
  }
  return limits;
}

/** Undefined: it isn't there, or says "max". */
function numberIn(path: string): number | undefined {
  try {
    const text = readFileSync(path, "utf8").trim();
    return /^\d+$/.test(text) ? Number(text) : undefined;
  } catch {
    return undefined;
  }
}

function userLimits(proc: string): TaskLimit[] {
  const max = Number(
    /^Max processes\s+(\d+)/m.exec(readFileSync(join(proc, "self/limits"), "utf8"))?.[1],
  );
  const status = readFileSync(join(proc, "self/status"), "utf8");
  const capabilities = /^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? "0";
  const user = userOf(status);
  // Not a number where it is unlimited.
  if (user === "0" || !(max <= countedMax) || (BigInt(`0x${capabilities}`) & passing) !== 0n)
    return [];
  let used = 0;
  for (const name of readdirSync(proc)) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const other = readFileSync(join(proc, name, "status"), "utf8");
      if (userOf(other) === user) used += Number(/^Threads:\s*(\d+)/m.exec(other)?.[1] ?? 1);
    } catch {
      // It has ended.
    }
  }
  return [{ name: "LimitNPROC= (ulimit -u), of all processes of this user", max, used }];
}

/** The real one: it is whose processes are counted. */
function userOf(status: string): string | undefined {
  return /^Uid:\s*(\d+)/m.exec(status)?.[1];
}

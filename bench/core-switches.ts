/**
 * Which thread had a core when: the kernel's switches, as `perf record --switch-events` tells them. For benches that
 * ask what a late answer waited for. Needs perf and the right to watch a whole core.
 *
 * @module
 */

import { mkdtempSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Subprocess } from "bun";

/** A thread had a core. */
export interface CoreRun {
  readonly name: string;
  /** 0 for none. */
  readonly pid: number;
  /** ms since 1970. */
  readonly fromMs: number;
  readonly toMs: number;
}

export class CoreSwitches {
  readonly #folder: string;
  readonly #perf: Subprocess;

  private constructor(folder: string, perf: Subprocess) {
    this.#folder = folder;
    this.#perf = perf;
  }

  /** Records once it returns. @throws if perf can't */
  static async start(cores: readonly number[]): Promise<CoreSwitches> {
    const folder = mkdtempSync(join(tmpdir(), "patina-switches-"));
    const file = join(folder, "perf.data");
    // Begun switched off, and switched on by a word that perf answers: its buffers are there by then.
    const control = ["--delay", "-1", "--control", "fd:3,4"];
    const options = ["--switch-events", "-e", "dummy", "-k", "CLOCK_REALTIME", "-m", "4M"];
    const perf = Bun.spawn(
      ["perf", "record", ...control, ...options, "-C", cores.join(), "-o", file],
      { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] },
    );
    const [, , , commands, answers] = perf.stdio as number[];
    writeSync(commands as number, "enable\n");
    const answer = Bun.file(answers as number)
      .stream()
      .getReader();
    await Promise.race([answer.read(), perf.exited]);
    answer.releaseLock();
    if (perf.exitCode !== null) throw new Error(`perf record ended with ${perf.exitCode}`);
    return new CoreSwitches(folder, perf);
  }

  /** Ends it. @returns by core */
  async stop(): Promise<CoreRun[][]> {
    this.#perf.kill("SIGINT");
    await this.#perf.exited;
    const fields = ["-F", "comm,pid,tid,cpu,time", "--ns", "--show-switch-events"];
    const script = Bun.spawn(["perf", "script", "-i", join(this.#folder, "perf.data"), ...fields], {
      stderr: "ignore",
    });
    const text = await new Response(script.stdout).text();
    rmSync(this.#folder, { recursive: true, force: true });
    return runsOf(text);
  }
}

/** @param text as `perf script` prints switches: a thread has the core from its IN to the next one's */
export function runsOf(text: string): CoreRun[][] {
  const begun = /^\s*(.+?)\s+(-?\d+)\/-?\d+\s+\[(\d+)\]\s+(\d+)\.(\d+): PERF_RECORD_SWITCH\S* IN/;
  const cores = new Map<number, CoreRun[]>();
  for (const line of text.split("\n")) {
    const [, name = "", pid, core, seconds, ns = ""] = begun.exec(line) ?? [];
    if (seconds === undefined) continue;
    const fromMs = Number(seconds) * 1000 + Number(ns) / 10 ** (ns.length - 3);
    const runs = cores.get(Number(core)) ?? [];
    cores.set(Number(core), runs);
    const last = runs.at(-1);
    if (last !== undefined) runs[runs.length - 1] = { ...last, toMs: fromMs };
    runs.push({ name, pid: Math.max(0, Number(pid)), fromMs, toMs: fromMs });
  }
  return [...cores.values()];
}

/** Adds up who had a core from one moment to another, ms by what `label` says of a run. */
export function addUp(
  runs: readonly CoreRun[],
  fromMs: number,
  toMs: number,
  label: (run: CoreRun) => string,
  into: Map<string, number>,
): void {
  let [low, high] = [0, runs.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((runs[middle] as CoreRun).toMs <= fromMs) low = middle + 1;
    else high = middle;
  }
  for (let run = runs[low]; run !== undefined && run.fromMs < toMs; run = runs[++low]) {
    const ms = Math.min(toMs, run.toMs) - Math.max(fromMs, run.fromMs);
    into.set(label(run), (into.get(label(run)) ?? 0) + ms);
  }
}

/**
 * Load by `h2load` (nghttp2): requests per second, and the server's CPU time for one.
 *
 * @module
 */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { median } from "./harness.ts";
import { cpuNs } from "./processes.ts";

export interface Target {
  /** Of a Unix socket; undefined: TCP. */
  readonly socket?: string;
  readonly url: string;
  readonly isH2?: boolean;
  /** Of the server; undefined: its CPU time isn't known. */
  readonly pid: number | undefined;
}

export interface Request {
  readonly path: string;
  readonly body: string;
  /** Of one run. */
  readonly seconds: number;
}

export interface Load {
  /** A request, of all threads; NaN when it isn't known. */
  readonly cpuUs: number;
  readonly perSecond: number;
}

export function isInstalled(): boolean {
  return Bun.which("h2load") !== null;
}

export function onSocket({ socket, pid }: { socket: string; pid: number }): Target {
  return { socket, url: "http://bench", pid };
}

/** What one has to expect of several runs. */
export function middleOf(loads: readonly Load[]): Load {
  return {
    cpuUs: median(loads.map(({ cpuUs }) => cpuUs)),
    perSecond: median(loads.map(({ perSecond }) => perSecond)),
  };
}

/**
 * The same request, over 8 connections, for a while.
 *
 * @param folder for the request's body
 */
export async function h2load(
  target: Target,
  { path, body, seconds }: Request,
  folder: string,
): Promise<Load> {
  const { socket, url, isH2 = false, pid } = target;
  const data = join(folder, "request.json");
  writeFileSync(data, body);
  /** @returns milliseconds */
  const run = async (count: number): Promise<number> => {
    const begunMs = performance.now();
    const child = Bun.spawn(
      [
        "h2load",
        ...["-n", String(count), "-c", "8", "-t", "1", "-d", data],
        ...["-H", "content-type: application/json"],
        ...(isH2 ? ["-m", "1"] : ["--h1"]),
        ...(socket === undefined ? [] : ["-B", `unix:${socket}`]),
        url + path,
      ],
      { stdout: "pipe", stderr: "pipe" },
    );
    const out = await new Response(child.stdout).text();
    await child.exited;
    const ok = Number(/status codes: (\d+) 2xx/.exec(out)?.[1] ?? 0);
    if (ok !== count) throw new Error(`h2load: ${count} answers wanted, got ${ok}:\n${out}`);
    return performance.now() - begunMs;
  };
  const countMin = 200;
  /** How many fit into the time, by what so many took. */
  const fitting = (count: number, tookMs: number): number =>
    Math.max(countMin, Math.round((seconds * count * 1000) / tookMs));
  // The first run says how long a warm one may be, and that how many the measured one can have.
  const warmCount = fitting(countMin, await run(countMin));
  const count = fitting(warmCount, await run(warmCount));
  const before = pid === undefined ? Number.NaN : cpuNs(pid);
  const tookMs = await run(count);
  const cpuUs = pid === undefined ? Number.NaN : (cpuNs(pid) - before) / 1000 / count;
  return { cpuUs, perSecond: count / (tookMs / 1000) };
}

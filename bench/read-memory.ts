/**
 * `bench read --only memory`: the most that the agent's memory grows by while somebody reads a large result, as fast
 * as it comes, and what the reader thread takes.
 *
 * @module
 */

import { post } from "./bench-agent.ts";
import { plainCase } from "./harness.ts";
import { residentBytes } from "./processes.ts";
import { bodies, type ReadReport, startReadAgent } from "./read-workload.ts";

export async function measureMemory(
  rows: number,
  binary: string | undefined,
  { cases, summary }: ReadReport,
): Promise<void> {
  await using agent = await startReadAgent({ binary, rows });
  // What writing the rows took is given back meanwhile.
  await Bun.sleep(rows > 10_000 ? 8000 : 0);
  const before = residentBytes(agent.pid);
  const longQueryMs = async (): Promise<number> => {
    const begunMs = performance.now();
    await post(agent.socket, "/v1/queries", bodies.long);
    return Math.round(performance.now() - begunMs);
  };
  summary.first_long_query_ms = await longQueryMs();
  summary.next_long_query_ms = await longQueryMs();
  summary.reader_thread_rss_mb = mebibytes(residentBytes(agent.pid) - before);
  for (const [what, path, field] of [
    ["query", "/v1/queries", "query_rss_growth_mb"],
    ["live query", "/v1/subscriptions", "live_query_rss_growth_mb"],
  ] as const) {
    await post(agent.socket, "/v1/queries", bodies.point);
    const { bytes, tookMs, grownBytes } = await readAll(agent, path);
    if (bytes < rows * 40) throw new Error(`${what}: only ${bytes} bytes of ${rows} rows came`);
    cases.push(
      plainCase(`${what} of ${rows} rows: rows`, "1/s", rows / (tookMs / 1000), String(rows)),
      plainCase(`${what} of ${rows} rows: size`, "MB", bytes / 2 ** 20, String(rows)),
    );
    summary[field] = mebibytes(grownBytes);
  }
}

/** Reads all rows once. */
async function readAll(
  { socket, pid }: { readonly socket: string; readonly pid: number },
  path: string,
): Promise<{ bytes: number; tookMs: number; grownBytes: number }> {
  const before = residentBytes(pid);
  let most = before;
  const look = (): void => {
    most = Math.max(most, residentBytes(pid));
  };
  const timer = setInterval(look, 2);
  const begunMs = performance.now();
  const ended = new AbortController();
  const response = await fetch(`http://bench${path}`, {
    method: "POST",
    unix: socket,
    headers: { "content-type": "application/json" },
    body: bodies.all,
    signal: ended.signal,
  });
  let bytes = 0;
  let tail = "";
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    bytes += chunk.length;
    tail = (tail + Buffer.from(chunk.subarray(-200)).toString()).slice(-200);
    if (tail.includes('{"eoq"')) break;
  }
  const tookMs = performance.now() - begunMs;
  clearInterval(timer);
  look();
  ended.abort();
  return { bytes, tookMs, grownBytes: most - before };
}

function mebibytes(bytes: number): number {
  return Number((bytes / 2 ** 20).toFixed(1));
}

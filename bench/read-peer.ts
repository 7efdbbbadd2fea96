/**
 * `bench read --peer URL`: point reads of the same rows, answered by another server too. It speaks TCP alone, so
 * ours does here, but for the last case: what a client on this host has of either.
 *
 * @module
 */

import { post } from "./bench-agent.ts";
import { h2load, isInstalled, type Load, middleOf, onSocket, type Target } from "./h2load.ts";
import { agentRows, bodies, type ReadReport, rowsSql, startReadAgent } from "./read-workload.ts";

export interface ReadPeer {
  /** Without a slash at its end. */
  readonly url: string;
  /** With it CPU a request is compared, otherwise requests per second. */
  readonly pid: number | undefined;
}

interface Way {
  /** Of the summary. */
  readonly field: string;
  readonly label: string;
  readonly ours: Target;
  readonly theirs: Target;
}

/** @throws when the peer hasn't the tables, or answers something else */
export async function measurePeer(
  small: boolean,
  binary: string | undefined,
  { url, pid }: ReadPeer,
  { cases, summary, notes }: ReadReport,
): Promise<void> {
  if (!isInstalled()) throw new Error("--peer: h2load (nghttp2) isn't installed");
  await using agent = await startReadAgent({ binary, rows: agentRows });
  const wrote = await postOverTcp(url, "/v1/transactions", JSON.stringify([rowsSql(agentRows)]));
  if (wrote.includes('"error"')) {
    throw new Error(`${url}: it must be started with the tables of --schema: ${wrote}`);
  }
  const rowOf = (answer: string): string => /^\{"row":.*$/m.exec(answer)?.[0] ?? answer;
  const row = rowOf(await post(agent.socket, "/v1/queries", bodies.point));
  const theirRow = rowOf(await postOverTcp(url, "/v1/queries", bodies.point));
  if (row !== theirRow) throw new Error(`${url} answers ${theirRow}, we answer ${row}`);

  const tcp: Target = { url: `http://${agent.listen}`, pid: agent.pid };
  const theirs: Target = { url, pid };
  const ways: readonly Way[] = [
    {
      field: "peer_ratio",
      label: "TCP, h2c",
      ours: { ...tcp, isH2: true },
      theirs: { ...theirs, isH2: true },
    },
    { field: "peer_ratio_h1", label: "TCP, HTTP/1.1", ours: tcp, theirs },
    {
      field: "peer_ratio_socket",
      label: "Unix socket, theirs TCP",
      ours: onSocket(agent),
      theirs,
    },
  ];
  const request = { path: "/v1/queries", body: bodies.point, seconds: small ? 0.1 : 3 };
  const runs = ways.map(() => ({ ours: [] as Load[], theirs: [] as Load[] }));
  for (let round = 0; round < (small ? 1 : 3); round++) {
    for (const [i, way] of ways.entries()) {
      runs[i]?.theirs.push(await h2load(way.theirs, request, agent.folder));
      runs[i]?.ours.push(await h2load(way.ours, request, agent.folder));
    }
  }
  const named = { peer_name: url, peer_version: "?", checksum: Bun.hash(row).toString(16) };
  for (const [i, { field, label }] of ways.entries()) {
    const run = runs[i] as (typeof runs)[number];
    const [mine, other] = [middleOf(run.ours), middleOf(run.theirs)];
    const costs = { ours: mine.cpuUs, peer: other.cpuUs, ratio: other.cpuUs / mine.cpuUs };
    const rates = {
      ours: mine.perSecond,
      peer: other.perSecond,
      ratio: mine.perSecond / other.perSecond,
    };
    const what = `point read as the peer's, ${label}`;
    if (pid !== undefined) {
      cases.push({ case: `${what}: CPU a request`, unit: "µs", ...costs, ...named });
    }
    cases.push({ case: `${what}: requests`, unit: "1/s", ...rates, ...named });
    summary[field] = Number((pid === undefined ? rates : costs).ratio.toFixed(2));
  }
  const what =
    pid === undefined ? "requests per second" : "CPU a request, all of a process's threads";
  notes.push(`peer_ratio: ${what}, of ${url} over ours, both over h2c; …_h1 both over HTTP/1.1`);
}

async function postOverTcp(url: string, path: string, body: string): Promise<string> {
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${url}${path}`, { method: "POST", headers, body });
  return await response.text();
}

/**
 * Reads: what a request costs the agent, and how long one waits.
 *
 * Throughput by `h2load` (nghttp2), and beside it the agent's CPU time a request, from the kernel's
 * scheduler. The baseline is a `Bun.serve` handler that reads the same body and answers the same bytes as a
 * constant (constant-server.ts): whatever we cost above it is SQL, JSON and what is around them. The agent runs in a process of
 * its own, from source, standing alone. Latency is another process's (open-loop.ts).
 *
 * - `--peer URL`, `--peer-pid PID`: point reads also of another server that speaks the contract. It must have been
 *   started with the tables below (`--schema` prints them: Corrosion takes none by its API); the same rows are
 *   written to it first, and both must answer the same. With its process id CPU a request is compared, otherwise requests
 *   per second.
 * - `--binary PATH`: the executable in place of the source.
 * - `--only load`, `--only peer`, `--only memory` (what a result of 100,000 rows does to the agent's memory) or `--only endless`
 *   (point reads and commits while ten queries that never end are running, against the same with one
 *   unrelated busy process in their place).
 *
 * @module
 */

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Bench, type BenchCase, type BenchResult, quantile } from "./harness.ts";
import { openLoop } from "./open-loop.ts";

const schemaSql = `
CREATE TABLE instances (id TEXT NOT NULL PRIMARY KEY, service TEXT NOT NULL DEFAULT '',
  node TEXT NOT NULL DEFAULT '', address TEXT NOT NULL DEFAULT '', status TEXT NOT NULL DEFAULT 'up',
  weight INTEGER NOT NULL DEFAULT 0);
CREATE INDEX instances_service ON instances (service);
`;

const bodies = {
  point: JSON.stringify([
    "SELECT id, service, node, address, status, weight FROM instances WHERE id = ?",
    ["i4711"],
  ]),
  hundred: JSON.stringify([
    "SELECT id, service, node, address, status, weight FROM instances WHERE service = ?",
    ["s17"],
  ]),
  write: JSON.stringify([["UPDATE instances SET weight = weight + 1 WHERE id = ?", ["i42"]]]),
  stream: JSON.stringify(["SELECT id, weight FROM instances WHERE service = ?", ["s0"]]),
  all: JSON.stringify("SELECT id, service, node, address, status, weight FROM instances"),
  long: JSON.stringify(
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 50000) SELECT count(*) FROM c",
  ),
  endless: JSON.stringify(
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c",
  ),
} as const;

/** Also when it is small: the point read's is among them. */
const agentRows = 10_000;

export const read: Bench = {
  name: "read",
  what: "reads over the Unix socket and TCP: CPU a request against a constant, latency, endless queries",
  options: [
    {
      name: "--only",
      value: "load|peer|memory|endless",
      what: "a part of it: load; peer; memory, what a large result does to it; endless, reads beside queries that never end",
    },
    { name: "--binary", value: "PATH", what: "the executable in place of the source" },
    {
      name: "--peer",
      value: "URL",
      what: "the same load on another server that speaks the contract and has the tables",
    },
    {
      name: "--peer-pid",
      value: "PID",
      what: "its process: CPU a request is compared, otherwise requests per second",
    },
    { name: "--schema", what: "prints the tables, for the peer" },
  ],
  async run({ small, args }): Promise<BenchResult> {
    if (args.includes("--schema")) {
      console.log(schemaSql.trim());
      process.exit(0);
    }
    const cases: BenchCase[] = [];
    const summary: Record<string, number | string | null> = {};
    const notes: string[] = [];
    const rows = small ? 2000 : 100_000;
    binary = option(args, "--binary");
    const only = option(args, "--only");
    const isIn = (part: string): boolean => only === undefined || only === part;
    if (isIn("load")) await load(small, cases, summary, notes);
    if (isIn("peer")) await peer(small, args, cases, summary, notes);
    if (isIn("memory")) await memory(rows, cases, summary);
    if (isIn("endless")) await endless(small, cases, summary, notes);
    return { cases, summary, notes };
  },
};

function option(args: readonly string[], name: string): string | undefined {
  const at = args.indexOf(name);
  return at < 0 ? undefined : args[at + 1];
}

// ---- Throughput and CPU a request ---------------------------------------------------------------

async function load(
  small: boolean,
  cases: BenchCase[],
  summary: Record<string, number | string | null>,
  notes: string[],
): Promise<void> {
  await using agent = await startAgent(agentRows);
  const { folder } = agent;
  const seconds = small ? 0.1 : 3;
  if (Bun.which("h2load") === null) {
    notes.push("h2load (nghttp2) isn't installed: throughput and CPU a request were skipped");
  } else {
    for (const name of ["point", "hundred"] as const) {
      const answer = await post(agent.socket, "/v1/queries", bodies[name]);
      const file = join(folder, `${name}.answer`);
      writeFileSync(file, answer);
      await using constant = await startConstant(join(folder, `${name}.sock`), file);
      await using constantTcp = await startConstant("0", file);
      // In turns: the machine's mood is in both.
      const rounds = small ? 1 : 3;
      const tcp = { url: `http://${agent.listen}` };
      const ours: Load[] = [];
      const theirs: Load[] = [];
      const h1: Load[] = [];
      const h1Constant: Load[] = [];
      const h2c: Load[] = [];
      for (let round = 0; round < rounds; round++) {
        const run = (to: Target, pid: number) =>
          h2load(to, pid, folder, "/v1/queries", bodies[name], seconds);
        theirs.push(await run(onSocket(constant.where), constant.pid));
        ours.push(await run(onSocket(agent.socket), agent.pid));
        h1Constant.push(await run({ url: `http://${constantTcp.where}` }, constantTcp.pid));
        h1.push(await run(tcp, agent.pid));
        h2c.push(await run({ ...tcp, isH2: true }, agent.pid));
      }
      const checksum = Bun.hash(answer.replace(/"time":[^}]*/, "")).toString(16);
      for (const [label, mine, other] of [
        ["Unix socket", ours, theirs],
        ["TCP, HTTP/1.1", h1, h1Constant],
        ["TCP, h2c", h2c, undefined],
      ] as const) {
        const what = `${name === "point" ? "point read" : "100-row read"}, ${label}`;
        const cost = middle(mine.map(({ cpuUs }) => cpuUs));
        const base = other === undefined ? undefined : middle(other.map(({ cpuUs }) => cpuUs));
        cases.push(
          compared(`${what}: CPU a request`, "µs", cost, base, checksum),
          plain(`${what}: requests`, "1/s", middle(mine.map((one) => one.perSecond)), checksum),
        );
        if (base === undefined) continue;
        const field = `${name}_ratio${label === "Unix socket" ? "" : "_tcp"}`;
        summary[field] = Number((base / cost).toFixed(3));
      }
    }
    const write = await h2load(
      onSocket(agent.socket),
      agent.pid,
      folder,
      "/v1/transactions",
      bodies.write,
      seconds,
    );
    cases.push(
      plain("write, one row, Unix socket: CPU a request", "µs", write.cpuUs, "write"),
      plain("write, one row, Unix socket: requests", "1/s", write.perSecond, "write"),
    );
  }
  const streams = await streamed(agent, small ? 10 : 100, small ? 20 : 2000);
  cases.push(
    plain("subscription streams: events", "1/s", streams.perSecond, String(streams.events)),
    plain("subscription streams: CPU an event", "µs", streams.cpuUs, String(streams.events)),
  );
  const latency = await openLoop({
    socket: agent.socket,
    path: "/v1/queries",
    bodies: [bodies.point],
    perSecond: 1000,
    seconds: small ? 0.3 : 5,
    connections: 32,
  });
  if (latency.failed > 0) throw new Error(`${latency.failed} reads failed`);
  cases.push(
    plain("point read, 1,000/s open loop: p50", "ms", latency.p50Ms, String(latency.sent)),
    plain("point read, 1,000/s open loop: p99", "ms", latency.p99Ms, String(latency.sent)),
  );
  summary.idle_p50_ms = Number(latency.p50Ms.toFixed(3));
  summary.idle_p99_ms = Number(latency.p99Ms.toFixed(3));
  summary.late_sends = latency.late;
}

/**
 * Point reads of the same rows, answered by another server too. It speaks TCP alone, so ours does here, but for
 * the last case: what a client on this host has of either.
 */
async function peer(
  small: boolean,
  args: readonly string[],
  cases: BenchCase[],
  summary: Record<string, number | string | null>,
  notes: string[],
): Promise<void> {
  const url = option(args, "--peer")?.replace(/\/$/, "");
  if (url === undefined) {
    if (option(args, "--only") === "peer") throw new Error("--only peer: --peer URL is missing");
    return;
  }
  if (Bun.which("h2load") === null) throw new Error("--peer: h2load (nghttp2) isn't installed");
  const givenPid = option(args, "--peer-pid");
  const pid = givenPid === undefined ? undefined : Number(givenPid);
  const rounds = small ? 1 : 3;
  const seconds = small ? 0.1 : 3;
  await using agent = await startAgent(agentRows);
  const wrote = await ask(url, "/v1/transactions", JSON.stringify([rowsSql(agentRows)]));
  if (wrote.includes('"error"')) {
    throw new Error(`${url}: it must be started with the tables of --schema: ${wrote}`);
  }
  const rowOf = (answer: string): string => /^\{"row":.*$/m.exec(answer)?.[0] ?? answer;
  const ours = rowOf(await post(agent.socket, "/v1/queries", bodies.point));
  const theirs = rowOf(await ask(url, "/v1/queries", bodies.point));
  if (ours !== theirs) throw new Error(`${url} answers ${theirs}, we answer ${ours}`);
  const tcp = { url: `http://${agent.listen}` };
  const ways: readonly [string, string, Target, Target][] = [
    ["peer_ratio", "TCP, h2c", { ...tcp, isH2: true }, { url, isH2: true }],
    ["peer_ratio_h1", "TCP, HTTP/1.1", tcp, { url }],
    ["peer_ratio_socket", "Unix socket, theirs TCP", onSocket(agent.socket), { url }],
  ];
  const runs = ways.map(() => ({ mine: [] as Load[], other: [] as Load[] }));
  for (let round = 0; round < rounds; round++) {
    for (const [i, [, , mine, other]] of ways.entries()) {
      const run = (to: Target, of: number) =>
        h2load(to, of, agent.folder, "/v1/queries", bodies.point, seconds);
      runs[i]?.other.push(await run(other, pid ?? 0));
      runs[i]?.mine.push(await run(mine, agent.pid));
    }
  }
  const named = { peer_name: url, peer_version: "?", checksum: Bun.hash(ours).toString(16) };
  for (const [i, [field, label]] of ways.entries()) {
    const { mine, other } = runs[i] as (typeof runs)[number];
    const cpu = middle(mine.map(({ cpuUs }) => cpuUs));
    const peerCpu = middle(other.map(({ cpuUs }) => cpuUs));
    const rate = middle(mine.map(({ perSecond }) => perSecond));
    const peerRate = middle(other.map(({ perSecond }) => perSecond));
    const what = `point read as the peer's, ${label}`;
    if (pid !== undefined) {
      const costs = { unit: "µs", ours: cpu, peer: peerCpu, ratio: peerCpu / cpu };
      cases.push({ case: `${what}: CPU a request`, ...costs, ...named });
    }
    const rates = { unit: "1/s", ours: rate, peer: peerRate, ratio: rate / peerRate };
    cases.push({ case: `${what}: requests`, ...rates, ...named });
    const ratio = pid === undefined ? rate / peerRate : peerCpu / cpu;
    summary[field] = Number(ratio.toFixed(2));
  }
  const what =
    pid === undefined ? "requests per second" : "CPU a request, all of a process's threads";
  notes.push(`peer_ratio: ${what}, of ${url} over ours, both over h2c; …_h1 both over HTTP/1.1`);
}

/** Over TCP. */
async function ask(url: string, path: string, body: string): Promise<string> {
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${url}${path}`, { method: "POST", headers, body });
  return await response.text();
}

function onSocket(socket: string): Target {
  return { socket, url: "http://bench" };
}

interface Target {
  readonly socket?: string;
  readonly url: string;
  readonly isH2?: boolean;
}

interface Load {
  readonly cpuUs: number;
  readonly perSecond: number;
}

/** The same request, over 8 connections, for a while. @param pid 0: CPU isn't measured */
async function h2load(
  { socket, url, isH2 = false }: Target,
  pid: number,
  folder: string,
  path: string,
  body: string,
  seconds: number,
): Promise<Load> {
  const data = join(folder, "request.json");
  writeFileSync(data, body);
  const run = async (count: number): Promise<{ doneMs: number; ok: number }> => {
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
    return { doneMs: performance.now() - begunMs, ok };
  };
  // Warm, and how many fit into the time.
  const first = await run(200);
  const warm = await run(Math.max(200, Math.round((seconds * 200 * 1000) / first.doneMs)));
  const count = Math.max(200, Math.round((warm.ok * seconds * 1000) / warm.doneMs));
  const before = pid === 0 ? 0 : cpuNs(pid);
  const { doneMs } = await run(count);
  const cpuUs = pid === 0 ? 0 : (cpuNs(pid) - before) / 1000 / count;
  return { cpuUs, perSecond: count / (doneMs / 1000) };
}

/** What all threads of a process have run so far. */
function cpuNs(pid: number): number {
  let sum = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    try {
      sum += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]);
    } catch {
      // It has just ended.
    }
  }
  return sum;
}

/** Commits that every stream hears of, one after another. */
async function streamed(agent: Agent, streams: number, commits: number) {
  let events = 0;
  const sockets: Socket[] = [];
  for (let i = 0; i < streams; i++) {
    sockets.push(
      await listen(agent.socket, bodies.stream, (chunk) => {
        events += chunk.split('{"change":').length - 1;
      }),
    );
  }
  const body = JSON.stringify([["UPDATE instances SET weight = weight + 1 WHERE id = ?", ["i0"]]]);
  const before = cpuNs(agent.pid);
  const begunMs = performance.now();
  for (let i = 0; i < commits; i++) await post(agent.socket, "/v1/transactions", body);
  const deadlineMs = performance.now() + 20_000;
  while (events < streams * commits && performance.now() < deadlineMs) await Bun.sleep(1);
  const tookMs = performance.now() - begunMs;
  const cpuUs = (cpuNs(agent.pid) - before) / 1000 / events;
  for (const socket of sockets) socket.destroy();
  if (events !== streams * commits) {
    throw new Error(`${streams * commits} events wanted, ${events} came`);
  }
  return { events, perSecond: events / (tookMs / 1000), cpuUs };
}

/** Resolves after the rows. */
function listen(path: string, body: string, take: (chunk: string) => void): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const stream = connect(path);
    stream.on("error", reject);
    stream.on("data", (chunk) => {
      const lines = chunk.toString();
      take(lines);
      if (lines.includes('"eoq"')) resolve(stream);
    });
    stream.write(
      `POST /v1/subscriptions HTTP/1.1\r\nhost: p\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
  });
}

// ---- Memory -------------------------------------------------------------------------------------

/** The most that the agent's memory grows by while somebody reads a large result, as fast as it comes. */
async function memory(
  rows: number,
  cases: BenchCase[],
  summary: Record<string, number | string | null>,
): Promise<void> {
  await using agent = await startAgent(rows);
  // What writing the rows took is given back meanwhile.
  await Bun.sleep(rows > 10_000 ? 8000 : 0);
  const before = residentBytes(agent.pid);
  const begunMs = performance.now();
  await post(agent.socket, "/v1/queries", bodies.long);
  summary.first_long_query_ms = Math.round(performance.now() - begunMs);
  const againMs = performance.now();
  await post(agent.socket, "/v1/queries", bodies.long);
  summary.next_long_query_ms = Math.round(performance.now() - againMs);
  summary.reader_thread_rss_mb = Number(((residentBytes(agent.pid) - before) / 2 ** 20).toFixed(1));
  for (const [what, path] of [
    ["query", "/v1/queries"],
    ["live query", "/v1/subscriptions"],
  ] as const) {
    await post(agent.socket, "/v1/queries", bodies.point);
    const before = residentBytes(agent.pid);
    let most = before;
    const timer = setInterval(() => {
      most = Math.max(most, residentBytes(agent.pid));
    }, 2);
    const begunMs = performance.now();
    const ended = new AbortController();
    const response = await fetch(`http://bench${path}`, {
      method: "POST",
      unix: agent.socket,
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
    most = Math.max(most, residentBytes(agent.pid));
    ended.abort();
    if (bytes < rows * 40) throw new Error(`${bytes} bytes came: ${tail}`);
    cases.push(
      plain(`${what} of ${rows} rows: rows`, "1/s", rows / (tookMs / 1000), String(rows)),
      plain(`${what} of ${rows} rows: size`, "MB", bytes / 2 ** 20, String(rows)),
    );
    const name = what === "query" ? "query_rss_growth_mb" : "live_query_rss_growth_mb";
    summary[name] = Number(((most - before) / 2 ** 20).toFixed(1));
  }
}

function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024;
}

// ---- Queries that never end ---------------------------------------------------------------------

const endlessQueries = 10;

async function endless(
  small: boolean,
  cases: BenchCase[],
  summary: Record<string, number | string | null>,
  notes: string[],
): Promise<void> {
  const timeoutMs = small ? 20 : 2000;
  await using agent = await startAgent(2000, timeoutMs);
  const seconds = small ? 0.5 : 10;
  const reads = () =>
    openLoop({
      socket: agent.socket,
      path: "/v1/queries",
      bodies: [bodies.point],
      perSecond: small ? 200 : 500,
      seconds,
      connections: 64,
    });
  /** Commits one after another meanwhile. */
  const withCommits = async <T>(during: () => Promise<T>): Promise<{ of: T; tookMs: number[] }> => {
    const tookMs: number[] = [];
    let isOver = false;
    const committing = (async () => {
      while (!isOver) {
        const begunMs = performance.now();
        await post(agent.socket, "/v1/transactions", bodies.write);
        tookMs.push(performance.now() - begunMs);
        await Bun.sleep(5);
      }
    })();
    const of = await during();
    isOver = true;
    await committing;
    return { of, tookMs };
  };
  const alone = await withCommits(reads);
  // The control: a process that has nothing to do with us takes as much of the machine as a busy thread.
  const busy = Bun.spawn([process.execPath, "-e", "for (;;);"]);
  const control = await withCommits(reads);
  busy.kill("SIGKILL");
  await busy.exited;
  let isOver = false;
  let ended = 0;
  const running = Array.from({ length: endlessQueries }, async () => {
    while (!isOver) {
      const answer = await post(agent.socket, "/v1/queries", bodies.endless, false);
      if (!answer.includes('{"error"')) throw new Error(`a query ended by itself: ${answer}`);
      ended++;
    }
  });
  await Bun.sleep(small ? 50 : 500);
  const loaded = await withCommits(reads);
  isOver = true;
  await Promise.all(running);
  for (const [name, run] of [
    ["alone", alone],
    ["one busy process", control],
    [`${endlessQueries} endless queries`, loaded],
  ] as const) {
    const checksum = String(run.of.sent);
    const commitMs = quantile(run.tookMs, 0.99);
    cases.push(
      plain(`point reads, ${name}: p50`, "ms", run.of.p50Ms, checksum),
      plain(`point reads, ${name}: p99`, "ms", run.of.p99Ms, checksum),
      plain(`commits meanwhile, ${name}: p99`, "ms", commitMs, checksum),
      plain(`commits meanwhile, ${name}`, "1/s", run.tookMs.length / seconds, checksum),
    );
  }
  summary.alone_p99_ms = Number(alone.of.p99Ms.toFixed(3));
  summary.busy_p99_ms = Number(control.of.p99Ms.toFixed(3));
  summary.endless_p99_ms = Number(loaded.of.p99Ms.toFixed(3));
  summary.endless_late_sends = loaded.of.late;
  summary.endless_failed_reads = loaded.of.failed;
  summary.endless_ended = ended;
  notes.push(
    `endless: query_timeout_ms ${timeoutMs}; each is sent again when it was ended, ${ended} were`,
  );
}

// ---- Servers ------------------------------------------------------------------------------------

interface Agent extends AsyncDisposable {
  readonly folder: string;
  readonly socket: string;
  /** host:port */
  readonly listen: string;
  readonly pid: number;
}

/** Undefined: from source. */
let binary: string | undefined;

async function startAgent(rows: number, queryTimeoutMs = 10_000): Promise<Agent> {
  const folder = mkdtempSync(join(tmpdir(), "patina-bench-read-"));
  writeFileSync(join(folder, "schema.sql"), schemaSql);
  const config = join(folder, "patina.toml");
  writeFileSync(
    config,
    `[api]\nlisten = ["127.0.0.1:0"]\ntoken = false\n[store]\nquery_timeout_ms = ${queryTimeoutMs}\n`,
  );
  const main = join(import.meta.dir, "..", "agent", "main.ts");
  const child = Bun.spawn(
    [
      ...(binary === undefined ? [process.execPath, main] : [binary]),
      ...["agent", "--json", "--config", config],
      ...["--data-dir", join(folder, "data"), "--schema", join(folder, "schema.sql")],
    ],
    { stdout: "pipe", stderr: "ignore" },
  );
  const dispose = async (): Promise<void> => {
    child.kill("SIGKILL");
    await child.exited;
    rmSync(folder, { recursive: true });
  };
  try {
    const { value } = await child.stdout.getReader().read();
    const { socket, listen } = JSON.parse(new TextDecoder().decode(value));
    await post(socket, "/v1/transactions", JSON.stringify([rowsSql(rows)]));
    return { folder, socket, listen: listen[0], pid: child.pid, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** A server that has them already gets them anew. */
function rowsSql(rows: number): string {
  const numbers = `WITH RECURSIVE c(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM c WHERE x < ${rows - 1})`;
  const services = Math.max(1, Math.floor(rows / 100));
  return `INSERT OR REPLACE INTO instances (id, service, node, address) ${numbers} SELECT 'i' || x, 's' || (x % ${services}), 'n' || (x % 50), '10.0.' || (x % 256) || '.' || (x / 256 % 256) || ':8080' FROM c`;
}

async function startConstant(where: string, file: string) {
  const server = join(import.meta.dir, "constant-server.ts");
  const child = Bun.spawn([process.execPath, server, where, file], { stdout: "pipe" });
  const { value } = await child.stdout.getReader().read();
  const port = new TextDecoder().decode(value).trim();
  return {
    where: where.startsWith("/") ? where : `127.0.0.1:${port}`,
    pid: child.pid,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

async function post(socket: string, path: string, body: string, strict = true): Promise<string> {
  const response = await fetch(`http://bench${path}`, {
    method: "POST",
    unix: socket,
    headers: { "content-type": "application/json" },
    body,
  });
  const answer = await response.text();
  if (strict && (!response.ok || answer.includes('{"error"'))) {
    throw new Error(`${path}: ${response.status} ${answer}`);
  }
  return answer;
}

// ---- Results ------------------------------------------------------------------------------------

const noPeer = { peer: null, peer_name: null, peer_version: null, ratio: null };

function plain(name: string, unit: string, ours: number, checksum: string): BenchCase {
  return { case: name, unit, ours, ...noPeer, checksum };
}

function compared(
  name: string,
  unit: string,
  ours: number,
  base: number | undefined,
  checksum: string,
): BenchCase {
  if (base === undefined) return plain(name, unit, ours, checksum);
  const named = { peer: base, peer_name: "constant Bun.serve", peer_version: Bun.version };
  return { case: name, unit, ours, ...named, ratio: base / ours, checksum };
}

function middle(values: readonly number[]): number {
  return quantile(values, 0.5);
}

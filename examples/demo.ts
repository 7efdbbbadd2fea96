/**
 * `npm run demo`: builds the binary, runs a real cluster and does the main job, measured.
 *
 * Three agents find each other through a private bootstrap, take in a catalogue through different agents, and
 * serve proxies that send real requests. An instance is stopped and marked down a hundred times; an agent is
 * killed while writes go on, and comes back; in the end all three databases are compared row for row.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Server, Subprocess } from "bun";
import { createCatalogue, registrations } from "./catalogue.ts";
import { Cluster, type ClusterNode, until } from "./cluster.ts";

const usage = `usage: npm run demo -- [--json] [--keep] [--loss FRACTION] [--rounds N] [--no-build]

  --json            progress on stderr, one JSON object on stdout
  --keep            leave the cluster up, print sockets and commands, end it on Ctrl-C
  --loss FRACTION   drop this share of all datagrams between the agents, e.g. 0.02
  --rounds N        how often an instance is stopped and marked down (100)
  --no-build        use dist/patina as it is`;

const options = readOptions();
const root = join(import.meta.dir, "..");
const binary = join(root, "dist", "patina");
const serverCount = 12;
const catalogueSize = { services: 250, instances: 10_000, nodes: 300 };
const insertInstance = "INSERT INTO instances VALUES (?, ?, ?, ?, ?, ?)";

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        json: { type: "boolean", default: false },
        keep: { type: "boolean", default: false },
        loss: { type: "string", default: "0" },
        rounds: { type: "string", default: "100" },
        "no-build": { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
    if (values.help) {
      console.log(usage);
      process.exit(0);
    }
    const loss = Number(values.loss);
    const rounds = Number(values.rounds);
    if (!(loss >= 0 && loss < 1)) throw new Error(`--loss: a fraction in 0..1, got ${values.loss}`);
    if (!(rounds >= 1)) throw new Error(`--rounds: at least 1, got ${values.rounds}`);
    return { ...values, loss, rounds };
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n\n${usage}`);
    process.exit(2);
  }
}

/** Progress goes where it doesn't disturb the result. */
function progress(text: string): void {
  (options.json ? process.stderr : process.stdout).write(`${text}\n`);
}

/** A seeded generator, so that every run has the same catalogue. */
function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

// --- real servers ------------------------------------------------------------------------------------------

interface Backend {
  readonly id: string;
  readonly port: number;
  server: Server<undefined> | undefined;
  /** When it was really there again, ms since 1970. */
  backAt: number;
}

const clock = () => performance.timeOrigin + performance.now();

function serve(backend: { id: string; port: number }): Server<undefined> {
  const fetch = () => new Response(`${backend.id}\n`);
  return Bun.serve({ hostname: "127.0.0.1", port: backend.port, fetch });
}

function startBackends(): Backend[] {
  return Array.from({ length: serverCount }, (_, i) => {
    const id = `demo-${i}`;
    const server = serve({ id, port: 0 });
    return { id, port: server.port as number, server, backAt: 0 };
  });
}

// --- proxies -----------------------------------------------------------------------------------------------

interface ProxyLine {
  readonly at: number;
  readonly ready?: number;
  readonly news?: string;
  readonly status?: string | number;
  readonly sent?: string;
  readonly answer?: string;
}

class ProxyProcess {
  readonly lines: ProxyLine[] = [];
  readonly #process: Subprocess<"ignore", "pipe", "inherit">;

  constructor(node: ClusterNode) {
    this.#process = Bun.spawn([process.execPath, join(import.meta.dir, "proxy.ts"), node.socket], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
    });
    void this.#read();
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const piece of this.#process.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + piece).split("\n");
      rest = lines.pop() as string;
      for (const line of lines) this.lines.push(JSON.parse(line) as ProxyLine);
    }
  }

  stop(): void {
    this.#process.kill("SIGKILL");
  }
}

/** One outage of one backend, in real time. */
interface Outage {
  readonly id: string;
  readonly stoppedAt: number;
  backAt: number;
}

/** Requests that a proxy sent to a stopped server after it had read that it is down. */
function countSentToDead(proxies: readonly ProxyProcess[], outages: readonly Outage[]): number {
  let count = 0;
  for (const proxy of proxies) {
    for (const outage of outages) {
      const inside = proxy.lines.filter(({ at }) => at > outage.stoppedAt && at < outage.backAt);
      const news = inside.find((line) => line.news === outage.id && line.status === "down");
      if (news === undefined) continue;
      const after = inside.slice(inside.indexOf(news));
      count += after.filter((line) => line.sent === outage.id).length;
    }
  }
  return count;
}

// --- subscribers that measure ------------------------------------------------------------------------------

/** Reads the instances of one agent and resolves who waits for a status, at the moment the line was read. */
class Subscriber {
  readonly #waiting = new Map<string, (at: number) => void>();
  readonly #abort = new AbortController();
  ready: Promise<void>;

  constructor(node: ClusterNode) {
    let isReady: () => void = () => {};
    this.ready = new Promise((resolve) => {
      isReady = resolve;
    });
    void this.#read(node, isReady);
  }

  async #read(node: ClusterNode, isReady: () => void): Promise<void> {
    const sql = "SELECT id, status FROM instances WHERE id LIKE 'demo-%'";
    try {
      for await (const event of node.client.subscribe(sql, { signal: this.#abort.signal })) {
        if (event.kind === "end-of-rows") isReady();
        if (event.kind !== "change") continue;
        const [id, status] = event.cells;
        this.#waiting.get(`${id} ${status}`)?.(performance.now());
      }
    } catch (error) {
      if (!this.#abort.signal.aborted) throw error;
    }
  }

  /** Resolves with the time (`performance.now()`) at which the line was read. */
  reads(id: string, status: string): Promise<number> {
    return new Promise((resolve, reject) => {
      const name = `${id} ${status}`;
      const late = setTimeout(() => reject(new Error(`${name}: not seen within 60 s`)), 60_000);
      this.#waiting.set(name, (at) => {
        clearTimeout(late);
        this.#waiting.delete(name);
        resolve(at);
      });
    });
  }

  stop(): void {
    this.#abort.abort();
  }
}

// --- comparing databases -----------------------------------------------------------------------------------

const tables = [
  ["services", "name"],
  ["instances", "id"],
  ["checks", "instance, kind"],
] as const;

/** Every row of the three tables, hashed; and how many there are. */
async function readAll(node: ClusterNode): Promise<{ rows: number; hash: string }> {
  const hash = createHash("sha256");
  let rows = 0;
  for (const [table, key] of tables) {
    const result = await node.client.query(`SELECT * FROM ${table} ORDER BY ${key}`);
    rows += result.rows.length;
    for (const row of result.rows) hash.update(`${table} ${JSON.stringify(row)}\n`);
  }
  return { rows, hash: hash.digest("hex") };
}

async function areIdentical(
  nodes: readonly ClusterNode[],
): Promise<{ identical: boolean; rows: number }> {
  const all = await Promise.all(nodes.map(readAll));
  return { identical: new Set(all.map(({ hash }) => hash)).size === 1, rows: all[0]?.rows ?? 0 };
}

function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

const rounded = (ms: number) => Math.round(ms * 100) / 100;

// --- the story ---------------------------------------------------------------------------------------------

async function main(): Promise<number> {
  if (!isBuilt()) return 1;
  const began = performance.now();
  progress(
    `starting a private bootstrap and three agents${options.loss ? ` with ${options.loss * 100} % loss` : ""} …`,
  );
  await using cluster = await Cluster.start({
    binary,
    nodes: 3,
    schema: [join(import.meta.dir, "schema.sql")],
    config: "[tables.instances]\nurgent = \"status <> 'up'\"\n",
    loss: options.loss,
  });
  const [a, b, c] = cluster.nodes as [ClusterNode, ClusterNode, ClusterNode];
  const backends = startBackends();
  const proxies: ProxyProcess[] = [];
  const subscribers: Subscriber[] = [];
  const stopAll = () => {
    for (const proxy of proxies) proxy.stop();
    for (const subscriber of subscribers) subscriber.stop();
    for (const backend of backends) backend.server?.stop(true);
  };
  process.once("exit", stopAll);
  try {
    await cluster.connected();
    for (const node of cluster.nodes) await printPeers(node);
    // Until then an instance that is "up" isn't taken: another host might have marked it down.
    for (const { name, client } of cluster.nodes) {
      await until(`${name} is ready`, 60_000, async () =>
        (await client.get("/v1/status")).includes('"ready":true'),
      );
    }

    await register(cluster.nodes, backends);

    for (const node of cluster.nodes) {
      proxies.push(new ProxyProcess(node));
      subscribers.push(new Subscriber(node));
    }
    await Promise.all(subscribers.map(({ ready }) => ready));
    await until("the proxies have sent requests to every server", 60_000, () =>
      proxies.every(({ lines }) => new Set(lines.map((line) => line.answer)).size > serverCount),
    );

    progress(`stopping a server and marking it down, ${options.rounds} times …`);
    const { downMs, outages } = await runOutages(cluster.nodes, backends, subscribers, proxies);

    progress("killing one agent with -9 while writes go on through the other two …");
    proxies[2]?.stop();
    subscribers[2]?.stop();
    const rejoinMs = await killAndRejoin(a, b, c);
    progress(`  back with identical tables ${rounded(rejoinMs)} ms after it was started`);

    const sentToDead = countSentToDead(proxies, outages);
    const { identical, rows } = await areIdentical(cluster.nodes);
    const result: DemoResult = {
      nodes: cluster.nodes.length,
      rows,
      down_ms: {
        n: downMs.length,
        p50: rounded(quantile(downMs, 0.5)),
        p99: rounded(quantile(downMs, 0.99)),
        max: rounded(Math.max(...downMs)),
      },
      sent_to_dead: sentToDead,
      rejoin_ms: rounded(rejoinMs),
      identical,
      binary_bytes: statSync(binary).size,
      rss_bytes: cluster.nodes.map((node) => node.rssBytes()),
      ...(options.keep ? { sockets: cluster.nodes.map(({ socket }) => socket) } : {}),
    };
    const requests = proxies.reduce(
      (n, { lines }) => n + lines.filter((line) => line.sent).length,
      0,
    );
    if (options.json) console.log(JSON.stringify(result));
    else printResult(result, requests, (performance.now() - began) / 1000);
    if (options.keep) await keep(cluster);
    return identical && sentToDead === 0 && downMs.length === options.rounds ? 0 : 1;
  } catch (error) {
    for (const node of cluster.nodes)
      progress(`--- the end of what ${node.name} logged\n${node.log()}`);
    throw error;
  } finally {
    stopAll();
  }
}

/** Builds it, unless it is to be taken as it is. */
function isBuilt(): boolean {
  if (!options["no-build"]) {
    progress("building dist/patina …");
    const build = Bun.spawnSync([process.execPath, join(root, "agent", "build.ts")], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    if (build.exitCode !== 0) return false;
  }
  const isThere = existsSync(binary);
  if (!isThere) console.error("dist/patina is missing: run npm run build");
  return isThere;
}

/** Registers the catalogue, each table through another agent, and the servers. Resolves when all agents have them. */
async function register(
  nodes: readonly ClusterNode[],
  backends: readonly Backend[],
): Promise<void> {
  const { services, instances } = catalogueSize;
  const catalogue = createCatalogue(catalogueSize, createRandom(42));
  progress(
    `registering ${services} services, ${instances.toLocaleString("en")} instances and as many checks through three agents …`,
  );
  const beganMs = performance.now();
  const tables = ["services", "instances", "checks"] as const;
  await Promise.all(
    tables.map(async (table, i) => {
      for (const batch of registrations(table, catalogue[table], 200)) {
        await nodes[i]?.client.transact(...batch);
      }
    }),
  );
  for (const [i, { id, port }] of backends.entries()) {
    const node = nodes[i % nodes.length] as ClusterNode;
    const values = [id, "demo", node.name, `127.0.0.1:${port}`, "up", 100];
    await node.client.transact({ sql: insertInstance, parameters: values });
  }
  const wanted = services + 2 * instances + backends.length;
  await until("all three hold the catalogue", 60_000, async () => {
    const { identical, rows } = await areIdentical(nodes);
    return identical && rows === wanted;
  });
  const seconds = ((performance.now() - beganMs) / 1000).toFixed(1);
  progress(`  ${wanted} rows on every agent after ${seconds} s`);
}

async function printPeers(node: ClusterNode): Promise<void> {
  const swarm = Bun.spawnSync([binary, "swarm", "--json", "--socket", node.socket]);
  const peers = (JSON.parse(swarm.stdout.toString() || "{}").peers ?? []) as {
    name: string;
    found: string;
    address: string;
  }[];
  for (const peer of peers)
    progress(`  ${node.name} has ${peer.name} at ${peer.address}, found by ${peer.found}`);
}

async function runOutages(
  nodes: readonly ClusterNode[],
  backends: readonly Backend[],
  subscribers: readonly Subscriber[],
  proxies: readonly ProxyProcess[],
): Promise<{ downMs: number[]; outages: Outage[] }> {
  const downMs: number[] = [];
  const outages: Outage[] = [];
  const update = "UPDATE instances SET status = ? WHERE id = ?";
  for (let round = 0; round < options.rounds; round++) {
    const backend = backends[round % backends.length] as Backend;
    const writer = round % nodes.length;
    const client = (nodes[writer] as ClusterNode).client;
    const others = subscribers.filter((_, i) => i !== writer);
    backend.server?.stop(true);
    const outage: Outage = { id: backend.id, stoppedAt: clock(), backAt: Number.POSITIVE_INFINITY };
    outages.push(outage);
    const downSeen = others.map((subscriber) => subscriber.reads(backend.id, "down"));
    const writtenAt = performance.now();
    const [, ...readAt] = await Promise.all([
      client.transact({ sql: update, parameters: ["down", backend.id] }),
      ...downSeen,
    ]);
    downMs.push(Math.max(...readAt) - writtenAt);
    await until("every proxy has the news", 60_000, () =>
      proxies.every(({ lines }) =>
        lines.some(
          (line) =>
            line.news === backend.id && line.status === "down" && line.at > outage.stoppedAt,
        ),
      ),
    );
    backend.server = await serveAgain(backend);
    outage.backAt = clock();
    const upSeen = others.map((subscriber) => subscriber.reads(backend.id, "up"));
    await Promise.all([
      client.transact({ sql: update, parameters: ["up", backend.id] }),
      ...upSeen,
    ]);
    if ((round + 1) % 25 === 0) progress(`  ${round + 1} of ${options.rounds}`);
  }
  return { downMs, outages };
}

/** The port may linger for a moment after the server was stopped. */
async function serveAgain(backend: Backend): Promise<Server<undefined>> {
  let server: Server<undefined> | undefined;
  await until(`port ${backend.port} is free again`, 60_000, () => {
    server = serve(backend);
    return true;
  });
  return server as Server<undefined>;
}

async function killAndRejoin(a: ClusterNode, b: ClusterNode, c: ClusterNode): Promise<number> {
  let writing = true;
  let written = 0;
  const write = async (node: ClusterNode, writer: number) => {
    for (let i = 0; writing; i++) {
      const id = `rejoin-${writer}-${i}`;
      const values = [id, "demo", node.name, "10.9.9.9:80", i % 3 === 0 ? "down" : "up", i % 100];
      await node.client.transact({ sql: insertInstance, parameters: values });
      if (i % 5 === 4) {
        await node.client.transact({
          sql: "DELETE FROM instances WHERE id = ?",
          parameters: [`rejoin-${writer}-${i - 2}`],
        });
      }
      written++;
    }
  };
  const writers = [write(a, 0), write(b, 1)];
  await until("writes are going on", 60_000, () => written >= 50);
  await c.kill("SIGKILL");
  const atKill = written;
  await until("writes went on without it", 60_000, () => written >= atKill + 1000);
  writing = false;
  await Promise.all(writers);
  progress(`  ${written} writes, ${written - atKill} of them while it was dead`);
  await until(
    "the two survivors agree",
    20_000,
    async () => (await areIdentical([a, b])).identical,
  );
  const wanted = (await readAll(a)).hash;
  const spawnedAt = performance.now();
  c.spawn();
  await until(
    "the killed agent has identical tables",
    60_000,
    async () => (await readAll(c)).hash === wanted,
  );
  return performance.now() - spawnedAt;
}

/** What `--json` prints. */
interface DemoResult {
  readonly nodes: number;
  /** On each of them, at the end. */
  readonly rows: number;
  /** From marking an instance down to its being read by the last other subscriber. */
  readonly down_ms: { n: number; p50: number; p99: number; max: number };
  /** Requests that a proxy sent to a stopped server although it had the news. */
  readonly sent_to_dead: number;
  /** From the start of the killed agent until its tables are those of the others. */
  readonly rejoin_ms: number;
  readonly identical: boolean;
  readonly binary_bytes: number;
  readonly rss_bytes: readonly number[];
  readonly sockets?: readonly string[];
}

function printResult(result: DemoResult, requests: number, seconds: number): void {
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;
  const { down_ms: down } = result;
  const lines: [string, string][] = [
    ["rows on each of three agents", String(result.rows)],
    [
      "marked down → read by the last other subscriber",
      `p50 ${down.p50} ms, p99 ${down.p99} ms, max ${down.max} ms (n = ${down.n})`,
    ],
    ["requests that the proxies sent", String(requests)],
    ["… to a stopped server after they had the news", String(result.sent_to_dead)],
    ["killed agent: start → identical tables", `${result.rejoin_ms} ms`],
    ["all three databases identical, row for row", result.identical ? "yes" : "NO"],
    ["binary", megabytes(result.binary_bytes)],
    ["memory of the agents", result.rss_bytes.map(megabytes).join(", ")],
    ["the demo, without the build", `${seconds.toFixed(1)} s`],
  ];
  console.log();
  for (const [what, value] of lines) console.log(`${what.padEnd(50)}${value}`);
}

async function keep(cluster: Cluster): Promise<void> {
  progress("\nthe cluster stays up. Try:");
  for (const { socket } of cluster.nodes) {
    progress(
      `  ${binary} query --socket ${socket} "SELECT status, count(*) FROM instances GROUP BY status"`,
    );
  }
  const { socket } = cluster.nodes[0] as ClusterNode;
  progress(
    `  ${binary} watch --socket ${socket} "SELECT id, status FROM instances WHERE service = 'demo'"`,
  );
  progress(`  ${binary} members --socket ${socket}`);
  progress("Ctrl-C ends it.");
  cluster.leaveSignals();
  await new Promise<void>((resolve) => {
    process.once("SIGINT", () => resolve());
    process.once("SIGTERM", () => resolve());
  });
}

process.exit(await main());

/**
 * The part of `bench subscriptions` that runs over a Unix socket, against an agent in a process of its own: from just
 * before a commit is due until its event is read, and what a subscriber takes of the agent's memory.
 *
 * The client has a process of its own, too. In that of the other part, which has had tens of thousands of
 * subscriptions, a collection holds up what is timed for longer than the agent takes.
 *
 * @module
 */

import { connect, type Socket } from "node:net";
import { PatinaClient } from "../agent/client/client.ts";
import { startBenchAgent } from "./bench-agent.ts";
import { median, quantile } from "./harness.ts";

/** Between two writes: a fixed schedule, whether or not the last event has arrived. */
const everyMs = 5;
/** A write that is sent later than this after it was due is counted. */
const lateMs = 2;

export interface SocketOptions {
  readonly schemaSql: string;
  /** With one parameter, a service; its last column is the weight. */
  readonly selectionSql: string;
  /** Other subscriptions, each of a service of its own. */
  readonly open: number;
  /** In all, for the agent's memory. */
  readonly subscribers: number;
  /** Writes that are timed. */
  readonly rounds: number;
}

export interface SocketReport {
  readonly open: number;
  readonly sent: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** With no other subscription open. */
  readonly aloneP99Ms: number;
  readonly late: number;
  readonly subscribers: number;
  /** Of the agent's memory. */
  readonly bytesEach: number;
  readonly rssBytes: number;
}

/** Runs it in a process of its own. */
export async function measureOverSocket(options: SocketOptions): Promise<SocketReport> {
  const child = Bun.spawn([process.execPath, import.meta.path, JSON.stringify(options)], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const text = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error(`the client ended with ${child.exitCode}`);
  return JSON.parse(text) as SocketReport;
}

async function measure(options: SocketOptions): Promise<SocketReport> {
  const { schemaSql, selectionSql, open, subscribers, rounds } = options;
  const values = Array.from({ length: open + 1 }, (_, i) => `('i${i}','s${i}','n')`);
  const fill = [`INSERT INTO instances (id, service, node) VALUES ${values.join(",")}`];
  await using agent = await startBenchAgent({ schemaSql, fill });
  const client = new PatinaClient(agent.socket);
  using listeners = new Listeners(agent.socket, selectionSql);
  /** By the weight that was written. */
  const readAtMs = new Map<number, number>();
  await listeners.add(`s${open}`, (chunk) => {
    const nowMs = performance.now();
    for (const match of chunk.matchAll(/"change":\["update",\d+,\[[^\]]*,(\d+)\]/g)) {
      readAtMs.set(Number(match[1]), nowMs);
    }
  });
  const timed = () => timeEvents(client, `i${open}`, rounds, readAtMs);
  const alone = await timed();
  await client.transact(`UPDATE instances SET weight = 0 WHERE id = 'i${open}'`);
  for (let i = 0; i < open; i++) await listeners.add(`s${i}`, () => {});
  const loaded = await timed();
  const rss = async () =>
    (JSON.parse(await client.get("/v1/status")) as { rss_bytes: number }).rss_bytes;
  const before = await rss();
  const more = Math.max(0, subscribers - listeners.count);
  for (let i = 0; i < more; i++) await listeners.add(`s${i % open}`, () => {});
  const after = await rss();
  return {
    open,
    sent: rounds,
    p50Ms: median(loaded.latenciesMs),
    p99Ms: quantile(loaded.latenciesMs, 0.99),
    aloneP99Ms: quantile(alone.latenciesMs, 0.99),
    late: loaded.late,
    subscribers: listeners.count,
    bytesEach: more === 0 ? 0 : (after - before) / more,
    rssBytes: after,
  };
}

/** Updates one row again and again, and times each from when it was due, or sent if a timer was early. */
async function timeEvents(
  client: PatinaClient,
  id: string,
  rounds: number,
  readAtMs: Map<number, number>,
): Promise<{ latenciesMs: number[]; late: number }> {
  readAtMs.clear();
  let late = 0;
  const startMs = performance.now() + 100;
  const writes: Promise<unknown>[] = [];
  const fromMs: number[] = [];
  for (let i = 1; i <= rounds; i++) {
    const dueMs = startMs + i * everyMs;
    await Bun.sleep(Math.max(0, dueMs - performance.now()));
    const nowMs = performance.now();
    if (nowMs - dueMs > lateMs) late++;
    fromMs.push(Math.min(dueMs, nowMs));
    const sql = "UPDATE instances SET weight = ? WHERE id = ?";
    writes.push(client.transact({ sql, parameters: [i, id] }));
  }
  await Promise.all(writes);
  const deadlineMs = performance.now() + 60_000;
  while (!readAtMs.has(rounds) && performance.now() < deadlineMs) await Bun.sleep(5);
  if (!readAtMs.has(rounds)) throw new Error(`the last event of ${rounds} didn't come`);
  // Where commits came faster than there was time to look, one event tells of several.
  let seenMs = Number.NaN;
  const latenciesMs: number[] = [];
  for (let i = rounds; i >= 1; i--) {
    seenMs = readAtMs.get(i) ?? seenMs;
    latenciesMs.push(seenMs - (fromMs[i - 1] as number));
  }
  return { latenciesMs, late };
}

/** Open subscriptions. */
class Listeners implements Disposable {
  readonly #socketPath: string;
  readonly #sql: string;
  readonly #sockets: Socket[] = [];

  constructor(socketPath: string, sql: string) {
    this.#socketPath = socketPath;
    this.#sql = sql;
  }

  get count(): number {
    return this.#sockets.length;
  }

  /** Resolves when its rows are there. */
  add(service: string, take: (chunk: string) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const body = JSON.stringify([this.#sql, [service]]);
      const stream = connect(this.#socketPath);
      this.#sockets.push(stream);
      stream.on("error", reject);
      stream.on("data", (chunk) => {
        const lines = chunk.toString();
        take(lines);
        if (lines.includes('"eoq"')) resolve();
      });
      stream.write(
        `POST /v1/subscriptions HTTP/1.1\r\nhost: p\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      );
    });
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

if (import.meta.main) {
  console.log(JSON.stringify(await measure(JSON.parse(process.argv[2] as string))));
  process.exit(0);
}

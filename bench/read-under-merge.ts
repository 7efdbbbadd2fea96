/**
 * How much a merge disturbs reads and urgent changes.
 *
 * Two compiled agents on loopback. One writes, the other is measured: 1,000 point reads a second over its
 * Unix socket from a process of its own (`open-loop-reads.ts`), and every 100 ms an urgent change of the
 * writer's, timed from the moment at which the writer ran its statement, right before the commit (the row says
 * it, in whole ms), until a subscriber of the measured one has read the line. Phases, in one run:
 *
 * 1. *idle*: reads and urgent changes alone;
 * 2. *undisturbed*: the measured agent merges a million changes that the writer commits, 100 rows of 5 columns
 *    at a time, and nobody reads; again after the third phase, since the table grows: the mean counts;
 * 3. *merge*: the same with reads and urgent changes;
 * 4. *large*: one commit of 100,000 rows, the most there can be, with reads and urgent changes.
 *
 * With `--late` it says which threads had the measured agent's cores while the reads of the third phase that came later than
 * idle p99 + 2 ms waited (`core-switches.ts`).
 *
 * A merge is timed from the writer's first commit until the measured agent holds every row, so writer and
 * network are in it. The run is void when the reader's own sends were late or found no free connection.
 *
 * @module
 */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Cluster, type ClusterNode, until } from "../examples/cluster.ts";
import { binaryOf, optionValue } from "./arguments.ts";
import { addUp, CoreSwitches } from "./core-switches.ts";
import { type Bench, type BenchCase, type BenchResult, median, quantile } from "./harness.ts";
import { lateMs, type OpenLoopResult } from "./open-loop-reads.ts";
import { bulkSql, changesPerRow, schemaSql } from "./read-under-merge-rows.ts";
import { coresOfAgent, settleAgent, settleGenerator } from "./scheduling.ts";
import { servicesSumSql } from "./services-table.ts";

const readsPerSecond = 1000;
const urgentEveryMs = 100;
const baseRows = 50_000;
const deadlineMs = 180_000;

interface Sizes {
  readonly base: number;
  readonly merged: number;
  /** Of one commit. */
  readonly commit: number;
  readonly large: number;
  readonly idleMs: number;
}

const sizes: Sizes = {
  base: baseRows,
  merged: 200_000,
  commit: 100,
  large: 100_000,
  idleMs: 10_000,
};
const smallSizes: Sizes = { base: 1000, merged: 2000, commit: 100, large: 1000, idleMs: 500 };

/** `--rows N`, `--commit N`, `--large N`, `--idle MS`: other sizes, to look at something closely. */
function sizesOf(usual: Sizes, args: readonly string[]): Sizes {
  const given = (name: string, otherwise: number): number =>
    Number(optionValue(args, name) ?? otherwise);
  return {
    base: usual.base,
    merged: given("--rows", usual.merged),
    commit: given("--commit", usual.commit),
    large: given("--large", usual.large),
    idleMs: given("--idle", usual.idleMs),
  };
}

export const readUnderMerge: Bench = {
  name: "read-under-merge",
  what: "reads and urgent changes of a real agent while it merges a million changes",
  options: [
    { name: "--binary", value: "PATH", what: "the executable; dist/patina" },
    { name: "--rows", value: "N", what: "rows that are merged; 200,000" },
    { name: "--commit", value: "N", what: "rows of one commit; 100" },
    { name: "--large", value: "N", what: "rows of the large commit; 100,000" },
    { name: "--late", what: "who had the processor while late reads waited; needs perf" },
    { name: "--idle", value: "MS", what: "how long it is measured at rest; 10,000" },
  ],
  async run({ small, args }): Promise<BenchResult> {
    const binary = binaryOf(args);
    const folder = mkdtempSync(join(tmpdir(), "patina-read-under-merge-"));
    try {
      const schema = join(folder, "schema.sql");
      writeFileSync(schema, schemaSql);
      await using cluster = await Cluster.start({
        binary,
        nodes: 2,
        schema: [schema],
        config: '[tables.urgent]\nurgent = "1"\n\n[store]\nstatement_timeout_ms = 60000\n',
      });
      await cluster.connected();
      return await measure(
        cluster,
        sizesOf(small ? smallSizes : sizes, args),
        args.includes("--late"),
      );
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

async function measure(
  cluster: Cluster,
  { base, merged, commit, large, idleMs }: Sizes,
  withLate: boolean,
): Promise<BenchResult> {
  const [writer, measured] = cluster.nodes as [ClusterNode, ClusterNode];
  const priorities = [
    `generators: ${settleGenerator(process.pid)}`,
    `measured agent: ${settleAgent(measured.pid, 0, 2)}`,
    `writer: ${settleAgent(writer.pid, 1, 2)}`,
  ];
  let rows = 0;
  /** Has the writer commit rows and waits for them; changes a second. */
  const merge = async (count: number, commit: number): Promise<number> => {
    const startMs = performance.now();
    const end = rows + count;
    for (; rows < end; rows += commit) {
      await writer.client.transact({ sql: bulkSql, parameters: [rows, rows + commit] });
    }
    await holds(measured, end + urgentRows, 20);
    return (count * changesPerRow) / ((performance.now() - startMs) / 1000);
  };
  await writer.client.transact("INSERT INTO urgent (id) VALUES ('u')");
  await merge(base, commit);
  await until("the measured agent has agreed with the writer", 30_000, async () => {
    return (await measured.client.health()).status === 200;
  });
  await using urgent = await UrgentChanges.watch(writer, measured);

  // What is compiled and cached on the first thousand reads isn't what is measured.
  await readsDuring(measured, base, () => Bun.sleep(idleMs / 5));
  const idle = await disturbed(measured, urgent, base, () => Bun.sleep(idleMs));
  const quiet = () => Bun.sleep(Math.min(2000, idleMs));
  const turnsIdle = await turns(measured);
  const before = await merge(merged, commit);
  await quiet();
  const switches = withLate ? await CoreSwitches.start(coresOfAgent(0, 2)) : undefined;
  const under = await disturbed(measured, urgent, base, () => merge(merged, commit));
  const late = await lateReads(under, quantile(idle.reads, 0.99) + 2, measured.pid, switches);
  const turnsUnder = await turns(measured);
  await quiet();
  const after = await merge(merged, commit);
  await quiet();
  const atOnce = await disturbed(measured, urgent, base, () => merge(large, large));
  const turnsLarge = await turns(measured);

  const [checksum, others] = await Promise.all([sums(measured), sums(writer)]);
  if (checksum !== others) throw new Error(`the agents differ: ${checksum} and ${others}`);
  if (Number(checksum.split(",")[0]) !== rows) throw new Error(`${checksum}: not ${rows} rows`);

  const undisturbed = (before + after) / 2;
  const summary = {
    idle_p99_ms: rounded(quantile(idle.reads, 0.99)),
    p50_ms: rounded(median(under.reads)),
    p99_ms: rounded(quantile(under.reads, 0.99)),
    max_ms: rounded(Math.max(...under.reads)),
    p0_p99_ms: rounded(quantile(under.urgent, 0.99)),
    p0_idle_p99_ms: rounded(quantile(idle.urgent, 0.99)),
    merge_changes_per_s: Math.round(under.result),
    merge_share: rounded(under.result / undisturbed),
    idle_p50_ms: rounded(median(idle.reads)),
    idle_max_ms: rounded(Math.max(...idle.reads)),
    p0_p50_ms: rounded(median(under.urgent)),
    p0_idle_p50_ms: rounded(median(idle.urgent)),
    undisturbed_changes_per_s: Math.round(undisturbed),
    large_p99_ms: rounded(quantile(atOnce.reads, 0.99)),
    large_max_ms: rounded(Math.max(...atOnce.reads)),
    large_p0_p99_ms: rounded(quantile(atOnce.urgent, 0.99)),
    large_changes_per_s: Math.round(atOnce.result),
    reads: under.reads.length,
    p0_changes: under.urgent.length,
    late_sends_percent: rounded(Math.max(idle.latePercent, under.latePercent, atOnce.latePercent)),
    latest_send_ms: rounded(Math.max(idle.latestSendMs, under.latestSendMs, atOnce.latestSendMs)),
  };
  const item = (name: string, ours: number, peer: number, unit: string): BenchCase => ({
    case: name,
    unit,
    ours,
    peer,
    peer_name: "the same agent, undisturbed",
    peer_version: "this run",
    ratio: unit === "ms" ? peer / ours : ours / peer,
    checksum,
  });
  return {
    cases: [
      item("point reads, p50", summary.p50_ms, summary.idle_p50_ms, "ms"),
      item("point reads, p99", summary.p99_ms, summary.idle_p99_ms, "ms"),
      item("urgent changes, p50", summary.p0_p50_ms, summary.p0_idle_p50_ms, "ms"),
      item("urgent changes, p99", summary.p0_p99_ms, summary.p0_idle_p99_ms, "ms"),
      item("merge", summary.merge_changes_per_s, summary.undisturbed_changes_per_s, "changes/s"),
      item("large commit: point reads, p99", summary.large_p99_ms, summary.idle_p99_ms, "ms"),
      item("large commit: urgent, p99", summary.large_p0_p99_ms, summary.p0_idle_p99_ms, "ms"),
    ],
    summary,
    ...reasonToVoid([idle, under, atOnce]),
    notes: [
      `${priorities.join(", ")}; each agent has cores of its own, as hosts have; the generators share them`,
      `reads are timed from when they were due; late is more than ${lateMs} ms, and above 1 % the run is void`,
      `longest turns of the measured agent's store thread, ms: ${turnsIdle} idle; ${turnsUnder} merge; ${turnsLarge} large`,
      ...late,
    ],
  };
}

/** Rows held beside the bulk ones. */
const urgentRows = 1;

/** Who had the agent's cores while the reads waited that took longer than `fromMs`. */
async function lateReads(
  { reads, readsDueMs }: Disturbed<unknown>,
  fromMs: number,
  pid: number,
  switches: CoreSwitches | undefined,
): Promise<string[]> {
  if (switches === undefined) return [];
  const cores = await switches.stop();
  const sums = new Map<string, number>();
  let count = 0;
  for (const [i, tookMs] of reads.entries()) {
    if (tookMs <= fromMs) continue;
    count++;
    const dueMs = readsDueMs[i] as number;
    for (const runs of cores) {
      addUp(
        runs,
        dueMs,
        dueMs + tookMs,
        (run) => (run.pid === pid ? run.name : run.pid === 0 ? "nobody" : "another process"),
        sums,
      );
    }
  }
  const shares = [...sums].sort(([, a], [, b]) => b - a);
  const each = shares.map(([name, ms]) => `${name} ${(ms / Math.max(1, count)).toFixed(2)}`);
  return [
    `reads later than ${fromMs.toFixed(1)} ms: ${count} of ${reads.length}; meanwhile the agent's cores had, ms a read: ${each.join(", ")}`,
  ];
}

interface Disturbed<T> {
  readonly result: T;
  /** Latencies in ms. */
  readonly reads: readonly number[];
  /** When each was due, ms since 1970. */
  readonly readsDueMs: readonly number[];
  readonly urgent: readonly number[];
  readonly latePercent: number;
  readonly latestSendMs: number;
  /** Reads that were due and found no connection idle. */
  readonly starved: number;
}

/** Reads and writes urgent changes while `work` goes on. */
async function disturbed<T>(
  measured: ClusterNode,
  urgent: UrgentChanges,
  readRows: number,
  work: () => Promise<T>,
): Promise<Disturbed<T>> {
  const during = async (): Promise<{ result: T; latencies: readonly number[] }> => {
    const stop = urgent.start();
    const result = await work();
    return { result, latencies: await stop() };
  };
  const { result, reads } = await readsDuring(measured, readRows, during);
  const sent = reads.tookMs.length;
  const latePercent = (100 * reads.lateSends) / Math.max(1, sent);
  if (reads.wrong > 0) {
    throw new Error(
      `${reads.wrong} of ${sent} reads got no row: ${reads.wrongText ?? "no answer"}`,
    );
  }
  return {
    result: result.result,
    reads: reads.tookMs,
    readsDueMs: reads.dueMs,
    urgent: result.latencies,
    latePercent,
    latestSendMs: reads.latestSendMs,
    starved: reads.starved,
  };
}

/** @returns Why the measurement proves nothing, if the generators couldn't keep their schedule. */
function reasonToVoid(phases: readonly Disturbed<unknown>[]): { voided?: string } {
  const latePercent = Math.max(...phases.map((phase) => phase.latePercent));
  if (latePercent > 1) return { voided: `${latePercent.toFixed(1)} % of the sends were late` };
  const starved = phases.reduce((sum, phase) => sum + phase.starved, 0);
  return starved > 0 ? { voided: `${starved} reads found no free connection` } : {};
}

/** Runs `work` beside the process that reads; only reads that were due meanwhile count. */
async function readsDuring<T>(
  node: ClusterNode,
  readRows: number,
  work: () => Promise<T>,
): Promise<{ result: T; reads: OpenLoopResult }> {
  const script = join(import.meta.dir, "open-loop-reads.ts");
  const reader = Bun.spawn(
    [process.execPath, script, node.socket, String(readsPerSecond), String(readRows)],
    { stdin: "pipe", stdout: "pipe", stderr: "inherit" },
  );
  try {
    const lines = linesOf(reader.stdout);
    await lines.next();
    settleGenerator(reader.pid);
    reader.stdin.write("go\n");
    await reader.stdin.flush();
    // The first ones open doors.
    await Bun.sleep(200);
    const fromMs = performance.timeOrigin + performance.now();
    const result = await work();
    const toMs = performance.timeOrigin + performance.now();
    await reader.stdin.end();
    const { value } = await lines.next();
    const all = JSON.parse(String(value)) as OpenLoopResult;
    const inside = all.dueMs.map((due) => due >= fromMs && due < toMs);
    const reads = {
      ...all,
      dueMs: all.dueMs.filter((_, i) => inside[i]),
      tookMs: all.tookMs.filter((_, i) => inside[i]),
    };
    return { result, reads };
  } finally {
    reader.kill("SIGKILL");
    await reader.exited;
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const piece of stream) {
    text += decoder.decode(piece, { stream: true });
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
      yield text.slice(0, end);
      text = text.slice(end + 1);
    }
  }
}

/** One row that the writer changes on a schedule, and two subscribers that see it change. */
class UrgentChanges implements AsyncDisposable {
  readonly #writer: ClusterNode;
  readonly #stop = new AbortController();
  /** When a number was written, and when it was read at the measured one: ms since 1970. */
  readonly #writtenMs = new Map<number, number>();
  readonly #seenMs = new Map<number, number>();
  #next = 1;

  private constructor(writer: ClusterNode) {
    this.#writer = writer;
  }

  static async watch(writer: ClusterNode, measured: ClusterNode): Promise<UrgentChanges> {
    const watching = new UrgentChanges(writer);
    // Of those that the measured one shows as one change, only the writer's subscriber sees each.
    await watching.#watch(writer, (number, writtenMs) => {
      watching.#writtenMs.set(number, writtenMs);
    });
    await watching.#watch(measured, (number) => {
      watching.#seenMs.set(number, performance.timeOrigin + performance.now());
    });
    return watching;
  }

  /** Writes until the returned function is called; that waits for all lines and gives the latencies, ms. */
  start(): () => Promise<number[]> {
    const from = this.#next;
    const startMs = performance.now();
    const writes: Promise<unknown>[] = [];
    let isOver = false;
    const loop = (async () => {
      for (let i = 0; !isOver; i++) {
        await Bun.sleep(Math.max(0, startMs + i * urgentEveryMs - performance.now()));
        const parameters = [this.#next++];
        const sql =
          "UPDATE urgent SET number = ?, written_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER)";
        writes.push(this.#writer.client.transact({ sql, parameters }));
      }
    })();
    return async () => {
      isOver = true;
      await loop;
      await Promise.all(writes);
      const last = this.#next - 1;
      await until(
        "the last urgent change was seen",
        30_000,
        () => this.#seenMs.has(last) && this.#writtenMs.has(last),
      );
      const latencies: number[] = [];
      for (let number = from; number <= last; number++) {
        const writtenMs = this.#writtenMs.get(number);
        // Two that waited together may be seen as one: the later line answers for both.
        const seenMs = firstFrom(this.#seenMs, number);
        if (writtenMs !== undefined) latencies.push(seenMs - writtenMs);
      }
      return latencies;
    };
  }

  async #watch(
    node: ClusterNode,
    onChange: (number: number, writtenMs: number) => void,
  ): Promise<void> {
    const events = node.client.subscribe("SELECT id, number, written_ms FROM urgent", {
      signal: this.#stop.signal,
    });
    let isReady: () => void = () => {};
    const first = new Promise<void>((resolve) => {
      isReady = resolve;
    });
    void (async () => {
      try {
        for await (const event of events) {
          if (event.kind === "end-of-rows") isReady();
          if (event.kind === "change") onChange(Number(event.cells[1]), Number(event.cells[2]));
        }
      } catch (error) {
        if (!this.#stop.signal.aborted) throw error;
      }
    })();
    await first;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
  }
}

function firstFrom(times: ReadonlyMap<number, number>, number: number): number {
  for (let next = number; ; next++) {
    const ms = times.get(next);
    if (ms !== undefined) return ms;
  }
}

/** Asks every so often, cheaply, until the agent holds so many rows. */
async function holds(node: ClusterNode, rows: number, everyMs: number): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  for (;;) {
    const status = JSON.parse(await node.client.get("/v1/status")) as { rows_held: number };
    if (status.rows_held >= rows) return;
    if (performance.now() > endMs) {
      throw new Error(`${node.name} holds ${status.rows_held} rows, not ${rows}`);
    }
    await Bun.sleep(everyMs);
  }
}

/** By kind, of the last seconds. */
async function turns(node: ClusterNode): Promise<string> {
  const status = JSON.parse(await node.client.get("/v1/status")) as {
    longest_turns_ms?: Record<string, number>;
  };
  const longest = Object.entries(status.longest_turns_ms ?? {});
  return longest.map(([kind, ms]) => `${kind} ${ms}`).join(", ");
}

async function sums(node: ClusterNode): Promise<string> {
  return (await node.client.query(servicesSumSql)).rows.join(",");
}

function rounded(value: number): number {
  return Number(value.toFixed(3));
}

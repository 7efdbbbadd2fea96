/**
 * Live queries: what open subscriptions cost a commit, and how soon an event is there.
 *
 * Two parts. *In process*, on the real store with its file, WAL and history: 10, 1,000 and 10,000 open
 * subscriptions, each with a listener, and one-row commits that concern exactly one of them, or none;
 * here nothing but the store and live queries is timed. *Over the Unix socket*, against a real agent in
 * a process of its own (from source): from just before a commit is posted until its event is read, on a
 * fixed schedule (open loop), with 1,000 other subscriptions open, and the agent's memory with 5,000.
 *
 * @module
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { StreamEvent } from "../agent/api/store-service.ts";
import { createLog } from "../agent/log.ts";
import { StoreThread } from "../agent/store/store-thread.ts";
import { problemToText } from "../core/schema/schema.ts";
import { readSchema } from "../core/schema/schema-reader.ts";
import { openDatabase } from "../wasm/database.ts";
import { FileVfs } from "../wasm/vfs/file.ts";
import { MemoryVfs } from "../wasm/vfs/memory.ts";
import {
  type Bench,
  type BenchCase,
  type BenchResult,
  median,
  plainCase,
  quantile,
} from "./harness.ts";
import { measureOverSocket } from "./subscriptions-socket.ts";

const schemaSql = `
CREATE TABLE services (name TEXT NOT NULL PRIMARY KEY, owner TEXT NOT NULL DEFAULT '');
CREATE TABLE instances (id TEXT NOT NULL PRIMARY KEY, service TEXT NOT NULL DEFAULT '',
  node TEXT NOT NULL DEFAULT '', status TEXT NOT NULL DEFAULT 'up', weight INTEGER NOT NULL DEFAULT 0);
CREATE INDEX instances_service ON instances (service);
`;

type Form = "selection" | "join";
const forms: Readonly<Record<Form, string>> = {
  selection: "SELECT id, node, status, weight FROM instances WHERE service = ?",
  join: "SELECT i.id, i.weight, s.owner, m.state FROM instances i JOIN services s ON s.name = i.service JOIN patina_members m ON m.node = i.node WHERE i.service = ?",
};

/** Of the fewest open and the most: what else the machine does in these seconds shows in no more than one of them. */
const turns = 3;

export const subscriptions: Bench = {
  name: "subscriptions",
  what: "open live queries: cost of a commit, commit → event, memory, initial rows",
  options: [{ name: "--in-process", what: "only what needs no socket" }],
  async run({ small, args }): Promise<BenchResult> {
    const counts = small ? [10, 100] : [10, 1000, 10_000];
    const rounds = small ? 50 : 1000;
    const isBrief = args.includes("--in-process");
    const cases: BenchCase[] = [];
    const summary: Record<string, number | null> = {};
    // Compiled code is what is measured.
    await commitsWith("selection", 10, rounds);
    for (const form of ["selection", "join"] as const) {
      await measureCommits(form, counts, rounds, small ? 1 : turns, cases, summary);
    }
    for (const open of small ? [50] : [6, 1000, 10_000]) {
      await measureCommitForAll(open, small ? 5 : 30, cases);
    }
    const initial = await initialRows(small ? 2000 : 100_000);
    cases.push(
      plain(`initial rows: ${initial.rows}`, "rows/s", initial.rowsPerSecond, initial.rows),
      plain(`rerun of ${initial.rows} rows: commit → event`, "ms", initial.rerunMs, initial.rows),
      plain(`rerun of ${initial.rows} rows: longest turn`, "ms", initial.rerunTurnMs, initial.rows),
    );
    summary.initial_rows_ms = Number(initial.tookMs.toFixed(1));
    summary.initial_rows_longest_turn_ms = Number(initial.turnMs.toFixed(1));
    summary.rerun_longest_turn_ms = Number(initial.rerunTurnMs.toFixed(1));
    if (!isBrief) {
      const socket = await measureOverSocket({
        schemaSql,
        selectionSql: forms.selection,
        open: small ? 20 : 1000,
        subscribers: small ? 30 : 5000,
        rounds: small ? 30 : 1000,
      });
      cases.push(
        plain(`socket, ${socket.open} open: commit → event, p50`, "ms", socket.p50Ms, socket.sent),
      );
      summary.p50_ms = Number(socket.p50Ms.toFixed(3));
      summary.p99_ms = Number(socket.p99Ms.toFixed(3));
      summary.p99_alone_ms = Number(socket.aloneP99Ms.toFixed(3));
      summary.late_sends = socket.late;
      summary.subscribers = socket.subscribers;
      summary.agent_bytes_per_subscriber = Math.round(socket.bytesEach);
      summary.agent_rss_mb = Math.round(socket.rssBytes / 2 ** 20);
    }
    return {
      cases,
      summary,
      notes: [
        "growth: median cost of a commit that concerns nobody, with the most subscriptions open over with 10, one after the other; median of three turns",
        "bytes_each: growth of this process per subscription and its listener, SQLite's heap and rows included",
        "initial_rows: one subscription, its rows streamed from the reader thread; the longest turn is that of the store thread",
        "rerun: a GROUP BY over all rows, run again at each commit; medians",
        "p50_ms, p99_ms: a real agent over its Unix socket, timed from when each write was due; p99_alone_ms: the same with no other open",
        "no peer: Corrosion batches events on a 600 ms timer, which is no yardstick",
      ],
    };
  },
};

/** Commits with ever more subscriptions open, which concern one of them or none. */
async function measureCommits(
  form: Form,
  counts: readonly number[],
  rounds: number,
  turns: number,
  cases: BenchCase[],
  summary: Record<string, number | null>,
): Promise<void> {
  const unaffected: number[] = [];
  for (const open of counts) {
    const { unaffectedUs, affectedUs, eventP99Us, bytesEach, events } = await commitsWith(
      form,
      open,
      rounds,
    );
    unaffected.push(unaffectedUs);
    if (open === counts.at(-1)) summary[`${form}_bytes_each`] = Math.round(bytesEach);
    const name = `${form}, ${open} open`;
    cases.push(
      plain(`${name}: commit that concerns none`, "µs", unaffectedUs, rounds),
      plain(`${name}: commit that concerns one`, "µs", affectedUs, rounds),
      plain(`${name}: commit → event, p99`, "µs", eventP99Us, events),
      plain(`${name}: commits/s that concern one`, "1/s", 1e6 / affectedUs, rounds),
    );
  }
  const [fewest, most] = [counts[0] as number, counts.at(-1) as number];
  const growths = [(unaffected.at(-1) as number) / (unaffected[0] as number)];
  while (growths.length < turns) {
    const few = await commitsWith(form, fewest, rounds);
    const many = await commitsWith(form, most, rounds);
    growths.push(many.unaffectedUs / few.unaffectedUs);
  }
  summary[form === "selection" ? "growth" : `growth_${form}`] = Number(median(growths).toFixed(3));
  summary[form === "selection" ? "growth_max" : `growth_${form}_max`] = Number(
    Math.max(...growths).toFixed(3),
  );
}

async function measureCommitForAll(
  open: number,
  rounds: number,
  cases: BenchCase[],
): Promise<void> {
  const all = await commitForAll(open, rounds);
  const name = `commit that concerns all of ${open}`;
  cases.push(
    plain(`${name}: answered`, "ms", all.answeredMs, open),
    plain(`${name}: first event`, "ms", all.firstMs, open),
    plain(`${name}: last event`, "ms", all.lastMs, open),
    plain(`${name}: longest turn`, "ms", all.turnMs, open),
  );
  if (open <= 1000) cases.push(plain(`${name}, 20 ms apart: last event`, "ms", all.coldMs, open));
  if (open === 6) {
    cases.push(
      plain("commit with nobody subscribed", "ms", all.aloneMs, open),
      plain("commit with nobody subscribed, 20 ms apart", "ms", all.aloneColdMs, open),
    );
  }
}

function plain(name: string, unit: string, ours: number, checksum: number): BenchCase {
  return plainCase(name, unit, ours, String(checksum));
}

interface Opened extends Disposable {
  readonly thread: StoreThread;
}

function openThread(): Opened {
  const folder = mkdtempSync(join(tmpdir(), "patina-bench-live-"));
  using scratch = openDatabase("/schema.db", { vfs: new MemoryVfs() });
  const read = readSchema(scratch, [{ name: "bench.sql", text: schemaSql }], new Map());
  if (read.kind === "refused") throw new Error(read.problems.map(problemToText).join("\n"));
  const thread = new StoreThread({
    vfs: new FileVfs(),
    databasePath: join(folder, "patina.db"),
    publicKey: "ef".repeat(32),
    node: { name: "n", region: "r", zone: "z" },
    digestKey: () => new Uint8Array(32),
    schema: read.schema,
    durability: "normal",
    queryTimeoutMs: 10_000,
    statementTimeoutMs: 10_000,
    resultBytesMax: 2 ** 28,
    nonce: "",
    renewNonce: () => "nonce",
    standsAlone: true,
    log: createLog({ level: "error", format: "text" }),
    swarm: async () => ({ kind: "stands-alone" }),
    bodiesWaiting: async () => 0,
  });
  thread.start(undefined);
  return {
    thread,
    [Symbol.dispose]() {
      thread.stop();
      rmSync(folder, { recursive: true });
    },
  };
}

const text = (sql: string, ...parameters: (string | number)[]) => ({ sql, parameters });
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

async function fill(thread: StoreThread, services: number, perService: number): Promise<void> {
  const numbers = (count: number) =>
    `WITH RECURSIVE c(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM c WHERE x < ${count - 1})`;
  for (let first = 0; first < services * perService; first += 50_000) {
    const count = Math.min(50_000, services * perService - first);
    await thread.service.transact(
      [
        text(
          `INSERT INTO instances (id, service, node) ${numbers(count)} SELECT 'i' || (x + ${first}), 's' || ((x + ${first}) % ${services}), 'n' FROM c`,
        ),
      ],
      undefined,
    );
  }
  await thread.service.transact(
    [text(`INSERT INTO services (name) ${numbers(services)} SELECT 's' || x FROM c`)],
    undefined,
  );
}

async function subscribe(
  thread: StoreThread,
  form: Form,
  service: string,
  take: (event: StreamEvent) => void,
): Promise<void> {
  const outcome = await thread.service.subscribe(
    text(forms[form], service),
    { from: undefined, skipRows: false },
    take,
  );
  if (outcome.kind === "refused") throw new Error(outcome.why);
}

async function commitsWith(form: Form, open: number, rounds: number) {
  using opened = openThread();
  const { thread } = opened;
  // Two rows for each service; those of the last one nobody asks for.
  await fill(thread, open + 1, 2);
  Bun.gc(true);
  const before = process.memoryUsage().rss;
  let toldAt = 0;
  let events = 0;
  for (let i = 0; i < open; i++) {
    await subscribe(thread, form, `s${i}`, () => {
      toldAt = performance.now();
      events++;
    });
  }
  while (thread.service.live.summary().count < open) await nextTurn();
  for (let i = 0; i < open / 50 + 10; i++) await nextTurn();
  Bun.gc(true);
  const bytesEach = (process.memoryUsage().rss - before) / open;
  events = 0;
  const unaffected: number[] = [];
  const affected: number[] = [];
  const latencies: number[] = [];
  const update = "UPDATE instances SET weight = weight + 1 WHERE id = ?";
  for (let i = 0; i < rounds * 2; i++) {
    const isNone = i % 2 === 0;
    const service = isNone ? open : (i * 7919) % open;
    const begunMs = performance.now();
    await thread.service.transact([text(update, `i${service}`)], undefined);
    const tookUs = (performance.now() - begunMs) * 1000;
    (isNone ? unaffected : affected).push(tookUs);
    // What takes long is told in the next turn.
    const wanted = Math.floor((i + 1) / 2);
    for (let turn = 0; events < wanted && turn < 1000; turn++) await nextTurn();
    if (!isNone) latencies.push((toldAt - begunMs) * 1000);
    if (i % 16 === 0) await nextTurn();
  }
  if (events !== rounds) throw new Error(`${rounds} events wanted, ${events} came`);
  return {
    unaffectedUs: median(unaffected),
    affectedUs: median(affected),
    eventP99Us: quantile(latencies, 0.99),
    bytesEach,
    events,
  };
}

/** One commit of one row that all subscriptions show. Medians; of the turns the longest of each round. */
async function commitForAll(open: number, rounds: number) {
  using opened = openThread();
  const { thread } = opened;
  await fill(thread, 10, 10);
  let events = 0;
  let firstAt = 0;
  const update = "UPDATE instances SET weight = weight + 1 WHERE id = 'i0'";
  const timed = async (wanted: number, everyMs: number) => {
    const answered: number[] = [];
    const first: number[] = [];
    const last: number[] = [];
    const turns: number[] = [];
    for (let i = 0; i < rounds; i++) {
      await (everyMs > 0 ? Bun.sleep(everyMs) : nextTurn());
      events = 0;
      const begunMs = performance.now();
      await thread.service.transact([text(update)], undefined);
      let nowMs = performance.now();
      answered.push(nowMs - begunMs);
      let turnMs = nowMs - begunMs;
      const deadlineMs = nowMs + 10_000;
      while (events < wanted && nowMs < deadlineMs) {
        await nextTurn();
        turnMs = Math.max(turnMs, performance.now() - nowMs);
        nowMs = performance.now();
      }
      if (events !== wanted) throw new Error(`${wanted} events wanted, ${events} came`);
      first.push(firstAt - begunMs);
      last.push(nowMs - begunMs);
      turns.push(turnMs);
    }
    return { answered, first, last, turns };
  };
  const aloneMs = median((await timed(0, 0)).answered);
  const aloneColdMs = median((await timed(0, 20)).answered);
  for (let i = 0; i < open; i++) {
    const sql = `SELECT id, weight FROM instances WHERE service = 's0' AND weight <> ${-1 - i}`;
    const outcome = await thread.service.subscribe(
      text(sql),
      { from: undefined, skipRows: true },
      () => {
        if (events++ === 0) firstAt = performance.now();
      },
    );
    if (outcome.kind === "refused") throw new Error(outcome.why);
  }
  for (let i = 0; i < open / 50 + 10; i++) await nextTurn();
  const hot = await timed(open, 0);
  const cold = await timed(open, 20);
  return {
    aloneMs,
    aloneColdMs,
    answeredMs: median(hot.answered),
    firstMs: median(hot.first),
    lastMs: median(hot.last),
    turnMs: median(hot.turns),
    coldMs: median(cold.last),
  };
}

/** Turns of the event loop until `isOver`, and the longest of them. Whoever else runs in between makes them longer. */
async function turnsUntil(isOver: () => boolean): Promise<number> {
  let longestMs = 0;
  let lastMs = performance.now();
  const deadlineMs = lastMs + 30_000;
  while (!isOver()) {
    await nextTurn();
    const nowMs = performance.now();
    if (nowMs > deadlineMs) throw new Error("it didn't end within 30 s");
    longestMs = Math.max(longestMs, nowMs - lastMs);
    lastMs = nowMs;
  }
  return longestMs;
}

/** One subscription to many rows, and then one that is run again over all of them at each commit. */
async function initialRows(rows: number) {
  using opened = openThread();
  const { thread } = opened;
  await fill(thread, 1, rows);
  const begunMs = performance.now();
  let bytes = 0;
  let endMs = 0;
  const eoq = Buffer.from('{"eoq":');
  const asked = subscribe(thread, "selection", "s0", (event) => {
    if (event.kind !== "lines") return;
    bytes += event.bytes.length;
    if (Buffer.from(event.bytes).lastIndexOf(eoq) >= 0) endMs = performance.now();
  });
  const turnMs = await turnsUntil(() => endMs > 0);
  await asked;
  if (bytes < rows * 10) throw new Error("rows are missing");
  // Until it is written down, too.
  await turnsUntil(() => thread.service.live.describe()[0]?.runs_now === false);
  let toldMs = 0;
  const grouped = "SELECT node, count(*), sum(weight) FROM instances GROUP BY node";
  const outcome = await thread.service.subscribe(
    text(grouped),
    { from: undefined, skipRows: true },
    () => {
      toldMs = performance.now();
    },
  );
  if (outcome.kind === "refused") throw new Error(outcome.why);
  const reruns: number[] = [];
  const turns: number[] = [];
  for (let i = 0; i < 15; i++) {
    await Bun.sleep(20);
    toldMs = 0;
    const fromMs = performance.now();
    await thread.service.transact(
      [text("UPDATE instances SET weight = weight + 1 WHERE id = ?", `i${i}`)],
      undefined,
    );
    const answeredMs = performance.now() - fromMs;
    turns.push(Math.max(answeredMs, await turnsUntil(() => toldMs > 0)));
    reruns.push(toldMs - fromMs);
  }
  const tookMs = endMs - begunMs;
  const rerunTurnMs = median(turns);
  const rerunMs = median(reruns);
  return {
    rows,
    rowsPerSecond: rows / (tookMs / 1000),
    tookMs,
    turnMs,
    rerunMs,
    rerunTurnMs,
  };
}

import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { StreamEvent } from "../../agent/api/store-service.ts";
import type { StoreThread } from "../../agent/store/store-thread.ts";
import { seededRandom } from "../../bench/seeded-random.ts";
import type { PeerId, StoreReply } from "../../core/node/border.ts";
import { SqliteNode, schemaOf } from "../generators/sqlite-store.ts";
import { Folded } from "./live-queries-folded.ts";
import { type Draw, mayEnd } from "./live-queries-odd.ts";
import {
  type Disk,
  drawnLimits,
  fileDisk,
  inReaderThread,
  type Limits,
  memoryDisk,
  openThread,
} from "./live-queries-thread.ts";
import { type Asked, wideQuery, wideWrite } from "./live-queries-wide.ts";
import { createWorld, drawOf, type World } from "./live-queries-world.ts";

/** `PATINA_TEST_RELOAD_SEEDS=1000` for a soak; `PATINA_TEST_RELOAD_SEED=17` for one. */
const seedCount = Number(process.env.PATINA_TEST_RELOAD_SEEDS ?? 10);
const firstSeed = Number(process.env.PATINA_TEST_RELOAD_SEED ?? 0);
const seeds = Array.from({ length: seedCount }, (_, i) => firstSeed + i);

const peer = "ab".repeat(32) as PeerId;
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

/** What schema files come to, one after another, in an order that is drawn. */
interface Stage {
  readonly text: string;
  readonly local: readonly string[];
}

const changes: readonly ((stage: Stage) => Stage)[] = [
  ({ text, local }) => ({
    text: text.replace(/(CREATE TABLE t1 \(.*)(PRIMARY KEY)/, "$1late INTEGER, $2"),
    local,
  }),
  ({ text, local }) => ({
    text: `${text}CREATE TABLE later (k TEXT NOT NULL PRIMARY KEY, n INTEGER);\n`,
    local,
  }),
  ({ text, local }) => ({ text, local: local.filter((name) => name !== "l") }),
  ({ text, local }) => ({ text: text.replace("FROM t2 WHERE s = 'a'", "FROM t2"), local }),
  ({ text, local }) => ({ text: `${text}CREATE INDEX another ON t0 (r, n);\n`, local }),
];

function drawStages(world: World, { int }: Draw): Stage[] {
  const left = [...changes];
  const stages: Stage[] = [{ text: world.schema, local: world.local }];
  while (left.length > 0) {
    const [change] = left.splice(int(left.length), 1);
    stages.push((change as (typeof changes)[number])(stages.at(-1) as Stage));
  }
  return stages;
}

const planned = ({ text, local }: Stage) =>
  schemaOf(text, Object.fromEntries(local.map((name) => [name, { replicated: false }])));

interface Subscribed {
  readonly asked: Asked;
  readonly id: string;
  folded: Folded;
  subscriber: number;
  /** All its first rows had come when everyone was told last: then an end of the agent doesn't lose it. */
  isWritten: boolean;
}

/** An agent whose schema follows that of its peer, which has all of it from the beginning. */
class Follower implements Disposable {
  readonly #limits: Limits;
  readonly #stages: Stage[];
  #disk: Disk;
  #thread: StoreThread;
  readonly #crashed: StoreThread[] = [];
  readonly #peer: SqliteNode;
  readonly #replies: StoreReply[] = [];
  readonly #gone = new Set<Folded>();
  #tickets = 0;
  readonly subscribed: Subscribed[] = [];
  /** Since the last look the schema has become another. */
  isAnother = false;

  constructor(stages: Stage[], disk: Disk, limits: Limits) {
    this.#stages = stages;
    this.#disk = disk;
    this.#limits = limits;
    this.#peer = new SqliteNode(planned(stages.at(-1) as Stage), { site: 7, nowMs: Date.now() });
    this.#thread = this.#open();
  }

  get service() {
    return this.#thread.service;
  }

  #open(): StoreThread {
    const thread = openThread(() => planned(this.#stages[0] as Stage), this.#disk, this.#limits);
    thread.start({ post: (reply) => this.#replies.push(reply) });
    return thread;
  }

  /** The schema files are the next ones. False: there are none. */
  #advance(): boolean {
    if (this.#stages.length === 1) return false;
    this.#stages.shift();
    this.isAnother = true;
    return true;
  }

  async reload(): Promise<void> {
    if (!this.#advance()) return;
    for await (const line of this.#thread.reload()) expect(line).not.toHaveProperty("error");
  }

  async restart(isOrderly: boolean, isAnother: boolean): Promise<void> {
    if (isOrderly) {
      this.service.endStreams();
      this.#thread.stop();
    } else {
      this.#crashed.push(this.#thread);
      this.#disk = this.#disk.copy();
    }
    if (isAnother) this.#advance();
    for (const { folded } of this.subscribed) this.#gone.add(folded);
    this.#thread = this.#open();
    for (const one of [...this.subscribed]) await this.resume(one);
  }

  async write(statements: readonly string[]): Promise<void> {
    const list = statements.map((sql) => ({ sql, parameters: undefined }));
    const outcome = await this.service.transact(list, undefined);
    if (outcome.kind === "refused") throw new Error(`${statements.join("; ")}: ${outcome.why}`);
  }

  async writeOfPeer(statements: readonly string[]): Promise<void> {
    this.#peer.nowMs = Date.now() - 1000;
    const { encoded } = this.#peer.write(...statements);
    if (encoded === undefined) return;
    const ticket = ++this.#tickets;
    const bodies = [encoded];
    this.#thread.request({ kind: "apply", ticket, lane: 0, peer, what: "changesets", bodies });
    const isApplied = () =>
      this.#replies.some((one) => one.kind === "applied" && one.ticket === ticket);
    while (!isApplied()) await nextTurn();
  }

  #taking(folded: Folded): (event: StreamEvent) => void {
    return (event) => {
      if (!this.#gone.has(folded)) folded.take(event);
    };
  }

  /** What can't be asked can't be subscribed to, unless the schema becomes another meanwhile. */
  async subscribe(asked: Asked): Promise<void> {
    const folded = new Folded();
    const options = { from: undefined, skipRows: false };
    const outcome = await this.service.subscribe(asked, options, this.#taking(folded));
    if (outcome.kind === "refused") {
      if (!this.isAnother && !mayEnd(asked.sql)) {
        expect([asked, outcome.why, await this.fresh(asked)]).toEqual([
          asked,
          outcome.why,
          undefined,
        ]);
      }
      return;
    }
    const { id, subscriber } = outcome;
    this.subscribed.push({ asked, id, folded, subscriber, isWritten: false });
  }

  async resume(one: Subscribed): Promise<void> {
    const { lastChange, rows } = one.folded;
    this.#gone.add(one.folded);
    const folded = new Folded();
    folded.lastChange = lastChange;
    if (lastChange > 0) for (const [rowId, cells] of rows) folded.rows.set(rowId, cells);
    one.folded = folded;
    const options = { from: lastChange, skipRows: false };
    const outcome = await this.service.attach(one.id, options, this.#taking(folded));
    if (outcome.kind === "subscribed") one.subscriber = outcome.subscriber;
    else {
      // Under another schema it may have other columns, or be none any more.
      const mayGo = this.isAnother || !one.isWritten;
      expect([one.asked, outcome.why, mayGo]).toEqual([one.asked, outcome.why, true]);
      this.subscribed.splice(this.subscribed.indexOf(one), 1);
    }
    if (!folded.errors.some((line) => line.includes("already deleted older changes"))) return;
    one.folded = new Folded();
    await this.service.attach(one.id, { ...options, from: 0 }, this.#taking(one.folded));
  }

  /** @returns undefined where SQLite refuses it */
  async fresh(asked: Asked): Promise<string[] | undefined> {
    const outcome = await this.service.query(asked, undefined);
    if (outcome.kind === "refused") return undefined;
    const text = Buffer.concat(await Array.fromAsync(outcome.chunks)).toString();
    if (text.includes('{"error":')) return undefined;
    const rows = [...text.matchAll(/^\{"row":\[\d+,(.*)\]\}$/gm)];
    return rows.map((match) => match[1] as string).sort();
  }

  /** The law. */
  async check(told: readonly string[]): Promise<void> {
    const { live } = this.service;
    while (live.isBehind || live.describe().some((one) => one.runs_now)) await nextTurn();
    for (const one of this.subscribed.filter(({ folded }) => folded.isEnded)) {
      if (!mayEnd(one.asked.sql)) {
        expect([one.asked, this.isAnother, one.folded.errors]).toEqual([
          one.asked,
          true,
          [expect.stringContaining("the schema changed")],
        ]);
      }
      this.subscribed.splice(this.subscribed.indexOf(one), 1);
    }
    this.isAnother = false;
    // Subscriptions are written down when nothing else waits, one with many rows in slices.
    for (let turn = 0; turn < 30; turn++) await nextTurn();
    for (const one of this.subscribed) {
      const { asked, folded } = one;
      one.isWritten = true;
      const want = await this.fresh(asked);
      const context = [this.#stages[0]?.text, told, asked];
      expect([...context, folded.sorted()]).toEqual([...context, want as string[]]);
    }
  }

  [Symbol.dispose](): void {
    for (const thread of [this.#thread, ...this.#crashed]) thread.stop();
    this.#peer[Symbol.dispose]();
  }
}

async function run(seed: number, disk: Disk, limits: Limits): Promise<void> {
  const random = seededRandom(seed);
  const draw = drawOf(random);
  const { chance, int, pick } = draw;
  const world = createWorld(random);
  const drawn = world.tables.slice(0, 3);
  using agent = new Follower(drawStages(world, draw), disk, limits);
  const told: string[] = [];
  const ownWrite = () => (chance(0.5) ? wideWrite(draw, drawn) : world.write(true));
  const peersWrite = () =>
    pick([
      () => wideWrite(draw, drawn),
      () => world.write(false),
      () => `UPDATE t1 SET late = ${int(3)} WHERE n = ${int(3)}`,
      () => `INSERT OR REPLACE INTO later VALUES ('${int(3)}', ${int(3)})`,
      () => `INSERT OR REPLACE INTO l VALUES ('${int(3)}', ${int(3)}, 'a')`,
      () => `DELETE FROM ${pick(["later", "l"])} WHERE k = '${int(3)}'`,
    ])();
  const step = async (): Promise<void> => {
    const isPeers = chance(0.4);
    const statements = Array.from({ length: 1 + int(3) }, isPeers ? peersWrite : ownWrite);
    told.push(`${isPeers ? "peer: " : ""}${statements.join("; ")}`);
    await (isPeers ? agent.writeOfPeer(statements) : agent.write(statements));
  };
  const question = (): Asked =>
    chance(0.6) ? wideQuery(draw, drawn) : { sql: world.query(), parameters: undefined };
  for (let i = 0; i < 4; i++) await step();
  for (let i = 0; i < 14; i++) await agent.subscribe(question());
  for (let i = 0; i < 9; i++) {
    const asking = Array.from({ length: int(3) }, () => agent.subscribe(question()));
    for (let left = int(4); left > 0; left--) await step();
    if (chance(0.5)) {
      told.push("a reload");
      await agent.reload();
    } else if (chance(0.4)) {
      await Promise.all(asking.splice(0));
      const [isOrderly, isAnother] = [chance(0.5), chance(0.5)];
      told.push(`${isOrderly ? "a restart" : "a crash"}${isAnother ? ", another schema" : ""}`);
      await agent.restart(isOrderly, isAnother);
    }
    if (chance(0.5)) await step();
    await Promise.all(asking);
    await agent.check(told);
  }
}

describe("live queries equal a fresh run while schema files change, and a peer is ahead of them", () => {
  for (const seed of seeds) {
    const { name, limits } = drawnLimits(seed);
    test(name, async () => {
      if (seed % 3 > 0) return run(seed, memoryDisk(), { liveLimits: limits });
      const folder = mkdtempSync(join(tmpdir(), "patina-live-reload-"));
      try {
        await run(seed, fileDisk(folder), inReaderThread(limits));
      } finally {
        rmSync(folder, { recursive: true });
      }
    }, 120_000);
  }
});

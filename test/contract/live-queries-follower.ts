/**
 * An agent on which laws of live queries run while its schema files change: what it is asked, what its readers have, and
 * a peer that writes for it.
 *
 * @module
 */

import { expect } from "bun:test";
import type { StreamEvent } from "../../agent/api/store-service.ts";
import type { StoreThread } from "../../agent/store/store-thread.ts";
import type { PeerId, StoreReply } from "../../core/node/border.ts";
import { SqliteNode, schemaOf } from "../generators/sqlite-store.ts";
import { Folded } from "./live-queries-folded.ts";
import { type Draw, mayEnd } from "./live-queries-odd.ts";
import { type Disk, type Limits, openThread } from "./live-queries-thread.ts";
import type { Asked } from "./live-queries-wide.ts";

const peer = "ab".repeat(32) as PeerId;
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

/** What schema files come to, one after another, in an order that is drawn. */
export interface Stage {
  readonly text: string;
  readonly local: readonly string[];
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
export class Follower implements Disposable {
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

/** What happens in a round of a law. */
export interface Round {
  /** How many of these a round has: fewer than so many. */
  readonly stepsEnd: number;
  /** Of how many rounds there is a reload, as a fraction. */
  readonly reloads: number;
  readonly step: () => Promise<void>;
  readonly subscribe: () => Promise<void>;
  readonly reload: () => Promise<void>;
}

/**
 * Asks and writes, and changes the schema or ends the agent or neither, while the first rows of what was asked may still be
 * under way; then holds what all readers have against a fresh run.
 *
 * @param told What happened so far, for who reads a failure.
 */
export async function goRound(
  agent: Follower,
  { chance, int }: Draw,
  told: string[],
  { stepsEnd, reloads, step, subscribe, reload }: Round,
): Promise<void> {
  const asking = Array.from({ length: int(3) }, subscribe);
  for (let left = int(stepsEnd); left > 0; left--) await step();
  if (chance(reloads)) {
    told.push("a reload");
    await reload();
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

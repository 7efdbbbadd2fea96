/**
 * A host of small scopes that judges clocks and keeps an index: the real replica around the map store.
 *
 * @module
 */

import { type Changeset, encodeChangeset } from "../../core/change/changeset.ts";
import { encodeRowBlock } from "../../core/change/row-block.ts";
import { HlcClock } from "../../core/clock/hlc-clock.ts";
import { isLive } from "../../core/clock/row-clock.ts";
import { hlcZero, type Site } from "../../core/clock/stamp.ts";
import type { PeerId, SlotReport, StoreReply, StoreRequest } from "../../core/node/border.ts";
import { Replica } from "../../core/replica/replica.ts";
import { type RowState, stampOfRow } from "../../core/row/row-state.ts";
import { siteOf } from "../model/history.ts";
import { type LocalWrite, MapStore } from "../model/map-store.ts";
import { Knowledge } from "../sim/knowledge.ts";
import { type Commit, digester, refOf, type ScopeHost } from "./hosts.ts";
import { columns, type Shown } from "./said.ts";
import { isUrgent, type Statement, saidBy } from "./statements.ts";

const peer = "f".repeat(64) as PeerId;

interface Sum {
  readonly rows: number;
  readonly fingerprint: string;
}

export class ReplicaHost implements ScopeHost {
  readonly columns = columns;
  readonly isUnsure = false;
  readonly site: Site;
  readonly #store = new MapStore(digester);
  #clock: HlcClock;
  #replica!: Replica;
  #knowledge = new Knowledge();
  /** Of the rows of histories before. */
  #before: Sum = { rows: 0, fingerprint: "0" };
  #pushed: Commit[] = [];
  #ticket = 0;
  #restamped = 0;

  constructor(index: number, nowMs: number) {
    this.site = siteOf(index);
    this.#clock = new HlcClock(this.site, hlcZero);
    this.#start(nowMs);
  }

  #start(nowMs: number): void {
    this.#knowledge = new Knowledge();
    this.#restamped = 0;
    this.#replica = new Replica({
      ...{ store: this.#store, clock: this.#clock, digester, schema: [] },
    });
    this.#replica.onMerged((rows) => {
      for (const { id, incoming } of rows) this.#knowledge.learn(id, incoming);
    });
    const replies: StoreReply[] = [];
    this.#replica.start(nowMs, replies);
    this.#take(replies);
    this.#work(nowMs);
  }

  /** Until nothing is due. */
  #work(nowMs: number): void {
    while (this.#replica.pollTimeout() <= nowMs) {
      const replies: StoreReply[] = [];
      this.#replica.tick(nowMs, replies);
      this.#take(replies);
    }
  }

  #take(replies: readonly StoreReply[]): void {
    for (const reply of replies) {
      if (reply.kind === "commit") this.#pushed.push(reply);
    }
  }

  #handle(request: StoreRequest, nowMs: number): void {
    const replies: StoreReply[] = [];
    this.#replica.handle(request, nowMs, replies);
    this.#take(replies);
    this.#work(nowMs);
  }

  begin(nowMs: number): void {
    this.#work(nowMs);
    this.#knowledge = new Knowledge();
    const { rows, fingerprint } = this.#slot().live;
    this.#before = { rows, fingerprint };
  }

  write(statement: Statement, key: string, nowMs: number): Commit | undefined {
    this.#work(nowMs);
    const ref = refOf(key);
    const said = saidBy(statement, this.shown(key), columns);
    if (said === undefined) return undefined;
    const { row, values, renewed } = said;
    const write: LocalWrite =
      row === undefined ? { kind: "delete", ...ref } : { kind: "put", ...ref, values, renewed };
    const [held] = this.#store.read([ref]);
    const stamp = this.#clock.nextAfter(held && stampOfRow(held), nowMs);
    const lane = row === undefined || isUrgent(row) ? 0 : 1;
    const { changeset, merged } = this.#store.commit([write], stamp, lane);
    const replies: StoreReply[] = [];
    this.#replica.committed({ changeset, merged }, nowMs, replies);
    this.#take(replies);
    this.#work(nowMs);
    this.#pushed = [];
    return { stamp, lane, changeset: encodeChangeset(changeset as Changeset) };
  }

  hear(changeset: Uint8Array, nowMs: number): void {
    this.#apply("changesets", changeset, nowMs);
  }

  hearRow(row: RowState, nowMs: number): void {
    this.#apply("rows", encodeRowBlock([row]), nowMs);
  }

  #apply(what: "changesets" | "rows", body: Uint8Array, nowMs: number): void {
    this.#work(nowMs);
    const ticket = ++this.#ticket;
    this.#handle({ kind: "apply", ticket, lane: 1, peer, what, bodies: [body] }, nowMs);
  }

  read(key: string): RowState | undefined {
    return this.#store.read([refOf(key)])[0];
  }

  shown(key: string): Shown {
    const row = this.read(key);
    if (row === undefined || !isLive(row.clock)) return undefined;
    const value = (name: string) => row.cells.find(({ column }) => column === name)?.value ?? null;
    return { status: value("status"), weight: value("weight") };
  }

  restart(nowMs: number): void {
    this.#clock = new HlcClock(this.site, this.#clock.last);
    this.#start(nowMs);
    this.#learnHeld();
  }

  /** It keeps any column. */
  reload(): void {}

  clocks(offsetsMs: readonly number[], nowMs: number): readonly Commit[] | undefined {
    this.#pushed = [];
    this.#handle({ kind: "peers", offsetsMs, count: offsetsMs.length }, nowMs);
    const { restampedRows } = this.#replica.status().clock;
    if (restampedRows === this.#restamped) return undefined;
    this.#restamped = restampedRows;
    this.#learnHeld();
    return this.#pushed;
  }

  /** In another life, or with other stamps: the rows of histories before as well. */
  #learnHeld(): void {
    this.#knowledge = new Knowledge();
    this.#before = { rows: 0, fingerprint: "0" };
    for (const row of this.#store.states()) {
      this.#knowledge.learn(digester.rowId(row.table, row.key), digester.clocksOf(row));
    }
  }

  indexProblem(_key: string, nowMs: number): string | undefined {
    this.#work(nowMs);
    const { live, roots } = this.#slot();
    const all = this.#sumAt(Number.POSITIVE_INFINITY);
    if (!isEqual(live, all)) return `live ${Bun.inspect(live)}, not ${Bun.inspect(all)}`;
    for (const root of roots) {
      const image = this.#sumAt(root.cut);
      if (!isEqual(root, image)) return `root ${Bun.inspect(root)}, not ${Bun.inspect(image)}`;
    }
    return undefined;
  }

  /** What the net side is told of the index. */
  #slot(): SlotReport {
    const replies: StoreReply[] = [];
    this.#replica.announce(replies);
    return replies.find((reply) => reply.kind === "slot") as SlotReport;
  }

  #sumAt(cut: number): Sum {
    const { rows, fingerprint } = this.#knowledge.imageAt(cut, digester);
    const sum = BigInt(`0x${fingerprint}`) + BigInt(`0x${this.#before.fingerprint}`);
    const digits = (sum % 2n ** 128n).toString(16).padStart(32, "0");
    return { rows: rows + this.#before.rows, fingerprint: digits };
  }

  [Symbol.dispose](): void {}
}

function isEqual(one: Sum, other: Sum): boolean {
  return one.rows === other.rows && one.fingerprint === other.fingerprint;
}

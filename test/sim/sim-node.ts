/**
 * A simulated node: the real machine and the real replica, a thread each, on a clock that may be wrong.
 *
 * As in the agent the store thread takes its requests one after the other, each at a cost in time, and
 * both threads may stand still for a while. Nothing here merges, encodes or repairs.
 *
 * @module
 */

import { sha256 } from "../../agent/host/sha256.ts";
import type { Changeset, Lane } from "../../core/change/changeset.ts";
import { compareStamps, type Site, type Stamp } from "../../core/clock/stamp.ts";
import type {
  MemberRow,
  MemberState,
  PeerId,
  StoreReply,
  StoreRequest,
} from "../../core/node/border.ts";
import type { NodeEffect, NodeEvent } from "../../core/node/node-events.ts";
import { NodeMachine } from "../../core/node/node-machine.ts";
import type { NodeTuning, ZstdCodec } from "../../core/node/options.ts";
import { Replica, type ReplicaOptions } from "../../core/replica/replica.ts";
import type { Digester } from "../../core/row/digest.ts";
import type { MergedRow, ScannedRow, ScanPosition } from "../../core/row-store.ts";
import type { HostilePeer } from "./hostile-peer.ts";
import { Knowledge } from "./knowledge.ts";
import { type Model, nameOfRow, type RowName } from "./model.ts";
import type { Endpoint, Network } from "./network.ts";
import type { Random } from "./random.ts";
import { type Command, createStore, type SimStore } from "./sim-store.ts";
import type { Timeline } from "./timeline.ts";

/** What the store thread takes for its work, ms. */
export interface StoreCosts {
  readonly requestMs: number;
  readonly changesetMs: number;
  readonly rowMs: number;
}

export const storeCosts: StoreCosts = { requestMs: 0.05, changesetMs: 0.1, rowMs: 0.01 };

export interface SimNodeOptions {
  readonly index: number;
  readonly timeline: Timeline;
  readonly network: Network;
  readonly random: Random;
  readonly digester: Digester;
  readonly model: Model;
  readonly store: "map" | "sqlite";
  /** Of an SQLite store; of the map store nothing depends on it. */
  readonly schema: string;
  readonly zstd: ZstdCodec | undefined;
  /** Of a release that floods everything. */
  readonly isOlder: boolean;
  readonly epochMs: number;
  readonly costs: StoreCosts;
  readonly tuning: Partial<NodeTuning>;
  readonly replica: Partial<ReplicaOptions>;
  readonly peerOfIndex: (index: number) => Endpoint;
  /** Something false was seen. */
  readonly fail: (what: string) => void;
  /** A fingerprint of all that happens, so that a seed can be shown to replay. */
  readonly trace: (what: number) => void;
}

/** Of the five cuts that can be asked for; the newest, and one that late clocks have entered. */
const imagesChecked = 2;

/** From one thread to the other. */
const hopMs = 0.2;

export class SimNode implements Endpoint {
  readonly index: number;
  readonly key: PeerId;
  readonly store: SimStore;
  isUp = false;
  /** Wall clock less the true time. */
  clockOffsetMs = 0;
  startedMs = 0;
  incarnation = 0;
  /** This node's view of the others: the latest row of each. */
  readonly members = new Map<string, MemberState>();
  /** Every change of state, for checks. */
  readonly memberHistory: {
    readonly atMs: number;
    readonly node: string;
    readonly state: MemberState;
  }[] = [];
  /** Ms from the arrival of an urgent apply at the store thread to its end. */
  urgentDelaysMs: number[] = [];
  /** Clocks learned in this life; only kept while {@link isWatched}. */
  knowledge = new Knowledge();
  /** Its settled image is compared with what follows from its knowledge. */
  isWatched = false;
  /** Of this node's store; those of all at first. */
  costs: StoreCosts;
  machine!: NodeMachine;
  replica!: Replica;
  readonly #o: SimNodeOptions;
  #life = 0;
  /** Counts the machines of all lives. */
  #netLife = 0;
  #isNetDown = false;
  /** As the link of an agent keeps it for the next net thread: what the store said last, and whom the machine told it of. */
  #identity: StoreReply | undefined;
  #slot: StoreReply | undefined;
  readonly #membersTold = new Map<string, MemberRow>();
  #isStopping = false;
  #sites = 0;
  #netPausedMs = 0;
  #storePausedMs = 0;
  #storeFreeMs = 0;
  #timerMs = Number.POSITIVE_INFINITY;
  #tickMs = Number.POSITIVE_INFINITY;
  #restampedRows = 0;
  #cut = 0;
  /** Commits since the last sync. */
  #unsynced: Stamp[] = [];
  /** The latest write that made a row less eligible, of those this node has applied. */
  readonly #downs = new Map<RowName, Stamp>();

  constructor(options: SimNodeOptions) {
    this.#o = options;
    this.costs = options.costs;
    this.index = options.index;
    this.key = (options.index + 1).toString(16).padStart(64, "0") as PeerId;
    const { store, digester, schema, model } = options;
    const site = this.#nextSite();
    this.store = createStore(store, digester, site, schema, (...row) => model.restamped(...row));
  }

  get name(): string {
    return `n${this.index}`;
  }

  get isListening(): boolean {
    return this.isUp && !this.#isNetDown;
  }

  /** That clients here can write. */
  get columns(): readonly string[] {
    return this.store.columns ?? ["status", "address", "weight"];
  }

  /** The node's wall clock. */
  wallMs(): number {
    return this.#o.epochMs + this.#o.timeline.nowMs + this.clockOffsetMs;
  }

  // Lives.

  start(): void {
    this.isUp = true;
    this.#isStopping = false;
    this.incarnation++;
    this.startedMs = this.#o.timeline.nowMs;
    this.#life++;
    this.#timerMs = Number.POSITIVE_INFINITY;
    this.#tickMs = Number.POSITIVE_INFINITY;
    this.#storeFreeMs = this.startedMs;
    this.#netPausedMs = 0;
    this.#storePausedMs = 0;
    this.members.clear();
    this.#restampedRows = 0;
    this.#cut = 0;
    this.#membersTold.clear();
    const { digester } = this.#o;
    this.#startMachine();
    const life = this.#life;
    this.replica = new Replica({
      store: this.store.rows,
      clock: this.store.clock,
      digester,
      schema: [],
      options: this.#o.replica,
      onMembers: (rows) => {
        for (const { node, state } of rows) {
          this.members.set(node, state);
          this.memberHistory.push({ atMs: this.#o.timeline.nowMs, node, state });
        }
      },
    });
    this.replica.onMerged((rows) => {
      if (life !== this.#life) return;
      if (this.isWatched) for (const { id, incoming } of rows) this.knowledge.learn(id, incoming);
      this.#merged(rows);
    });
    this.knowledge = new Knowledge();
    if (this.isWatched) this.#scan((row) => this.knowledge.learn(row.id, row.clocks));
    this.#inStore(0, (replies) => this.replica.start(this.wallMs(), replies));
    this.#o.network.started(this);
  }

  #startMachine(): void {
    const { random, tuning, zstd } = this.#o;
    this.#netLife++;
    this.#isNetDown = false;
    this.#timerMs = Number.POSITIVE_INFINITY;
    this.machine = new NodeMachine({
      key: this.key,
      name: this.name,
      region: "r",
      zone: `z${this.index}`,
      incarnation: this.incarnation,
      random: () => random.next(),
      hash: (bytes) => Bun.hash(bytes) as bigint,
      sha256: this.#o.isOlder ? undefined : sha256,
      tuning,
      zstd,
      recalled: [...this.#membersTold.values()],
    });
  }

  /** The net thread dies and is started again, while the store's goes on. */
  crashNet(downMs: number): void {
    if (!this.isUp || this.#isStopping || this.#isNetDown) return;
    this.#isNetDown = true;
    this.#netLife++;
    this.#o.network.died(this, 1500);
    const life = this.#life;
    this.#o.timeline.after(downMs, () => {
      if (life !== this.#life) return;
      this.#startMachine();
      for (const reply of [this.#identity, this.#slot]) {
        if (reply !== undefined) this.#toMachine({ kind: "store", reply });
      }
      this.#o.network.started(this);
    });
  }

  /** The process is killed: what it had committed is kept, what it had in memory is gone. */
  kill(noticedMsMax = 1500): void {
    this.#end(noticedMsMax);
    this.store.reopen();
  }

  /** Stopped, and started again with another schema. */
  upgrade(schema: string): void {
    this.#end(20);
    this.store.reopen(schema);
    this.start();
  }

  /** The machine loses its power: what wasn't synced is gone too. */
  losePower(noticedMsMax = 3000): void {
    this.#end(noticedMsMax);
    for (const stamp of this.#unsynced) this.#o.model.lost(stamp);
    this.#unsynced = [];
    this.store.losePower(this.#nextSite());
    this.#relearnDowns();
  }

  /** A planned stop: the peers are told when it will be back. */
  stop(backInMs: number): void {
    const untilMs = backInMs === 0 ? 0 : Math.ceil(this.wallMs() + backInMs);
    this.#isStopping = true;
    this.#toMachine({ kind: "stopping", untilMs, reason: "planned" });
    // An agent takes no more writes and flushes its streams before it goes.
    this.#o.timeline.after(500, () => this.kill(20));
  }

  sync(): void {
    this.store.sync();
    this.#unsynced = [];
  }

  /** Both threads, or only the store's, stand still. */
  pause(ms: number, which: "both" | "store"): void {
    const untilMs = this.#o.timeline.nowMs + ms;
    this.#storePausedMs = Math.max(this.#storePausedMs, untilMs);
    if (which === "both") this.#netPausedMs = Math.max(this.#netPausedMs, untilMs);
  }

  /** Sets the wall clock to another offset. */
  setClock(offsetMs: number): void {
    this.clockOffsetMs = offsetMs;
    if (!this.isUp) return;
    this.#armTimer();
    this.#armTick();
  }

  // Clients.

  /** A local transaction. Nothing happens while the node is down or its clock is out of bounds. */
  write(commands: readonly Command[], lane: Lane): void {
    if (!this.isUp || this.#isStopping) return;
    this.#inStore(this.costs.changesetMs, (replies) => {
      if (this.replica.localWrites().kind === "refused") return;
      // An agent waits; here a merge begins again.
      this.replica.abandon();
      const nowMs = this.wallMs();
      const { changeset, merged } = this.store.commit(commands, nowMs, lane);
      this.#checkSaid(commands, changeset);
      if (changeset === undefined) return;
      this.store.isDirty = true;
      this.#unsynced.push(changeset.stamp);
      this.#o.model.wrote(changeset);
      this.replica.committed({ changeset, merged, lane: changeset.lane }, nowMs, replies);
    });
  }

  // Network.

  connected(peer: Endpoint): void {
    if (this.isUp) this.#toMachine({ kind: "connected", peer: keyOf(peer) });
  }

  disconnected(peer: Endpoint): void {
    if (this.isUp) this.#toMachine({ kind: "disconnected", peer: keyOf(peer) });
  }

  received(peer: Endpoint, frame: Uint8Array): void {
    if (this.isUp) this.#toMachine({ kind: "received", peer: keyOf(peer), frame });
  }

  drained(peer: Endpoint): void {
    if (this.isUp) this.#toMachine({ kind: "drained", peer: keyOf(peer) });
  }

  // The net thread.

  #toMachine(event: NodeEvent): void {
    const { timeline } = this.#o;
    if (this.#isNetDown) return;
    if (timeline.nowMs < this.#netPausedMs) {
      const life = this.#netLife;
      timeline.at(this.#netPausedMs, () => {
        if (life === this.#netLife && this.isUp) this.#toMachine(event);
      });
      return;
    }
    const effects: NodeEffect[] = [];
    this.machine.handle(event, this.wallMs(), effects);
    for (const effect of effects) this.#carryOut(effect);
    this.#armTimer();
  }

  #carryOut(effect: NodeEffect): void {
    const { network, peerOfIndex, trace } = this.#o;
    switch (effect.kind) {
      case "send":
        trace(effect.bytes.length * 64 + (effect.bytes[0] as number));
        network.send(this, peerOfIndex(indexOf(effect.peer)), effect.bytes);
        return;
      case "close":
        network.close(this, peerOfIndex(indexOf(effect.peer)));
        return;
      case "store":
        this.#toStore(effect.request);
        return;
      case "alarm":
        return;
      default:
        effect satisfies never;
    }
  }

  #armTimer(): void {
    const { timeline } = this.#o;
    const dueMs = timeline.nowMs + Math.max(0, this.machine.pollTimeout() - this.wallMs());
    if (dueMs >= this.#timerMs) return;
    this.#timerMs = dueMs;
    const life = this.#netLife;
    timeline.at(dueMs, () => {
      if (life !== this.#netLife || !this.isUp || this.#timerMs !== dueMs) return;
      this.#timerMs = Number.POSITIVE_INFINITY;
      // As an agent's timer, which runs on a clock that nobody sets.
      this.#toMachine({ kind: "timeout" });
    });
  }

  // The store thread.

  #toStore(request: StoreRequest): void {
    const { timeline } = this.#o;
    const { costs } = this;
    const life = this.#netLife;
    timeline.after(hopMs, () => {
      // What a dead net thread had still to say counts no longer.
      if (life !== this.#netLife) return;
      if (request.kind === "members") this.#noteMembers(request);
      const arrivedMs = timeline.nowMs;
      const bodies = request.kind === "apply" ? request.bodies : [];
      const bytes = bodies.reduce((sum, body) => sum + body.length, 0);
      const costMs =
        costs.requestMs + bodies.length * costs.changesetMs + (bytes / 100) * costs.rowMs;
      this.#inStore(costMs, (replies) => {
        if (request.kind === "apply") this.store.isDirty = true;
        this.replica.handle(request, this.wallMs(), replies);
        if (request.kind === "apply" && request.lane === 0) {
          this.urgentDelaysMs.push(timeline.nowMs - arrivedMs);
        }
      });
    });
  }

  #noteMembers({ rows, parted = [] }: Extract<StoreRequest, { kind: "members" }>): void {
    for (const [node, { key }] of this.#membersTold) {
      if (parted.includes(key)) this.#membersTold.delete(node);
    }
    for (const row of rows) this.#membersTold.set(row.node, row);
  }

  /** Does something in the store thread when its turn comes, and hands the replies over. */
  #inStore(costMs: number, work: (replies: StoreReply[]) => void): void {
    const { timeline } = this.#o;
    const life = this.#life;
    this.#storeFreeMs = Math.max(this.#storeFreeMs, timeline.nowMs, this.#storePausedMs) + costMs;
    const run = () => {
      if (life !== this.#life || !this.isUp) return;
      if (timeline.nowMs < this.#storePausedMs) {
        this.#storeFreeMs = Math.max(this.#storeFreeMs, this.#storePausedMs);
        timeline.at(this.#storePausedMs, run);
        return;
      }
      const replies: StoreReply[] = [];
      work(replies);
      this.#relearnRestamped();
      for (const reply of replies) {
        if (reply.kind === "identity") this.#identity = reply;
        if (reply.kind === "slot") this.#slot = reply;
        timeline.after(hopMs, () => {
          if (life === this.#life && this.isUp) this.#toMachine({ kind: "store", reply });
        });
      }
      this.#armTick();
    };
    timeline.at(this.#storeFreeMs, run);
  }

  #armTick(): void {
    const { timeline } = this.#o;
    const waitMs = Math.max(0, this.replica.pollTimeout() - this.wallMs());
    if (waitMs === Number.POSITIVE_INFINITY) return;
    const dueMs = Math.max(timeline.nowMs + waitMs, this.#storeFreeMs);
    if (dueMs >= this.#tickMs) return;
    this.#tickMs = dueMs;
    const life = this.#life;
    timeline.at(dueMs, () => {
      if (life !== this.#life || !this.isUp || this.#tickMs !== dueMs) return;
      this.#tickMs = Number.POSITIVE_INFINITY;
      this.#inStore(this.costs.requestMs, (replies) => this.replica.tick(this.wallMs(), replies));
    });
  }

  // Checks.

  /** Whoever says that a row is down has that stamped, whatever was there. */
  #checkSaid(commands: readonly Command[], changeset: Changeset | undefined): void {
    const lastByRow = new Map(commands.map((command) => [command.row, command]));
    for (const [name, command] of lastByRow) {
      const status = command.kind === "put" ? command.values.get("status") : undefined;
      if (typeof status !== "string" || status === "up") continue;
      const row = changeset?.rows.find(({ key }) => nameOfRow(key) === name);
      const stamp = row?.cells.find(({ column }) => column === "status")?.stamp;
      if (changeset !== undefined && stamp !== undefined) {
        if (compareStamps(stamp, changeset.stamp) === 0) continue;
      }
      this.#o.fail(`${this.name} said that ${name} is ${status}, and nobody hears of it`);
    }
  }

  /** A row that this node knows to be down is never shown as up by an older write. */
  #merged(rows: readonly MergedRow[]): void {
    const { model, fail } = this.#o;
    // A transaction may bring a row twice: what is shown is what the last made of it.
    const lastByName = new Map<RowName, MergedRow>();
    for (const row of rows) {
      const name = nameOfRow(row.key);
      lastByName.set(name, row);
      this.#learnDown(name, row.incoming.clock);
      for (const cell of row.incoming.cells) {
        if (cell.column === "status") this.#learnDown(name, cell.stamp);
      }
    }
    for (const [name, row] of lastByName) {
      const down = this.#downs.get(name);
      if (down === undefined || this.store.shownStatus(row, name) !== "up") continue;
      const { cells, clock } = row.after;
      const up = cells.find(({ column }) => column === "status")?.stamp ?? clock;
      if (compareStamps(up, down) < 0) {
        fail(`${this.name} shows ${name} up by a write older than a down that it knows`);
      }
      if (model.isDown(name, up)) fail(`${this.name} shows ${name} up; its last write says down`);
    }
  }

  #learnDown(name: RowName, stamp: Stamp): void {
    const known = this.#downs.get(name);
    if (known !== undefined && compareStamps(stamp, known) <= 0) return;
    if (this.#o.model.isDown(name, stamp)) this.#downs.set(name, stamp);
  }

  /**
   * Rows that were stamped anew have clocks that no merge brought; the replica has begun its index again with them. It also does
   * when its cut has run ahead with the clock, and then knows nothing any more of what was overtaken.
   */
  #relearnRestamped(): void {
    const { cut, clock } = this.replica.status();
    const isBegunAgain = cut < this.#cut;
    this.#cut = cut;
    if (clock.restampedRows === this.#restampedRows && !isBegunAgain) return;
    this.#restampedRows = clock.restampedRows;
    this.#relearnDowns();
    if (!this.isWatched) return;
    this.knowledge = new Knowledge();
    this.#scan((row) => this.knowledge.learn(row.id, row.clocks));
  }

  #relearnDowns(): void {
    this.#downs.clear();
    this.#scan(({ key, clocks }) => {
      const name = nameOfRow(key);
      this.#learnDown(name, clocks.clock);
      for (const { column, stamp } of clocks.cells) {
        if (column === "status") this.#learnDown(name, stamp);
      }
    });
  }

  /** At each cut that can be asked for, the image is what follows from the clocks learned. */
  checkImage(): void {
    if (!this.isUp || !this.isWatched) return;
    for (const { cut, rows, fingerprint } of this.replica.status().roots.slice(0, imagesChecked)) {
      const expected = this.knowledge.imageAt(cut, this.#o.digester);
      if (expected.rows === rows && expected.fingerprint === fingerprint) continue;
      this.#o.fail(`${this.name}'s image at cut ${cut} isn't what follows from what it knows`);
    }
  }

  #scan(visit: (row: ScannedRow) => void): void {
    let position: ScanPosition | undefined;
    do {
      const slice = this.store.rows.scan(position, 1000);
      slice.rows.forEach(visit);
      position = slice.next;
    } while (position !== undefined);
  }

  #end(noticedMsMax: number): void {
    this.isUp = false;
    this.#life++;
    this.#netLife++;
    this.#o.network.died(this, noticedMsMax);
  }

  #nextSite(): Site {
    const life = this.#sites++;
    return (((this.index + 1) << 8) + life).toString(16).padStart(32, "0") as Site;
  }
}

function keyOf(peer: Endpoint): PeerId {
  return (peer as SimNode | HostilePeer).key;
}

function indexOf(peer: PeerId): number {
  return Number.parseInt(peer, 16) - 1;
}

/**
 * A cluster of simulated nodes with its clients, its model and its checks.
 *
 * *Always* (faults or not): no node shows a row as up by a write older than a down that it knows;
 * nothing that a peer sends makes a machine throw. *Eventually* (once faults have ended): all replicas
 * show what the model expects, and all roots are equal.
 *
 * @module
 */

import type { Lane } from "../../core/change/changeset.ts";
import { slotOfStamp } from "../../core/index/clock-part.ts";
import type { PeerId } from "../../core/node/border.ts";
import { type Counters, createCounters } from "../../core/node/counters.ts";
import type { NodeTuning, ZstdCodec } from "../../core/node/options.ts";
import type { ReplicaOptions } from "../../core/replica/replica.ts";
import type { ScanPosition } from "../../core/row-store.ts";
import { HostilePeer, type Malice, madeUp } from "./hostile-peer.ts";
import {
  Model,
  nameOfRow,
  type RowName,
  textOfRowStamp,
  textOfRows,
  type Values,
} from "./model.ts";
import { Network, type NetworkSettings } from "./network.ts";
import { Random } from "./random.ts";
import { SimNode, type StoreCosts, storeCosts } from "./sim-node.ts";
import { type Command, createDigester, wholeSchema } from "./sim-store.ts";
import { Timeline } from "./timeline.ts";

export interface ClusterOptions {
  readonly seed: number;
  readonly nodes: number;
  readonly store?: "map" | "sqlite";
  /** Of the node with this index, for an SQLite store. */
  readonly schemaOf?: (index: number) => string;
  /** What the node with this index compresses with; nothing when left out. */
  readonly zstdOf?: (index: number) => ZstdCodec | undefined;
  /** Whether the node with this index is of a release that floods everything; none when left out. */
  readonly isOlder?: (index: number) => boolean;
  readonly network?: Partial<NetworkSettings>;
  readonly costs?: Partial<StoreCosts>;
  readonly tuning?: Partial<NodeTuning>;
  readonly replica?: Partial<ReplicaOptions>;
  /** Of the node with this index, beside those of all. */
  readonly replicaOf?: (index: number) => Partial<ReplicaOptions>;
  /** Nodes whose settled image is checked now and then against all that they know. */
  readonly watched?: number;
  /** Streams of a node, about; every other node when left out. */
  readonly degree?: number;
}

/** Frames that find and mend differences. */
const repairKinds = [
  ...(["root", "walk", "list", "fetch", "rows"] as const),
  ...(["stream", "streamed", "busy", "behind"] as const),
] as const;

/** Something false was seen, or something true wasn't seen in time. */
export class SimFailure extends Error {
  override readonly name: string = "SimFailure";
}

/** Virtual time zero, ms since 1970. */
export const epochMs = 1_764_000_000_000;

export class Cluster implements Disposable {
  readonly timeline = new Timeline();
  readonly model = new Model();
  readonly network: Network;
  readonly nodes: SimNode[] = [];
  readonly seed: number;
  readonly #hostile: HostilePeer[] = [];
  #trace = 0;

  constructor(options: ClusterOptions) {
    const { seed, nodes, degree } = options;
    this.seed = seed;
    this.network = new Network(this.timeline, this.random("network"), options.network ?? {});
    const digester = createDigester();
    for (let index = 0; index < nodes; index++) {
      this.nodes.push(
        new SimNode({
          index,
          digester,
          epochMs,
          timeline: this.timeline,
          network: this.network,
          model: this.model,
          store: options.store ?? "map",
          schema: options.schemaOf?.(index) ?? wholeSchema,
          zstd: options.zstdOf?.(index),
          isOlder: options.isOlder?.(index) ?? false,
          random: this.random(`node ${index}`),
          costs: { ...storeCosts, ...options.costs },
          tuning: options.tuning ?? {},
          // So small that what comes in bulk is applied in many.
          replica: { sliceRows: 20, ...options.replica, ...options.replicaOf?.(index) },
          peerOfIndex: (peer) => this.nodes[peer] ?? (this.#hostile[peer - nodes] as HostilePeer),
          fail: (what) => this.fail(what),
          trace: (what) => this.#note(what),
        }),
      );
    }
    this.#connect(degree ?? nodes);
    const random = this.random("watched");
    for (let i = 0; i < (options.watched ?? 1); i++) this.#watch(random.pick(this.nodes), random);
  }

  /** A stream of randomness of its own. */
  random(stream: string): Random {
    return new Random(this.seed, stream);
  }

  get up(): SimNode[] {
    return this.nodes.filter(({ isUp }) => isUp);
  }

  /** A fingerprint of everything sent so far: two runs of one seed have the same. */
  get trace(): string {
    return (this.#trace >>> 0).toString(16).padStart(8, "0");
  }

  node(index: number): SimNode {
    return this.nodes[index] as SimNode;
  }

  /** A member that means ill, with a stream to each of `nodes`. @param delayMs Of these streams; drawn when left out. */
  addHostile(
    malice: Malice,
    sharesStamps: boolean,
    nodes: readonly SimNode[],
    delayMs?: number,
  ): HostilePeer {
    const { timeline, network } = this;
    const index = this.nodes.length + this.#hostile.length;
    const random = this.random(`hostile ${index}`);
    const hostile = new HostilePeer(index, malice, sharesStamps, {
      timeline,
      network,
      random,
      epochMs,
    });
    this.#hostile.push(hostile);
    for (const node of nodes) network.addEdge(hostile, node, delayMs);
    return hostile;
  }

  startAll(): void {
    for (const node of this.nodes) node.start();
  }

  run(ms: number): void {
    this.timeline.runUntil(this.timeline.nowMs + ms);
  }

  /** Runs until `is` holds, looking every `stepMs`. Fails at the deadline with what `why` says. */
  runUntil(is: () => boolean, deadlineMs: number, why: () => string, stepMs = 250): number {
    const startMs = this.timeline.nowMs;
    while (!is()) {
      if (this.timeline.nowMs - startMs >= deadlineMs) this.fail(why());
      this.run(stepMs);
    }
    return this.timeline.nowMs - startMs;
  }

  /** Runs until all nodes agree with each other and with the model. Returns how long that took. */
  converge(deadlineMs: number): number {
    return this.runUntil(
      () => this.difference() === undefined,
      deadlineMs,
      () => `not the same after ${deadlineMs} ms: ${this.difference()}`,
    );
  }

  fail(what: string): never {
    throw new SimFailure(`at ${this.timeline.nowMs.toFixed(1)} ms: ${what}`);
  }

  put(node: SimNode, row: RowName, values: Record<string, string | number>, lane: Lane = 1): void {
    node.write([{ kind: "put", row, values: new Map(Object.entries(values)) }], lane);
  }

  delete(node: SimNode, row: RowName): void {
    node.write([{ kind: "delete", row }], 0);
  }

  /** The first thing that keeps the nodes from being the same as each other and as the model. */
  difference(): string | undefined {
    const { up } = this;
    for (const node of up) {
      if (node.replica.status().starting) return `${node.name} is still starting`;
    }
    // The cheap look first: what is written down below is for the last of many looks.
    const cuts = up.map((node) => node.replica.status().cut);
    const newest = this.rootsDiffer(up, Math.max(...cuts));
    if (newest !== undefined) return newest;
    const found = this.#stampsFound();
    const expected = textOfRows(this.model.expected(found.stamps));
    for (const node of up) {
      if (!node.store.showsAll) continue;
      const shown = textOfRows(node.store.shown()).filter((text) => !text.startsWith(madeUp));
      const at = expected.findIndex((text, i) => text !== shown[i]);
      if (at >= 0 || shown.length !== expected.length) {
        const i = at >= 0 ? at : expected.length;
        return `${node.name} shows "${shown[i]}" where the model has "${expected[i]}"`;
      }
    }
    // Before the last stamp a replica may lack clocks that were overtaken before it heard of them.
    const from = slotOfStamp({ ms: found.latestMs, count: 0 });
    const nodesByCut = new Map<number, number>();
    for (const node of up) {
      for (const { cut } of node.replica.status().roots) {
        if (cut >= from) nodesByCut.set(cut, (nodesByCut.get(cut) ?? 0) + 1);
      }
    }
    const common = [...nodesByCut.values()].some((count) => count === up.length);
    return this.rootsDiffer(up, from) ?? (common ? undefined : "there is no common cut");
  }

  /** The first two nodes that have another root at a cut that both can be asked for. */
  rootsDiffer(nodes: readonly SimNode[], fromCut = 0): string | undefined {
    const roots = new Map<number, { readonly root: string; readonly node: string }>();
    for (const node of nodes) {
      for (const { cut, rows, fingerprint } of node.replica.status().roots) {
        if (cut < fromCut) continue;
        const root = `${rows} ${fingerprint}`;
        const other = roots.get(cut);
        if (other === undefined) roots.set(cut, { root, node: node.name });
        else if (other.root !== root) return `${node.name} and ${other.node} differ at cut ${cut}`;
      }
    }
    return undefined;
  }

  /** The counters of all nodes that are up, added. */
  counters(): Counters {
    const sum = createCounters();
    for (const node of this.up) {
      const { counters } = node.machine.snapshot();
      for (const name of Object.keys(sum) as (keyof Counters)[]) sum[name] += counters[name];
    }
    return sum;
  }

  /** What finding and mending differences has cost so far, both ways, all nodes that are up; recent rows aren't counted. */
  repairBytes(): number {
    let sum = 0;
    for (const node of this.up) {
      const { bytesSent } = node.machine.snapshot();
      for (const kind of repairKinds) sum += bytesSent[kind] ?? 0;
    }
    return sum;
  }

  stateSeen(by: SimNode, of: SimNode): string | undefined {
    return by.members.get(of.name);
  }

  agreed(by: SimNode, peer: SimNode): number | undefined {
    return by.machine.agreedMs(peer.key as PeerId);
  }

  [Symbol.dispose](): void {
    for (const node of this.nodes) node.store[Symbol.dispose]();
  }

  /** A ring, so that all hang together, and chords at random up to the degree. */
  #connect(degree: number): void {
    const { nodes } = this;
    const edges = new Set<string>();
    const random = this.random("topology");
    const add = (a: number, b: number) => {
      const name = `${Math.min(a, b)} ${Math.max(a, b)}`;
      if (a === b || edges.has(name)) return;
      edges.add(name);
      this.network.addEdge(this.node(a), this.node(b));
    };
    for (let i = 0; i + 1 < nodes.length; i++) add(i, i + 1);
    if (nodes.length > 2) add(nodes.length - 1, 0);
    if (degree >= nodes.length - 1) {
      for (let a = 0; a < nodes.length; a++) for (let b = a + 1; b < nodes.length; b++) add(a, b);
      return;
    }
    while (edges.size < (nodes.length * degree) / 2) {
      add(random.integer(0, nodes.length), random.integer(0, nodes.length));
    }
  }

  /** All stamps in the replicas, and the latest. */
  #watch(node: SimNode, random: Random): void {
    node.isWatched = true;
    const check = () => {
      node.checkImage();
      this.timeline.after(random.between(300, 3000), check);
    };
    this.timeline.after(random.between(0, 3000), check);
  }

  #stampsFound(): { readonly stamps: Set<string>; readonly latestMs: number } {
    const stamps = new Set<string>();
    let latestMs = 0;
    for (const node of this.up) {
      let position: ScanPosition | undefined;
      do {
        const slice = node.store.rows.scan(position, 1_000_000);
        for (const { key, clocks } of slice.rows) {
          const name = nameOfRow(key);
          const { clock, cells } = clocks;
          for (const { column, stamp } of [{ column: "", stamp: clock }, ...cells]) {
            stamps.add(textOfRowStamp(name, stamp, column));
            latestMs = Math.max(latestMs, stamp.ms);
          }
        }
        position = slice.next;
      } while (position !== undefined);
    }
    return { stamps, latestMs };
  }

  #note(what: number): void {
    const mixed = Math.imul(
      this.#trace ^ what ^ Math.floor(this.timeline.nowMs * 1000),
      0x9e3779b1,
    );
    this.#trace = mixed ^ (mixed >>> 15);
  }
}

export type { Command, Values };

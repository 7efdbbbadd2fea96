/**
 * A member that means ill, at the end of simulated streams: it says hello as others do, and what it says then is
 * well-formed and untrue. Its clock is right, else most of what it says would be refused.
 *
 * @module
 */

import { sha256 } from "../../agent/host/sha256.ts";
import {
  type ChangesetId,
  changesetId,
  encodeChangeset,
  type Lane,
} from "../../core/change/changeset.ts";
import { decodeFrame, encodeFrame, type Frame } from "../../core/change/frame.ts";
import { encodeHello } from "../../core/change/hello.ts";
import { encodeRowBlock } from "../../core/change/row-block.ts";
import { hlcZero, type Stamp, siteOfHex } from "../../core/clock/stamp.ts";
import type { PeerId } from "../../core/node/border.ts";
import type { RowId } from "../../core/row/digest.ts";
import { encodeKey } from "../../core/row/key.ts";
import { type RowState, stampOfRow } from "../../core/row/row-state.ts";
import type { Endpoint, Network } from "./network.ts";
import type { Random } from "./random.ts";
import type { Timeline } from "./timeline.ts";

/**
 * - `writer`: rows of tables and columns that it makes up, of any time, and questions about everything.
 * - `streamer`: says that it has far more rows than anybody, and streams without an end, slowly, what was said before.
 * - `differing`: never has what others have, and takes its time to say so.
 * - `naming`: names rows that nobody has, and sends none of them.
 * - `mangler`: passes on at once what it hears, damaged, as a host with broken memory.
 * - `teller`: tells at once of whatever it hears of, and of much that there isn't, and sends none of it.
 * - `flooder`: says more that is urgent than anybody can take, when it is told to ({@link HostilePeer.flood}).
 */
export type Malice =
  | "writer"
  | "streamer"
  | "differing"
  | "naming"
  | "mangler"
  | "teller"
  | "flooder";
export const malices: readonly Malice[] = ["writer", "streamer", "differing", "naming"];

interface Surroundings {
  readonly timeline: Timeline;
  readonly network: Network;
  readonly random: Random;
  /** Virtual time zero, ms since 1970. */
  readonly epochMs: number;
}

/** What the names of its tables and rows begin with. */
export const madeUp = "made-up";

/** Of a changeset: the version of its row block. */
const rowsOffset = 27;

export class HostilePeer implements Endpoint {
  readonly index: number;
  readonly key: PeerId;
  isListening = true;
  /** Whether it says rows that nobody has. */
  writes = true;
  readonly #malice: Malice;
  readonly #o: Surroundings;
  readonly #peers = new Set<Endpoint>();
  readonly #site;
  /** Its stamps stand for several states of one row, as those of two writers under one identity. */
  readonly #sharesStamps: boolean;
  #count = 0;
  /** What it streams again and again. */
  readonly #old: readonly RowState[];

  constructor(index: number, malice: Malice, sharesStamps: boolean, options: Surroundings) {
    this.index = index;
    this.#sharesStamps = sharesStamps;
    this.key = (index + 1).toString(16).padStart(64, "0") as PeerId;
    this.#malice = malice;
    this.#o = options;
    this.#site = siteOfHex((0xe0_0000 + index).toString(16).padStart(32, "0"));
    this.#old = [this.#row()];
    this.#act();
  }

  connected(peer: Endpoint): void {
    this.#peers.add(peer);
    const now = { ms: Math.floor(this.#nowMs()), count: 0 };
    const body = encodeHello({
      protocol: [1, 1],
      digests: [1],
      features: this.#malice === "teller" ? ["stream", "plumtree"] : ["stream"],
      scopes: [0],
      name: `evil${this.index}`,
      region: "",
      zone: "",
      site: this.#site,
      incarnation: 1,
      horizon: hlcZero,
      now,
      schema: [],
      starting: false,
    });
    this.#say(peer, { kind: "hello", body });
  }

  disconnected(peer: Endpoint): void {
    this.#peers.delete(peer);
  }

  drained(): void {}

  received(peer: Endpoint, bytes: Uint8Array): void {
    const decoded = decodeFrame(bytes);
    if (decoded.kind !== "frame" || this.#malice === "writer") return;
    const { frame } = decoded;
    if (this.#malice === "mangler") {
      if (frame.kind !== "push") return;
      const changeset = this.#mangled(frame.changeset);
      for (const other of this.#peers) {
        if (other !== peer) this.#say(other, { ...frame, changeset });
      }
      return;
    }
    if (this.#malice === "teller") {
      this.#tellOf(peer, frame);
      return;
    }
    const { random } = this.#o;
    const later = (ms: number, answer: () => Frame) =>
      this.#o.timeline.after(ms, () => this.#say(peer, answer()));
    // Just before it would count as silent.
    const lateMs = random.between(100, 2500);
    switch (frame.kind) {
      case "root":
        if (frame.answer) return;
        later(this.#malice === "differing" ? lateMs : 5, () => ({
          ...frame,
          answer: true,
          rows: this.#malice === "differing" ? frame.rows : frame.rows * 50 + 5000,
          fingerprint: this.#hex(32),
        }));
        return;
      case "walk":
        if (frame.answer) return;
        later(lateMs, () => ({
          ...frame,
          answer: true,
          fingerprints: frame.nodes.flatMap(() => Array.from({ length: 16 }, () => this.#hex(16))),
        }));
        return;
      case "list":
        if (frame.answer) return;
        later(lateMs, () => ({ ...frame, answer: true, more: false, entries: this.#entries(20) }));
        return;
      case "fetch": {
        const { exchange } = frame;
        for (let at = 5000; at < 200_000; at += 5000) {
          later(at, () => ({
            ...{ kind: "rows", exchange, last: false, horizon: hlcZero },
            block: encodeRowBlock(this.#old),
          }));
        }
        return;
      }
      case "stream": {
        const { exchange } = frame;
        later(random.between(1000, 50_000), () => this.#streamed(exchange));
        return;
      }
      default:
    }
  }

  /** Says so many urgent changes at once to each of its peers, all from its site or each from one that it makes up. */
  flood(count: number, bytes: number, makesUpSites: boolean): void {
    const ms = Math.floor(this.#nowMs());
    for (let n = 0; n < count; n++) {
      const site = makesUpSites ? siteOfHex(this.#hex(32)) : this.#site;
      const stamp = { ms, count: n % 65_536, site };
      const row: RowState = {
        table: madeUp,
        key: encodeKey([`${madeUp} ${n % 500}`]) as Uint8Array,
        clock: { ...stamp, cl: 1 },
        cells: [{ column: "column", stamp, value: `${n} ${"x".repeat(bytes)}` }],
      };
      const changeset = encodeChangeset({ stamp, lane: 0, rows: [row] });
      for (const peer of this.#peers) this.#say(peer, { kind: "push", lane: 0, changeset });
    }
  }

  /** Ends its streams for good. */
  leave(): void {
    this.isListening = false;
    this.#o.network.died(this, 100);
  }

  #act(): void {
    const { timeline, random } = this.#o;
    timeline.after(random.between(20, 400), () => {
      if (!this.isListening) return;
      for (const peer of this.#peers) this.#say(peer, this.#unasked());
      this.#act();
    });
  }

  #unasked(): Frame {
    const { random } = this.#o;
    const exchange = random.integer(0, 2 ** 32);
    const horizon = hlcZero;
    const head = { exchange, horizon, answer: false, live: random.chance(0.5) };
    const cut = Math.floor(this.#nowMs() / 1000) - random.integer(0, 12);
    const at = { ...head, cut: head.live ? 0 : cut };
    const level = random.integer(0, 4);
    const nodes = Array.from({ length: random.integer(1, 40) }, () =>
      random.integer(0, 16 ** level),
    );
    const sequence = 1;
    const hlc = { ms: Math.floor(this.#nowMs()), count: 0 };
    const alive: Frame = { kind: "heartbeat", sequence, hlc, incarnation: 1, storeLag: 0 };
    if (this.#malice === "naming" && random.chance(0.5)) {
      return { kind: "recent", horizon, more: random.chance(0.9), entries: this.#entries(30) };
    }
    if (this.#malice === "teller") {
      const ids = Array.from({ length: 50 }, () => this.#hex(16) as ChangesetId);
      return { kind: "ihave", isForAsking: random.chance(0.5), ids };
    }
    if (this.#malice !== "writer") return alive;
    const asks: readonly (() => Frame)[] = [
      () => alive,
      () => ({ kind: "root", ...at, rows: 7, fingerprint: this.#hex(32) }),
      () => ({ kind: "walk", ...at, level: level + 1, nodes, fingerprints: [] }),
      () => ({
        kind: "list",
        ...at,
        recentOnly: random.chance(0.5),
        more: false,
        level,
        nodes,
        entries: [],
      }),
      () => ({ kind: "fetch", exchange, horizon, what: { by: "range", level, nodes } }),
      () => ({
        kind: "fetch",
        exchange,
        horizon,
        what: { by: "id", ids: this.#entries(9).map(({ id }) => id) },
      }),
      () => ({
        kind: "stream",
        exchange,
        horizon,
        level: 0,
        nodes: [0],
        credit: 1000,
        cursor: new Uint8Array(0),
      }),
    ];
    if (!this.writes || random.chance(0.4)) return random.pick(asks)();
    const rows = Array.from({ length: random.integer(1, 5) }, () => this.#row());
    if (random.chance(0.4)) {
      return { kind: "rows", exchange, last: true, horizon, block: encodeRowBlock(rows) };
    }
    const lane = random.integer(0, 3) as Lane;
    const latest = rows.map(stampOfRow).sort((a, b) => b.ms - a.ms)[0] as Stamp;
    const { ms, count, site } = latest;
    const stamp = { ms, count: random.chance(0.5) ? count : random.integer(0, 65_536), site };
    return { kind: "push", lane, changeset: encodeChangeset({ stamp, lane, rows }) };
  }

  #tellOf(peer: Endpoint, frame: Frame): void {
    if (frame.kind !== "push" && frame.kind !== "ihave") return;
    const ids = frame.kind === "ihave" ? frame.ids : [changesetId(sha256, frame.changeset)];
    const isForAsking = frame.kind === "ihave" ? frame.isForAsking : frame.lane === 2;
    for (const other of this.#peers) {
      if (other !== peer) this.#say(other, { kind: "ihave", isForAsking, ids });
    }
    if (frame.kind === "ihave") this.#say(peer, { kind: "graft", ids });
  }

  /** With its header as it was, and so that no value in it is another one: that would be a change of its own. */
  #mangled(changeset: Uint8Array): Uint8Array {
    const { random } = this.#o;
    if (random.chance(0.3)) return changeset.slice(0, -1);
    if (random.chance(0.5)) {
      return Uint8Array.of(...changeset.subarray(0, rowsOffset), ...encodeRowBlock([]));
    }
    const bytes = changeset.slice();
    bytes[rowsOffset] = 0xff;
    return bytes;
  }

  #streamed(exchange: number): Frame {
    const block = encodeRowBlock(this.#old);
    const cursor = Uint8Array.of(1);
    const part = { block, blockBytes: block.length, compressed: false, cursor };
    return { kind: "streamed", exchange, paused: true, last: false, horizon: hlcZero, ...part };
  }

  /** Few keys, so that many meet, and few stamps if several writers are to share one. */
  #row(): RowState {
    const { random } = this.#o;
    const nowMs = Math.floor(this.#nowMs());
    const stamp: Stamp = {
      ms: random.pick([1, 1000, nowMs, nowMs + 3000, nowMs - random.integer(0, 20_000)]),
      count: this.#sharesStamps ? random.integer(0, 3) : this.#count++ % 65_536,
      site: this.#site,
    };
    const table = `${madeUp}-${random.integer(0, 4)}`;
    const columns = new Set(
      Array.from({ length: random.integer(0, 5) }, () => `column-${random.integer(0, 9)}`),
    );
    return {
      table,
      key: encodeKey([`${table} ${random.integer(0, 30)}`]) as Uint8Array,
      clock: { ...stamp, cl: random.integer(1, 5) },
      cells: [...columns].sort().map((column) => ({
        column,
        stamp: { ...stamp, ms: stamp.ms + random.pick([0, 0, 1, 900]) },
        value: random.pick(["up", "down", 1, null, "x".repeat(300)]),
      })),
    };
  }

  #entries(count: number) {
    return Array.from({ length: count }, () => ({
      id: this.#hex(32) as RowId,
      stamp: { ms: Math.floor(this.#nowMs()), count: 0, site: this.#site },
      digest: this.#hex(16),
    }));
  }

  #hex(digits: number): string {
    const { random } = this.#o;
    return Array.from({ length: digits }, () => random.integer(0, 16).toString(16)).join("");
  }

  #nowMs(): number {
    return this.#o.epochMs + this.#o.timeline.nowMs;
  }

  #say(peer: Endpoint, frame: Frame): void {
    if (this.isListening && this.#peers.has(peer))
      this.#o.network.send(this, peer, encodeFrame(frame));
  }
}

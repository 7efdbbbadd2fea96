/**
 * The network between simulated nodes: streams as UDX gives them (reliable, ordered, encrypted), and what
 * may befall them.
 *
 * - A lost packet is sent again: its frame and all behind it come later.
 * - A cut direction holds back what is sent; a stream that gets nothing through breaks after a while, and
 *   with it all that is under way. Both ends hear of it, at different times.
 * - A corrupted packet fails its authentication: the stream breaks.
 * - A repeated frame stands for the datagram lane, where it may come long after its time.
 * - A vanished push stands for one that a full queue dropped.
 *
 * Broken streams are opened again while both ends are up and can reach each other.
 *
 * @module
 */

import { frameKind } from "../../core/change/frame.ts";
import type { Random } from "./random.ts";
import type { Timeline } from "./timeline.ts";

export interface NetworkSettings {
  /** One way, before jitter. Each edge draws its own between the two. */
  readonly delayMsMin: number;
  readonly delayMsMax: number;
  /** Up to this share of the delay is added. */
  readonly jitter: number;
  readonly bytesPerMs: number;
  /** Of a frame: it comes a retransmission later. */
  lossChance: number;
  repeatChance: number;
  /** Of a push: it is gone. */
  vanishChance: number;
  corruptChance: number;
  /** A frame of random bytes before this one, as from a peer with a bug. */
  garbageChance: number;
  /** A stream whose direction is cut breaks within this. */
  readonly breakMsMin: number;
  readonly breakMsMax: number;
}

const networkDefaults: NetworkSettings = {
  delayMsMin: 1,
  delayMsMax: 40,
  jitter: 0.15,
  bytesPerMs: 20_000,
  lossChance: 0,
  repeatChance: 0,
  vanishChance: 0,
  corruptChance: 0,
  garbageChance: 0,
  breakMsMin: 1500,
  breakMsMax: 6000,
};

/** What the network needs of a node. */
export interface Endpoint {
  readonly index: number;
  /** It can hold streams. */
  readonly isListening: boolean;
  connected(peer: Endpoint): void;
  disconnected(peer: Endpoint): void;
  received(peer: Endpoint, frame: Uint8Array): void;
  drained(peer: Endpoint): void;
}

interface Direction {
  readonly from: Endpoint;
  readonly to: Endpoint;
  /** When what was handed over has left. */
  freeMs: number;
  lastArrivalMs: number;
  isDrainDue: boolean;
  /** Sent while the direction is cut. */
  held: Uint8Array[];
}

interface Edge {
  readonly a: Endpoint;
  readonly b: Endpoint;
  readonly delayMs: number;
  /** Undefined while there is no stream. */
  stream: { readonly ab: Direction; readonly ba: Direction } | undefined;
  isReopenDue: boolean;
}

/** Bytes around each frame: length, stream cipher and packet headers, amortised. */
const overheadBytes = 40;

export class Network {
  readonly settings: NetworkSettings;
  readonly #timeline: Timeline;
  readonly #random: Random;
  readonly #edges: Edge[] = [];
  readonly #edgesOf = new Map<Endpoint, Map<Endpoint, Edge>>();
  readonly #cut = new Set<string>();
  bytes = 0;
  frames = 0;
  vanished = 0;
  breaks = 0;
  /** Told of every frame as it is sent. */
  onSent: ((from: Endpoint, to: Endpoint, frame: Uint8Array) => void) | undefined;

  constructor(timeline: Timeline, random: Random, settings: Partial<NetworkSettings>) {
    this.#timeline = timeline;
    this.#random = random;
    this.settings = { ...networkDefaults, ...settings };
  }

  /** Lets two nodes hold a stream, from now on and whenever they can. @param ms One way; drawn when left out. */
  addEdge(a: Endpoint, b: Endpoint, ms?: number): void {
    const { delayMsMin, delayMsMax } = this.settings;
    const delayMs = ms ?? this.#random.between(delayMsMin, delayMsMax);
    const edge: Edge = { a, b, delayMs, stream: undefined, isReopenDue: false };
    this.#edges.push(edge);
    for (const [x, y] of [
      [a, b],
      [b, a],
    ] as const) {
      const edges = this.#edgesOf.get(x) ?? new Map<Endpoint, Edge>();
      edges.set(y, edge);
      this.#edgesOf.set(x, edges);
    }
    this.#reopen(edge, this.#random.between(1, 50));
  }

  hasStream(a: Endpoint, b: Endpoint): boolean {
    return this.#edgesOf.get(a)?.get(b)?.stream !== undefined;
  }

  neighbours(node: Endpoint): Endpoint[] {
    return [...(this.#edgesOf.get(node)?.keys() ?? [])];
  }

  send(from: Endpoint, to: Endpoint, frame: Uint8Array): void {
    const edge = this.#edgesOf.get(from)?.get(to);
    const stream = edge?.stream;
    if (edge === undefined || stream === undefined) return;
    const direction = from === edge.a ? stream.ab : stream.ba;
    this.bytes += frame.length;
    this.frames++;
    this.onSent?.(from, to, frame);
    if (this.#isCut(from, to)) {
      direction.held.push(frame);
      return;
    }
    this.#transmit(edge, direction, frame);
  }

  /** The transport gave up on a stream that the machine closed. */
  close(from: Endpoint, to: Endpoint): void {
    const edge = this.#edgesOf.get(from)?.get(to);
    if (edge?.stream !== undefined) this.#break(edge, 0, edge.delayMs);
  }

  /** Cuts the way from each of `from` to each of `to`. */
  cut(from: readonly Endpoint[], to: readonly Endpoint[]): void {
    for (const a of from) {
      for (const b of to) {
        if (a === b) continue;
        this.#cut.add(`${a.index}>${b.index}`);
        const edge = this.#edgesOf.get(a)?.get(b);
        if (edge?.stream !== undefined) this.#breakUnlessHealed(edge);
      }
    }
  }

  /** All ways are open again; what was held back goes on. */
  heal(): void {
    this.#cut.clear();
    for (const edge of this.#edges) {
      if (edge.stream === undefined) this.#reopen(edge, this.#random.between(50, 800));
      else {
        for (const direction of [edge.stream.ab, edge.stream.ba]) {
          const { held } = direction;
          direction.held = [];
          for (const frame of held) this.#transmit(edge, direction, frame);
        }
      }
    }
  }

  /** A node died: its streams are gone; the other ends find out in their own time. */
  died(node: Endpoint, noticedMsMax: number): void {
    for (const edge of this.#edgesOf.get(node)?.values() ?? []) {
      if (edge.stream === undefined) continue;
      const ms = this.#random.between(20, noticedMsMax);
      this.#break(edge, edge.a === node ? 0 : ms, edge.b === node ? 0 : ms);
    }
  }

  /** A node is up again. */
  started(node: Endpoint): void {
    for (const edge of this.#edgesOf.get(node)?.values() ?? []) {
      this.#reopen(edge, this.#random.between(20, 600));
    }
  }

  /** Breaks one stream at random. */
  breakOne(): void {
    const open = this.#edges.filter(({ stream }) => stream !== undefined);
    if (open.length > 0) this.#break(this.#random.pick(open), 5, 50);
  }

  #isCut(from: Endpoint, to: Endpoint): boolean {
    return this.#cut.has(`${from.index}>${to.index}`);
  }

  #transmit(edge: Edge, direction: Direction, frame: Uint8Array): void {
    const { settings } = this;
    const { nowMs } = this.#timeline;
    const random = this.#random;
    const kind = frame[0] as number;
    direction.freeMs =
      Math.max(nowMs, direction.freeMs) + (frame.length + overheadBytes) / settings.bytesPerMs;
    this.#drainLater(edge, direction);
    if (kind === frameKind.push && random.chance(settings.vanishChance)) {
      this.vanished++;
      return;
    }
    let delayMs = edge.delayMs * (1 + random.next() * settings.jitter);
    if (random.chance(settings.lossChance)) delayMs += 2 * edge.delayMs + random.between(20, 250);
    const arrivalMs = Math.max(direction.lastArrivalMs, direction.freeMs + delayMs);
    direction.lastArrivalMs = arrivalMs;
    const { stream } = edge;
    const deliver = (bytes: Uint8Array) => {
      if (edge.stream === stream) direction.to.received(direction.from, bytes);
    };
    if (random.chance(settings.corruptChance)) {
      this.#timeline.at(arrivalMs, () => {
        if (edge.stream === stream) this.#break(edge, 1, edge.delayMs);
      });
      return;
    }
    if (random.chance(settings.garbageChance)) {
      const garbage = Uint8Array.from({ length: random.integer(0, 80) }, () => random.next() * 256);
      this.#timeline.at(arrivalMs, () => deliver(garbage));
    }
    this.#timeline.at(arrivalMs, () => deliver(frame));
    const isRepeatable = kind !== frameKind.part && kind !== frameKind.hello;
    if (isRepeatable && random.chance(settings.repeatChance)) {
      this.#timeline.at(arrivalMs + random.between(0, 3000), () => deliver(frame));
    }
  }

  #drainLater(edge: Edge, direction: Direction): void {
    if (direction.isDrainDue) return;
    direction.isDrainDue = true;
    const { stream } = edge;
    const drain = () => {
      if (edge.stream !== stream) return;
      if (direction.freeMs > this.#timeline.nowMs + 1e-6) {
        this.#timeline.at(direction.freeMs, drain);
        return;
      }
      direction.isDrainDue = false;
      // While frames are held back the stream's buffer isn't empty.
      if (direction.held.length === 0) direction.from.drained(direction.to);
    };
    this.#timeline.at(direction.freeMs, drain);
  }

  #breakUnlessHealed(edge: Edge): void {
    const { stream } = edge;
    const { breakMsMin, breakMsMax } = this.settings;
    const ms = this.#random.between(breakMsMin, breakMsMax);
    this.#timeline.after(ms, () => {
      const isCut = this.#isCut(edge.a, edge.b) || this.#isCut(edge.b, edge.a);
      if (edge.stream === stream && isCut) this.#break(edge, 0, this.#random.between(0, 500));
    });
  }

  /** Ends a stream and all that is under way on it. @param afterA When that end hears of it. */
  #break(edge: Edge, afterA: number, afterB: number): void {
    if (edge.stream === undefined) return;
    edge.stream = undefined;
    this.breaks++;
    const { a, b } = edge;
    this.#timeline.after(afterA, () => a.disconnected(b));
    this.#timeline.after(afterB, () => b.disconnected(a));
    // Not before both ends know: Hyperswarm drops the elder of two streams to one peer.
    this.#reopen(edge, Math.max(afterA, afterB) + this.#random.between(10, 1000));
  }

  #reopen(edge: Edge, ms: number): void {
    if (edge.isReopenDue || edge.stream !== undefined) return;
    edge.isReopenDue = true;
    this.#timeline.after(ms, () => {
      edge.isReopenDue = false;
      const { a, b } = edge;
      if (edge.stream !== undefined || !a.isListening || !b.isListening) return;
      if (this.#isCut(a, b) || this.#isCut(b, a)) {
        this.#reopen(edge, this.#random.between(300, 1000));
        return;
      }
      const direction = (from: Endpoint, to: Endpoint): Direction => ({
        from,
        to,
        freeMs: 0,
        lastArrivalMs: 0,
        isDrainDue: false,
        held: [],
      });
      const stream = { ab: direction(a, b), ba: direction(b, a) };
      edge.stream = stream;
      b.connected(a);
      this.#timeline.after(edge.delayMs, () => {
        if (edge.stream === stream) a.connected(b);
      });
    });
  }
}

/**
 * A node machine whose peers and store are played by the test: it says each frame and each reply itself, and looks
 * at the effects.
 *
 * @module
 */

import { sha256 } from "../agent/host/sha256.ts";
import { seededRandom } from "../bench/seeded-random.ts";
import { encodeChangeset, type Lane } from "../core/change/changeset.ts";
import { decodeFrame, encodeFrame, type Frame } from "../core/change/frame.ts";
import { encodeHello } from "../core/change/hello.ts";
import { hlcZero, siteOfHex } from "../core/clock/stamp.ts";
import type { MemberRow, PeerId, StoreReply, StoreRequest } from "../core/node/border.ts";
import type { NodeEffect, NodeEvent } from "../core/node/node-events.ts";
import { NodeMachine } from "../core/node/node-machine.ts";
import type { NodeTuning } from "../core/node/options.ts";
import { encodeKey } from "../core/row/key.ts";

export const site = (n: number) => siteOfHex(n.toString(16).padStart(32, "0"));
export const keyOf = (name: string) => Buffer.from(name.padEnd(32, ".")).toString("hex") as PeerId;

/** A machine with what it did last; the store behind it answers only what a test lets it. */
export class PlayedNode {
  readonly machine: NodeMachine;
  readonly key: PeerId;
  nowMs = 1_000_000_000_000;
  effects: NodeEffect[] = [];
  /** All that the store was asked so far. */
  readonly requests: StoreRequest[] = [];

  /** The question of recent rows that the last new peer led to. */
  recent: StoreRequest | undefined;

  constructor(
    name: string,
    tuning: Partial<NodeTuning> = {},
    recalled: readonly MemberRow[] | undefined = undefined,
  ) {
    this.key = keyOf(name);
    this.machine = new NodeMachine({
      key: this.key,
      name,
      region: "eu",
      zone: `${name}-zone`,
      incarnation: 1,
      tuning,
      random: seededRandom(1),
      hash: (bytes) => Bun.hash(bytes) as bigint,
      sha256,
      recalled,
    });
  }

  do(event: NodeEvent): NodeEffect[] {
    this.effects = [];
    this.machine.handle(event, this.nowMs, this.effects);
    this.requests.push(...this.asked());
    return this.effects;
  }

  reply(reply: StoreReply): NodeEffect[] {
    return this.do({ kind: "store", reply });
  }

  /** What the store says at its start. */
  start(number: number, rows = 0): void {
    this.reply({ kind: "identity", site: site(number), schema: [], starting: false });
    this.slot(0, rows);
  }

  slot(cut: number, rows = 0): void {
    const root = { rows, fingerprint: "0".repeat(32) };
    this.reply({
      kind: "slot",
      cut,
      live: root,
      horizon: hlcZero,
      hlc: { ms: this.nowMs, count: 0 },
      roots: cut > 0 ? [{ cut, ...root }] : [],
    });
  }

  receive(peer: PeerId, frame: Frame, lane?: Lane): NodeEffect[] {
    return this.do({ kind: "received", peer, frame: encodeFrame(frame, lane) });
  }

  /** Connects a peer that is only played by the test. */
  meet(name: string, hello: Parameters<typeof helloOf>[1] = {}): PeerId {
    const peer = keyOf(name);
    this.do({ kind: "connected", peer });
    this.receive(peer, helloOf(name, { now: { ms: Math.floor(this.nowMs), count: 0 }, ...hello }));
    this.recent = this.asked("recent")[0] ?? this.recent;
    return peer;
  }

  sent(peer?: PeerId): Frame[] {
    const frames: Frame[] = [];
    for (const effect of this.effects) {
      if (effect.kind !== "send" || (peer !== undefined && effect.peer !== peer)) continue;
      const decoded = decodeFrame(effect.bytes);
      if (decoded.kind === "frame") frames.push(decoded.frame);
    }
    return frames;
  }

  asked(kind?: StoreRequest["kind"]): StoreRequest[] {
    return this.effects.flatMap((effect) =>
      effect.kind === "store" && (kind === undefined || effect.request.kind === kind)
        ? [effect.request]
        : [],
    );
  }

  closed(): string[] {
    return this.effects.flatMap((effect) => (effect.kind === "close" ? [effect.why] : []));
  }

  /** Lets virtual time pass in steps that no machine takes for its own lateness. */
  pass(ms: number): void {
    const untilMs = this.nowMs + ms;
    const all: NodeEffect[] = [];
    while (this.machine.pollTimeout() <= untilMs) {
      this.nowMs = Math.max(this.nowMs, this.machine.pollTimeout());
      all.push(...this.do({ kind: "timeout" }));
    }
    this.nowMs = untilMs;
    this.effects = all;
  }
}

export function helloOf(
  name: string,
  change: Partial<Parameters<typeof encodeHello>[0]> = {},
): Frame {
  const body = encodeHello({
    protocol: [1, 1],
    digests: [1],
    features: [],
    scopes: [0],
    region: "eu",
    zone: "z",
    name,
    site: site(99),
    incarnation: 1,
    horizon: hlcZero,
    now: hlcZero,
    schema: [],
    starting: false,
    ...change,
  });
  return { kind: "hello", body };
}

export function changeset(origin: number, count: number, lane: Lane, bytes = 10): Uint8Array {
  const stamp = { ms: 1_000_000_000_000, count, site: site(origin) };
  const key = encodeKey([`row ${count}`]) as Uint8Array;
  const cells = [{ column: "value", stamp, value: "x".repeat(bytes) }];
  const row = { table: "instances", key, clock: { ...stamp, cl: 1 }, cells };
  return encodeChangeset({ stamp, lane, rows: [row] });
}

export function push(origin: number, count: number, lane: Lane, bytes?: number): Frame {
  return { kind: "push", lane, changeset: changeset(origin, count, lane, bytes) };
}

/**
 * Warms the net thread's code up, as `warm-up.ts` does the store thread's: a commit of its own and an urgent
 * changeset of a peer, some hundred times, between two node machines that know only each other. No stream and no
 * store of the agent's hears of it; what streams do is warm by heartbeats.
 *
 * It takes some 50 ms of CPU time, in steps of less than a millisecond, after the start.
 *
 * @module
 */

import { encodeChangeset } from "../../core/change/changeset.ts";
import { hlcZero, siteOfHex } from "../../core/clock/stamp.ts";
import type { PeerId, StoreReply, StoreRequest } from "../../core/node/border.ts";
import type { NodeEffect, NodeEvent } from "../../core/node/node-events.ts";
import { encodeKey } from "../../core/row/key.ts";
import { FrameReader, lengthBytes, writeLength } from "../swarm/framing.ts";
import type { Machine } from "./net-machine.ts";

/** Compiled code is reached after some hundred calls, and made in the background. */
const stepsDefault = 400;
const pauseMs = 4;

/** A node whose one stream ends at `peer`, and whose store takes everything and has nothing. */
class WarmNode {
  readonly key: PeerId;
  readonly #machine: Machine;
  readonly #reader = new FrameReader();
  readonly #site: string;
  peer: WarmNode | undefined;
  /** Frames on their way to it. */
  readonly inbox: Uint8Array[] = [];
  /** Changesets that its store has taken. */
  applied = 0;

  constructor(digit: string, createMachine: (name: string, key: PeerId) => Machine) {
    this.key = digit.repeat(64) as PeerId;
    this.#site = digit.repeat(32);
    this.#machine = createMachine(`warm-up ${digit}`, this.key);
    this.#reply({ kind: "identity", site: this.#site, schema: [], starting: true });
    const live = { rows: 0, fingerprint: "0".repeat(32) };
    this.#reply({ kind: "slot", cut: 0, roots: [], live, horizon: hlcZero, hlc: hlcZero });
  }

  handle(event: NodeEvent): void {
    const effects: NodeEffect[] = [];
    this.#machine.handle(event, Date.now(), effects);
    for (const effect of effects) {
      if (effect.kind === "send") this.peer?.inbox.push(effect.bytes);
      else if (effect.kind === "store") this.#answer(effect.request);
    }
  }

  /** Takes what is on its way. */
  receive(): void {
    for (const frame of this.inbox.splice(0)) this.#receive(frame);
  }

  #receive(frame: Uint8Array): void {
    const bytes = new Uint8Array(lengthBytes + frame.length);
    writeLength(bytes, 0, frame.length);
    bytes.set(frame, lengthBytes);
    const frames: Uint8Array[] = [];
    this.#reader.push(bytes, frames);
    const peer = (this.peer as WarmNode).key;
    for (const one of frames) this.handle({ kind: "received", peer, frame: one });
  }

  commit(step: number): void {
    const stamp = { ms: Date.now(), count: step, site: siteOfHex(this.#site) };
    const key = encodeKey([`w${step}`]) as Uint8Array;
    const cells = [{ column: "status", stamp, value: "down" }];
    const row = { table: "warm", key, clock: { ...stamp, cl: 1 }, cells };
    const changeset = encodeChangeset({ stamp, lane: 0, rows: [row] });
    this.#reply({ kind: "commit", stamp, lane: 0, changeset });
  }

  #answer(request: StoreRequest): void {
    if (!("ticket" in request)) return;
    const { ticket } = request;
    if (request.kind === "apply") {
      this.applied += request.bodies.length;
      const { length } = request.bodies;
      this.#reply({ kind: "applied", ticket, rows: length, changed: length, refused: [] });
    } else if (request.kind === "recent") this.#reply({ kind: "recent", ticket, entries: [] });
    else this.#reply({ kind: "unavailable", ticket, why: "busy" });
  }

  #reply(reply: StoreReply): void {
    this.handle({ kind: "store", reply });
  }
}

/**
 * Resolves when it is done, or soon after `isOver`, to the changesets that arrived.
 *
 * @param createMachine Makes one as this thread makes its own.
 */
export async function warmUpNet(
  createMachine: (name: string, key: PeerId) => Machine,
  isOver: () => boolean = () => false,
  steps: number = stepsDefault,
): Promise<number> {
  const [one, other] = ["a", "b"].map((digit) => new WarmNode(digit, createMachine)) as [
    WarmNode,
    WarmNode,
  ];
  one.peer = other;
  other.peer = one;
  one.handle({ kind: "connected", peer: other.key });
  other.handle({ kind: "connected", peer: one.key });
  for (let step = 0; step < steps && !isOver(); step++) {
    for (const node of [one, other]) {
      node.receive();
      node.commit(step);
      node.handle({ kind: "drained", peer: (node.peer as WarmNode).key, bytesLeft: 0 });
      node.handle({ kind: "timeout" });
    }
    await Bun.sleep(pauseMs);
  }
  for (const node of [one, other]) node.receive();
  return one.applied + other.applied;
}

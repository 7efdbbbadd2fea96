/**
 * The node machine as the net thread makes it, and what it needs of it.
 *
 * @module
 */

import type { PeerId } from "../../core/node/border.ts";
import type { NodeEffect, NodeEvent, NodeSnapshot } from "../../core/node/node-events.ts";
import { NodeMachine } from "../../core/node/node-machine.ts";
import { type NodeTuning, nodeDefaults } from "../../core/node/options.ts";
import { sha256 } from "../host/sha256.ts";
import { zstd } from "../host/zstd.ts";
import type { Agreed } from "./agreements.ts";
import type { NetOptions } from "./messages.ts";

/** What the net side needs of `NodeMachine`. */
export interface Machine {
  handle(event: NodeEvent, nowMs: number, effects: NodeEffect[]): void;
  /** When it next wants a `timeout`, ms on the clock of `nowMs`; Infinity for never. */
  pollTimeout(): number;
  snapshot(): NodeSnapshot;
  /** As of the snapshot, without it. */
  readonly applyBodies: number;
  /** The store isn't built yet, or most of what there is has still to come; the thread has enough to do then. */
  readonly isCatchingUp?: boolean;
  /** The last time that any peer was found equal; a new object each time. */
  readonly latestAgreement?: Agreed | undefined;
}

export type CreateMachine = (options: NetOptions, key: PeerId) => Machine;

/** Another one in each process. */
const hashKey = new DataView(crypto.getRandomValues(new Uint8Array(8)).buffer).getBigUint64(0);

export function createMachine(options: NetOptions, key: PeerId): NodeMachine {
  return new NodeMachine({
    key,
    name: options.name,
    region: options.region,
    zone: options.zone,
    incarnation: options.incarnation,
    random: Math.random,
    // Wyhash: 0.2 µs for a short changeset, 0.4 ns a byte of a long one.
    hash: (bytes) => Bun.hash(bytes, hashKey) as bigint,
    sha256,
    tuning: tuningOf(options.heartbeatMs),
    zstd,
    recalled: options.recalled,
  });
}

/** A peer is suspected after four heartbeats that didn't come. */
function tuningOf(heartbeatMs: number = nodeDefaults.heartbeatMs): Partial<NodeTuning> {
  return { heartbeatMs, members: { ...nodeDefaults.members, suspectMs: 4 * heartbeatMs } };
}

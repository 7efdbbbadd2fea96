/**
 * The node machine as the net thread makes it.
 *
 * @module
 */

import type { PeerId } from "../core/node/border.ts";
import { NodeMachine } from "../core/node/node-machine.ts";
import { type NodeTuning, nodeDefaults } from "../core/node/options.ts";
import type { NetOptions } from "./link.ts";
import { zstd } from "./zstd.ts";

export function createMachine(options: NetOptions, key: PeerId): NodeMachine {
  return new NodeMachine({
    key,
    name: options.name,
    region: options.region,
    zone: options.zone,
    incarnation: options.incarnation,
    random: Math.random,
    tuning: tuningOf(options.heartbeatMs),
    zstd,
  });
}

/** A peer is suspected after four heartbeats that didn't come. */
function tuningOf(heartbeatMs: number = nodeDefaults.heartbeatMs): Partial<NodeTuning> {
  return { heartbeatMs, members: { ...nodeDefaults.members, suspectMs: 4 * heartbeatMs } };
}

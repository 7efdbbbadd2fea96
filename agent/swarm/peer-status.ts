/**
 * What a node tells of a connection to a peer.
 *
 * @module
 */

import type { PeerId } from "../../core/node/border.ts";

/** One peer as `patina swarm` shows it. Counts since the connection was made. */
export interface PeerStatus {
  readonly peer: PeerId;
  /** From its hello; undefined before that. */
  readonly name: string | undefined;
  /** Its region, from its hello. */
  readonly region: string | undefined;
  readonly address: string;
  /**
   * How the two met. This node found it by the topic, had it configured, chose it among the members
   * so as to have near and far neighbours, or remembered where it had been; or it dialled this node.
   */
  readonly found: "topic" | "configuration" | "members" | "remembered" | "inbound";
  /** Whether a hole had to be punched through a NAT or firewall for it. */
  readonly path: "direct" | "punched";
  readonly sinceMs: number;
  /** Smoothed round trip of the transport. */
  readonly rttMs: number;
  readonly framesSent: number;
  readonly framesReceived: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** Bytes handed to the stream that it hasn't sent yet. */
  readonly bytesLeft: number;
  /** What may be on its way without an acknowledgement. */
  readonly cwndBytes: number;
  readonly packetsSent: number;
  /** Packets found missing; some turn out to have been late only. */
  readonly packetsLost: number;
  readonly retransmits: number;
}

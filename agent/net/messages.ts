/**
 * What passes between the link and the net thread: plain data, both ways.
 *
 * @module
 */

import type { MemberRow, PeerId, StoreReply, StoreRequest } from "../../core/node/border.ts";
import type { Alarm, NodeSnapshot } from "../../core/node/node-events.ts";
import type { PeerStatus } from "../swarm/peer-status.ts";

/** Plain data: it crosses to the net thread. */
export interface NetOptions {
  /** Seed of the node's Ed25519 key, 32 bytes. Secret. */
  readonly nodeSeed: Uint8Array;
  /** The node's name. */
  readonly name: string;
  readonly region: string;
  /** The failure domain. */
  readonly zone: string;
  readonly cluster: {
    /** Where peers are found, 32 bytes. Whoever knows it still can't get in. */
    readonly topic: Uint8Array;
    /** 32 bytes. Secret. */
    readonly admissionSecret: Uint8Array;
  };
  /** IPv4 address that both UDP sockets are bound to; `0.0.0.0` for all. */
  readonly host: string;
  /** UDP port; 0 for any. If it is taken another is chosen and reported, except for a bootstrap. */
  readonly port: number;
  /** `host:port` of DHT nodes to begin with; `public` for Hyperswarm's own, which is asked only then. Empty: none. */
  readonly bootstrap: readonly string[];
  /**
   * Be a DHT node that others begin with, at `host` (a concrete address) and `port` (not 0). The
   * node's own socket is then at the next port, or any.
   */
  readonly isBootstrap: boolean;
  /**
   * Whether holes must be punched to reach this host, because a NAT or firewall stands before it. That
   * takes some six DHT nodes, to find out the own address by; with fewer no connection would come about.
   * Default: with six bootstrap nodes or `public`. False: others reach this host at the address they see.
   */
  readonly firewalled?: boolean;
  /** Only these peers (empty: all members): others are refused in the handshake and never dialled. `key` or `key@host:port`. */
  readonly only?: readonly string[];
  /** Always keep a connection to these. With an address they are found without a DHT. */
  readonly peers?: readonly string[];
  /** Neighbours of the last life, the latest first, `key@host:port`: dialled at the start, whatever a DHT knows. */
  readonly remembered?: readonly string[];
  /** Members of whom a net thread before this one has told the store. */
  readonly recalled?: readonly MemberRow[] | undefined;
  /** Connections at most. Dials until two thirds of that; the rest is for peers that dial. Default 12. */
  readonly peersMax?: number;
  /** Counts the node's starts. */
  readonly incarnation: number;
  /** Between heartbeats to each peer. Default: the node machine's. */
  readonly heartbeatMs?: number;
  /** Share of outgoing datagrams dropped on purpose, 0 to 1: demonstrations and tests. */
  readonly lossFraction?: number;
  /** Where libsodium is unpacked if the temporary folder can't take or run it: the data directory. */
  readonly addonFolder?: string;
  /** Answer the questions `crash` and `hang`. For tests. */
  readonly testHooks?: boolean;
}

export type NetReport =
  /** Sockets are bound. `port` is not the one asked for if that was taken. Once after each start. */
  | {
      readonly kind: "listening";
      readonly key: PeerId;
      readonly host: string;
      readonly port: number;
    }
  /** Could not start (a host that isn't ours, a bootstrap port that is taken…). The link has ended. */
  | { readonly kind: "failed"; readonly why: string }
  /** The net thread died, or hung and was ended; it is started again in `restartMs`. */
  | { readonly kind: "crashed"; readonly why: string; readonly restartMs: number }
  | { readonly kind: "connected"; readonly peer: PeerId; readonly address: string }
  | { readonly kind: "disconnected"; readonly peer: PeerId; readonly why: string }
  /** A peer that was not admitted; nothing it sent was parsed. Told of some, counted always. */
  | { readonly kind: "refused"; readonly peer: PeerId; readonly why: string }
  /** A comparison with this peer found both equal; about once a second. */
  | { readonly kind: "agreed"; readonly peer: PeerId; readonly cut: number }
  /** What the node machine wants an operator to know. */
  | { readonly kind: "alarm"; readonly alarm: Alarm; readonly peer: PeerId; readonly text: string };

export interface SwarmStatus {
  readonly key: PeerId;
  readonly host: string;
  readonly port: number;
  readonly bootstrap: readonly string[];
  readonly isBootstrap: boolean;
  /** Admitted. */
  readonly peers: readonly PeerStatus[];
  /** Dialled, or in the handshake. */
  readonly connecting: number;
  /** Peers known from the topic, connected or not. */
  readonly known: number;
  readonly counters: {
    /** Connections admitted since the start. */
    readonly admitted: number;
    /** Closed before they were admitted, by reason. */
    readonly refused: Readonly<Record<string, number>>;
    /** Of all streams and the DHT. A node's own DHT bootstrap (`isBootstrap`) isn't counted. */
    readonly datagramsSent: number;
    readonly datagramsReceived: number;
    /** Datagrams dropped on purpose. */
    readonly simulatedLoss: number;
  };
  /** How often the net thread was started again after a crash. */
  readonly restarts: number;
  /** What the node machine knows: members, lanes, counters, agreement. */
  readonly node: NodeSnapshot;
}

/** What of {@link SwarmStatus} a health check needs: the whole names every member, each time. */
export interface NetBacklog {
  readonly kind: "backlog";
  /** Changesets and row blocks that wait to be applied. */
  readonly bodies: number;
}

export interface NetUnavailable {
  readonly kind: "unavailable";
  readonly why: string;
}

export type NetQuestion =
  | { readonly kind: "swarm" }
  | { readonly kind: "backlog" }
  /** Ends the net thread by an uncaught error; only with `testHooks`. */
  | { readonly kind: "crash" }
  /** Keeps the net thread busy for ever; only with `testHooks`. */
  | { readonly kind: "hang" };

export type NetAnswer = SwarmStatus | NetBacklog | NetUnavailable;

/** Link → net thread. */
export type LinkMessage =
  | { readonly kind: "start"; readonly options: NetOptions }
  | { readonly kind: "replies"; readonly replies: readonly StoreReply[] }
  | { readonly kind: "ask"; readonly id: number; readonly question: NetQuestion }
  /** Answered at once by `alive`. */
  | { readonly kind: "ping" }
  | { readonly kind: "stop"; readonly untilMs: number; readonly reason: string };

/** Net thread → link. */
export type NetMessage =
  | { readonly kind: "requests"; readonly requests: readonly StoreRequest[] }
  | { readonly kind: "report"; readonly report: NetReport }
  | { readonly kind: "answer"; readonly id: number; readonly answer: NetAnswer }
  | { readonly kind: "alive" }
  | { readonly kind: "stopped" };

/**
 * What a node is told at its start.
 *
 * @module
 */

import type { Sha256 } from "../hash.ts";
import type { MemberRow, PeerId } from "./border.ts";
import type { MemberTimings } from "./members/members.ts";
import type { ApplyLimits } from "./queues/apply-queue.ts";
import type { LaneLimits } from "./queues/lanes.ts";

export interface NodeOptions {
  /** The node's key. */
  readonly key: PeerId;
  readonly name: string;
  readonly region: string;
  /** The failure domain. */
  readonly zone: string;
  /** Counts the node's starts. */
  readonly incarnation: number;
  /** Uniform in 0..1, 1 excluded: jitter and the choice of peers. Seeded in the simulator. */
  readonly random: () => number;
  /** 64 bits of a hash with a secret key: nobody else can make two changesets that have one in common. */
  readonly hash: (bytes: Uint8Array) => bigint;
  /** Of the ids by which nodes tell each other what they have. Without it this one floods, as older releases do. */
  readonly sha256?: Sha256 | undefined;
  readonly tuning?: Partial<NodeTuning>;
  /** Compresses streams of rows, where the peer can read it; without it they go as they are. */
  readonly zstd?: ZstdCodec | undefined;
  /** Rows of `patina_members` that an earlier life of this machine told the same store. */
  readonly recalled?: readonly MemberRow[] | undefined;
}

/** Zstandard (RFC 8878), whole frames. */
export interface ZstdCodec {
  compress(bytes: Uint8Array): Uint8Array;
  /** Undefined when it isn't a frame of `bytes` bytes. Never throws, and allocates no more than that. */
  decompress(frame: Uint8Array, bytes: number): Uint8Array | undefined;
}

/** Numbers to tune. The defaults suit streams of 8 to 12 peers and round trips up to 300 ms. */
export interface NodeTuning {
  /** Between two heartbeats on each stream. A fourth of `members.suspectMs` at most. */
  readonly heartbeatMs: number;
  /** A peer that doesn't say hello for so long is closed: others may need its place. */
  readonly helloMs: number;
  /** Between two exchanges that this node begins, on average; jittered by a quarter. */
  readonly exchangeMs: number;
  /** An exchange in which the peer is silent for so long is given up. */
  readonly silenceMs: number;
  /** The same for what may take a scan of a store: complete lists and fetches. A scan of a million rows
   * takes some 20 s, because it may take a tenth of the store's time. */
  readonly scanSilenceMs: number;
  /** What a peer answers without end, and without changing a row here, is given up: it is broken, or worse. */
  readonly fruitlessMs: number;
  /** An exchange that takes longer doesn't keep this node from one with another peer. More than most take. */
  readonly turnMs: number;
  /** How long a peer that answered `busy` is left alone. */
  readonly busyMs: number;
  /** A store question or a slice unanswered for longer: exchanges are answered `busy`. */
  readonly stuckMs: number;
  /** An event that comes so long after the deadline: this node ran late and doesn't judge others. */
  readonly lateMs: number;
  /** How far back the exchange of recent rows goes. Twice the settle time. */
  readonly recentMs: number;
  /** How far back it goes for the node's own rows in the first minute after a start. */
  readonly recentOwnMs: number;
  /** Walks of the live state with the first peers, before there can be a verdict. */
  readonly liveWalks: number;
  /** Cuts further apart give no verdict: the store keeps that many slots. */
  readonly cutsApartMax: number;
  /** A node of the tree with fewer rows is listed rather than walked further down. */
  readonly listRowsMax: number;
  /** Rows that one fetch by range is meant to bring. */
  readonly rangeRowsMax: number;
  /** A peer with fewer rows is asked for ranges of them rather than for a stream of everything. */
  readonly streamRowsMin: number;
  /** Bytes of rows, before compression, that a stream brings before it is asked for more. */
  readonly streamCreditBytes: number;
  /** More is asked for while fewer of them wait to be applied. */
  readonly streamBytesLow: number;
  /** Rows named in the exchange of recent rows, urgent ones and then the newest; of more the rest is repaired. */
  readonly recentRowsMax: number;
  /** Fetches of one exchange under way at once. */
  readonly fetchesMax: number;
  /** Fetch messages of one peer that wait to be served; more are answered `busy`. */
  readonly servesMax: number;
  /** Rows are asked of the store for a peer only while fewer bulk bytes wait to be sent to it. */
  readonly serveBytesLow: number;
  /** How long the id of a changeset is remembered at least, and how many at most in that time. */
  readonly seenMs: number;
  readonly seenMax: number;
  readonly plumtree: PlumtreeLimits;
  readonly members: MemberTimings;
  readonly lanes: LaneLimits;
  readonly apply: ApplyLimits;
}

/** Of `push/missing-pushes.ts`. */
export interface MissingLimits {
  /** For so long one is waited for that others push, after it was told of. Longer than most are late by. */
  readonly graftAfterMs: number;
  /** So long after a request another peer is asked; of a large one, after its last part came. */
  readonly graftMs: number;
  /** Ids that one peer was the first to tell of. Of more the rest is left to repair. */
  readonly idsPerPeerMax: number;
}

/** Of `push/plumtree.ts`. */
export interface PlumtreeLimits extends MissingLimits {
  /** A node with no more peers has all of them send it everything. */
  readonly floodPeersMax: number;
  /** Ids and prunes are told so often: what a lost changeset is late by grows with it, and the number of frames falls. */
  readonly tellMs: number;
  /** Sites of which one peer wants only ids; those of which that was said longest ago are forgotten. */
  readonly sitesPerPeerMax: number;
  /** For how long and up to how many bytes changesets are kept for those who ask. */
  readonly keptMs: number;
  readonly keptBytesMax: number;
}

const kib = 1024;
const mib = 1024 * 1024;

export const nodeDefaults: NodeTuning = {
  heartbeatMs: 200,
  helloMs: 60_000,
  exchangeMs: 1000,
  silenceMs: 3000,
  scanSilenceMs: 60_000,
  fruitlessMs: 600_000,
  turnMs: 20_000,
  busyMs: 2000,
  stuckMs: 1000,
  lateMs: 400,
  recentMs: 10_000,
  recentOwnMs: 30_000,
  liveWalks: 3,
  cutsApartMax: 4,
  listRowsMax: 8,
  rangeRowsMax: 2000,
  streamRowsMin: 2000,
  streamCreditBytes: 4 * mib,
  streamBytesLow: 4 * mib,
  recentRowsMax: 4096,
  fetchesMax: 2,
  servesMax: 8,
  serveBytesLow: 512 * kib,
  seenMs: 60_000,
  seenMax: 65_536,
  plumtree: {
    floodPeersMax: 4,
    tellMs: 50,
    graftAfterMs: 150,
    graftMs: 1000,
    idsPerPeerMax: 4096,
    sitesPerPeerMax: 8192,
    keptMs: 10_000,
    keptBytesMax: 32 * mib,
  },
  members: { suspectMs: 800, downMs: 5000, flipMs: 2000 },
  lanes: {
    windowBytes: [256 * kib, 128 * kib, 64 * kib],
    queueBytesMax: [64 * mib, 8 * mib, 80 * mib],
  },
  apply: {
    sliceBodiesMax: 64,
    sliceBytesMax: 256 * kib,
    urgentBytesMax: 64 * mib,
    normalBytesMax: 16 * mib,
    bulkBytesMax: 80 * mib,
  },
};

/**
 * The border between the net thread and the store thread, as plain data.
 *
 * The *store thread* owns the database, the commit HLC, the index and the cut. The *net thread* owns
 * peers, lanes and members; it never calls SQLite. They exchange the messages below and nothing else, so
 * that the net side can also run in a child process, and so that the simulator can put a map store
 * behind the same node machine.
 *
 * Credit: the net side posts urgent `apply` requests at once, up to a bound, and keeps at most one `apply` of lane 1 or
 * 2 (two of row blocks, so that the store needn't wait for the next) and one other request (a *question*) outstanding; the
 * next goes out when its answer is in. So a P0 waits for one slice at most. A really large P0 is worked in slices itself ({@link isAppliedAtOnce}). Every request but `members` and `peers` has a ticket, and exactly one
 * reply ends it (`rows` with `last`).
 *
 * @module
 */

import type { Lane } from "../change/changeset.ts";
import type { Entry, FingerprintHex } from "../change/frame.ts";
import type { TableShape } from "../change/hello.ts";
import type { Hlc, Site, Stamp } from "../clock/stamp.ts";
import type { Recency } from "../index/recent-rows.ts";
import type { RowId } from "../row/digest.ts";

/** Names one request until its reply. */
export type Ticket = number;

/** A peer: its node key, 64 hex digits. */
export type PeerId = string & { readonly brand: "PeerId" };

/** Which state is meant: the settled image at a cut, or everything applied so far. */
export interface Moment {
  readonly live: boolean;
  /** Whole seconds since 1970; every stamp below `1000 * cut` ms. 0 when `live`. */
  readonly cut: number;
}

/** Nodes of the fingerprint tree: indexes at `level` (0 root … 4 range). */
export interface TreeNodes {
  readonly level: number;
  readonly nodes: readonly number[];
}

export type MemberState = "ALIVE" | "SUSPECT" | "UNREACHABLE" | "DOWN" | "GONE";

/** A row of `patina_members`; state changes only. */
export interface MemberRow {
  readonly node: string;
  readonly key: PeerId;
  readonly region: string;
  readonly zone: string;
  readonly state: MemberState;
  readonly incarnation: number;
  /** Wall clock of the change of state, ms since 1970. */
  readonly sinceMs: number;
  readonly storeLag: "ok" | "1s" | "10s" | "60s";
  /** Under which its file writes now, where it has told. */
  readonly site?: Site;
}

/** Net → store. */
export type StoreRequest =
  | {
      readonly kind: "apply";
      readonly ticket: Ticket;
      readonly lane: Lane;
      readonly peer: PeerId;
      /** Changesets as pushed, or row blocks that repair fetched: one transaction for each slice. */
      readonly what: "changesets" | "rows";
      readonly bodies: readonly Uint8Array[];
    }
  /** Fingerprints of the sixteen children of each node; `level` is the parents'. */
  | ({ readonly kind: "walk"; readonly ticket: Ticket } & Moment & TreeNodes)
  /** Entries under these nodes: those changed lately, or all (a scan). */
  | ({ readonly kind: "list"; readonly ticket: Ticket; readonly recentOnly: boolean } & Moment &
      TreeNodes)
  /** Compares a peer's list of these nodes with the own one. */
  | ({
      readonly kind: "compare";
      readonly ticket: Ticket;
      readonly recentOnly: boolean;
      readonly entries: readonly Entry[];
    } & Moment &
      TreeNodes)
  /** Which of a peer's recent entries are unknown or different here. */
  | { readonly kind: "missing"; readonly ticket: Ticket; readonly entries: readonly Entry[] }
  /** Rows by id. */
  | {
      readonly kind: "rows";
      readonly ticket: Ticket;
      readonly ids: readonly RowId[];
      /** Unavailable as `scan` if some of them are found only by one: it is asked again among those that may. */
      readonly atOnce?: boolean;
    }
  /** Rows under nodes, in blocks of up to 1,000. */
  | ({ readonly kind: "range-rows"; readonly ticket: Ticket } & TreeNodes)
  /**
   * The next rows under nodes, in the order in which the store keeps them: about as many as one block of
   * `range-rows`. For nodes that hold much of the store: what lies between is read over.
   */
  | ({
      readonly kind: "stream-rows";
      readonly ticket: Ticket;
      /** Of the answer before; empty to begin. */
      readonly cursor: Uint8Array;
    } & TreeNodes)
  /** Entries stamped lately, urgent ones first. */
  | ({ readonly kind: "recent"; readonly ticket: Ticket } & Recency)
  | {
      readonly kind: "members";
      readonly rows: readonly MemberRow[];
      /**
       * Keys of nodes whose rows go before the others are written: they are no neighbours any more, so this node sees
       * nothing of them, good or bad; or they have another name now.
       */
      readonly parted?: readonly PeerId[];
    }
  /** Clock offsets of the connected peers against the own wall clock, ms: the store judges drift. */
  | { readonly kind: "peers"; readonly offsetsMs: readonly number[]; readonly count: number };

/** An urgent changeset of more bytes is applied in slices: some thousand rows of instances, a tenth of a second. */
export const appliedAtOnceBytesMax: number = 1024 * 1024;

/** Whether the store applies it in the turn in which it comes, whatever else it has to do. */
export function isAppliedAtOnce(request: StoreRequest): boolean {
  if (request.kind !== "apply" || request.lane !== 0) return false;
  return request.bodies.every(({ length }) => length <= appliedAtOnceBytesMax);
}

/** Why a question has no answer now. */
export type Unavailable =
  /** After a start: the index is being rebuilt, or what is recent isn't known yet. */
  | "starting"
  /** The cut is older or newer than what can still be asked for. */
  | "cut"
  /** A scan is running, or the cursor has become void; ask later. */
  | "busy"
  /** It takes a scan, and was asked for at once. */
  | "scan";

/** What the net thread knows of the store without asking. Posted at start, every slot, and when it changes. */
export interface SlotReport {
  /** The newest cut; 0 while starting. */
  readonly cut: number;
  /** The last cuts that can be asked for, newest first: at most 5. */
  readonly roots: readonly {
    readonly cut: number;
    readonly rows: number;
    readonly fingerprint: FingerprintHex;
  }[];
  /** Of everything applied so far. */
  readonly live: { readonly rows: number; readonly fingerprint: FingerprintHex };
  readonly horizon: Hlc;
  /** The store's HLC. */
  readonly hlc: Hlc;
}

/** Store → net. */
export type StoreReply =
  /** Every row is committed with the configured durability, or refused. */
  | {
      readonly kind: "applied";
      readonly ticket: Ticket;
      readonly rows: number;
      /** Rows whose held state changed. */
      readonly changed: number;
      /** Bodies that were dropped: malformed, or stamped too far ahead (repair brings those again). */
      readonly refused: readonly { readonly body: number; readonly why: string }[];
    }
  /** A local commit, to be pushed. */
  | {
      readonly kind: "commit";
      readonly stamp: Stamp;
      readonly lane: Lane;
      readonly changeset: Uint8Array;
    }
  | ({ readonly kind: "slot" } & SlotReport)
  | {
      readonly kind: "walked";
      readonly ticket: Ticket;
      /** Sixteen for each node asked for, last 8 bytes each (16 hex digits). */
      readonly fingerprints: readonly FingerprintHex[];
    }
  | { readonly kind: "listed"; readonly ticket: Ticket; readonly entries: readonly Entry[] }
  | {
      readonly kind: "compared";
      readonly ticket: Ticket;
      /** Rows to fetch from the peer. */
      readonly want: readonly RowId[];
      /** Rows that the peer lacks or has differently. */
      readonly offer: readonly RowId[];
    }
  | { readonly kind: "missing"; readonly ticket: Ticket; readonly ids: readonly RowId[] }
  | {
      readonly kind: "rows";
      readonly ticket: Ticket;
      /** A row block; empty blocks only as the last. */
      readonly block: Uint8Array;
      readonly last: boolean;
    }
  | {
      readonly kind: "streamed";
      readonly ticket: Ticket;
      /** A row block, which may be empty. */
      readonly block: Uint8Array;
      /** Where to go on; undefined when no rows are left. */
      readonly cursor: Uint8Array | undefined;
    }
  | { readonly kind: "recent"; readonly ticket: Ticket; readonly entries: readonly Entry[] }
  | { readonly kind: "unavailable"; readonly ticket: Ticket; readonly why: Unavailable }
  /** What the hello says of the store, and its identity. Posted once at start and when it changes. */
  | {
      readonly kind: "identity";
      readonly site: string;
      readonly schema: readonly TableShape[];
      /** The index is not built yet. */
      readonly starting: boolean;
    };

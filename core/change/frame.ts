/**
 * Frames: what two nodes say to each other on a stream, after admission (`admission.ts`).
 *
 * On the stream each frame is a u32 length of what follows, then:
 *
 * | field | bytes                                                                 |
 * | ----- | --------------------------------------------------------------------- |
 * | kind  | u8, below. An unknown kind is skipped and counted                     |
 * | lane  | u8: bits 0-1 the lane (0 urgent, 1 normal, 2 bulk), the others 0      |
 * | scope | varint: 0 `global`. Frames of another scope are skipped               |
 * | body  | the rest, by kind                                                     |
 *
 * | kind | name      | body                                                                                |
 * | ---- | --------- | ----------------------------------------------------------------------------------- |
 * | 1    | hello     | CBOR map (`hello.ts`), the first frame each way                                     |
 * | 2    | push      | a changeset (`changeset.ts`)                                                        |
 * | 3    | rows      | u32 exchange, u8 flags (1: last of its fetch), horizon 8, a row block (`row-block.ts`) |
 * | 4    | root      | u32 exchange, u8 flags (1: answer, 2: live state, not a cut), u32 cut, horizon 8, varint rows, fingerprint 16 |
 * | 5    | walk      | u32 exchange, u8 flags (1: answer, 2: live), u32 cut, horizon 8, u8 level 1..4, varint nodes, then u16 node each; an answer adds 16 × fingerprint 8 for each node |
 * | 6    | list      | u32 exchange, u8 flags (1: answer, 2: live, 4: recent rows only, 8: more follow), u32 cut, horizon 8, u8 level, varint nodes, u16 node each; an answer adds entries |
 * | 7    | fetch     | u32 exchange, u8 flags (1: by range), horizon 8, then varint count and row id 16 each, or u8 level, varint nodes, u16 node each |
 * | 8    | recent    | horizon 8, u8 flags (2: more follow), entries                                       |
 * | 9    | heartbeat | varint sequence, hlc 8, varint incarnation, u8 store lag (0 ok, 1: 1 s, 2: 10 s, 3: 60 s), varint votes = 0 |
 * | 10   | busy      | u32 exchange: the store is stuck or has enough to do; ask later                     |
 * | 11   | behind    | u32 exchange, u32 cut of the answerer: cuts too far apart, no verdict               |
 * | 12   | stop      | u48 restarting until (ms since 1970; 0: not coming back soon), text reason          |
 * | 13   | part      | u32 transfer, varint bytes in all, bytes: a piece of a frame larger than a part; the whole, put together, is a frame from `kind` on |
 * | 16   | farewell  | u8 why (1: the sender makes room among its neighbours): the stream ends, both nodes live |
 * | 17   | ihave     | u8 flags (1: not pushed to anybody who doesn't ask), varint count, changeset id 8 each |
 * | 18   | graft     | varint count, changeset id 8 each                                                   |
 * | 19   | prune     | varint count, site 16 each                                                          |
 * | 32   | stream    | u32 exchange, horizon 8, u8 level, varint nodes, u16 node each, varint credit, then the cursor |
 * | 33   | streamed  | u32 exchange, u8 flags (1: credit used up, 2: no rows are left, 4: zstd), horizon 8, varint length and cursor, varint bytes, then the block |
 *
 * *Entries* are varint sites, 16 each, varint count, then each: row id 16, hlc 8, varint site, u64 the
 * first 8 bytes of the digest.
 *
 * A *node* of the fingerprint tree is named by its level (0 root … 4 range) and its index there; a walk
 * asks for the fingerprints of the sixteen children of nodes of level - 1. A *cut* counts whole seconds
 * since 1970: cut c covers every stamp whose ms is below 1000 c. The *horizon* is an HLC, 0 for none.
 *
 * *stream* asks for all rows under nodes in the order in which the answerer keeps them; only a peer whose hello
 * has the feature `stream` is asked. The answer is `streamed` frames whose blocks have `credit` bytes or little
 * more, before compression; the last has flag 1 or 2. With flag 1 the next `stream` goes on at its cursor, whose
 * bytes only the answerer understands (empty: from the beginning); a cursor that has become void is answered
 * `busy`. A block is a row block of that many bytes; with flag 4, only sent to a peer with the feature `zstd`,
 * a Zstandard frame (RFC 8878) of one.
 *
 * *ihave* names changesets that the sender has (`changesetId`); *graft* asks for some of these, each of which comes as a
 * `push`, and for whatever their sites make from now on; *prune* says that what these sites make comes another way, and that
 * its ids are enough. They go only to a peer whose hello has the feature `plumtree` (`core/node/push/plumtree.ts`).
 *
 * Kinds 14 and 15 are kept for acknowledgements and owner records, 20 to 31 for lanes; 34 and up are free.
 *
 * @module
 */

import { assert, unreachable } from "../assert.ts";
import { bytesToHex, hexToBytes } from "../bytes/hex.ts";
import { ByteReader } from "../bytes/reader.ts";
import { ByteWriter } from "../bytes/writer.ts";
import { type Hlc, readHlc, type Site, type Stamp, writeHlc } from "../clock/stamp.ts";
import {
  type RowId,
  rowIdFromBytes,
  rowIdToBytes,
  siteFromBytes,
  siteToBytes,
} from "../row/digest.ts";
import type { ChangesetId, Lane } from "./changeset.ts";
import { readMany } from "./row-block.ts";

export const scopeGlobal = 0;
/** Largest frame: a changeset of the largest size and its header. */
export const frameBytesMax: number = 65 * 1024 * 1024;
/** Frames above this travel as parts of this size, so that an urgent frame waits for one part at most. */
export const partBytesMax: number = 64 * 1024;
/** Nodes of the fingerprint tree in one walk, list or fetch. */
export const nodesMax = 4096;
/** Entries in one list or recent frame. */
export const entriesMax = 20_000;
/** Row ids in one fetch. */
export const fetchIdsMax = 4096;
/** Changesets in one ihave or graft. */
export const changesetIdsMax = 4096;
/** Sites in one prune. */
export const prunedSitesMax = 2048;
/** Of a cursor: a table's name and a key, and a little more. */
export const cursorBytesMax: number = 72 * 1024;
/** Of one block of a stream, before compression. */
export const streamedBytesMax: number = 64 * 1024 * 1024;

/** What is spoken beyond version 1, as hellos name it. */
export const featureStream = "stream";
export const featureZstd = "zstd";
export const featurePlumtree = "plumtree";

export const frameKind = {
  hello: 1,
  push: 2,
  rows: 3,
  root: 4,
  walk: 5,
  list: 6,
  fetch: 7,
  recent: 8,
  heartbeat: 9,
  busy: 10,
  behind: 11,
  stop: 12,
  part: 13,
  farewell: 16,
  ihave: 17,
  graft: 18,
  prune: 19,
  stream: 32,
  streamed: 33,
} as const;

/** Why a stream ends while both nodes live on: the sender makes room among its neighbours. */
export const farewellNeighbours = 1;

/** A fingerprint, 32 hex digits. In walks its last 8 bytes are enough: 16 digits. */
export type FingerprintHex = string;

/** A row as lists name it. */
export interface Entry {
  readonly id: RowId;
  readonly stamp: Stamp;
  /** First 8 bytes of the digest, 16 hex digits. */
  readonly digest: string;
}

interface Exchange {
  /** Chosen by the initiator; answers repeat it. */
  readonly exchange: number;
  readonly answer: boolean;
  /** The live state is meant, and `cut` is 0. */
  readonly live: boolean;
  readonly cut: number;
  readonly horizon: Hlc;
}

export type Frame =
  | { readonly kind: "hello"; readonly body: Uint8Array }
  | { readonly kind: "push"; readonly lane: Lane; readonly changeset: Uint8Array }
  | {
      readonly kind: "rows";
      readonly exchange: number;
      readonly last: boolean;
      readonly horizon: Hlc;
      readonly block: Uint8Array;
    }
  | ({
      readonly kind: "root";
      readonly rows: number;
      readonly fingerprint: FingerprintHex;
    } & Exchange)
  | ({
      readonly kind: "walk";
      /** Level of the fingerprints, 1..4; `nodes` are their parents. */
      readonly level: number;
      readonly nodes: readonly number[];
      /** Of an answer: 16 for each node, 16 hex digits each. */
      readonly fingerprints: readonly FingerprintHex[];
    } & Exchange)
  | ({
      readonly kind: "list";
      readonly recentOnly: boolean;
      readonly more: boolean;
      readonly level: number;
      readonly nodes: readonly number[];
      readonly entries: readonly Entry[];
    } & Exchange)
  | {
      readonly kind: "fetch";
      readonly exchange: number;
      readonly horizon: Hlc;
      readonly what:
        | { readonly by: "id"; readonly ids: readonly RowId[] }
        | { readonly by: "range"; readonly level: number; readonly nodes: readonly number[] };
    }
  | {
      readonly kind: "recent";
      readonly horizon: Hlc;
      readonly more: boolean;
      readonly entries: readonly Entry[];
    }
  | {
      readonly kind: "heartbeat";
      readonly sequence: number;
      readonly hlc: Hlc;
      readonly incarnation: number;
      /** Step of the store's lag: 0 ok, 1 over 1 s, 2 over 10 s, 3 over 60 s. */
      readonly storeLag: 0 | 1 | 2 | 3;
    }
  | { readonly kind: "busy"; readonly exchange: number }
  | { readonly kind: "behind"; readonly exchange: number; readonly cut: number }
  | {
      readonly kind: "stream";
      readonly exchange: number;
      readonly horizon: Hlc;
      readonly level: number;
      readonly nodes: readonly number[];
      /** Bytes of blocks, before compression, after which the answerer stops. */
      readonly credit: number;
      /** Where to go on, as the answerer said; empty at the beginning. */
      readonly cursor: Uint8Array;
    }
  | {
      readonly kind: "streamed";
      readonly exchange: number;
      /** The credit is used up: go on at `cursor`. */
      readonly paused: boolean;
      /** No rows are left. */
      readonly last: boolean;
      readonly compressed: boolean;
      readonly horizon: Hlc;
      readonly cursor: Uint8Array;
      /** Of the block, before compression. */
      readonly blockBytes: number;
      readonly block: Uint8Array;
    }
  | { readonly kind: "stop"; readonly untilMs: number; readonly reason: string }
  /** Of the values of `why` only 1 has a meaning yet; a reader takes any. */
  | { readonly kind: "farewell"; readonly why: number }
  | {
      readonly kind: "ihave";
      /** They come to nobody who doesn't ask. Otherwise most who are told have them by then, and others wait a little. */
      readonly isForAsking: boolean;
      readonly ids: readonly ChangesetId[];
    }
  | { readonly kind: "graft"; readonly ids: readonly ChangesetId[] }
  | { readonly kind: "prune"; readonly sites: readonly Site[] }
  | {
      readonly kind: "part";
      readonly lane: Lane;
      readonly transfer: number;
      readonly bytesTotal: number;
      readonly bytes: Uint8Array;
    };

export type FrameDecoded =
  | { readonly kind: "frame"; readonly frame: Frame; readonly lane: Lane }
  /** A newer peer's: skip it, count it. */
  | { readonly kind: "unknown"; readonly code: number }
  | { readonly kind: "other-scope"; readonly scope: number }
  /** Drop the peer. */
  | { readonly kind: "malformed"; readonly why: string };

/** The lane that a frame of this kind travels in; rows are repair, exchanges are small and normal. */
export function laneOfFrame(frame: Frame): Lane {
  switch (frame.kind) {
    case "push":
    case "part":
      return frame.lane;
    case "hello":
    case "heartbeat":
    case "stop":
    case "farewell":
    case "recent":
      return 0;
    case "root":
    case "walk":
    case "list":
    case "fetch":
    case "stream":
    case "busy":
    case "behind":
    case "ihave":
    case "graft":
    case "prune":
      return 1;
    case "rows":
    case "streamed":
      return 2;
    default:
      return unreachable(frame);
  }
}

/** A frame from `kind` on, without its length. */
export function encodeFrame(frame: Frame, lane: Lane = laneOfFrame(frame)): Uint8Array {
  const writer = new ByteWriter(frame.kind === "push" ? frame.changeset.length + 8 : 128);
  writer.u8(frameKind[frame.kind]);
  writer.u8(lane);
  writer.varint(scopeGlobal);
  writeBody(writer, frame);
  return writer.finish();
}

function writeBody(writer: ByteWriter, frame: Frame): void {
  switch (frame.kind) {
    case "hello":
      writer.bytes(frame.body);
      return;
    case "push":
      writer.bytes(frame.changeset);
      return;
    case "rows":
      writer.u32(frame.exchange);
      writer.u8(frame.last ? 1 : 0);
      writeHlc(writer, frame.horizon);
      writer.bytes(frame.block);
      return;
    case "root":
      writeExchange(writer, frame, 0);
      writer.varint(frame.rows);
      writeHex(writer, frame.fingerprint);
      return;
    case "walk":
      writeExchange(writer, frame, 0);
      writeNodes(writer, frame.level, frame.nodes);
      for (const fingerprint of frame.fingerprints) writeHex(writer, fingerprint);
      return;
    case "list":
      writeExchange(writer, frame, (frame.recentOnly ? 4 : 0) | (frame.more ? 8 : 0));
      writeNodes(writer, frame.level, frame.nodes);
      if (frame.answer) writeEntries(writer, frame.entries);
      return;
    case "fetch":
      writer.u32(frame.exchange);
      writer.u8(frame.what.by === "range" ? 1 : 0);
      writeHlc(writer, frame.horizon);
      if (frame.what.by === "range") writeNodes(writer, frame.what.level, frame.what.nodes);
      else {
        writer.varint(frame.what.ids.length);
        for (const id of frame.what.ids) writer.bytes(rowIdToBytes(id));
      }
      return;
    case "recent":
      writeHlc(writer, frame.horizon);
      writer.u8(frame.more ? 2 : 0);
      writeEntries(writer, frame.entries);
      return;
    case "heartbeat":
      writer.varint(frame.sequence);
      writeHlc(writer, frame.hlc);
      writer.varint(frame.incarnation);
      writer.u8(frame.storeLag);
      writer.varint(0);
      return;
    case "busy":
      writer.u32(frame.exchange);
      return;
    case "behind":
      writer.u32(frame.exchange);
      writer.u32(frame.cut);
      return;
    case "stop":
      writer.u48(frame.untilMs);
      writer.text(frame.reason);
      return;
    case "farewell":
      writer.u8(frame.why);
      return;
    case "ihave":
      writer.u8(frame.isForAsking ? 1 : 0);
      writeIds(writer, frame.ids);
      return;
    case "graft":
      writeIds(writer, frame.ids);
      return;
    case "prune":
      writer.varint(frame.sites.length);
      for (const site of frame.sites) writer.bytes(siteToBytes(site));
      return;
    case "stream":
      writer.u32(frame.exchange);
      writeHlc(writer, frame.horizon);
      writeNodes(writer, frame.level, frame.nodes);
      writer.varint(frame.credit);
      writer.bytes(frame.cursor);
      return;
    case "streamed":
      writer.u32(frame.exchange);
      writer.u8((frame.paused ? 1 : 0) | (frame.last ? 2 : 0) | (frame.compressed ? 4 : 0));
      writeHlc(writer, frame.horizon);
      writer.blob(frame.cursor);
      writer.varint(frame.blockBytes);
      writer.bytes(frame.block);
      return;
    case "part":
      writer.u32(frame.transfer);
      writer.varint(frame.bytesTotal);
      writer.bytes(frame.bytes);
      return;
    default:
      unreachable(frame);
  }
}

/** Reads a frame from `kind` on. Never throws, on any bytes. */
export function decodeFrame(bytes: Uint8Array): FrameDecoded {
  const reader = new ByteReader(bytes);
  const code = reader.u8("frame kind");
  const lane = reader.u8("frame lane");
  const scope = reader.varint("scope");
  if (reader.ok && lane > 2) reader.fail(`frame lane: 0..2, got ${lane}`);
  if (!reader.ok) return { kind: "malformed", why: reader.why };
  if (scope !== scopeGlobal) return { kind: "other-scope", scope };
  const frame = readBody(reader, code, lane as Lane);
  if (frame === undefined) return { kind: "unknown", code };
  reader.end("frame");
  if (!reader.ok) return { kind: "malformed", why: reader.why };
  return { kind: "frame", frame, lane: lane as Lane };
}

function readBody(reader: ByteReader, code: number, lane: Lane): Frame | undefined {
  switch (code) {
    case frameKind.hello:
      return { kind: "hello", body: reader.bytes(reader.left, "hello") };
    case frameKind.push:
      return { kind: "push", lane, changeset: reader.bytes(reader.left, "changeset") };
    case frameKind.rows: {
      const exchange = reader.u32("exchange");
      const last = readFlags(reader, 1) !== 0;
      const horizon = readHlc(reader, "horizon");
      return { kind: "rows", exchange, last, horizon, block: reader.bytes(reader.left, "rows") };
    }
    case frameKind.root: {
      const { exchange } = readExchange(reader, 3);
      const rows = reader.varint("rows");
      return { kind: "root", ...exchange, rows, fingerprint: readHex(reader, 16) };
    }
    case frameKind.walk: {
      const { exchange } = readExchange(reader, 3);
      const { level, nodes } = readNodes(reader, 1);
      const fingerprints: FingerprintHex[] = [];
      if (exchange.answer && reader.left >= nodes.length * 128) {
        for (let i = 0; i < nodes.length * 16; i++) fingerprints.push(readHex(reader, 8));
      } else if (exchange.answer) reader.fail("walk: 16 fingerprints for each node");
      return { kind: "walk", ...exchange, level, nodes, fingerprints };
    }
    case frameKind.list: {
      const { exchange, flags } = readExchange(reader, 15);
      const { level, nodes } = readNodes(reader, 0);
      const entries = exchange.answer ? readEntries(reader) : [];
      const recentOnly = (flags & 4) !== 0;
      return {
        kind: "list",
        ...exchange,
        recentOnly,
        more: (flags & 8) !== 0,
        level,
        nodes,
        entries,
      };
    }
    case frameKind.fetch: {
      const exchange = reader.u32("exchange");
      const byRange = readFlags(reader, 1) !== 0;
      const horizon = readHlc(reader, "horizon");
      if (byRange) {
        return { kind: "fetch", exchange, horizon, what: { by: "range", ...readNodes(reader, 0) } };
      }
      const ids = readMany(reader, "row ids", 16, () => readRowId(reader), fetchIdsMax);
      return { kind: "fetch", exchange, horizon, what: { by: "id", ids } };
    }
    case frameKind.recent: {
      const horizon = readHlc(reader, "horizon");
      const more = readFlags(reader, 2) !== 0;
      return { kind: "recent", horizon, more, entries: readEntries(reader) };
    }
    case frameKind.heartbeat: {
      const sequence = reader.varint("sequence");
      const hlc = readHlc(reader, "hlc");
      const incarnation = reader.varint("incarnation");
      const storeLag = reader.u8("store lag");
      if (storeLag > 3) reader.fail(`store lag: 0..3, got ${storeLag}`);
      reader.varint("votes", 0);
      return { kind: "heartbeat", sequence, hlc, incarnation, storeLag: storeLag as 0 | 1 | 2 | 3 };
    }
    case frameKind.busy:
      return { kind: "busy", exchange: reader.u32("exchange") };
    case frameKind.behind: {
      const exchange = reader.u32("exchange");
      return { kind: "behind", exchange, cut: reader.u32("cut") };
    }
    case frameKind.stop: {
      const untilMs = reader.u48("until");
      return { kind: "stop", untilMs, reason: reader.text("reason", 1024) };
    }
    case frameKind.farewell:
      return { kind: "farewell", why: reader.u8("why") };
    case frameKind.ihave: {
      const isForAsking = readFlags(reader, 1) !== 0;
      return { kind: "ihave", isForAsking, ids: readIds(reader) };
    }
    case frameKind.graft:
      return { kind: "graft", ids: readIds(reader) };
    case frameKind.prune: {
      const sites = readMany(reader, "sites", 16, () => readSite(reader), prunedSitesMax);
      return { kind: "prune", sites };
    }
    case frameKind.stream: {
      const exchange = reader.u32("exchange");
      const horizon = readHlc(reader, "horizon");
      const { level, nodes } = readNodes(reader, 0);
      const credit = reader.varint("credit");
      if (reader.left > cursorBytesMax) reader.fail(`cursor: at most ${cursorBytesMax} bytes`);
      const cursor = reader.bytes(reader.left, "cursor");
      return { kind: "stream", exchange, horizon, level, nodes, credit, cursor };
    }
    case frameKind.streamed: {
      const exchange = reader.u32("exchange");
      const flags = readFlags(reader, 7);
      const horizon = readHlc(reader, "horizon");
      const cursor = reader.blob("cursor", cursorBytesMax);
      const blockBytes = reader.varint("block bytes", streamedBytesMax);
      const block = reader.bytes(reader.left, "block");
      const compressed = (flags & 4) !== 0;
      if (reader.ok && !compressed && block.length !== blockBytes) {
        reader.fail(`streamed: a block of ${blockBytes} bytes, got ${block.length}`);
      }
      return {
        kind: "streamed",
        exchange,
        paused: (flags & 1) !== 0,
        last: (flags & 2) !== 0,
        compressed,
        horizon,
        cursor,
        blockBytes,
        block,
      };
    }
    case frameKind.part: {
      const transfer = reader.u32("transfer");
      const bytesTotal = reader.varint("bytes in all", frameBytesMax);
      return { kind: "part", lane, transfer, bytesTotal, bytes: reader.bytes(reader.left, "part") };
    }
    default:
      return undefined;
  }
}

function writeExchange(writer: ByteWriter, exchange: Exchange, moreFlags: number): void {
  writer.u32(exchange.exchange);
  writer.u8((exchange.answer ? 1 : 0) | (exchange.live ? 2 : 0) | moreFlags);
  writer.u32(exchange.cut);
  writeHlc(writer, exchange.horizon);
}

function readExchange(reader: ByteReader, mask: number): { exchange: Exchange; flags: number } {
  const id = reader.u32("exchange");
  const flags = readFlags(reader, mask);
  const cut = reader.u32("cut");
  const horizon = readHlc(reader, "horizon");
  const exchange = {
    exchange: id,
    answer: (flags & 1) !== 0,
    live: (flags & 2) !== 0,
    cut,
    horizon,
  };
  return { exchange, flags };
}

function readFlags(reader: ByteReader, mask: number): number {
  const flags = reader.u8("flags");
  if ((flags & ~mask) !== 0) reader.fail(`flags: only bits of ${mask} in version 1, got ${flags}`);
  return flags;
}

function writeNodes(writer: ByteWriter, level: number, nodes: readonly number[]): void {
  writer.u8(level);
  writer.varint(nodes.length);
  for (const node of nodes) writer.u16(node);
}

/** For a walk the nodes are parents, one level up (`above` = 1). */
function readNodes(reader: ByteReader, above: 0 | 1): { level: number; nodes: number[] } {
  const level = reader.u8("level");
  if (level > 4 || level < above) reader.fail(`level: ${above}..4, got ${level}`);
  const width = 16 ** (level - above);
  const nodes = readMany(
    reader,
    "nodes",
    2,
    () => {
      const node = reader.u16("node");
      if (node >= width) reader.fail(`node: below ${width}, got ${node}`);
      return node;
    },
    nodesMax,
  );
  return { level, nodes };
}

function writeIds(writer: ByteWriter, ids: readonly ChangesetId[]): void {
  writer.varint(ids.length);
  for (const id of ids) writeHex(writer, id);
}

function readIds(reader: ByteReader): ChangesetId[] {
  return readMany(
    reader,
    "changeset ids",
    8,
    () => readHex(reader, 8) as ChangesetId,
    changesetIdsMax,
  );
}

function writeEntries(writer: ByteWriter, entries: readonly Entry[]): void {
  const sites = new Map<Site, number>();
  for (const { stamp } of entries) if (!sites.has(stamp.site)) sites.set(stamp.site, sites.size);
  writer.varint(sites.size);
  for (const site of sites.keys()) writer.bytes(siteToBytes(site));
  writer.varint(entries.length);
  for (const entry of entries) {
    writer.bytes(rowIdToBytes(entry.id));
    writeHlc(writer, entry.stamp);
    writer.varint(sites.get(entry.stamp.site) as number);
    writeHex(writer, entry.digest);
  }
}

function readEntries(reader: ByteReader): Entry[] {
  const sites = readMany(reader, "sites", 16, () => readSite(reader));
  return readMany(
    reader,
    "entries",
    33,
    (): Entry => {
      const id = readRowId(reader);
      const hlc = readHlc(reader, "entry hlc");
      const site = sites[reader.varint("entry site")];
      if (site === undefined) reader.fail(`entry site: below ${sites.length}`);
      return { id, stamp: { ...hlc, site: site as Site }, digest: readHex(reader, 8) };
    },
    entriesMax,
  );
}

function readSite(reader: ByteReader): Site {
  const bytes = reader.bytes(16, "site");
  return reader.ok ? siteFromBytes(bytes) : ("" as Site);
}

function readRowId(reader: ByteReader): RowId {
  const bytes = reader.bytes(16, "row id");
  return reader.ok ? rowIdFromBytes(bytes) : ("" as RowId);
}

function writeHex(writer: ByteWriter, hex: string): void {
  const bytes = hexToBytes(hex);
  assert(bytes !== undefined, `hex digits, got ${hex}`);
  writer.bytes(bytes);
}

function readHex(reader: ByteReader, length: number): string {
  return bytesToHex(reader.bytes(length, "fingerprint"));
}

/**
 * A changeset: what one commit of one site changed. One commit, one changeset, one stamp, one lane.
 *
 * | field        | bytes                                                                          |
 * | ------------ | ------------------------------------------------------------------------------ |
 * | version      | u8 = 1                                                                         |
 * | origin       | site 16                                                                        |
 * | hlc          | 8: the commit's                                                                |
 * | lane         | u8: 0 urgent (P0), 1 normal (P1), 2 bulk (P2); kept at every hop               |
 * | owner record | varint length, bytes: signature and row digests of an owner table; empty in v1 |
 * | rows         | a row block (`row-block.ts`) to the end                                        |
 *
 * @module
 */

import { assert } from "../assert.ts";
import { bytesToHex } from "../bytes/hex.ts";
import { ByteReader } from "../bytes/reader.ts";
import { ByteWriter } from "../bytes/writer.ts";
import { readHlc, type Site, type Stamp, writeHlc } from "../clock/stamp.ts";
import type { Sha256 } from "../hash.ts";
import { siteFromBytes } from "../row/digest.ts";
import type { RowState } from "../row/row-state.ts";
import { RowBlockReader, type RowBlockWriter, readRowBlock, writeRowBlock } from "./row-block.ts";

export const changesetVersion = 1;
/** Largest changeset, checked at the origin's commit and by every decoder. */
export const changesetBytesMax: number = 64 * 1024 * 1024;
/** Changesets above this go in the bulk lane, unless urgent. */
export const normalBytesMax: number = 256 * 1024;

/** The first 8 bytes of the SHA-256 of a changeset as it is encoded, 16 hex digits: the same on all nodes. */
export type ChangesetId = string & { readonly brand: "ChangesetId" };

/** P0 urgent, P1 normal, P2 bulk. */
export type Lane = 0 | 1 | 2;

export interface Changeset {
  /** The commit's stamp; its site is the origin. */
  readonly stamp: Stamp;
  readonly lane: Lane;
  /** Whole rows with all their clocks, also those of other sites. */
  readonly rows: readonly RowState[];
}

export type ChangesetDecoded =
  | { readonly kind: "changeset"; readonly changeset: Changeset }
  | { readonly kind: "malformed"; readonly why: string };

/** Behind version, site and hlc. */
const laneOffset = 25;

export function changesetId(sha256: Sha256, encoded: Uint8Array): ChangesetId {
  return bytesToHex(sha256(encoded).subarray(0, 8)) as ChangesetId;
}

export function encodeChangeset(changeset: Changeset): Uint8Array {
  writeHeader(changeset.stamp, changeset.lane);
  writeRowBlock(writer, changeset.rows);
  return writer.finish();
}

/** {@link encodeChangeset} of rows that were written one by one. */
export function encodeWrittenRows(stamp: Stamp, lane: Lane, rows: RowBlockWriter): Uint8Array {
  writeHeader(stamp, lane);
  rows.finish(writer);
  return writer.finish();
}

const writer = new ByteWriter(4096);

function writeHeader(stamp: Stamp, lane: Lane): void {
  writer.reuse();
  writer.u8(changesetVersion);
  writer.hex(stamp.site);
  writeHlc(writer, stamp);
  writer.u8(lane);
  writer.varint(0);
}

/** A changeset as bytes, which become rows only for those who ask. */
export class EncodedChangeset implements Changeset {
  readonly stamp: Stamp;
  readonly lane: Lane;
  readonly #encoded: Uint8Array;
  #rows: readonly RowState[] | undefined;

  /** @param encoded Of this stamp and lane, and well-formed. */
  constructor(stamp: Stamp, lane: Lane, encoded: Uint8Array) {
    this.stamp = stamp;
    this.lane = lane;
    this.#encoded = encoded;
  }

  get rows(): readonly RowState[] {
    if (this.#rows === undefined) {
      const decoded = decodeChangeset(this.#encoded);
      assert(decoded.kind === "changeset", "what was encoded can be decoded");
      this.#rows = decoded.changeset.rows;
    }
    return this.#rows;
  }
}

/** The same changeset in another lane. */
export function withLane(encoded: Uint8Array, lane: Lane): Uint8Array {
  if (encoded[laneOffset] === lane) return encoded;
  const bytes = encoded.slice();
  bytes[laneOffset] = lane;
  return bytes;
}

/** Reads a changeset row by row: what it holds is void as soon as `why` says something. */
export class ChangesetReader {
  readonly stamp: Stamp;
  readonly lane: Lane;
  readonly #reader: ByteReader;
  readonly #rows: RowBlockReader;

  constructor(bytes: Uint8Array) {
    this.#reader = new ByteReader(bytes);
    const { stamp, lane } = readHeader(this.#reader);
    this.stamp = stamp;
    this.lane = lane;
    this.#rows = new RowBlockReader(this.#reader);
  }

  /** Rows still to be read. */
  get left(): number {
    return this.#rows.left;
  }

  /** Up to `count` more rows. */
  read(count: number): RowState[] {
    const rows = this.#rows.read(count);
    if (this.left === 0) this.#reader.end("changeset");
    return rows;
  }

  /** What is malformed; undefined while nothing is. */
  get why(): string | undefined {
    return this.#reader.ok ? undefined : this.#reader.why;
  }
}

export function decodeChangeset(bytes: Uint8Array): ChangesetDecoded {
  const reader = new ByteReader(bytes);
  const header = readHeader(reader);
  const rows = reader.ok ? readRowBlock(reader) : [];
  reader.end("changeset");
  if (!reader.ok) return { kind: "malformed", why: reader.why };
  return { kind: "changeset", changeset: { ...header, rows } };
}

/** Stamp and lane of a changeset without its rows: what the net thread needs to forward it. */
export function decodeChangesetHeader(
  bytes: Uint8Array,
): { readonly stamp: Stamp; readonly lane: Lane } | undefined {
  const reader = new ByteReader(bytes);
  const header = readHeader(reader);
  return reader.ok ? header : undefined;
}

function readHeader(reader: ByteReader): { stamp: Stamp; lane: Lane } {
  const version = reader.u8("changeset version");
  if (reader.ok && version !== changesetVersion) {
    reader.fail(`changeset: version ${changesetVersion}, got ${version}`);
  }
  const siteBytes = reader.bytes(16, "origin");
  const site = (siteBytes.length === 16 ? siteFromBytes(siteBytes) : "") as Site;
  const stamp: Stamp = { ...readHlc(reader, "hlc"), site };
  const lane = reader.u8("lane");
  if (lane > 2) reader.fail(`lane: 0..2, got ${lane}`);
  reader.blob("owner record", 4096);
  return { stamp, lane: lane as Lane };
}

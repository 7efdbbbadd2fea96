/**
 * What a killed process left in a WAL: whether it died inside an open transaction.
 *
 * A transaction is in the WAL once a frame says so (its commit frame). Frames after the last such one
 * belong to a transaction that was being written when the process died (or that was rolled back after it
 * had spilled pages, with nothing committed since: the caller has to know that there was none).
 *
 * The file (https://sqlite.org/fileformat2.html#walformat), big-endian:
 *
 * | offset | bytes | what |
 * | --- | --- | --- |
 * | 0 | 4 | magic: 0x377f0682, checksums over little-endian words; 0x377f0683, big-endian |
 * | 8 | 4 | page size |
 * | 16 | 8 | salts, the same in each frame of this life of the file |
 * | 24 | 8 | checksum of the 24 bytes before |
 * | 32 + i × (24 + page size) | | frame i: page number 4, pages in the database after a commit 4 (else 0), salts 8, checksum 8, page |
 *
 * A frame's checksum goes on from that of the frame before, over its first 8 bytes and its page.
 *
 * @module
 */

import { closeSync, existsSync, openSync, readFileSync, readSync } from "node:fs";

export interface WalFrames {
  /** Up to and with the last commit frame. */
  readonly committed: number;
  /** Sound ones after it. */
  readonly uncommitted: number;
}

export function readWalFrames(path: string): WalFrames {
  const bytes = existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
  if (bytes.length < 32) return { committed: 0, uncommitted: 0 };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const isLittle = view.getUint32(0) === 0x377f0682;
  const pageSize = view.getUint32(8);
  let [low, high] = [0, 0];
  const add = (from: number, to: number): void => {
    for (let at = from; at < to; at += 8) {
      low = (low + view.getUint32(at, isLittle) + high) >>> 0;
      high = (high + view.getUint32(at + 4, isLittle) + low) >>> 0;
    }
  };
  const isSum = (at: number) => view.getUint32(at) === low && view.getUint32(at + 4) === high;
  add(0, 24);
  if (!isSum(24)) return { committed: 0, uncommitted: 0 };
  let [frames, committed] = [0, 0];
  for (let at = 32; at + 24 + pageSize <= bytes.length; at += 24 + pageSize) {
    if (view.getBigUint64(at + 8) !== view.getBigUint64(16)) break;
    add(at, at + 8);
    add(at + 24, at + 24 + pageSize);
    if (!isSum(at + 16)) break;
    frames++;
    if (view.getUint32(at + 4) !== 0) committed = frames;
  }
  return { committed, uncommitted: frames - committed };
}

/**
 * The same for a WAL that is being written: frames after the last commit frame, by their headers alone. A
 * look takes some milliseconds.
 */
export function countUncommitted(path: string): number {
  if (!existsSync(path)) return 0;
  const file = openSync(path, "r");
  try {
    const head = Buffer.alloc(32);
    if (readSync(file, head, 0, 32, 0) < 32) return 0;
    const frameBytes = 24 + head.readUInt32BE(8);
    const frame = Buffer.alloc(24);
    let uncommitted = 0;
    for (let at = 32; readSync(file, frame, 0, 24, at) === 24; at += frameBytes) {
      // From here on it is what an earlier life of the file left.
      if (frame.compare(head, 16, 24, 8, 16) !== 0) break;
      uncommitted = frame.readUInt32BE(4) === 0 ? uncommitted + 1 : 0;
    }
    return uncommitted;
  } finally {
    closeSync(file);
  }
}

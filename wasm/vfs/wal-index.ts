/**
 * What a checkpoint would copy, read from the wal-index: so that it can be copied before (copy-ahead.ts).
 *
 * The wal-index is made of regions of 32 KiB in the wasm heap (shared-file.ts); numbers in it are little-endian there,
 * as on any host. What is read here of the first region:
 *
 * | offset | bytes | what                                                              |
 * | ------ | ----- | ----------------------------------------------------------------- |
 * | 14     | 2     | bytes of a page; 1 stands for 65,536                              |
 * | 16     | 4     | last frame that is committed; frames count from 1                 |
 * | 20     | 4     | pages of the database                                             |
 * | 96     | 4     | frames that checkpoints have copied                               |
 * | 100    | 4 × 5 | read marks: up to which frame the holders of a mark's lock read   |
 * | 136    | 4 × n | page of each frame: 4,062 here, 4,096 from byte 0 of other regions |
 *
 * Source: SQLite's wal.c, "WAL-INDEX FORMAT", and walCheckpoint there for what may be copied.
 *
 * @module
 */

const pageBytesAt = 14;
const lastFrameAt = 16;
const pageCountAt = 20;
const copiedFramesAt = 96;
const readMarksAt = 100;
const readMarks = 5;
const firstPagesAt = 136;
const framesInFirstRegion = 4062;
const framesInRegion = 4096;

/** How many regions tell of frames of the last commit or older ones. @param first Address of the first. */
export function regionsInUse(heap: Uint8Array, first: number): number {
  const lastFrame = new DataView(heap.buffer, heap.byteOffset).getUint32(first + lastFrameAt, true);
  return 1 + Math.ceil(Math.max(0, lastFrame - framesInFirstRegion) / framesInRegion);
}

export interface FramesToCopy {
  readonly pageBytes: number;
  /** Of each page the newest frame that may be copied, ascending. */
  readonly frames: readonly number[];
  /** Their pages, from 1. */
  readonly pages: readonly number[];
}

/**
 * The frames that a passive checkpoint would copy now: those that every reader reads from the WAL, or something newer.
 * That stays so, whoever begins to read, until a checkpoint is made; if the WAL is kept from beginning anew meanwhile.
 *
 * @param regions Their addresses.
 * @param isMarkHeld Whether anybody holds the lock of a read mark, 0 to 4.
 * @param lastFrame None behind this one.
 * @returns undefined when nothing may be copied
 */
export function framesToCopy(
  heap: Uint8Array,
  regions: readonly number[],
  isMarkHeld: (mark: number) => boolean,
  lastFrame: number,
): FramesToCopy | undefined {
  const [first] = regions;
  // Who holds mark 0 reads the database and nothing of the WAL.
  if (first === undefined || isMarkHeld(0)) return undefined;
  const view = new DataView(heap.buffer, heap.byteOffset);
  const word = (offset: number): number => view.getUint32(first + offset, true);
  let last = Math.min(lastFrame, word(lastFrameAt));
  for (let mark = 1; mark < readMarks; mark++) {
    if (isMarkHeld(mark)) last = Math.min(last, word(readMarksAt + 4 * mark));
  }
  const copied = word(copiedFramesAt);
  const pageCount = word(pageCountAt);
  const size = view.getUint16(first + pageBytesAt, true);
  const frames: number[] = [];
  const pages: number[] = [];
  const seen = new Set<number>();
  for (let frame = last; frame > copied; frame--) {
    const page = view.getUint32(addressOfPage(regions, frame), true);
    // The database has been cut: such a page is gone.
    if (page > pageCount || seen.has(page)) continue;
    seen.add(page);
    frames.push(frame);
    pages.push(page);
  }
  if (frames.length === 0) return undefined;
  return {
    pageBytes: size === 1 ? 65_536 : size,
    frames: frames.reverse(),
    pages: pages.reverse(),
  };
}

/** Whether checkpoints have copied all that is committed. @param first Address of the first region. */
export function isWhollyCopied(heap: Uint8Array, first: number): boolean {
  const view = new DataView(heap.buffer, heap.byteOffset + first);
  return view.getUint32(copiedFramesAt, true) >= view.getUint32(lastFrameAt, true);
}

function addressOfPage(regions: readonly number[], frame: number): number {
  const at = frame - 1;
  if (at < framesInFirstRegion) return (regions[0] as number) + firstPagesAt + 4 * at;
  const beyond = at - framesInFirstRegion;
  const region = regions[1 + Math.floor(beyond / framesInRegion)] as number;
  return region + 4 * (beyond % framesInRegion);
}

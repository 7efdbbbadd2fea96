/**
 * The receiving half of a stream: puts packets in order, holds their bytes for the reader, and says how
 * much more there is room for.
 *
 * `next` is RCV.NXT of RFC 9293, unwrapped; it counts packets.
 *
 * @module
 */

import { type Packet, SACK_BLOCKS_MAX, TYPE_END, writeU32 } from "./packet.ts";

/** Bytes `[start, end)` of a datagram. A view of them costs more than this, and may not be needed. */
export interface Chunk {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
}

interface ReceivedPacket extends Chunk {
  readonly isEnd: boolean;
}

export const RECEIVE_WINDOW_BYTES: number = 4 * 1024 * 1024;
/** Rounding of windows in packets may take a peer this far beyond what we advertised. */
const SLACK_BYTES = 64 * 1024;
/** What a received packet counts for at least: a peer that sends single bytes fills memory too. */
const CHARGE_BYTES_MIN = 512;
/** How far beyond the next expected packet a sequence number may be. */
const AHEAD_PACKETS_MAX = 16_384;
/**
 * How much may wait behind a lost packet, in windows. A packet that was acknowledged selectively can't
 * be dropped again, since its sender has forgotten it; so a receiver refuses what is beyond, and a
 * sender keeps below.
 */
const REORDER_WINDOWS = 2;
/** Chunks that are taken leave the list once there are this many. */
const TAKEN_CHUNKS_MAX = 256;

/** What a chunk counts for against the window. */
function chargeOf(chunk: Chunk): number {
  return Math.max(chunk.end - chunk.start, CHARGE_BYTES_MIN);
}

export class Receiver {
  /** The next packet expected. */
  next = 0;
  /** All bytes were received; chunks may still wait. */
  ended = false;
  /** The window as the peer was last told it. */
  advertisedBytes: number;
  readonly #windowBytesMax: number;
  #chunks: Chunk[] = [];
  #chunksHead = 0;
  #chunksCharge = 0;
  /** What waits behind a gap, by number. */
  #reorder: Map<number, ReceivedPacket> | null = null;
  #reorderCharge = 0;
  /** Received beyond `next`: start, end, start, end, ... ascending. */
  #ranges: number[] = [];
  #latestOutOfOrder = 0;
  #endSeq = -1;

  constructor(windowBytesMax: number = RECEIVE_WINDOW_BYTES) {
    this.#windowBytesMax = windowBytesMax;
    this.advertisedBytes = windowBytesMax;
  }

  /** Whether `takeChunk` has something. */
  get readable(): boolean {
    return this.#chunksHead < this.#chunks.length;
  }
  /** Bytes held for the reader, each packet with its least charge. */
  get heldBytes(): number {
    return this.#chunksCharge + this.#reorderCharge;
  }
  /** How many ranges of packets wait behind a gap. */
  get rangeCount(): number {
    return this.#ranges.length >>> 1;
  }
  /** The peer has stopped, or soon would, and there is room again. */
  get windowReopened(): boolean {
    return (
      this.advertisedBytes < this.#windowBytesMax / 4 &&
      this.#chunksCharge <= this.#windowBytesMax / 2
    );
  }

  /** Whether a number is one that the peer may have come to. */
  isPlausible(seq: number): boolean {
    return seq - this.next < AHEAD_PACKETS_MAX;
  }

  /**
   * What waits behind a lost packet doesn't narrow the window: the sender counts only what is in
   * flight, and at 200 ms of round trip every loss would stop it. It has a limit of its own,
   * `REORDER_WINDOWS`; what is beyond is dropped.
   */
  #windowBytes(): number {
    return Math.max(0, this.#windowBytesMax - this.#chunksCharge);
  }

  /** The window, for a packet that tells the peer of it. */
  advertise(): number {
    this.advertisedBytes = this.#windowBytes();
    return this.advertisedBytes;
  }

  /** Takes a DATA or END packet, or drops it if it is old, implausible or too much. */
  receive(bytes: Uint8Array, packet: Packet, seq: number): void {
    const ahead = seq - this.next;
    if (ahead < 0 || ahead >= AHEAD_PACKETS_MAX || this.ended) return;
    if (this.#endSeq >= 0 && seq > this.#endSeq) return;
    const received: ReceivedPacket = {
      bytes,
      start: packet.payloadStart,
      end: packet.payloadEnd,
      isEnd: (packet.type & TYPE_END) !== 0,
    };
    const charge = chargeOf(received);
    // The packet that fills the gap is never refused for what waits behind it.
    if (this.#chunksCharge + charge > this.#windowBytesMax + SLACK_BYTES) return;
    if (ahead > 0 && this.#reorderCharge + charge > this.#windowBytesMax * REORDER_WINDOWS) return;

    if (ahead > 0) {
      this.#reorder ??= new Map();
      if (this.#reorder.has(seq)) return;
      if (received.isEnd) this.#endSeq = seq;
      this.#reorder.set(seq, received);
      this.#reorderCharge += charge;
      this.#insertRange(seq);
      this.#latestOutOfOrder = seq;
      return;
    }
    this.next++;
    this.#deliver(received);
    if (this.#ranges.length > 0) this.#deliverReordered();
  }

  #deliver(received: ReceivedPacket): void {
    if (received.end > received.start) {
      this.#chunks.push(received);
      this.#chunksCharge += chargeOf(received);
    }
    if (received.isEnd) {
      this.ended = true;
      this.#reorderCharge = 0;
      this.dropReordered();
    }
  }

  #deliverReordered(): void {
    while (this.#reorder !== null) {
      const received = this.#reorder.get(this.next);
      if (received === undefined) break;
      this.#reorder.delete(this.next);
      this.#reorderCharge -= chargeOf(received);
      this.next++;
      this.#deliver(received);
    }
    while (this.#ranges.length > 0 && (this.#ranges[1] ?? 0) <= this.next) {
      this.#ranges.splice(0, 2);
    }
    if (this.#reorder !== null && this.#reorder.size === 0) this.#reorder = null;
  }

  /** Takes the next bytes in order, or undefined. Taking opens the window. */
  takeChunk(): Chunk | undefined {
    const chunk = this.#chunks[this.#chunksHead];
    if (chunk === undefined) return undefined;
    this.#chunksHead++;
    if (this.#chunksHead === this.#chunks.length) {
      this.#chunks = [];
      this.#chunksHead = 0;
    } else if (this.#chunksHead >= TAKEN_CHUNKS_MAX) {
      this.#chunks = this.#chunks.slice(this.#chunksHead);
      this.#chunksHead = 0;
    }
    this.#chunksCharge -= chargeOf(chunk);
    return chunk;
  }

  /** Forgets what waits behind a gap. What is in order can still be taken. */
  dropReordered(): void {
    this.#reorder = null;
    this.#ranges = [];
  }

  // ---- Ranges, as SACK blocks

  #insertRange(seq: number): void {
    const ranges = this.#ranges;
    // Nearly always at the end.
    let i = ranges.length;
    while (i > 0 && (ranges[i - 2] ?? 0) > seq) i -= 2;
    const joinsLeft = i > 0 && ranges[i - 1] === seq;
    const joinsRight = i < ranges.length && ranges[i] === seq + 1;
    if (joinsLeft && joinsRight) ranges.splice(i - 1, 2);
    else if (joinsLeft) ranges[i - 1] = seq + 1;
    else if (joinsRight) ranges[i] = seq;
    else ranges.splice(i, 0, seq, seq + 1);
  }

  /** SACK blocks of the next acknowledgement. */
  get sackBlocks(): number {
    return Math.min(this.rangeCount, SACK_BLOCKS_MAX);
  }

  /** Writes the `sackBlocks`, 8 bytes each. */
  writeSackBlocks(bytes: Uint8Array, start: number): void {
    const blocks = this.sackBlocks;
    let at = start;
    for (let i = 0; i < blocks; i++) {
      // Too many for one packet: the lowest ones, and the newest in place of the last, for RACK
      // learns most from it.
      const range = i === blocks - 1 && this.rangeCount > blocks ? this.#latestRange(i) : i;
      writeU32(bytes, at, this.#ranges[range * 2] ?? 0);
      writeU32(bytes, at + 4, this.#ranges[range * 2 + 1] ?? 0);
      at += 8;
    }
  }

  #latestRange(from: number): number {
    for (let i = from; i < this.rangeCount; i++) {
      if ((this.#ranges[i * 2 + 1] ?? 0) > this.#latestOutOfOrder) return i;
    }
    return from;
  }
}

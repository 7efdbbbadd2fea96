/**
 * One UDX stream as a state machine: packets, bytes and the time go in; packets, bytes, events and a
 * deadline come out. It has no socket, no timer, no clock and no randomness.
 *
 *     write, end ──▶ ┌───────────────┐ ──▶ transmit(now, send)
 *     handle(packet) │ StreamMachine │ ──▶ takeChunk, events
 *     handleTimeout  └───────────────┘ ──▶ nextTimeout
 *
 * After any input the owner calls `transmit`, reads `events`, and asks `nextTimeout` again. Nothing
 * is called back from inside, so the owner may do what it likes in between.
 *
 * Sequence numbers are kept unwrapped (see packet.ts). SND.UNA, SND.NXT and RCV.NXT of RFC 9293 are
 * `#sendUnacked`, `#sendNext` and `#receiveNext`; they count packets.
 *
 * Loss detection is RACK-TLP (RFC 8985, section numbers below are its own), without DSACK, which UDX
 * hasn't. Retransmission timeouts are RFC 6298 with these changes: the minimum is 250 ms, since peers
 * acknowledge at once; the back-off stops at 2 s; a stream that made no progress for 13 s and several
 * timeouts is dead (what the native implementation amounts to).
 *
 * @module
 */

import type { BbrState, RateStamp } from "./congestion.ts";
import { Congestion } from "./congestion.ts";
import type { Packet } from "./packet.ts";
import {
  encodeHeader,
  HEADER_BYTES,
  OVERHEAD_IPV4_BYTES,
  OVERHEAD_IPV6_BYTES,
  readU32,
  SACK_BLOCKS_MAX,
  TYPE_DATA,
  TYPE_DESTROY,
  TYPE_END,
  TYPE_HEARTBEAT,
  TYPE_MESSAGE,
  TYPE_SACK,
  unwrap,
  writeU32,
} from "./packet.ts";

/** Where packets go: an address seen from a socket. The machine only carries it. */
export interface Path {
  readonly host: string;
  readonly port: number;
  readonly family: 4 | 6;
}

/**
 * Takes one datagram. `bytes` may be reused once the packet in it is acknowledged, so they must be
 * sent or copied before the machine handles another packet.
 */
export type SendDatagram<P extends Path> = (bytes: Uint8Array, path: P) => void;

export type StreamEvent =
  | { readonly kind: "message"; readonly bytes: Uint8Array }
  /** `write` may be called again after it returned false. */
  | { readonly kind: "drain" }
  /** All that was sent to the former path is acknowledged. */
  | { readonly kind: "remote-changed" }
  /** Nothing more comes out, apart from chunks that were received before. */
  | { readonly kind: "closed"; readonly reason: "ended" | "destroyed" | "reset" | "timed-out" };

export interface StreamMachineOptions {
  /** First sequence number of our packets. */
  readonly sendSeq?: number;
  /**
   * Most bytes held for a reader that doesn't read, and twice as much behind lost packets. 4 MiB is
   * the native default: at 100 ms of round trip it allows 40 MB/s.
   */
  readonly receiveWindowBytes?: number;
  /** Largest path MTU to probe for. */
  readonly mtuMax?: number;
  /** Buffers for packets; a pool may be given. `release` gets what `allocate` gave. */
  readonly allocate?: (bytes: number) => Uint8Array;
  readonly release?: (bytes: Uint8Array) => void;
}

/** A packet that took a sequence number and isn't acknowledged. */
interface OutPacket<P extends Path> extends RateStamp {
  seq: number;
  /** Header and payload. */
  bytes: Uint8Array;
  payloadBytes: number;
  /** Bytes of the stream before its payload. */
  startOffset: number;
  path: P;
  transmits: number;
  lost: boolean;
  /** Padding that makes this transmission an MTU probe, or 0. */
  probePadding: number;
  end: boolean;
  // In-flight packets are a list in order of sending, lost ones in order of number.
  previous: OutPacket<P> | null;
  next: OutPacket<P> | null;
}

/** Bytes `[start, end)` of a datagram. A view of them costs more than this, and may not be needed. */
export interface Chunk {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
}

interface ReceivedPacket extends Chunk {
  readonly isEnd: boolean;
}

export const MTU_BASE = 1200;
export const MTU_MAX = 1500;
const MTU_STEP = 32;
const MTU_PROBES_MAX = 3;
/** The data offset is one byte. */
const MTU_PADDING_MAX = 255;

export const RECEIVE_WINDOW_BYTES = 4 * 1024 * 1024;
/** Rounding of windows in packets may take a peer this far beyond what we advertised. */
const RECEIVE_SLACK_BYTES = 64 * 1024;
/** What a received packet counts for at least: a peer that sends single bytes fills memory too. */
const RECEIVE_CHARGE_BYTES_MIN = 512;
/** How far beyond the next expected packet a sequence number may be. */
const RECEIVE_AHEAD_PACKETS_MAX = 16_384;
/**
 * How much may wait behind a lost packet, in windows. A packet that was acknowledged selectively can't
 * be dropped again, since its sender has forgotten it; so a receiver refuses what is beyond, and a
 * sender keeps below.
 */
const REORDER_WINDOWS = 2;
const SEND_AHEAD_WINDOWS = 1.9;
/** And in packets, below what peers accept. */
const SEND_AHEAD_PACKETS_MAX = 8192;
/**
 * Acknowledge without waiting for the end of the turn after this many packets. More cost less, but
 * the native sender's BBR takes them for an aggregating path, and then overfills our socket buffer.
 */
export const ACK_EVERY_PACKETS = 16;

const WRITE_HIGH_WATER_BYTES = 256 * 1024;

const RTO_INITIAL_MS = 1000;
const RTO_MIN_MS = 250;
const RTO_MAX_MS = 30_000;
const RTO_BACKOFF_MAX_MS = 2000;
/**
 * Without progress for this long, and after this many timeouts, the peer is dead. The time alone
 * would be ours: a process that was stopped finds all its deadlines past, and the answers unread.
 */
const DEAD_AFTER_MS = 13_000;
const DEAD_AFTER_TIMEOUTS = 6;
/** A round trip longer than this, and far from the others, is a machine that slept. */
const RTT_OUTLIER_MS = 5000;
/** The first tail loss probe of a stream that has no round trip yet. */
const PROBE_INITIAL_MS = 300;
/** What a peer may take to acknowledge: a turn of its event loop. */
const ACK_DELAY_MAX_MS = 2;
const TAIL_PROBES_MAX = 2;
const ZERO_WINDOW_PROBE_MAX_MS = 5000;
/** Shortest reordering window while none was seen: less is below what event loops jitter. */
const REORDER_WINDOW_MIN_MS = 0.5;

const NEVER: number = Number.POSITIVE_INFINITY;
const RING_PACKETS_INITIAL = 16;

function newBuffer(bytes: number): Uint8Array {
  return new Uint8Array(bytes);
}

function keepBuffer(): void {}

/** What a chunk counts for against the window. */
function chargeOf(chunk: Chunk): number {
  return Math.max(chunk.end - chunk.start, RECEIVE_CHARGE_BYTES_MIN);
}

export class StreamMachine<P extends Path> {
  readonly localId: number;
  remoteId = 0;
  path: P | null = null;
  events: StreamEvent[] = [];

  bytesSent = 0;
  packetsSent = 0;
  bytesReceived = 0;
  packetsReceived = 0;
  retransmits = 0;
  timeouts = 0;
  fastRecoveries = 0;
  packetsLost = 0;

  readonly congestion: Congestion;
  readonly #allocate: (bytes: number) => Uint8Array;
  readonly #release: (bytes: Uint8Array) => void;

  #state: "idle" | "connected" | "finishing" | "closed" = "idle";

  // ---- Sending
  #sendUnacked: number;
  #sendNext: number;
  /** Unacknowledged packets by `seq & mask`; null where one was acknowledged selectively. */
  #ring: (OutPacket<P> | null)[] = [];
  #inflightHead: OutPacket<P> | null = null;
  #inflightTail: OutPacket<P> | null = null;
  #inflightPackets = 0;
  #inflightBytes = 0;
  #lostHead: OutPacket<P> | null = null;
  #lostTail: OutPacket<P> | null = null;
  /** Packets between SND.UNA and SND.NXT that were acknowledged selectively. */
  #sackedPackets = 0;
  #writes: Uint8Array[] = [];
  #writesHead = 0;
  /** Bytes of `#writes[#writesHead]` that are in packets already. */
  #writesOffset = 0;
  #queuedBytes = 0;
  #unackedBytes = 0;
  /** Bytes that went into packets so far. */
  #packedBytes = 0;
  #aboveHighWater = false;
  /** A window or pacing stopped the last `transmit`: only a packet or the time changes that. */
  #blocked = false;
  #ending = false;
  #endSent = false;
  #endAcked = false;
  #localEnded = false;
  #remoteChangedAt = NEVER;

  // Window the peer advertises, and which packet said so (SND.WL1, SND.WL2).
  #sendWindowBytes = RECEIVE_WINDOW_BYTES;
  /** The largest it advertised: a reader that reads. */
  #sendWindowBytesMax = 0;
  #windowSeq: number = Number.NEGATIVE_INFINITY;
  #windowAck: number = Number.NEGATIVE_INFINITY;

  // ---- Round trips and loss
  #smoothedRttMs = -1;
  #rttVarianceMs = 0;
  #rtoMs = RTO_INITIAL_MS;
  #rtoBackoff = 0;
  #minRttMs: number = Number.POSITIVE_INFINITY;
  #rackSentAt = -1;
  #rackSeq = -1;
  #rackRttMs = 0;
  #highestAcked = -1;
  #reorderingSeen = false;
  #recovery: "open" | "recovery" | "loss" = "open";
  #recoveryEnd = 0;
  #lostSinceAck = 0;
  #stalledSince = 0;
  #tailProbes = 0;

  #rtoAt = NEVER;
  #tailProbeAt = NEVER;
  #reorderAt = NEVER;
  #pacingAt = NEVER;
  #zeroWindowAt = NEVER;
  #zeroWindowProbes = 0;
  /** Probes sent since the last packet came. */
  #unansweredProbes = 0;
  #heardAt = 0;
  #keepaliveAt = NEVER;
  #keepaliveMs = 0;

  // ---- Path MTU
  #mtu = MTU_BASE;
  readonly #mtuMax: number;
  #payloadMax = MTU_BASE - OVERHEAD_IPV4_BYTES;
  #probeMtu = 0;
  #probeStep = MTU_PADDING_MAX;
  #probeWanted = false;
  #probesLost = 0;
  #probing = true;

  // ---- Receiving
  #receiveNext = 0;
  readonly #receiveWindowMax: number;
  #chunks: Chunk[] = [];
  #chunksHead = 0;
  #chunksCharge = 0;
  #reorder: Map<number, ReceivedPacket> | null = null;
  #reorderCharge = 0;
  /** Received beyond `#receiveNext`: start, end, start, end, ... ascending. */
  #ranges: number[] = [];
  #latestOutOfOrder = 0;
  #remoteEndSeq = -1;
  #remoteEnded = false;
  #ackPending = 0;
  #advertisedBytes: number;

  constructor(localId: number, now: number, options: StreamMachineOptions = {}) {
    this.localId = localId;
    this.#sendNext = this.#sendUnacked = options.sendSeq ?? 0;
    this.#receiveWindowMax = options.receiveWindowBytes ?? RECEIVE_WINDOW_BYTES;
    this.#advertisedBytes = this.#receiveWindowMax;
    this.#mtuMax = options.mtuMax ?? MTU_MAX;
    this.#allocate = options.allocate ?? newBuffer;
    this.#release = options.release ?? keepBuffer;
    this.#stalledSince = now;
    this.#heardAt = now;
    this.congestion = new Congestion(now);
    this.congestion.setPayloadBytes(this.#payloadMax);
  }

  // ---- What it is

  get connected(): boolean {
    return this.#state === "connected" || this.#state === "finishing";
  }
  get closed(): boolean {
    return this.#state === "closed";
  }
  get mtu(): number {
    return this.#mtu;
  }
  /** Smoothed round trip, or 0 before the first. */
  get rttMs(): number {
    return Math.max(this.#smoothedRttMs, 0);
  }
  get inflightBytes(): number {
    return this.#inflightBytes;
  }
  get inflightPackets(): number {
    return this.#inflightPackets;
  }
  get cwndPackets(): number {
    return Math.floor(this.congestion.cwndPackets);
  }
  get congestionState(): BbrState {
    return this.congestion.state;
  }
  /** Bytes written so far that the peer has acknowledged, all before them included. */
  get ackedBytes(): number {
    if (this.#sendUnacked === this.#sendNext) return this.#packedBytes;
    // The oldest unacknowledged packet is always in the ring.
    const oldest = this.#at(this.#sendUnacked);
    return oldest === null ? this.#packedBytes : oldest.startOffset;
  }
  /** Bytes written so far. */
  get writtenBytes(): number {
    return this.#packedBytes + this.#queuedBytes;
  }
  /** Whether `transmit` would do something. */
  get wantsTransmit(): boolean {
    if (!this.connected) return false;
    if (this.#ackPending > 0 || this.#state === "finishing") return true;
    if (this.#blocked) return false;
    return this.#queuedBytes > 0 || this.#lostHead !== null || this.#endDue();
  }
  /** Bytes written that are not acknowledged. */
  get pendingBytes(): number {
    return this.#queuedBytes + this.#unackedBytes;
  }
  /** Bytes held for the reader, each packet with its least charge. */
  get heldBytes(): number {
    return this.#chunksCharge + this.#reorderCharge;
  }
  /** Next sequence number; the acknowledgement we'd send. For owners that hand a stream on. */
  get sendSeq(): number {
    return this.#sendNext >>> 0;
  }
  get receiveSeq(): number {
    return this.#receiveNext >>> 0;
  }
  get sendWindowBytes(): number {
    return this.#sendWindowBytes;
  }
  /** Whether an acknowledgement waits to be sent, and for how many packets. */
  get ackPending(): number {
    return this.#ackPending;
  }
  /** Nothing is in flight: what is written now needs no waiting for more. */
  get quiet(): boolean {
    return this.#inflightPackets === 0;
  }

  /** What it waits for, in words and numbers, for people. Times are from `now`. */
  snapshot(now: number): Record<string, unknown> {
    return {
      state: this.#state,
      recovery: this.#recovery,
      sendUnacked: this.#sendUnacked,
      sendNext: this.#sendNext,
      receiveNext: this.#receiveNext,
      inflightPackets: this.#inflightPackets,
      sackedPackets: this.#sackedPackets,
      lost: this.#lostHead !== null,
      queuedBytes: this.#queuedBytes,
      unackedBytes: this.#unackedBytes,
      aboveHighWater: this.#aboveHighWater,
      blocked: this.#blocked,
      sendWindowBytes: this.#sendWindowBytes,
      heldBytes: this.heldBytes,
      reorderRanges: this.#ranges.length / 2,
      ackPending: this.#ackPending,
      advertisedBytes: this.#advertisedBytes,
      cwndPackets: this.congestion.cwndPackets,
      congestionState: this.congestion.state,
      pacingBytesPerMs: this.congestion.pacingBytesPerMs,
      bandwidthBytesPerSecond: this.congestion.bandwidthBytesPerSecond,
      minRttMs: this.congestion.minRttMs,
      smoothedRttMs: this.#smoothedRttMs,
      rtoMs: this.#rtoMs,
      rtoIn: this.#rtoAt - now,
      tailProbeIn: this.#tailProbeAt - now,
      reorderIn: this.#reorderAt - now,
      pacingIn: this.#pacingAt - now,
      zeroWindowIn: this.#zeroWindowAt - now,
      keepaliveIn: this.#keepaliveAt - now,
    };
  }

  // ---- Inputs

  connect(remoteId: number, path: P, now: number, receiveSeq?: number): void {
    if (this.#state !== "idle") return;
    this.#state = "connected";
    this.remoteId = remoteId;
    this.#setPath(path);
    if (receiveSeq !== undefined) this.#receiveNext = receiveSeq;
    if (this.#keepaliveMs > 0) this.#keepaliveAt = now + this.#keepaliveMs;
    this.#finishIfEnded();
  }

  /**
   * Sends to another path from now on. What is in flight is still retransmitted to the former one;
   * `remote-changed` comes when all of that is acknowledged.
   */
  changeRemote(remoteId: number, path: P, now: number): void {
    if (this.#state !== "connected") return;
    this.remoteId = remoteId;
    this.#setPath(path);
    this.#mtu = MTU_BASE;
    this.#setPayloadMax();
    this.#probing = true;
    this.#probeMtu = 0;
    this.#probeStep = MTU_PADDING_MAX;
    this.#probeWanted = false;
    this.#probesLost = 0;
    this.congestion.onPathChange(now);
    this.#minRttMs = Number.POSITIVE_INFINITY;
    if (this.#sendUnacked === this.#sendNext) this.events.push({ kind: "remote-changed" });
    else this.#remoteChangedAt = this.#sendNext;
  }

  #setPath(path: P): void {
    this.path = path;
    this.#setPayloadMax();
  }

  #setPayloadMax(): void {
    const overhead = this.path?.family === 6 ? OVERHEAD_IPV6_BYTES : OVERHEAD_IPV4_BYTES;
    this.#payloadMax = this.#mtu - overhead;
    this.congestion.setPayloadBytes(this.#payloadMax);
  }

  /** Milliseconds between heartbeats of an idle stream; 0 sends none. */
  setKeepalive(keepaliveMs: number, now: number): void {
    this.#keepaliveMs = keepaliveMs;
    this.#keepaliveAt =
      keepaliveMs > 0 && this.connected && this.#sendUnacked === this.#sendNext
        ? now + keepaliveMs
        : NEVER;
  }

  /**
   * Queues bytes. They must not change until they are in a packet, which holds a copy.
   * @returns false when enough is queued: wait for `drain`.
   */
  write(bytes: Uint8Array): boolean {
    if (bytes.length > 0) {
      this.#writes.push(bytes);
      this.#queuedBytes += bytes.length;
    }
    const above = this.pendingBytes > this.#highWaterBytes();
    if (above) this.#aboveHighWater = true;
    return !above;
  }

  #highWaterBytes(): number {
    return (
      WRITE_HIGH_WATER_BYTES +
      Math.min(this.congestion.cwndPackets * this.#payloadMax, this.#sendWindowBytes)
    );
  }

  /** No more writes: END goes with or after the last of them. */
  end(): void {
    this.#ending = true;
  }

  /** Drops the stream now; the peer is told once. */
  destroy(send: SendDatagram<P>): void {
    if (this.#state === "closed") return;
    if (this.connected) {
      const bytes = newBuffer(HEADER_BYTES);
      this.#encodeHeader(bytes, TYPE_DESTROY, this.#sendNext);
      this.#emit(bytes, send);
    }
    this.#close("destroyed");
  }

  /** Closes without a word to the peer: for a stream whose packets are relayed. */
  abandon(reason: "destroyed" | "reset"): void {
    this.#close(reason);
  }

  /** One MESSAGE packet, for the owner to send to `path`. */
  encodeMessage(payload: Uint8Array): Uint8Array {
    const bytes = newBuffer(HEADER_BYTES + payload.length);
    this.#encodeHeader(bytes, TYPE_MESSAGE, this.#sendNext);
    bytes.set(payload, HEADER_BYTES);
    this.packetsSent++;
    this.bytesSent += bytes.length;
    return bytes;
  }

  /** An acknowledgement of all that was received, for one who answers late packets after the end. */
  encodeFinalAck(): Uint8Array {
    const bytes = newBuffer(HEADER_BYTES);
    this.#encodeHeader(bytes, 0, this.#sendNext);
    return bytes;
  }

  /** Takes the next bytes in order, or undefined. Taking opens the receive window. */
  takeChunk(): Chunk | undefined {
    const chunk = this.#chunks[this.#chunksHead];
    if (chunk === undefined) return undefined;
    this.#chunksHead++;
    if (this.#chunksHead === this.#chunks.length) {
      this.#chunks = [];
      this.#chunksHead = 0;
    } else if (this.#chunksHead >= 256) {
      this.#chunks = this.#chunks.slice(this.#chunksHead);
      this.#chunksHead = 0;
    }
    this.#chunksCharge -= chargeOf(chunk);
    // Tell a sender that has stopped, or soon would, that there is room again.
    if (
      this.#advertisedBytes < this.#receiveWindowMax / 4 &&
      this.#receiveWindow() >= this.#receiveWindowMax / 2
    ) {
      this.#ackPending++;
    }
    return chunk;
  }

  /** All bytes were received; chunks may still wait. */
  get remoteEnded(): boolean {
    return this.#remoteEnded;
  }

  /** Whether `takeChunk` has something. */
  get readable(): boolean {
    return this.#chunksHead < this.#chunks.length;
  }

  /** Handles one packet for this stream. `packet` was decoded from `bytes`, which are kept. */
  handle(bytes: Uint8Array, packet: Packet, now: number): void {
    if (this.#state === "closed") return;
    this.packetsReceived++;
    this.bytesReceived += bytes.length;
    this.#heardAt = now;
    this.#unansweredProbes = 0;
    this.#blocked = false;

    const type = packet.type;
    const seq = unwrap(this.#receiveNext, packet.seq);
    if ((type & TYPE_HEARTBEAT) !== 0) this.#ackPending++;
    if ((type & (TYPE_DATA | TYPE_END)) !== 0) {
      this.#ackPending++;
      this.#receive(bytes, packet, seq);
    }
    if ((type & TYPE_DESTROY) !== 0) {
      const ahead = seq - this.#receiveNext;
      if (ahead >= 0 && ahead < RECEIVE_AHEAD_PACKETS_MAX) {
        this.#close("reset");
        return;
      }
    }
    if ((type & TYPE_MESSAGE) !== 0) {
      const payload = bytes.subarray(packet.payloadStart, packet.payloadEnd);
      this.events.push({ kind: "message", bytes: payload });
    }
    this.#acknowledge(bytes, packet, seq, now);
  }

  /** Does what is due at `now`. Call when `nextTimeout` has come; at other times it does nothing. */
  handleTimeout(now: number, send: SendDatagram<P>): void {
    if (!this.connected) return;
    if (now >= this.#reorderAt) {
      this.#reorderAt = NEVER;
      this.#detectLoss(now);
    }
    if (now >= this.#tailProbeAt) this.#sendTailProbe(now, send);
    if (now >= this.#rtoAt) this.#onRetransmissionTimeout(now);
    if (this.#state === "closed") return;
    if (now >= this.#zeroWindowAt) this.#sendZeroWindowProbe(now, send);
    if (now >= this.#keepaliveAt) {
      this.#sendHeartbeat(send);
      this.#keepaliveAt = now + this.#keepaliveMs;
    }
    if (now >= this.#pacingAt) this.#pacingAt = NEVER;
  }

  /** When `handleTimeout` and then `transmit` want to be called; infinity is never. */
  nextTimeout(): number {
    if (!this.connected) return NEVER;
    let at = this.#rtoAt;
    if (this.#tailProbeAt < at) at = this.#tailProbeAt;
    if (this.#reorderAt < at) at = this.#reorderAt;
    if (this.#pacingAt < at) at = this.#pacingAt;
    if (this.#zeroWindowAt < at) at = this.#zeroWindowAt;
    if (this.#keepaliveAt < at) at = this.#keepaliveAt;
    return at;
  }

  /**
   * Sends what may be sent now.
   * @param flushPartial - Send a last packet that isn't full; false waits for more writes, true is for
   *   the end of the turn or when nothing is in flight.
   */
  transmit(now: number, send: SendDatagram<P>, flushPartial: boolean): void {
    if (!this.connected) return;
    this.#pacingAt = NEVER;
    this.#blocked = false;
    let ackCarried = false;

    while (this.#lostHead !== null) {
      if (!this.#mayTransmit(now)) break;
      const packet = this.#lostHead;
      this.#unlinkLost(packet);
      this.#sendPacket(packet, now, send);
    }

    while (this.#lostHead === null && (this.#queuedBytes > 0 || this.#endDue())) {
      if (this.#queuedBytes > 0) {
        if (!this.#windowOpen()) {
          // Of the peer, or of what may wait behind a loss.
          this.#blocked = true;
          if (this.#sendUnacked === this.#sendNext && this.#zeroWindowAt === NEVER) {
            this.#sendZeroWindowProbe(now, send);
          }
          break;
        }
        if (this.#queuedBytes < this.#payloadMax && !flushPartial && !this.#endDue()) break;
      }
      if (!this.#mayTransmit(now)) break;
      this.#sendNew(now, send);
      ackCarried = true;
    }

    if (
      this.#queuedBytes === 0 &&
      this.#lostHead === null &&
      this.#inflightPackets < this.congestion.cwndPackets
    ) {
      this.congestion.onAppLimited(this.#inflightPackets);
    }

    if (this.#ackPending > 0 && (!ackCarried || this.#ranges.length > 0)) this.#sendAck(send);
    this.#ackPending = 0;
    if (this.#state === "finishing") this.#close("ended");
  }

  // ---- Sending

  /** Whether congestion control lets one more packet go; if not, it is noted what for. */
  #mayTransmit(now: number): boolean {
    if (this.#inflightPackets < this.congestion.cwndPackets) {
      const delayMs = this.congestion.pacingDelayMs(now);
      if (delayMs === 0) return true;
      this.#pacingAt = now + delayMs;
    }
    this.#blocked = true;
    return false;
  }

  #endDue(): boolean {
    return this.#ending && !this.#endSent;
  }

  /** The window is kept in packets of full size, at least one while it isn't zero. */
  #windowOpen(): boolean {
    if (this.#sendWindowBytes === 0) return false;
    const packets = Math.floor(this.#sendWindowBytes / this.#payloadMax);
    if (this.#inflightPackets >= Math.max(packets, 1)) return false;
    const ahead =
      (Math.max(this.#sendWindowBytesMax, this.#sendWindowBytes) * SEND_AHEAD_WINDOWS) /
      this.#payloadMax;
    const span = this.#sendNext - this.#sendUnacked;
    return span < Math.max(Math.min(ahead, SEND_AHEAD_PACKETS_MAX), 1);
  }

  #sendNew(now: number, send: SendDatagram<P>): OutPacket<P> {
    const payloadBytes = Math.min(this.#queuedBytes, this.#payloadMax);
    const bytes = this.#allocate(HEADER_BYTES + payloadBytes);
    this.#fillPayload(bytes, payloadBytes);
    const end = this.#endDue() && this.#queuedBytes === 0;
    if (end) this.#endSent = true;
    const type = (payloadBytes > 0 ? TYPE_DATA : 0) | (end ? TYPE_END : 0);
    const seq = this.#sendNext;
    this.#encodeHeader(bytes, type, seq);

    const packet: OutPacket<P> = {
      seq,
      bytes,
      payloadBytes,
      startOffset: this.#packedBytes,
      // biome-ignore lint/style/noNonNullAssertion: a connected stream has a path
      path: this.path!,
      transmits: 0,
      lost: false,
      probePadding: 0,
      end,
      previous: null,
      next: null,
      sentAt: 0,
      size: bytes.length,
      deliveredAtSend: 0,
      deliveredTimeAtSend: 0,
      firstSentAt: 0,
      appLimited: false,
    };
    if (this.#probeWanted && payloadBytes === this.#payloadMax) {
      this.#probeWanted = false;
      packet.probePadding = this.#probeMtu - this.#mtu;
    }
    if (this.#sendUnacked === this.#sendNext) this.#stalledSince = now;
    this.#store(packet);
    this.#sendNext++;
    this.#unackedBytes += payloadBytes;
    this.#packedBytes += payloadBytes;
    this.#sendPacket(packet, now, send);
    this.#keepaliveAt = NEVER;
    if (this.#recovery === "open" && this.#sackedPackets === 0) this.#armTailProbe(now);
    return packet;
  }

  #fillPayload(bytes: Uint8Array, payloadBytes: number): void {
    let at = HEADER_BYTES;
    const end = HEADER_BYTES + payloadBytes;
    while (at < end) {
      // biome-ignore lint/style/noNonNullAssertion: queuedBytes counts what is here
      const chunk = this.#writes[this.#writesHead]!;
      const take = Math.min(chunk.length - this.#writesOffset, end - at);
      if (take === chunk.length) bytes.set(chunk, at);
      else bytes.set(chunk.subarray(this.#writesOffset, this.#writesOffset + take), at);
      at += take;
      this.#writesOffset += take;
      if (this.#writesOffset === chunk.length) {
        this.#writesHead++;
        this.#writesOffset = 0;
      }
    }
    this.#queuedBytes -= payloadBytes;
    if (this.#writesHead === this.#writes.length) {
      if (this.#writesHead > 0) this.#writes = [];
      this.#writesHead = 0;
    } else if (this.#writesHead >= 64) {
      this.#writes = this.#writes.slice(this.#writesHead);
      this.#writesHead = 0;
    }
  }

  /** Sends a packet for the first time or again. */
  #sendPacket(packet: OutPacket<P>, now: number, send: SendDatagram<P>): void {
    this.congestion.onSend(packet, now, this.#inflightPackets);
    packet.transmits++;
    if (packet.transmits > 1) {
      this.retransmits++;
      // Same number and payload, but what we know now of the other direction.
      writeU32(packet.bytes, 8, this.#advertise());
      writeU32(packet.bytes, 16, this.#receiveNext);
    }
    this.#linkInflight(packet);
    let bytes = packet.bytes;
    if (packet.probePadding > 0) {
      bytes = newBuffer(packet.size + packet.probePadding);
      bytes.set(packet.bytes.subarray(0, HEADER_BYTES));
      bytes.set(packet.bytes.subarray(HEADER_BYTES), HEADER_BYTES + packet.probePadding);
      bytes[3] = packet.probePadding;
    }
    this.packetsSent++;
    this.bytesSent += bytes.length;
    send(bytes, packet.path);
    if (this.#rtoAt === NEVER) this.#armRto(now);
  }

  #emit(bytes: Uint8Array, send: SendDatagram<P>): void {
    if (this.path === null) return;
    this.packetsSent++;
    this.bytesSent += bytes.length;
    send(bytes, this.path);
  }

  #encodeHeader(bytes: Uint8Array, type: number, seq: number): void {
    encodeHeader(bytes, type, this.remoteId, this.#advertise(), seq, this.#receiveNext);
  }

  /**
   * What waits behind a lost packet doesn't narrow the window: the sender counts only what is in
   * flight, and at 200 ms of round trip every loss would stop it. It has a limit of its own,
   * `REORDER_WINDOWS`; what is beyond is dropped.
   */
  #receiveWindow(): number {
    return Math.max(0, this.#receiveWindowMax - this.#chunksCharge);
  }

  #advertise(): number {
    this.#advertisedBytes = this.#receiveWindow();
    return this.#advertisedBytes;
  }

  #sendHeartbeat(send: SendDatagram<P>): void {
    const bytes = newBuffer(HEADER_BYTES);
    this.#encodeHeader(bytes, TYPE_HEARTBEAT, this.#sendNext);
    this.#emit(bytes, send);
  }

  #sendZeroWindowProbe(now: number, send: SendDatagram<P>): void {
    if (this.#sendWindowBytes > 0 || this.#queuedBytes === 0) {
      this.#zeroWindowAt = NEVER;
      return;
    }
    if (this.#zeroWindowProbes === 0) this.#heardAt = now;
    if (this.#unansweredProbes >= 3 && now - this.#heardAt > DEAD_AFTER_MS) {
      this.#close("timed-out");
      return;
    }
    this.#sendHeartbeat(send);
    this.#zeroWindowProbes++;
    this.#unansweredProbes++;
    const wait = Math.min(this.#rtoMs * 2 ** Math.min(this.#zeroWindowProbes, 8), 1e9);
    this.#zeroWindowAt = now + Math.min(wait, ZERO_WINDOW_PROBE_MAX_MS);
  }

  #sendAck(send: SendDatagram<P>): void {
    const rangesLength = this.#ranges.length;
    if (rangesLength === 0) {
      const bytes = newBuffer(HEADER_BYTES);
      this.#encodeHeader(bytes, 0, this.#sendNext);
      this.#emit(bytes, send);
      return;
    }
    const blocks = Math.min(rangesLength >>> 1, SACK_BLOCKS_MAX);
    const bytes = newBuffer(HEADER_BYTES + blocks * 8);
    this.#encodeHeader(bytes, TYPE_SACK, this.#sendNext);
    let at = HEADER_BYTES;
    for (let i = 0; i < blocks; i++) {
      // Too many for one packet: the lowest ones, and the newest in place of the last, for RACK
      // learns most from it.
      const range = i === blocks - 1 && rangesLength >>> 1 > blocks ? this.#latestRange(i) : i;
      writeU32(bytes, at, this.#ranges[range * 2] ?? 0);
      writeU32(bytes, at + 4, this.#ranges[range * 2 + 1] ?? 0);
      at += 8;
    }
    this.#emit(bytes, send);
  }

  #latestRange(from: number): number {
    for (let i = from; i < this.#ranges.length >>> 1; i++) {
      if ((this.#ranges[i * 2 + 1] ?? 0) > this.#latestOutOfOrder) return i;
    }
    return from;
  }

  // ---- Receiving

  #receive(bytes: Uint8Array, packet: Packet, seq: number): void {
    const ahead = seq - this.#receiveNext;
    if (ahead < 0 || ahead >= RECEIVE_AHEAD_PACKETS_MAX || this.#remoteEnded) return;
    if (this.#remoteEndSeq >= 0 && seq > this.#remoteEndSeq) return;
    const received: ReceivedPacket = {
      bytes,
      start: packet.payloadStart,
      end: packet.payloadEnd,
      isEnd: (packet.type & TYPE_END) !== 0,
    };
    const charge = chargeOf(received);
    // The packet that fills the gap is never refused for what waits behind it.
    if (this.#chunksCharge + charge > this.#receiveWindowMax + RECEIVE_SLACK_BYTES) return;
    if (ahead > 0 && this.#reorderCharge + charge > this.#receiveWindowMax * REORDER_WINDOWS) {
      return;
    }

    if (ahead > 0) {
      this.#reorder ??= new Map();
      if (this.#reorder.has(seq)) return;
      if (received.isEnd) this.#remoteEndSeq = seq;
      this.#reorder.set(seq, received);
      this.#reorderCharge += charge;
      this.#insertRange(seq);
      this.#latestOutOfOrder = seq;
      return;
    }
    this.#receiveNext++;
    this.#deliver(received);
    if (this.#ranges.length > 0) this.#deliverReordered();
  }

  #deliver(received: ReceivedPacket): void {
    if (received.end > received.start) {
      this.#chunks.push(received);
      this.#chunksCharge += chargeOf(received);
    }
    if (received.isEnd) {
      this.#remoteEnded = true;
      this.#reorder = null;
      this.#reorderCharge = 0;
      this.#ranges = [];
      this.#finishIfEnded();
    }
  }

  #deliverReordered(): void {
    while (this.#reorder !== null) {
      const received = this.#reorder.get(this.#receiveNext);
      if (received === undefined) break;
      this.#reorder.delete(this.#receiveNext);
      this.#reorderCharge -= chargeOf(received);
      this.#receiveNext++;
      this.#deliver(received);
    }
    while (this.#ranges.length > 0 && (this.#ranges[1] ?? 0) <= this.#receiveNext) {
      this.#ranges.splice(0, 2);
    }
    if (this.#reorder !== null && this.#reorder.size === 0) this.#reorder = null;
  }

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

  #finishIfEnded(): void {
    if (this.#localEnded && this.#remoteEnded && this.#state === "connected") {
      this.#state = "finishing";
    }
  }

  // ---- Acknowledgements

  #acknowledge(bytes: Uint8Array, packet: Packet, seq: number, now: number): void {
    const ack = unwrap(this.#sendUnacked, packet.ack);
    if (ack > this.#sendNext) return;

    if (
      ack >= this.#sendUnacked &&
      seq - this.#receiveNext < RECEIVE_AHEAD_PACKETS_MAX &&
      (seq > this.#windowSeq || (seq === this.#windowSeq && ack >= this.#windowAck))
    ) {
      this.#sendWindowBytes = packet.windowBytes;
      this.#sendWindowBytesMax = Math.max(this.#sendWindowBytesMax, packet.windowBytes);
      this.#windowSeq = seq;
      this.#windowAck = ack;
      if (packet.windowBytes > 0) {
        this.#zeroWindowAt = NEVER;
        this.#zeroWindowProbes = 0;
      }
    }
    if (this.#sendUnacked === this.#sendNext) return;

    if (ack >= this.#remoteChangedAt) {
      this.#remoteChangedAt = NEVER;
      this.events.push({ kind: "remote-changed" });
    }
    if (this.#recovery !== "open" && ack >= this.#recoveryEnd) this.#recovery = "open";

    let delivered = 0;
    const advanced = ack > this.#sendUnacked;
    for (let s = this.#sendUnacked; s < ack; s++) {
      const sent = this.#remove(s);
      if (sent === null) {
        this.#sackedPackets--;
        continue;
      }
      delivered++;
      this.#onPacketAcked(sent, now);
    }
    if (advanced) this.#sendUnacked = ack;
    if (packet.sackBlocks > 0) delivered += this.#acknowledgeBlocks(bytes, packet, now);

    if (delivered > 0 || advanced) {
      this.#stalledSince = now;
      this.#rtoBackoff = 0;
      this.#tailProbes = 0;
      if (this.#sendUnacked === this.#sendNext) this.#onAllAcked(now);
      else {
        this.#armRto(now);
        this.#reorderAt = NEVER;
        this.#detectLoss(now);
        if (this.#recovery === "open" && this.#sackedPackets === 0) this.#armTailProbe(now);
        else this.#tailProbeAt = NEVER;
      }
      this.congestion.onAck(now, delivered, this.#lostSinceAck, this.#inflightPackets);
      this.#lostSinceAck = 0;
      if (this.#aboveHighWater && this.pendingBytes < this.#highWaterBytes()) {
        this.#aboveHighWater = false;
        this.events.push({ kind: "drain" });
      }
    }
  }

  /** Blocks have to ascend, which bounds the work of a packet by the window. */
  #acknowledgeBlocks(bytes: Uint8Array, packet: Packet, now: number): number {
    let delivered = 0;
    let lower = this.#sendUnacked;
    for (let i = 0; i < packet.sackBlocks; i++) {
      const start = unwrap(this.#sendUnacked, readU32(bytes, HEADER_BYTES + i * 8));
      const end = unwrap(this.#sendUnacked, readU32(bytes, HEADER_BYTES + i * 8 + 4));
      if (start < lower || end <= start || end > this.#sendNext) continue;
      lower = end;
      for (let s = start; s < end; s++) {
        const sent = this.#remove(s);
        if (sent === null) continue;
        delivered++;
        this.#sackedPackets++;
        this.#onPacketAcked(sent, now);
      }
    }
    return delivered;
  }

  #onPacketAcked(packet: OutPacket<P>, now: number): void {
    if (packet.lost) this.#unlinkLost(packet);
    else this.#unlinkInflight(packet);
    const rttMs = Math.max(now - packet.sentAt, 0);
    const once = packet.transmits === 1;
    this.congestion.onDelivered(packet, once ? rttMs : -1);
    if (once) this.#sampleRtt(rttMs);

    // 6.2 step 2: the acknowledgement of a retransmission may be for the original.
    if (once || rttMs >= this.#minRttMs) {
      this.#rackRttMs = rttMs;
      if (
        packet.sentAt > this.#rackSentAt ||
        (packet.sentAt === this.#rackSentAt && packet.seq > this.#rackSeq)
      ) {
        this.#rackSentAt = packet.sentAt;
        this.#rackSeq = packet.seq;
      }
    }
    // 6.2 step 3
    if (packet.seq > this.#highestAcked) this.#highestAcked = packet.seq;
    else if (once) this.#reorderingSeen = true;

    if (packet.probePadding > 0) this.#onProbeAcked();
    else if (this.#probing && this.#probeMtu === 0) this.#nextProbe();

    this.#unackedBytes -= packet.payloadBytes;
    if (packet.end) this.#endAcked = true;
    this.#release(packet.bytes);
  }

  #sampleRtt(sampleMs: number): void {
    const likely = this.#smoothedRttMs + 5 * this.#rttVarianceMs;
    const outlier = this.#smoothedRttMs >= 0 && sampleMs > RTT_OUTLIER_MS && sampleMs > likely;
    const rttMs = Math.min(outlier ? likely : sampleMs, RTO_MAX_MS);
    if (rttMs < this.#minRttMs) this.#minRttMs = rttMs;
    if (this.#smoothedRttMs < 0) {
      this.#smoothedRttMs = rttMs;
      this.#rttVarianceMs = rttMs / 2;
    } else {
      const delta = Math.abs(this.#smoothedRttMs - rttMs);
      this.#rttVarianceMs += (delta - this.#rttVarianceMs) / 4;
      this.#smoothedRttMs += (rttMs - this.#smoothedRttMs) / 8;
    }
    const rto = this.#smoothedRttMs + 4 * this.#rttVarianceMs;
    this.#rtoMs = Math.min(Math.max(rto, RTO_MIN_MS), RTO_MAX_MS);
  }

  #onAllAcked(now: number): void {
    this.#rtoAt = NEVER;
    this.#tailProbeAt = NEVER;
    this.#reorderAt = NEVER;
    this.#recovery = "open";
    if (this.#keepaliveMs > 0) this.#keepaliveAt = now + this.#keepaliveMs;
    if (this.#endAcked && !this.#localEnded) {
      this.#localEnded = true;
      this.#finishIfEnded();
    }
  }

  // ---- Loss

  /** RFC 8985, 6.2 step 4 and 5. */
  #detectLoss(now: number): void {
    const window = this.#reorderWindow();
    let lost = 0;
    let waitMs = 0;
    let packet = this.#inflightHead;
    while (packet !== null) {
      const next: OutPacket<P> | null = packet.next;
      if (
        packet.sentAt > this.#rackSentAt ||
        (packet.sentAt === this.#rackSentAt && packet.seq >= this.#rackSeq)
      ) {
        break;
      }
      const remaining = packet.sentAt + this.#rackRttMs + window - now;
      if (remaining <= 0) {
        if (packet.probePadding > 0) this.#onProbeLost(packet);
        else lost++;
        this.#markLost(packet);
      } else {
        waitMs = Math.max(waitMs, remaining);
      }
      packet = next;
    }
    if (waitMs > 0) this.#reorderAt = now + waitMs;
    if (lost > 0) {
      this.#lostSinceAck += lost;
      if (this.#recovery === "open") {
        this.fastRecoveries++;
        this.#recovery = "recovery";
        this.#recoveryEnd = this.#sendNext;
        this.#tailProbeAt = NEVER;
      }
    }
  }

  #reorderWindow(): number {
    if (!this.#reorderingSeen && (this.#recovery !== "open" || this.#sackedPackets >= 3)) return 0;
    const quarter = this.#minRttMs === Number.POSITIVE_INFINITY ? 0 : this.#minRttMs / 4;
    return Math.max(Math.min(quarter, this.#smoothedRttMs), REORDER_WINDOW_MIN_MS);
  }

  #markLost(packet: OutPacket<P>): void {
    this.#unlinkInflight(packet);
    packet.lost = true;
    this.packetsLost++;
    // In order of their numbers: the lowest holds up all others, and is sent again first. Most belong
    // at the end.
    let after = this.#lostTail;
    while (after !== null && after.seq > packet.seq) after = after.previous;
    packet.previous = after;
    packet.next = after === null ? this.#lostHead : after.next;
    if (packet.next === null) this.#lostTail = packet;
    else packet.next.previous = packet;
    if (after === null) this.#lostHead = packet;
    else after.next = packet;
  }

  #armRto(now: number): void {
    const backedOff = this.#rtoMs * 2 ** this.#rtoBackoff;
    this.#rtoAt = now + Math.min(backedOff, Math.max(this.#rtoMs, RTO_BACKOFF_MAX_MS));
  }

  /** 7.2. Two probes, the second after twice the time; then it is the retransmission timeout's turn. */
  #armTailProbe(now: number): void {
    if (this.#tailProbes >= TAIL_PROBES_MAX || this.#inflightPackets === 0) {
      this.#tailProbeAt = NEVER;
      return;
    }
    let wait = PROBE_INITIAL_MS;
    if (this.#smoothedRttMs >= 0) {
      wait =
        Math.max(2 * this.#smoothedRttMs, this.#smoothedRttMs + 4 * this.#rttVarianceMs) +
        ACK_DELAY_MAX_MS;
    }
    this.#tailProbeAt = Math.min(now + wait * 2 ** this.#tailProbes, this.#rtoAt);
  }

  /** 7.3: new data if there is some, or the last packet again. */
  #sendTailProbe(now: number, send: SendDatagram<P>): void {
    this.#tailProbeAt = NEVER;
    if (this.#inflightPackets === 0) return;
    this.#tailProbes++;
    if (this.#queuedBytes > 0 && this.#windowOpen()) {
      this.#sendNew(now, send);
    } else {
      const packet = this.#at(this.#sendNext - 1) ?? this.#inflightTail;
      if (packet === null || packet.lost) return;
      if (packet.probePadding > 0) this.#onProbeLost(packet);
      this.#unlinkInflight(packet);
      this.#sendPacket(packet, now, send);
    }
    this.#armRto(now);
    this.#armTailProbe(now);
  }

  #onRetransmissionTimeout(now: number): void {
    if (this.#sendUnacked === this.#sendNext) {
      this.#rtoAt = NEVER;
      return;
    }
    if (
      this.#rtoBackoff >= DEAD_AFTER_TIMEOUTS &&
      now - this.#stalledSince >= Math.max(DEAD_AFTER_MS, DEAD_AFTER_TIMEOUTS * this.#rtoMs)
    ) {
      this.#close("timed-out");
      return;
    }
    this.timeouts++;
    this.#rtoBackoff++;
    this.#recovery = "loss";
    this.#recoveryEnd = this.#sendNext;
    this.#tailProbeAt = NEVER;
    // 6.3: all that isn't recent.
    const window = this.#reorderWindow();
    let packet = this.#inflightHead;
    while (packet !== null) {
      const next: OutPacket<P> | null = packet.next;
      const old = packet.sentAt + this.#rackRttMs + window <= now;
      if (old || packet.seq === this.#sendUnacked) {
        if (packet.probePadding > 0) this.#onProbeLost(packet);
        this.#markLost(packet);
      }
      packet = next;
    }
    this.congestion.onRetransmissionTimeout(this.#inflightPackets);
    this.#armRto(now);
  }

  // ---- Path MTU: DPLPMTUD (RFC 8899) with full data packets, padded, as probes

  #nextProbe(): void {
    if (this.#mtu >= this.#mtuMax) {
      this.#probing = false;
      return;
    }
    this.#probeMtu = Math.min(this.#mtu + this.#probeStep, this.#mtuMax);
    this.#probeWanted = true;
    this.#probesLost = 0;
  }

  #onProbeAcked(): void {
    if (!this.#probing || this.#probeMtu <= this.#mtu) return;
    this.#mtu = this.#probeMtu;
    this.#setPayloadMax();
    this.#nextProbe();
  }

  /** It may have been lost like any other, so it is tried again; then smaller steps are. */
  #onProbeLost(packet: OutPacket<P>): void {
    packet.probePadding = 0;
    if (!this.#probing) return;
    this.#probesLost++;
    if (this.#probesLost < MTU_PROBES_MAX) {
      this.#probeWanted = true;
    } else if (this.#probeStep > MTU_STEP) {
      this.#probeStep = MTU_STEP;
      this.#nextProbe();
    } else {
      this.#probing = false;
    }
  }

  // ---- Lists and the ring

  #store(packet: OutPacket<P>): void {
    const span = this.#sendNext - this.#sendUnacked + 1;
    if (span > this.#ring.length) this.#growRing(span);
    this.#ring[packet.seq & (this.#ring.length - 1)] = packet;
  }

  #growRing(span: number): void {
    let size = Math.max(this.#ring.length * 2, RING_PACKETS_INITIAL);
    while (size < span) size *= 2;
    const ring: (OutPacket<P> | null)[] = new Array(size).fill(null);
    for (let s = this.#sendUnacked; s < this.#sendNext; s++) {
      ring[s & (size - 1)] = this.#ring[s & (this.#ring.length - 1)] ?? null;
    }
    this.#ring = ring;
  }

  #at(seq: number): OutPacket<P> | null {
    return this.#ring[seq & (this.#ring.length - 1)] ?? null;
  }

  #remove(seq: number): OutPacket<P> | null {
    const index = seq & (this.#ring.length - 1);
    const packet = this.#ring[index] ?? null;
    if (packet !== null) this.#ring[index] = null;
    return packet;
  }

  #linkInflight(packet: OutPacket<P>): void {
    packet.lost = false;
    packet.next = null;
    packet.previous = this.#inflightTail;
    if (this.#inflightTail === null) this.#inflightHead = packet;
    else this.#inflightTail.next = packet;
    this.#inflightTail = packet;
    this.#inflightPackets++;
    this.#inflightBytes += packet.size;
  }

  #unlinkInflight(packet: OutPacket<P>): void {
    if (packet.previous === null) this.#inflightHead = packet.next;
    else packet.previous.next = packet.next;
    if (packet.next === null) this.#inflightTail = packet.previous;
    else packet.next.previous = packet.previous;
    packet.previous = packet.next = null;
    this.#inflightPackets--;
    this.#inflightBytes -= packet.size;
  }

  #unlinkLost(packet: OutPacket<P>): void {
    if (packet.previous === null) this.#lostHead = packet.next;
    else packet.previous.next = packet.next;
    if (packet.next === null) this.#lostTail = packet.previous;
    else packet.next.previous = packet.previous;
    packet.previous = packet.next = null;
    packet.lost = false;
  }

  // ---- The end

  #close(reason: "ended" | "destroyed" | "reset" | "timed-out"): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#ring = [];
    this.#inflightHead = this.#inflightTail = this.#lostHead = this.#lostTail = null;
    this.#inflightPackets = this.#inflightBytes = 0;
    this.#writes = [];
    this.#queuedBytes = this.#unackedBytes = 0;
    this.#reorder = null;
    this.#ranges = [];
    this.events.push({ kind: "closed", reason });
  }
}

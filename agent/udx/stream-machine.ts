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
 * A `Sender` and a `Receiver` do the work of each direction; here is what joins them: connecting,
 * acknowledging, keepalive and the end.
 *
 * Sequence numbers are kept unwrapped (see packet.ts).
 *
 * @module
 */

import type { BbrState, Congestion } from "./congestion.ts";
import { NEVER } from "./deadlines.ts";
import { Outlet } from "./outlet.ts";
import type { Packet } from "./packet.ts";
import {
  HEADER_BYTES,
  TYPE_DATA,
  TYPE_DESTROY,
  TYPE_END,
  TYPE_HEARTBEAT,
  TYPE_MESSAGE,
  TYPE_SACK,
  unwrap,
} from "./packet.ts";
import type { Path, SendDatagram } from "./path.ts";
import { type Chunk, Receiver } from "./receiver.ts";
import { Sender, type SenderOptions } from "./sender.ts";

export type StreamEvent =
  | { readonly kind: "message"; readonly bytes: Uint8Array }
  /** `write` may be called again after it returned false. */
  | { readonly kind: "drain" }
  /** All that was sent to the former path is acknowledged. */
  | { readonly kind: "remote-changed" }
  /** Nothing more comes out, apart from chunks that were received before. */
  | { readonly kind: "closed"; readonly reason: "ended" | "destroyed" | "reset" | "timed-out" };

export interface StreamMachineOptions extends SenderOptions {
  /**
   * Most bytes held for a reader that doesn't read, and twice as much behind lost packets. 4 MiB is
   * the native default: at 100 ms of round trip it allows 40 MB/s.
   */
  readonly receiveWindowBytes?: number;
}

/**
 * Acknowledge without waiting for the end of the turn after this many packets. More cost less, but
 * the native sender's BBR takes them for an aggregating path, and then overfills our socket buffer.
 */
export const ACK_EVERY_PACKETS = 16;

export class StreamMachine<P extends Path> {
  readonly localId: number;
  events: StreamEvent[] = [];
  bytesReceived = 0;
  packetsReceived = 0;

  readonly #receiver: Receiver;
  readonly #outlet: Outlet<P>;
  readonly #sender: Sender<P>;
  #state: "idle" | "connected" | "finishing" | "closed" = "idle";
  /** Packets to acknowledge. */
  #ackPending = 0;
  /** All that we wrote, and our END, arrived. */
  #localEnded = false;
  #keepaliveMs = 0;
  #keepaliveAt: number = NEVER;

  constructor(localId: number, now: number, options: StreamMachineOptions = {}) {
    this.localId = localId;
    this.#receiver = new Receiver(options.receiveWindowBytes);
    this.#outlet = new Outlet(this.#receiver);
    this.#sender = new Sender(this.#outlet, now, options);
  }

  // ---- What it is

  get path(): P | null {
    return this.#outlet.path;
  }
  get remoteId(): number {
    return this.#outlet.remoteId;
  }
  get bytesSent(): number {
    return this.#outlet.bytesSent;
  }
  get packetsSent(): number {
    return this.#outlet.packetsSent;
  }
  get retransmits(): number {
    return this.#sender.retransmits;
  }
  get congestion(): Congestion {
    return this.#sender.congestion;
  }
  get connected(): boolean {
    return this.#state === "connected" || this.#state === "finishing";
  }
  get closed(): boolean {
    return this.#state === "closed";
  }
  get mtu(): number {
    return this.#sender.mtuSearch.mtu;
  }
  /** Smoothed round trip, or 0 before the first. */
  get rttMs(): number {
    return Math.max(this.#sender.roundTrips.smoothedMs, 0);
  }
  get timeouts(): number {
    return this.#sender.recovery.timeouts;
  }
  get fastRecoveries(): number {
    return this.#sender.recovery.fastRecoveries;
  }
  get packetsLost(): number {
    return this.#sender.recovery.packetsLost;
  }
  get inflightBytes(): number {
    return this.#sender.sent.inflightBytes;
  }
  get inflightPackets(): number {
    return this.#sender.sent.inflightPackets;
  }
  get cwndPackets(): number {
    return Math.floor(this.congestion.cwndPackets);
  }
  get congestionState(): BbrState {
    return this.congestion.state;
  }
  /** Bytes written so far that the peer has acknowledged, all before them included. */
  get ackedBytes(): number {
    return this.#sender.ackedBytes;
  }
  /** Bytes written so far. */
  get writtenBytes(): number {
    return this.#sender.writtenBytes;
  }
  /** Whether `transmit` would do something. */
  get wantsTransmit(): boolean {
    if (!this.connected) return false;
    if (this.#ackPending > 0 || this.#state === "finishing") return true;
    return this.#sender.wantsTransmit;
  }
  /** Bytes written that are not acknowledged. */
  get pendingBytes(): number {
    return this.#sender.pendingBytes;
  }
  /** Bytes held for the reader, each packet with its least charge. */
  get heldBytes(): number {
    return this.#receiver.heldBytes;
  }
  /** Next sequence number; the acknowledgement we'd send. For owners that hand a stream on. */
  get sendSeq(): number {
    return this.#sender.sent.next >>> 0;
  }
  get receiveSeq(): number {
    return this.#receiver.next >>> 0;
  }
  get sendWindowBytes(): number {
    return this.#sender.window.bytes;
  }
  /** Whether an acknowledgement waits to be sent, and for how many packets. */
  get ackPending(): number {
    return this.#ackPending;
  }
  /** Nothing is in flight: what is written now needs no waiting for more. */
  get quiet(): boolean {
    return this.#sender.sent.inflightPackets === 0;
  }
  /** All bytes were received; chunks may still wait. */
  get remoteEnded(): boolean {
    return this.#receiver.ended;
  }
  /** Whether `takeChunk` has something. */
  get readable(): boolean {
    return this.#receiver.readable;
  }

  /** What it waits for, in words and numbers, for people. Times are from `now`. */
  snapshot(now: number): Record<string, unknown> {
    return {
      state: this.#state,
      recovery: this.#sender.recovery.state,
      sendUnacked: this.#sender.sent.unacked,
      sendNext: this.#sender.sent.next,
      receiveNext: this.#receiver.next,
      inflightPackets: this.#sender.sent.inflightPackets,
      sackedPackets: this.#sender.sent.sackedPackets,
      lost: this.#sender.sent.lostHead !== null,
      queuedBytes: this.#sender.queuedBytes,
      pendingBytes: this.pendingBytes,
      blocked: this.#sender.blocked,
      sendWindowBytes: this.#sender.window.bytes,
      heldBytes: this.heldBytes,
      reorderRanges: this.#receiver.rangeCount,
      ackPending: this.#ackPending,
      advertisedBytes: this.#receiver.advertisedBytes,
      cwndPackets: this.congestion.cwndPackets,
      congestionState: this.congestion.state,
      pacingBytesPerMs: this.congestion.pacingBytesPerMs,
      bandwidthBytesPerSecond: this.congestion.bandwidthBytesPerSecond,
      minRttMs: this.congestion.minRttMs,
      smoothedRttMs: this.#sender.roundTrips.smoothedMs,
      rtoMs: this.#sender.roundTrips.timeoutMs,
      rtoIn: this.#sender.recovery.retransmitAt - now,
      tailProbeIn: this.#sender.recovery.tailProbeAt - now,
      reorderIn: this.#sender.recovery.reorderAt - now,
      pacingIn: this.#sender.pacingAt - now,
      zeroWindowIn: this.#sender.window.probeAt - now,
      keepaliveIn: this.#keepaliveAt - now,
    };
  }

  // ---- What its owner asks of it

  connect(remoteId: number, path: P, now: number, receiveSeq?: number): void {
    if (this.#state !== "idle") return;
    this.#state = "connected";
    this.#outlet.remoteId = remoteId;
    this.#outlet.path = path;
    this.#sender.onConnect();
    if (receiveSeq !== undefined) this.#receiver.next = receiveSeq;
    if (this.#keepaliveMs > 0) this.#keepaliveAt = now + this.#keepaliveMs;
    this.#finishIfEnded();
  }

  /**
   * Sends to another path from now on. What is in flight is still retransmitted to the former one;
   * `remote-changed` comes when all of that is acknowledged.
   */
  changeRemote(remoteId: number, path: P, now: number): void {
    if (this.#state !== "connected") return;
    this.#outlet.remoteId = remoteId;
    this.#outlet.path = path;
    this.#sender.onPathChange(now);
    this.#tellOfSending();
  }

  /** Milliseconds between heartbeats of an idle stream; 0 sends none. */
  setKeepalive(keepaliveMs: number, now: number): void {
    this.#keepaliveMs = keepaliveMs;
    this.#keepaliveAt =
      keepaliveMs > 0 && this.connected && this.#sender.sent.allAcked ? now + keepaliveMs : NEVER;
  }

  /**
   * Queues bytes. They must not change until they are in a packet, which holds a copy.
   * @returns false when enough is queued: wait for `drain`.
   */
  write(bytes: Uint8Array): boolean {
    return this.#sender.write(bytes);
  }

  /** No more writes: END goes with or after the last of them. */
  end(): void {
    this.#sender.end();
  }

  /** Drops the stream now; the peer is told once. */
  destroy(send: SendDatagram<P>): void {
    if (this.#state === "closed") return;
    if (this.connected) this.#emitHeader(TYPE_DESTROY, send);
    this.#close("destroyed");
  }

  /** Closes without a word to the peer: for a stream whose packets are relayed. */
  abandon(reason: "destroyed" | "reset"): void {
    this.#close(reason);
  }

  /** One MESSAGE packet, for the owner to send to `path`. */
  encodeMessage(payload: Uint8Array): Uint8Array {
    const bytes = new Uint8Array(HEADER_BYTES + payload.length);
    this.#outlet.writeHeader(bytes, TYPE_MESSAGE, this.#sender.sent.next);
    bytes.set(payload, HEADER_BYTES);
    this.#outlet.count(bytes);
    return bytes;
  }

  /** An acknowledgement of all that was received, for one who answers late packets after the end. */
  encodeFinalAck(): Uint8Array {
    return this.#outlet.headerOnly(0, this.#sender.sent.next);
  }

  /** Takes the next bytes in order, or undefined. Taking opens the receive window. */
  takeChunk(): Chunk | undefined {
    const receiver = this.#receiver;
    const chunk = receiver.takeChunk();
    // A sender that has stopped, or soon would, is told that there is room again.
    if (receiver.windowReopened) this.#ackPending++;
    return chunk;
  }

  // ---- Packets in

  /** Handles one packet for this stream. `packet` was decoded from `bytes`, which are kept. */
  handle(bytes: Uint8Array, packet: Packet, now: number): void {
    if (this.#state === "closed") return;
    this.packetsReceived++;
    this.bytesReceived += bytes.length;
    this.#sender.window.onPacket(now);
    this.#sender.blocked = false;

    const type = packet.type;
    const seq = unwrap(this.#receiver.next, packet.seq);
    if ((type & TYPE_HEARTBEAT) !== 0) this.#ackPending++;
    if ((type & (TYPE_DATA | TYPE_END)) !== 0) {
      this.#ackPending++;
      this.#receiver.receive(bytes, packet, seq);
      if (this.#receiver.ended) this.#finishIfEnded();
    }
    if ((type & TYPE_DESTROY) !== 0) {
      if (seq >= this.#receiver.next && this.#receiver.isPlausible(seq)) {
        this.#close("reset");
        return;
      }
    }
    if ((type & TYPE_MESSAGE) !== 0) {
      const payload = bytes.subarray(packet.payloadStart, packet.payloadEnd);
      this.events.push({ kind: "message", bytes: payload });
    }
    const trusted = this.#receiver.isPlausible(seq);
    if (!this.#sender.acknowledge(bytes, packet, seq, trusted, now)) return;
    this.#tellOfSending();
    if (this.#sender.sent.allAcked) this.#onAllAcked(now);
  }

  #tellOfSending(): void {
    const sender = this.#sender;
    if (sender.remoteChanged) {
      sender.remoteChanged = false;
      this.events.push({ kind: "remote-changed" });
    }
    if (sender.drained) {
      sender.drained = false;
      this.events.push({ kind: "drain" });
    }
  }

  #onAllAcked(now: number): void {
    if (this.#keepaliveMs > 0) this.#keepaliveAt = now + this.#keepaliveMs;
    if (this.#sender.ended && !this.#localEnded) {
      this.#localEnded = true;
      this.#finishIfEnded();
    }
  }

  // ---- Time

  /** Does what is due at `now`. Call when `nextTimeout` has come; at other times it does nothing. */
  handleTimeout(now: number, send: SendDatagram<P>): void {
    if (!this.connected) return;
    this.#sender.handleTimeout(now, send);
    if (this.#sender.dead) {
      this.#close("timed-out");
      return;
    }
    if (now >= this.#keepaliveAt) {
      this.#emitHeader(TYPE_HEARTBEAT, send);
      this.#keepaliveAt = now + this.#keepaliveMs;
    }
  }

  /** When `handleTimeout` and then `transmit` want to be called; infinity is never. */
  nextTimeout(): number {
    if (!this.connected) return NEVER;
    return Math.min(this.#sender.nextTimeout(), this.#keepaliveAt);
  }

  // ---- Packets out

  /**
   * Sends what may be sent now.
   * @param flushPartial - Send a last packet that isn't full; false waits for more writes, true is for
   *   the end of the turn or when nothing is in flight.
   */
  transmit(now: number, send: SendDatagram<P>, flushPartial: boolean): void {
    if (!this.connected) return;
    const ackCarried = this.#sender.transmit(now, send, flushPartial);
    // It is idle no more.
    if (ackCarried) this.#keepaliveAt = NEVER;
    if (this.#ackPending > 0 && (!ackCarried || this.#receiver.rangeCount > 0)) this.#sendAck(send);
    this.#ackPending = 0;
    if (this.#sender.dead) this.#close("timed-out");
    if (this.#state === "finishing") this.#close("ended");
  }

  /** Asks for an acknowledgement, in a packet that waits for no window, nor for what was lost to be sent again. */
  askForAck(send: SendDatagram<P>): void {
    if (this.connected) this.#emitHeader(TYPE_HEARTBEAT, send);
  }

  #sendAck(send: SendDatagram<P>): void {
    const blocks = this.#receiver.sackBlocks;
    if (blocks === 0) {
      this.#emitHeader(0, send);
      return;
    }
    const bytes = new Uint8Array(HEADER_BYTES + blocks * 8);
    this.#outlet.writeHeader(bytes, TYPE_SACK, this.#sender.sent.next);
    this.#receiver.writeSackBlocks(bytes, HEADER_BYTES);
    this.#outlet.emit(bytes, send);
  }

  #emitHeader(type: number, send: SendDatagram<P>): void {
    this.#outlet.emit(this.#outlet.headerOnly(type, this.#sender.sent.next), send);
  }

  // ---- The end

  #finishIfEnded(): void {
    if (this.#localEnded && this.#receiver.ended && this.#state === "connected") {
      this.#state = "finishing";
    }
  }

  #close(reason: "ended" | "destroyed" | "reset" | "timed-out"): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#sender.clear();
    this.#receiver.dropReordered();
    this.events.push({ kind: "closed", reason });
  }
}

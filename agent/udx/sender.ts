/**
 * The sending half of a stream: from written bytes to packets, and from acknowledgements to what is
 * sent again.
 *
 * Three things limit what leaves: the peer's `SendWindow`, `Congestion`, and the packet size that
 * `MtuSearch` has found. `LossRecovery` decides what is sent again, and when.
 *
 * @module
 */

import { Congestion } from "./congestion.ts";
import { NEVER } from "./deadlines.ts";
import { LossRecovery } from "./loss-recovery.ts";
import { MtuSearch } from "./mtu-search.ts";
import type { Outlet } from "./outlet.ts";
import type { Packet } from "./packet.ts";
import {
  HEADER_BYTES,
  OVERHEAD_IPV4_BYTES,
  OVERHEAD_IPV6_BYTES,
  readU32,
  TYPE_DATA,
  TYPE_END,
  TYPE_HEARTBEAT,
  unwrap,
} from "./packet.ts";
import type { Path, SendDatagram } from "./path.ts";
import { RoundTrips } from "./round-trips.ts";
import { SendWindow } from "./send-window.ts";
import { type SentPacket, SentPackets } from "./sent-packets.ts";
import { WriteQueue } from "./write-queue.ts";

const WRITE_HIGH_WATER_BYTES = 256 * 1024;

export interface SenderOptions {
  /** First sequence number of our packets. */
  readonly sendSeq?: number;
  /** Largest path MTU to probe for. */
  readonly mtuMax?: number;
  /** Buffers for packets; a pool may be given. `release` gets what `allocate` gave. */
  readonly allocate?: (bytes: number) => Uint8Array;
  readonly release?: (bytes: Uint8Array) => void;
}

function newBuffer(bytes: number): Uint8Array {
  return new Uint8Array(bytes);
}

function keepBuffer(): void {}

export class Sender<P extends Path> {
  readonly congestion: Congestion;
  readonly sent: SentPackets<P>;
  readonly window: SendWindow;
  readonly mtuSearch: MtuSearch;
  readonly roundTrips: RoundTrips = new RoundTrips();
  readonly recovery: LossRecovery<P>;

  /** The peer has answered nothing for too long. */
  dead = false;
  /** Set once `write` may be called again after it returned false. */
  drained = false;
  /** Set once all that was sent to the former path is acknowledged. */
  remoteChanged = false;
  /** A window or pacing stopped the last `transmit`: only a packet or the time changes that. */
  blocked = false;
  pacingAt: number = NEVER;
  retransmits = 0;

  readonly #outlet: Outlet<P>;
  readonly #writes: WriteQueue = new WriteQueue();
  readonly #allocate: (bytes: number) => Uint8Array;
  readonly #release: (bytes: Uint8Array) => void;
  /** Of a full packet on this path. */
  #payloadMax = 0;
  #unackedBytes = 0;
  /** Bytes that went into packets so far. */
  #packedBytes = 0;
  #aboveHighWater = false;
  #ending = false;
  #endSent = false;
  #endAcked = false;
  /** The former path is done with when all before this number is acknowledged. */
  #remoteChangedAt: number = NEVER;

  constructor(outlet: Outlet<P>, now: number, options: SenderOptions) {
    this.#outlet = outlet;
    this.congestion = new Congestion(now);
    this.sent = new SentPackets(options.sendSeq ?? 0);
    this.window = new SendWindow(now);
    this.mtuSearch = new MtuSearch(options.mtuMax);
    this.recovery = new LossRecovery(this.sent, this.roundTrips, this.mtuSearch, now);
    this.#allocate = options.allocate ?? newBuffer;
    this.#release = options.release ?? keepBuffer;
    this.#setPayloadMax();
  }

  /** Bytes written that are in no packet. */
  get queuedBytes(): number {
    return this.#writes.bytes;
  }
  /** Bytes written that are not acknowledged. */
  get pendingBytes(): number {
    return this.#writes.bytes + this.#unackedBytes;
  }
  /** Bytes written so far. */
  get writtenBytes(): number {
    return this.#packedBytes + this.#writes.bytes;
  }
  /** Bytes written so far that the peer has acknowledged, all before them included. */
  get ackedBytes(): number {
    if (this.sent.allAcked) return this.#packedBytes;
    // The oldest unacknowledged packet is always in the ring.
    const oldest = this.sent.at(this.sent.unacked);
    return oldest === null ? this.#packedBytes : oldest.startOffset;
  }
  /** Our END is acknowledged, and all before it. */
  get ended(): boolean {
    return this.#endAcked && this.sent.allAcked;
  }
  /** Whether `transmit` would send data. */
  get wantsTransmit(): boolean {
    if (this.blocked) return false;
    return this.#writes.bytes > 0 || this.sent.lostHead !== null || this.#endDue();
  }

  // ---- What is to be sent

  /** See `StreamMachine.write`. */
  write(bytes: Uint8Array): boolean {
    if (bytes.length > 0) this.#writes.push(bytes);
    const above = this.pendingBytes > this.#highWaterBytes();
    if (above) this.#aboveHighWater = true;
    return !above;
  }

  #highWaterBytes(): number {
    return (
      WRITE_HIGH_WATER_BYTES +
      Math.min(this.congestion.cwndPackets * this.#payloadMax, this.window.bytes)
    );
  }

  end(): void {
    this.#ending = true;
  }

  /** The stream is connected to the outlet's path. */
  onConnect(): void {
    this.#setPayloadMax();
  }

  /** The outlet has another path: nothing is known of it. */
  onPathChange(now: number): void {
    this.mtuSearch.restart();
    this.#setPayloadMax();
    this.congestion.onPathChange(now);
    this.roundTrips.onPathChange();
    if (this.sent.allAcked) this.remoteChanged = true;
    else this.#remoteChangedAt = this.sent.next;
  }

  #setPayloadMax(): void {
    const overhead = this.#outlet.path?.family === 6 ? OVERHEAD_IPV6_BYTES : OVERHEAD_IPV4_BYTES;
    this.#payloadMax = this.mtuSearch.mtu - overhead;
    this.congestion.setPayloadBytes(this.#payloadMax);
  }

  /** Drops all that is queued or in flight. */
  clear(): void {
    this.sent.clear();
    this.#writes.clear();
    this.#unackedBytes = 0;
  }

  // ---- Acknowledgements

  /**
   * Takes what a packet acknowledges.
   * @param trusted - Its number is plausible, so its window counts.
   * @returns whether it brought something.
   */
  acknowledge(
    bytes: Uint8Array,
    packet: Packet,
    seq: number,
    trusted: boolean,
    now: number,
  ): boolean {
    const sent = this.sent;
    const ack = unwrap(sent.unacked, packet.ack);
    if (ack > sent.next) return false;
    if (ack >= sent.unacked && trusted) {
      this.window.update(packet.windowBytes, seq, ack);
    }
    if (sent.allAcked) return false;

    if (ack >= this.#remoteChangedAt) {
      this.#remoteChangedAt = NEVER;
      this.remoteChanged = true;
    }
    this.recovery.onAckNumber(ack);

    let delivered = 0;
    const advanced = ack > sent.unacked;
    for (let s = sent.unacked; s < ack; s++) {
      const acked = sent.take(s);
      if (acked === null) {
        sent.sackedPackets--;
        continue;
      }
      delivered++;
      this.#onPacketAcked(acked, now);
    }
    if (advanced) sent.unacked = ack;
    if (packet.sackBlocks > 0) delivered += this.#acknowledgeBlocks(bytes, packet, now);
    if (delivered === 0 && !advanced) return false;

    const lost = this.recovery.onProgress(now);
    this.congestion.onAck(now, delivered, lost, sent.inflightPackets);
    if (this.#aboveHighWater && this.pendingBytes < this.#highWaterBytes()) {
      this.#aboveHighWater = false;
      this.drained = true;
    }
    return true;
  }

  /** Blocks have to ascend, which bounds the work of a packet by the window. */
  #acknowledgeBlocks(bytes: Uint8Array, packet: Packet, now: number): number {
    const sent = this.sent;
    let delivered = 0;
    let lower = sent.unacked;
    for (let i = 0; i < packet.sackBlocks; i++) {
      const start = unwrap(sent.unacked, readU32(bytes, HEADER_BYTES + i * 8));
      const end = unwrap(sent.unacked, readU32(bytes, HEADER_BYTES + i * 8 + 4));
      if (start < lower || end <= start || end > sent.next) continue;
      lower = end;
      for (let s = start; s < end; s++) {
        const acked = sent.take(s);
        if (acked === null) continue;
        delivered++;
        sent.sackedPackets++;
        this.#onPacketAcked(acked, now);
      }
    }
    return delivered;
  }

  #onPacketAcked(packet: SentPacket<P>, now: number): void {
    const rttMs = Math.max(now - packet.sentAt, 0);
    const once = packet.transmits === 1;
    this.congestion.onDelivered(packet, once ? rttMs : -1);
    if (once) this.roundTrips.sample(rttMs);
    this.recovery.onPacketAcked(packet, rttMs, once);
    if (packet.probePadding > 0) {
      this.mtuSearch.onProbeAcked();
      this.#setPayloadMax();
    } else {
      this.mtuSearch.onPacketAcked();
    }
    this.#unackedBytes -= packet.payloadBytes;
    if (packet.end) this.#endAcked = true;
    this.#release(packet.bytes);
  }

  // ---- Time

  /** Does what is due at `now`; `dead` may be set after it. */
  handleTimeout(now: number, send: SendDatagram<P>): void {
    if (now >= this.recovery.reorderAt) this.recovery.detectLoss(now);
    if (now >= this.recovery.tailProbeAt) this.#sendTailProbe(now, send);
    if (now >= this.recovery.retransmitAt) this.#onRetransmissionTimeout(now);
    if (this.dead) return;
    if (now >= this.window.probeAt) this.#probeWindow(now, send);
    if (now >= this.pacingAt) this.pacingAt = NEVER;
  }

  nextTimeout(): number {
    const { recovery } = this;
    let at = recovery.retransmitAt;
    if (recovery.tailProbeAt < at) at = recovery.tailProbeAt;
    if (recovery.reorderAt < at) at = recovery.reorderAt;
    if (this.pacingAt < at) at = this.pacingAt;
    if (this.window.probeAt < at) at = this.window.probeAt;
    return at;
  }

  #onRetransmissionTimeout(now: number): void {
    const found = this.recovery.onRetransmissionTimeout(now);
    if (found === "dead") this.dead = true;
    else if (found === "lost") this.congestion.onRetransmissionTimeout(this.sent.inflightPackets);
  }

  /** New data if there is some, or the last packet again. */
  #sendTailProbe(now: number, send: SendDatagram<P>): void {
    if (!this.recovery.beginTailProbe()) return;
    if (this.#writes.bytes > 0 && this.#windowOpen()) {
      this.#sendNew(now, send);
    } else {
      const packet = this.recovery.takeTail();
      if (packet === null) return;
      this.#sendPacket(packet, now, send);
    }
    this.recovery.endTailProbe(now);
  }

  #probeWindow(now: number, send: SendDatagram<P>): void {
    if (this.window.bytes > 0 || this.#writes.bytes === 0) {
      this.window.probeAt = NEVER;
    } else if (this.window.probe(now, this.roundTrips.timeoutMs) === "dead") {
      this.dead = true;
    } else {
      this.#outlet.emit(this.#outlet.headerOnly(TYPE_HEARTBEAT, this.sent.next), send);
    }
  }

  // ---- Packets out

  /**
   * Sends what may be sent now.
   * @param flushPartial - Send a last packet that isn't full; false waits for more writes, true is for
   *   the end of the turn or when nothing is in flight.
   * @returns whether a new packet left, which carries an acknowledgement. `dead` may be set after it.
   */
  transmit(now: number, send: SendDatagram<P>, flushPartial: boolean): boolean {
    this.pacingAt = NEVER;
    this.blocked = false;
    let carried = false;

    while (this.sent.lostHead !== null) {
      if (!this.#mayTransmit(now)) break;
      const packet = this.sent.lostHead;
      this.sent.unlinkLost(packet);
      this.#sendPacket(packet, now, send);
    }

    while (this.sent.lostHead === null && (this.#writes.bytes > 0 || this.#endDue())) {
      if (this.#writes.bytes > 0) {
        if (!this.#windowOpen()) {
          // Of the peer, or of what may wait behind a loss.
          this.blocked = true;
          if (this.sent.allAcked && this.window.probeAt === NEVER) this.#probeWindow(now, send);
          break;
        }
        if (this.#writes.bytes < this.#payloadMax && !flushPartial && !this.#endDue()) break;
      }
      if (!this.#mayTransmit(now)) break;
      this.#sendNew(now, send);
      carried = true;
    }

    if (
      this.#writes.bytes === 0 &&
      this.sent.lostHead === null &&
      this.sent.inflightPackets < this.congestion.cwndPackets
    ) {
      this.congestion.onAppLimited(this.sent.inflightPackets);
    }
    return carried;
  }

  /** Whether congestion control lets one more packet go; if not, it is noted what for. */
  #mayTransmit(now: number): boolean {
    if (this.sent.inflightPackets < this.congestion.cwndPackets) {
      const delayMs = this.congestion.pacingDelayMs(now);
      if (delayMs === 0) return true;
      this.pacingAt = now + delayMs;
    }
    this.blocked = true;
    return false;
  }

  #endDue(): boolean {
    return this.#ending && !this.#endSent;
  }

  #windowOpen(): boolean {
    const { inflightPackets, next, unacked } = this.sent;
    return this.window.isOpen(inflightPackets, next - unacked, this.#payloadMax);
  }

  #sendNew(now: number, send: SendDatagram<P>): void {
    const payloadBytes = Math.min(this.#writes.bytes, this.#payloadMax);
    const bytes = this.#allocate(HEADER_BYTES + payloadBytes);
    this.#writes.fill(bytes, HEADER_BYTES, payloadBytes);
    const end = this.#endDue() && this.#writes.bytes === 0;
    if (end) this.#endSent = true;
    const type = (payloadBytes > 0 ? TYPE_DATA : 0) | (end ? TYPE_END : 0);
    const seq = this.sent.next;
    this.#outlet.writeHeader(bytes, type, seq);

    const isProbe = this.mtuSearch.probeWanted && payloadBytes === this.#payloadMax;
    const packet: SentPacket<P> = {
      seq,
      bytes,
      payloadBytes,
      startOffset: this.#packedBytes,
      // biome-ignore lint/style/noNonNullAssertion: a connected stream has a path
      path: this.#outlet.path!,
      transmits: 0,
      lost: false,
      probePadding: isProbe ? this.mtuSearch.takeProbe() : 0,
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
    this.recovery.onNewPacket(now);
    this.sent.add(packet);
    this.#unackedBytes += payloadBytes;
    this.#packedBytes += payloadBytes;
    this.#sendPacket(packet, now, send);
    this.recovery.armTailProbeIfOpen(now);
  }

  /** Sends a packet for the first time or again. */
  #sendPacket(packet: SentPacket<P>, now: number, send: SendDatagram<P>): void {
    this.congestion.onSend(packet, now, this.sent.inflightPackets);
    packet.transmits++;
    if (packet.transmits > 1) {
      this.retransmits++;
      // Same number and payload, but what we know now of the other direction.
      this.#outlet.refreshHeader(packet.bytes);
    }
    this.sent.linkInflight(packet);
    let bytes = packet.bytes;
    if (packet.probePadding > 0) {
      bytes = newBuffer(packet.size + packet.probePadding);
      bytes.set(packet.bytes.subarray(0, HEADER_BYTES));
      bytes.set(packet.bytes.subarray(HEADER_BYTES), HEADER_BYTES + packet.probePadding);
      bytes[3] = packet.probePadding;
    }
    this.#outlet.count(bytes);
    send(bytes, packet.path);
    this.recovery.onSend(now);
  }
}

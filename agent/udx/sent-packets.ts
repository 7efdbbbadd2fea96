/**
 * Packets that took a sequence number and aren't acknowledged: found by number in a ring, and in two
 * lists, those in flight in order of sending, and those taken for lost in order of number.
 *
 * `unacked` and `next` are SND.UNA and SND.NXT of RFC 9293, unwrapped; they count packets.
 *
 * @module
 */

import type { RateStamp } from "./congestion.ts";
import type { Path } from "./path.ts";

/** One packet, from its first transmission to its acknowledgement. */
export interface SentPacket<P extends Path> extends RateStamp {
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
  /** Neighbours in the list that it is in. */
  previous: SentPacket<P> | null;
  next: SentPacket<P> | null;
}

const RING_PACKETS_INITIAL = 16;

export class SentPackets<P extends Path> {
  unacked: number;
  next: number;
  inflightHead: SentPacket<P> | null = null;
  inflightTail: SentPacket<P> | null = null;
  inflightPackets = 0;
  inflightBytes = 0;
  /** The lost packet with the lowest number: it holds up all others, and is sent again first. */
  lostHead: SentPacket<P> | null = null;
  #lostTail: SentPacket<P> | null = null;
  /** Packets between `unacked` and `next` that were acknowledged selectively. */
  sackedPackets = 0;
  /** Unacknowledged packets by `seq & mask`; null where one was acknowledged selectively. */
  #ring: (SentPacket<P> | null)[] = [];

  constructor(seq: number) {
    this.unacked = seq;
    this.next = seq;
  }

  /** Everything sent is acknowledged. */
  get allAcked(): boolean {
    return this.unacked === this.next;
  }

  /** Gives the packet's number, which is `next`, away. */
  add(packet: SentPacket<P>): void {
    const span = this.next - this.unacked + 1;
    if (span > this.#ring.length) this.#growRing(span);
    this.#ring[packet.seq & (this.#ring.length - 1)] = packet;
    this.next++;
  }

  #growRing(span: number): void {
    let size = Math.max(this.#ring.length * 2, RING_PACKETS_INITIAL);
    while (size < span) size *= 2;
    const ring: (SentPacket<P> | null)[] = new Array(size).fill(null);
    for (let seq = this.unacked; seq < this.next; seq++) {
      ring[seq & (size - 1)] = this.#ring[seq & (this.#ring.length - 1)] ?? null;
    }
    this.#ring = ring;
  }

  at(seq: number): SentPacket<P> | null {
    return this.#ring[seq & (this.#ring.length - 1)] ?? null;
  }

  /** Takes a packet out that is acknowledged now; null if it was before, selectively. */
  take(seq: number): SentPacket<P> | null {
    const index = seq & (this.#ring.length - 1);
    const packet = this.#ring[index] ?? null;
    if (packet === null) return null;
    this.#ring[index] = null;
    if (packet.lost) this.unlinkLost(packet);
    else this.unlinkInflight(packet);
    return packet;
  }

  linkInflight(packet: SentPacket<P>): void {
    packet.lost = false;
    packet.next = null;
    packet.previous = this.inflightTail;
    if (this.inflightTail === null) this.inflightHead = packet;
    else this.inflightTail.next = packet;
    this.inflightTail = packet;
    this.inflightPackets++;
    this.inflightBytes += packet.size;
  }

  unlinkInflight(packet: SentPacket<P>): void {
    if (packet.previous === null) this.inflightHead = packet.next;
    else packet.previous.next = packet.next;
    if (packet.next === null) this.inflightTail = packet.previous;
    else packet.next.previous = packet.previous;
    packet.previous = packet.next = null;
    this.inflightPackets--;
    this.inflightBytes -= packet.size;
  }

  /** From those in flight to the lost ones. */
  markLost(packet: SentPacket<P>): void {
    this.unlinkInflight(packet);
    packet.lost = true;
    // Most belong at the end.
    let after = this.#lostTail;
    while (after !== null && after.seq > packet.seq) after = after.previous;
    packet.previous = after;
    packet.next = after === null ? this.lostHead : after.next;
    if (packet.next === null) this.#lostTail = packet;
    else packet.next.previous = packet;
    if (after === null) this.lostHead = packet;
    else after.next = packet;
  }

  unlinkLost(packet: SentPacket<P>): void {
    if (packet.previous === null) this.lostHead = packet.next;
    else packet.previous.next = packet.next;
    if (packet.next === null) this.#lostTail = packet.previous;
    else packet.next.previous = packet.previous;
    packet.previous = packet.next = null;
    packet.lost = false;
  }

  clear(): void {
    this.#ring = [];
    this.inflightHead = this.inflightTail = this.lostHead = this.#lostTail = null;
    this.inflightPackets = this.inflightBytes = 0;
  }
}

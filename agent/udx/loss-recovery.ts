/**
 * Which packets are lost, and when to find out: RACK-TLP (RFC 8985, section numbers below are its own)
 * without DSACK, which UDX hasn't, and the retransmission timeout behind it.
 *
 * The timeout's back-off stops at 2 s. A stream that made no progress for 13 s and several timeouts is
 * dead (what the native implementation amounts to).
 *
 * @module
 */

import { DEAD_AFTER_MS, NEVER } from "./deadlines.ts";
import type { MtuSearch } from "./mtu-search.ts";
import type { Path } from "./path.ts";
import type { RoundTrips } from "./round-trips.ts";
import type { SentPacket, SentPackets } from "./sent-packets.ts";

const BACKOFF_MAX_MS = 2000;
const DEAD_AFTER_TIMEOUTS = 6;
/** The first tail loss probe of a stream that has no round trip yet. */
const PROBE_INITIAL_MS = 300;
/** What a peer may take to acknowledge: a turn of its event loop. */
const ACK_DELAY_MAX_MS = 2;
const TAIL_PROBES_MAX = 2;
/** Shortest reordering window while none was seen: less is below what event loops jitter. */
const REORDER_WINDOW_MIN_MS = 0.5;

export class LossRecovery<P extends Path> {
  state: "open" | "recovery" | "loss" = "open";
  // Deadlines.
  retransmitAt: number = NEVER;
  tailProbeAt: number = NEVER;
  reorderAt: number = NEVER;
  // Counts, since the start.
  timeouts = 0;
  fastRecoveries = 0;
  packetsLost = 0;

  readonly #sent: SentPackets<P>;
  readonly #roundTrips: RoundTrips;
  readonly #mtuSearch: MtuSearch;
  /** `state` is open again once all before this number is acknowledged. */
  #recoveryEnd = 0;
  // The newest transmission that was acknowledged (RACK.xmit_ts, RACK.end_seq, RACK.rtt).
  #rackSentAt = -1;
  #rackSeq = -1;
  #rackRttMs = 0;
  #highestAcked = -1;
  #reorderingSeen = false;
  #lostSinceAck = 0;
  #stalledSince: number;
  #tailProbes = 0;
  #backoff = 0;

  constructor(sent: SentPackets<P>, roundTrips: RoundTrips, mtuSearch: MtuSearch, now: number) {
    this.#sent = sent;
    this.#roundTrips = roundTrips;
    this.#mtuSearch = mtuSearch;
    this.#stalledSince = now;
  }

  // ---- What was sent

  /** A new packet is about to be sent. */
  onNewPacket(now: number): void {
    if (this.#sent.allAcked) this.#stalledSince = now;
  }

  /** A packet was sent, for the first time or again. */
  onSend(now: number): void {
    if (this.retransmitAt === NEVER) this.#armRetransmit(now);
  }

  // ---- What was acknowledged

  /** Before the packets of an acknowledgement. */
  onAckNumber(ack: number): void {
    if (this.state !== "open" && ack >= this.#recoveryEnd) this.state = "open";
  }

  /** @param once - It was sent once: the acknowledgement can't be for another transmission. */
  onPacketAcked(packet: SentPacket<P>, rttMs: number, once: boolean): void {
    // 6.2 step 2: the acknowledgement of a retransmission may be for the original.
    if (once || rttMs >= this.#roundTrips.minMs) {
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
  }

  /**
   * After the packets of an acknowledgement that brought something.
   * @returns how many were found lost since the last one.
   */
  onProgress(now: number): number {
    this.#stalledSince = now;
    this.#backoff = 0;
    this.#tailProbes = 0;
    if (this.#sent.allAcked) {
      this.retransmitAt = NEVER;
      this.tailProbeAt = NEVER;
      this.reorderAt = NEVER;
      this.state = "open";
    } else {
      this.#armRetransmit(now);
      this.detectLoss(now);
      this.tailProbeAt = NEVER;
      this.armTailProbeIfOpen(now);
    }
    const lost = this.#lostSinceAck;
    this.#lostSinceAck = 0;
    return lost;
  }

  // ---- RACK

  /** 6.2 step 4 and 5. Also when `reorderAt` has come. */
  detectLoss(now: number): void {
    this.reorderAt = NEVER;
    const window = this.#reorderWindow();
    let lost = 0;
    let waitMs = 0;
    let packet = this.#sent.inflightHead;
    while (packet !== null) {
      const next: SentPacket<P> | null = packet.next;
      if (
        packet.sentAt > this.#rackSentAt ||
        (packet.sentAt === this.#rackSentAt && packet.seq >= this.#rackSeq)
      ) {
        break;
      }
      const remaining = packet.sentAt + this.#rackRttMs + window - now;
      if (remaining <= 0) {
        // A probe that was too large is no sign of congestion.
        if (packet.probePadding === 0) lost++;
        this.#markLost(packet);
      } else {
        waitMs = Math.max(waitMs, remaining);
      }
      packet = next;
    }
    if (waitMs > 0) this.reorderAt = now + waitMs;
    if (lost > 0) {
      this.#lostSinceAck += lost;
      if (this.state === "open") {
        this.fastRecoveries++;
        this.state = "recovery";
        this.#recoveryEnd = this.#sent.next;
        this.tailProbeAt = NEVER;
      }
    }
  }

  #reorderWindow(): number {
    if (!this.#reorderingSeen && (this.state !== "open" || this.#sent.sackedPackets >= 3)) return 0;
    const { minMs, smoothedMs } = this.#roundTrips;
    const quarter = minMs === Number.POSITIVE_INFINITY ? 0 : minMs / 4;
    return Math.max(Math.min(quarter, smoothedMs), REORDER_WINDOW_MIN_MS);
  }

  #markLost(packet: SentPacket<P>): void {
    this.#endProbe(packet);
    this.#sent.markLost(packet);
    this.packetsLost++;
  }

  /** It is sent again without padding. */
  #endProbe(packet: SentPacket<P>): void {
    if (packet.probePadding === 0) return;
    packet.probePadding = 0;
    this.#mtuSearch.onProbeLost();
  }

  // ---- Tail loss probes

  /** While there is no loss, and nothing was acknowledged selectively. */
  armTailProbeIfOpen(now: number): void {
    if (this.state === "open" && this.#sent.sackedPackets === 0) this.#armTailProbe(now);
  }

  /** 7.2. Two probes, the second after twice the time; then it is the retransmission timeout's turn. */
  #armTailProbe(now: number): void {
    if (this.#tailProbes >= TAIL_PROBES_MAX || this.#sent.inflightPackets === 0) {
      this.tailProbeAt = NEVER;
      return;
    }
    let wait = PROBE_INITIAL_MS;
    const { smoothedMs, varianceMs } = this.#roundTrips;
    if (smoothedMs >= 0) {
      wait = Math.max(2 * smoothedMs, smoothedMs + 4 * varianceMs) + ACK_DELAY_MAX_MS;
    }
    this.tailProbeAt = Math.min(now + wait * 2 ** this.#tailProbes, this.retransmitAt);
  }

  /** `tailProbeAt` has come. False: there is nothing to probe for. */
  beginTailProbe(): boolean {
    this.tailProbeAt = NEVER;
    if (this.#sent.inflightPackets === 0) return false;
    this.#tailProbes++;
    return true;
  }

  /** 7.3: the last packet, taken out of flight to be sent again, where there is no new data. */
  takeTail(): SentPacket<P> | null {
    const packet = this.#sent.at(this.#sent.next - 1) ?? this.#sent.inflightTail;
    if (packet === null || packet.lost) return null;
    this.#endProbe(packet);
    this.#sent.unlinkInflight(packet);
    return packet;
  }

  /** The probe is sent. */
  endTailProbe(now: number): void {
    this.#armRetransmit(now);
    this.#armTailProbe(now);
  }

  // ---- The retransmission timeout

  #armRetransmit(now: number): void {
    const { timeoutMs } = this.#roundTrips;
    const backedOff = timeoutMs * 2 ** this.#backoff;
    this.retransmitAt = now + Math.min(backedOff, Math.max(timeoutMs, BACKOFF_MAX_MS));
  }

  /** `retransmitAt` has come. "idle": there was nothing to wait for. */
  onRetransmissionTimeout(now: number): "lost" | "dead" | "idle" {
    if (this.#sent.allAcked) {
      this.retransmitAt = NEVER;
      return "idle";
    }
    const { timeoutMs } = this.#roundTrips;
    if (
      this.#backoff >= DEAD_AFTER_TIMEOUTS &&
      now - this.#stalledSince >= Math.max(DEAD_AFTER_MS, DEAD_AFTER_TIMEOUTS * timeoutMs)
    ) {
      return "dead";
    }
    this.timeouts++;
    this.#backoff++;
    this.state = "loss";
    this.#recoveryEnd = this.#sent.next;
    this.tailProbeAt = NEVER;
    // 6.3: all that isn't recent.
    const window = this.#reorderWindow();
    let packet = this.#sent.inflightHead;
    while (packet !== null) {
      const next: SentPacket<P> | null = packet.next;
      const old = packet.sentAt + this.#rackRttMs + window <= now;
      if (old || packet.seq === this.#sent.unacked) this.#markLost(packet);
      packet = next;
    }
    this.#armRetransmit(now);
    return "lost";
  }
}

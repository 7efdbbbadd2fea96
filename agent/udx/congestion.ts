/**
 * Congestion control: how much may be in flight (BBR) and how fast it leaves (pacing).
 *
 * BBR models the path by two numbers, the bottleneck bandwidth (the largest delivery rate seen in
 * ten round trips) and the round trip without queues (the smallest seen in ten seconds), and keeps
 * about their product in flight. It doesn't take a lost packet for congestion, so random loss costs
 * little. What is added to version 1: see `#boundByLoss`, `#updateMinRtt`.
 *
 * Sources: Cardwell et al., "BBR Congestion Control", draft-cardwell-iccrg-bbr-congestion-control-00
 * (the names of states and gains are its own), and "Delivery Rate Estimation",
 * draft-cheng-iccrg-delivery-rate-estimation-00.
 *
 * Sans-IO: time is an argument, in milliseconds with a fraction, on the caller's monotonic clock.
 * Bandwidth is in packets per millisecond, so one BBR packet is one UDX packet of whatever size.
 *
 * @module
 */

/** What the delivery rate estimator notes on each packet when it is sent. */
export interface RateStamp {
  sentAt: number;
  /** Bytes of the whole datagram. */
  size: number;
  /** `delivered` of the stream when this packet was sent. */
  deliveredAtSend: number;
  /** When that count was reached. */
  deliveredTimeAtSend: number;
  /** When the first packet of this flight was sent. */
  firstSentAt: number;
  appLimited: boolean;
}

export type BbrState = "startup" | "drain" | "probe-bw" | "probe-rtt";

/** 2/ln 2: the smallest gain that doubles the rate each round. */
const STARTUP_GAIN = 2.885;
const PROBE_BW_GAINS: readonly number[] = [1.25, 0.75, 1, 1, 1, 1, 1, 1];
const CWND_GAIN = 2;
export const CWND_INITIAL_PACKETS = 10;
const CWND_MIN_PACKETS = 4;
const BANDWIDTH_WINDOW_ROUNDS = 10;
const MIN_RTT_WINDOW_MS = 10_000;
const PROBE_RTT_MS = 200;
/** Pace just below the estimate, so that a queue made by an estimate too high drains. */
const PACING_MARGIN = 0.99;
/**
 * The round trip that the bandwidth-delay product is computed with is at least this. On loopback the
 * true one is far below what a scheduler needs to wake two event loops.
 */
const MODEL_RTT_MIN_MS = 1;
/**
 * Most that leaves in one burst. A default Linux receive buffer (208 KiB) holds about 90 packets of
 * 1500 bytes, since the kernel counts its own overhead.
 */
const BURST_PACKETS_MAX = 48;
const BURST_PACKETS_MIN = 10;

/** The largest of a value in the last `BANDWIDTH_WINDOW_ROUNDS` rounds: one slot for each round. */
class MaxByRound {
  readonly #slots: number[] = new Array(BANDWIDTH_WINDOW_ROUNDS).fill(0);
  #round = 0;
  #max = 0;

  get value(): number {
    return this.#max;
  }

  update(round: number, value: number): void {
    if (round !== this.#round) {
      const passed = Math.min(round - this.#round, BANDWIDTH_WINDOW_ROUNDS);
      for (let i = 1; i <= passed; i++)
        this.#slots[(this.#round + i) % BANDWIDTH_WINDOW_ROUNDS] = 0;
      this.#round = round;
      this.#max = Math.max(...this.#slots);
    }
    const slot = round % BANDWIDTH_WINDOW_ROUNDS;
    if (value > (this.#slots[slot] ?? 0)) this.#slots[slot] = value;
    if (value > this.#max) this.#max = value;
  }

  reset(): void {
    this.#slots.fill(0);
    this.#max = 0;
  }
}

export class Congestion {
  cwndPackets: number = CWND_INITIAL_PACKETS;
  state: BbrState = "startup";
  /** Packets that the peer has confirmed since the start. */
  delivered = 0;

  #payloadBytes = 1;
  readonly #bandwidth = new MaxByRound();

  #minRttMs = Number.POSITIVE_INFINITY;
  #minRttAt = 0;

  #pacingGain: number = STARTUP_GAIN;
  #cwndGain: number = STARTUP_GAIN;
  #pacingBytesPerMs: number;
  #pacingFromRtt = false;
  #tokens = 0;
  #tokensAt = -1;

  #round = 0;
  #roundEndsAtDelivered = 0;
  #roundStart = false;
  #fullBandwidth = 0;
  #fullBandwidthRounds = 0;
  #fullBandwidthReached = false;

  #cycleIndex = 0;
  #cycleAt = 0;

  #probeRttDoneAt = 0;
  #probeRttRoundDone = false;
  #priorCwnd = 0;
  #idleRestart = false;

  // Delivery rate estimator: C.delivered_time, C.first_sent_time, C.app_limited of the draft.
  #deliveredAt = 0;
  #firstSentAt = 0;
  /** While not 0: samples are application-limited until `delivered` passes this. */
  #appLimitedUntil = 0;
  // The sample being gathered from the acknowledgement at hand.
  #sampleHas = false;
  #samplePriorDelivered = 0;
  #samplePriorAt = 0;
  #sampleSentAt = 0;
  #sampleSendElapsed = 0;
  #sampleAppLimited = false;
  #sampleRttMs = -1;

  // Acknowledgement aggregation: how much more arrives at once than the rate predicts.
  #extraAckedNow = 0;
  #extraAckedBefore = 0;
  #extraAckedRounds = 0;
  #ackEpochAt = 0;
  #ackEpochAcked = 0;

  // Loss in the current round.
  #roundLost = 0;
  #roundDelivered = 0;
  #inflightBound = Number.POSITIVE_INFINITY;

  constructor(now: number) {
    this.#minRttAt = now;
    this.#deliveredAt = now;
    this.#firstSentAt = now;
    this.#ackEpochAt = now;
    this.#pacingBytesPerMs = STARTUP_GAIN * CWND_INITIAL_PACKETS * 1200;
  }

  /** Bytes per millisecond that pacing aims at. */
  get pacingBytesPerMs(): number {
    return this.#pacingBytesPerMs;
  }

  get bandwidthBytesPerSecond(): number {
    return this.#bandwidth.value * 1000 * this.#payloadBytes;
  }

  /** Smallest round trip of the last ten seconds, or infinity. */
  get minRttMs(): number {
    return this.#minRttMs;
  }

  setPayloadBytes(bytes: number): void {
    this.#payloadBytes = bytes;
  }

  // ---- Sending

  /** Milliseconds until a packet may leave: 0 is now. */
  pacingDelayMs(now: number): number {
    this.#refill(now);
    if (this.#tokens > 0) return 0;
    return Math.max(-this.#tokens / this.#pacingBytesPerMs, 0.05);
  }

  #refill(now: number): void {
    const burstMax = BURST_PACKETS_MAX * (this.#payloadBytes + 20);
    if (this.#tokensAt < 0) {
      this.#tokens = burstMax;
    } else if (now > this.#tokensAt) {
      const cap = Math.min(
        Math.max(this.#pacingBytesPerMs * 2, BURST_PACKETS_MIN * this.#payloadBytes),
        burstMax,
      );
      const earned = (now - this.#tokensAt) * this.#pacingBytesPerMs;
      this.#tokens = Math.min(this.#tokens + earned, Math.max(cap, this.#tokens));
    }
    if (now > this.#tokensAt) this.#tokensAt = now;
  }

  /**
   * Notes a packet as sent.
   * @param inflightPackets - Before this packet.
   */
  onSend(stamp: RateStamp, now: number, inflightPackets: number): void {
    if (inflightPackets === 0) {
      this.#firstSentAt = now;
      this.#deliveredAt = now;
      if (this.#appLimitedUntil !== 0) {
        this.#idleRestart = true;
        this.#ackEpochAt = now;
        this.#ackEpochAcked = 0;
        if (this.state === "probe-bw") this.#setPacing(1);
        else if (this.state === "probe-rtt") this.#finishProbeRtt(now);
      }
    }
    stamp.sentAt = now;
    stamp.firstSentAt = this.#firstSentAt;
    stamp.deliveredTimeAtSend = this.#deliveredAt;
    stamp.deliveredAtSend = this.delivered;
    stamp.appLimited = this.#appLimitedUntil !== 0;
    this.#refill(now);
    this.#tokens -= stamp.size;
  }

  /** The application has no more to send while the window has room. */
  onAppLimited(inflightPackets: number): void {
    this.#appLimitedUntil = this.delivered + inflightPackets || 1;
  }

  // ---- Acknowledgements: onDelivered for each packet, then onAck once

  /**
   * @param rttMs - Its round trip, or -1 when it was sent more than once.
   */
  onDelivered(stamp: RateStamp, rttMs: number): void {
    this.delivered++;
    if (!this.#sampleHas || stamp.sentAt >= this.#sampleSentAt) {
      this.#sampleHas = true;
      this.#samplePriorDelivered = stamp.deliveredAtSend;
      this.#samplePriorAt = stamp.deliveredTimeAtSend;
      this.#sampleAppLimited = stamp.appLimited;
      this.#sampleSentAt = stamp.sentAt;
      this.#sampleSendElapsed = stamp.sentAt - stamp.firstSentAt;
      this.#firstSentAt = stamp.sentAt;
    }
    if (rttMs >= 0 && (this.#sampleRttMs < 0 || rttMs < this.#sampleRttMs))
      this.#sampleRttMs = rttMs;
  }

  /**
   * Updates the model after all packets of one acknowledgement were given to `onDelivered`.
   * @param deliveredPackets - How many those were.
   * @param lostPackets - Packets found lost since the last call.
   * @param inflightPackets - After the acknowledgement.
   */
  onAck(now: number, deliveredPackets: number, lostPackets: number, inflightPackets: number): void {
    if (this.#appLimitedUntil !== 0 && this.delivered > this.#appLimitedUntil) {
      this.#appLimitedUntil = 0;
    }
    this.#roundLost += lostPackets;
    this.#roundDelivered += deliveredPackets;

    const has = this.#sampleHas;
    const rttMs = this.#sampleRttMs;
    let sampleDelivered = 0;
    let intervalMs = -1;
    if (has) {
      sampleDelivered = this.delivered - this.#samplePriorDelivered;
      intervalMs = Math.max(this.#sampleSendElapsed, now - this.#samplePriorAt);
      // Rates over less than a round trip come from a compressed burst of acknowledgements. Before
      // the first round trip there is none to compare with.
      const known = this.#minRttMs !== Number.POSITIVE_INFINITY;
      if (intervalMs <= 0 || (known && intervalMs < this.#minRttMs * 0.9)) intervalMs = -1;
    }
    if (deliveredPackets > 0) this.#deliveredAt = now;
    this.#sampleHas = false;
    this.#sampleRttMs = -1;

    this.#roundStart = false;
    if (has && this.#samplePriorDelivered >= this.#roundEndsAtDelivered) {
      this.#roundEndsAtDelivered = this.delivered;
      this.#round++;
      this.#roundStart = true;
    }
    if (intervalMs > 0) {
      // A floor under the interval keeps a burst of acknowledgements in one turn of the event loop
      // from looking like bandwidth.
      const bandwidth = sampleDelivered / Math.max(intervalMs, MODEL_RTT_MIN_MS / 4);
      if (!this.#sampleAppLimited || bandwidth >= this.#bandwidth.value) {
        this.#bandwidth.update(this.#round, bandwidth);
      }
      this.#updateExtraAcked(now, deliveredPackets);
    }
    if (this.state === "probe-bw") this.#advanceCycle(now, inflightPackets);
    if (this.#roundStart) {
      this.#checkFullBandwidth();
      this.#boundByLoss();
    }
    this.#checkDrain(now, inflightPackets);
    this.#updateMinRtt(now, rttMs, inflightPackets);
    if (deliveredPackets > 0) this.#idleRestart = false;
    this.#setGains();
    this.#setPacing(this.#pacingGain);
    this.#setCwnd(deliveredPackets);
  }

  /** Everything in flight may be lost: start again from little, with the model kept. */
  onRetransmissionTimeout(inflightPackets: number): void {
    this.#priorCwnd = Math.max(this.#priorCwnd, this.cwndPackets);
    this.cwndPackets = Math.max(inflightPackets + 1, CWND_MIN_PACKETS);
    this.#fullBandwidth = 0;
  }

  /** The path has changed (another address): nothing known about the old one holds. */
  onPathChange(now: number): void {
    this.#minRttMs = Number.POSITIVE_INFINITY;
    this.#minRttAt = now;
    this.#inflightBound = Number.POSITIVE_INFINITY;
    this.#bandwidth.reset();
    this.#fullBandwidth = 0;
    this.#fullBandwidthRounds = 0;
    this.#fullBandwidthReached = false;
    this.state = "startup";
    this.#setGains();
  }

  // ---- The model

  #modelRttMs(): number {
    return Math.max(this.#minRttMs, MODEL_RTT_MIN_MS);
  }

  /** Packets in flight that fill the path, times `gain`. */
  #bdp(gain: number): number {
    if (this.#minRttMs === Number.POSITIVE_INFINITY) return CWND_INITIAL_PACKETS * gain;
    return this.#bandwidth.value * this.#modelRttMs() * gain;
  }

  #updateExtraAcked(now: number, ackedPackets: number): void {
    if (ackedPackets === 0) return;
    if (this.#roundStart && ++this.#extraAckedRounds >= 5) {
      this.#extraAckedRounds = 0;
      this.#extraAckedBefore = this.#extraAckedNow;
      this.#extraAckedNow = 0;
    }
    let expected = this.#bandwidth.value * (now - this.#ackEpochAt);
    if (this.#ackEpochAcked <= expected) {
      this.#ackEpochAcked = 0;
      this.#ackEpochAt = now;
      expected = 0;
    }
    this.#ackEpochAcked += ackedPackets;
    const extra = Math.min(this.#ackEpochAcked - expected, this.cwndPackets);
    if (extra > this.#extraAckedNow) this.#extraAckedNow = extra;
  }

  #advanceCycle(now: number, inflightPackets: number): void {
    const gain = PROBE_BW_GAINS[this.#cycleIndex] ?? 1;
    const full = now - this.#cycleAt > this.#modelRttMs();
    let next = full;
    if (gain > 1) next = full && (this.#roundLost > 0 || inflightPackets >= this.#bdp(gain));
    else if (gain < 1) next = full || inflightPackets <= this.#bdp(1);
    // A sender that never fills the window would stay in the probing phase for good.
    if (gain > 1 && now - this.#cycleAt > this.#modelRttMs() * 4) next = true;
    if (next) {
      this.#cycleIndex = (this.#cycleIndex + 1) % PROBE_BW_GAINS.length;
      this.#cycleAt = now;
    }
  }

  #checkFullBandwidth(): void {
    if (this.#fullBandwidthReached || this.#sampleAppLimited) return;
    if (this.#bandwidth.value >= this.#fullBandwidth * 1.25) {
      this.#fullBandwidth = this.#bandwidth.value;
      this.#fullBandwidthRounds = 0;
      return;
    }
    this.#fullBandwidthReached = ++this.#fullBandwidthRounds >= 3;
  }

  #checkDrain(now: number, inflightPackets: number): void {
    if (this.state === "startup" && this.#fullBandwidthReached) this.state = "drain";
    if (this.state === "drain" && inflightPackets <= this.#bdp(1)) this.#enterProbeBw(now);
  }

  #enterProbeBw(now: number): void {
    this.state = "probe-bw";
    // Any phase but the draining one will do; streams that start together differ by their timing.
    this.#cycleIndex = 2;
    this.#cycleAt = now;
  }

  /**
   * Keeps the smallest round trip of ten seconds, and visits "probe-rtt" to measure it anew when it
   * has expired: little in flight for 200 ms, so that our own queue drains.
   *
   * Added to version 1: a sender whose flight is small anyway has just measured an empty path, and
   * needs no visit. Streams of small messages would otherwise pause every ten seconds.
   */
  #updateMinRtt(now: number, rttMs: number, inflightPackets: number): void {
    const expired = now - this.#minRttAt > MIN_RTT_WINDOW_MS;
    const quiet = this.#appLimitedUntil !== 0 && inflightPackets <= CWND_MIN_PACKETS;
    if (rttMs >= 0 && (rttMs <= this.#minRttMs || expired)) {
      this.#minRttMs = rttMs;
      this.#minRttAt = now;
    }
    if (expired && !this.#idleRestart && !quiet && this.state !== "probe-rtt") {
      this.state = "probe-rtt";
      this.#priorCwnd = Math.max(this.#priorCwnd, this.cwndPackets);
      this.#probeRttDoneAt = 0;
    }
    if (this.state !== "probe-rtt") return;
    this.#appLimitedUntil = this.delivered + inflightPackets || 1;
    if (this.#probeRttDoneAt === 0) {
      if (inflightPackets <= this.#probeRttCwnd()) {
        this.#probeRttDoneAt = now + PROBE_RTT_MS;
        this.#probeRttRoundDone = false;
        this.#roundEndsAtDelivered = this.delivered;
      }
    } else {
      if (this.#roundStart) this.#probeRttRoundDone = true;
      if (this.#probeRttRoundDone) this.#finishProbeRtt(now);
    }
  }

  #probeRttCwnd(): number {
    return Math.max(CWND_MIN_PACKETS, this.#bdp(0.5));
  }

  #finishProbeRtt(now: number): void {
    if (this.#probeRttDoneAt === 0 || now < this.#probeRttDoneAt) return;
    this.#minRttAt = now;
    this.cwndPackets = Math.max(this.cwndPackets, this.#priorCwnd);
    this.#priorCwnd = 0;
    if (this.#fullBandwidthReached) this.#enterProbeBw(now);
    else this.state = "startup";
  }

  /**
   * Called at the start of each round. Random loss is left alone; but where the round trip is short
   * and much is lost, it is the receiver's socket buffer that overflows, and a smaller flight costs
   * nothing while retransmission does.
   */
  #boundByLoss(): void {
    const total = this.#roundLost + this.#roundDelivered;
    const lossy = this.#roundLost >= 8 && this.#roundLost > total * 0.02;
    if (this.#minRttMs < 5) {
      if (lossy) {
        const bound = Math.min(this.#inflightBound, this.cwndPackets);
        this.#inflightBound = Math.max(bound * 0.7, 24);
      } else if (this.#inflightBound !== Number.POSITIVE_INFINITY) {
        this.#inflightBound += Math.max(1, this.#inflightBound / 64);
      }
    } else {
      this.#inflightBound = Number.POSITIVE_INFINITY;
    }
    this.#roundLost = 0;
    this.#roundDelivered = 0;
  }

  #setGains(): void {
    switch (this.state) {
      case "startup":
        this.#pacingGain = STARTUP_GAIN;
        this.#cwndGain = STARTUP_GAIN;
        break;
      case "drain":
        this.#pacingGain = 1 / STARTUP_GAIN;
        this.#cwndGain = STARTUP_GAIN;
        break;
      case "probe-bw":
        this.#pacingGain = PROBE_BW_GAINS[this.#cycleIndex] ?? 1;
        this.#cwndGain = CWND_GAIN;
        break;
      case "probe-rtt":
        this.#pacingGain = 1;
        this.#cwndGain = 1;
        break;
    }
  }

  #setPacing(gain: number): void {
    let bandwidth = this.#bandwidth.value;
    if (bandwidth === 0 || !this.#pacingFromRtt) {
      if (this.#minRttMs === Number.POSITIVE_INFINITY) return;
      this.#pacingFromRtt = true;
      bandwidth = Math.max(bandwidth, this.cwndPackets / this.#modelRttMs());
    }
    const rate = bandwidth * (this.#payloadBytes + 20) * gain * PACING_MARGIN;
    if (this.#fullBandwidthReached || rate > this.#pacingBytesPerMs) {
      this.#pacingBytesPerMs = Math.max(rate, 1);
    }
  }

  #setCwnd(ackedPackets: number): void {
    let cwnd = this.cwndPackets;
    if (ackedPackets > 0) {
      const extra = Math.max(this.#extraAckedNow, this.#extraAckedBefore);
      let target = this.#bdp(this.#cwndGain);
      if (this.#fullBandwidthReached) {
        // No more than 100 ms of packets, however the acknowledgements came.
        target += Math.min(extra, this.#bandwidth.value * 100);
        cwnd = Math.min(cwnd + ackedPackets, target);
      } else if (cwnd < target || this.delivered < CWND_INITIAL_PACKETS) {
        cwnd += ackedPackets;
      }
    }
    cwnd = Math.min(cwnd, this.#inflightBound);
    if (this.state === "probe-rtt") cwnd = Math.min(cwnd, this.#probeRttCwnd());
    this.cwndPackets = Math.max(cwnd, CWND_MIN_PACKETS);
  }
}

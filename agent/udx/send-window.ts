/**
 * How much the peer lets us send, and the probes that ask again when it was nothing.
 *
 * @module
 */

import { DEAD_AFTER_MS, NEVER } from "./deadlines.ts";
import { RECEIVE_WINDOW_BYTES } from "./receiver.ts";

/** What may wait behind a lost packet at the peer, in windows: below what it would refuse. */
const AHEAD_WINDOWS = 1.9;
/** And in packets, below what peers accept. */
const AHEAD_PACKETS_MAX = 8192;
const PROBE_INTERVAL_MAX_MS = 5000;
const DEAD_AFTER_PROBES = 3;

export class SendWindow {
  /** What the peer advertises. */
  bytes: number = RECEIVE_WINDOW_BYTES;
  /** When to probe a window that is closed. */
  probeAt: number = NEVER;
  /** The largest it advertised: a reader that reads. */
  #bytesMax = 0;
  // Which packet said so (SND.WL1, SND.WL2).
  #seq: number = Number.NEGATIVE_INFINITY;
  #ack: number = Number.NEGATIVE_INFINITY;
  #probes = 0;
  /** Probes sent since the last packet came. */
  #unansweredProbes = 0;
  #heardAt: number;

  constructor(now: number) {
    this.#heardAt = now;
  }

  /** Any packet of the peer's: it lives. */
  onPacket(now: number): void {
    this.#heardAt = now;
    this.#unansweredProbes = 0;
  }

  /** Takes the window that a packet advertises, unless a later one was seen. */
  update(windowBytes: number, seq: number, ack: number): void {
    if (seq < this.#seq || (seq === this.#seq && ack < this.#ack)) return;
    this.bytes = windowBytes;
    this.#bytesMax = Math.max(this.#bytesMax, windowBytes);
    this.#seq = seq;
    this.#ack = ack;
    if (windowBytes > 0) {
      this.probeAt = NEVER;
      this.#probes = 0;
    }
  }

  /**
   * Whether one more packet fits. The window is kept in packets of full size, at least one while it
   * isn't zero.
   *
   * @param span packets from the oldest unacknowledged one to the newest
   */
  isOpen(inflightPackets: number, span: number, payloadMax: number): boolean {
    if (this.bytes === 0) return false;
    const packets = Math.floor(this.bytes / payloadMax);
    if (inflightPackets >= Math.max(packets, 1)) return false;
    const ahead = (Math.max(this.#bytesMax, this.bytes) * AHEAD_WINDOWS) / payloadMax;
    return span < Math.max(Math.min(ahead, AHEAD_PACKETS_MAX), 1);
  }

  /** A probe of the closed window is due. "dead": the peer has answered none for too long. */
  probe(now: number, timeoutMs: number): "send" | "dead" {
    if (this.#probes === 0) this.#heardAt = now;
    if (this.#unansweredProbes >= DEAD_AFTER_PROBES && now - this.#heardAt > DEAD_AFTER_MS) {
      return "dead";
    }
    this.#probes++;
    this.#unansweredProbes++;
    const wait = Math.min(timeoutMs * 2 ** Math.min(this.#probes, 8), 1e9);
    this.probeAt = now + Math.min(wait, PROBE_INTERVAL_MAX_MS);
    return "send";
  }
}

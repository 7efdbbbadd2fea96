/**
 * The largest packet that a path carries: DPLPMTUD (RFC 8899) with full data packets, padded, as
 * probes. It starts at what every path carries, and grows by steps.
 *
 * @module
 */

const MTU_BASE = 1200;
const MTU_MAX = 1500;
/** The data offset is one byte. */
const STEP_MAX = 255;
const STEP_MIN = 32;
const PROBES_MAX = 3;

export class MtuSearch {
  /** Bytes of an IP packet that is known to arrive. */
  mtu = MTU_BASE;
  /** The next full packet is to be a probe. */
  probeWanted = false;
  readonly #mtuMax: number;
  #probeMtu = 0;
  #step = STEP_MAX;
  #probesLost = 0;
  #searching = true;

  constructor(mtuMax: number = MTU_MAX) {
    this.#mtuMax = mtuMax;
  }

  /** Begins anew, on another path. */
  restart(): void {
    this.mtu = MTU_BASE;
    this.#searching = true;
    this.#probeMtu = 0;
    this.#step = STEP_MAX;
    this.probeWanted = false;
    this.#probesLost = 0;
  }

  /** Padding for a full packet that becomes the wanted probe. */
  takeProbe(): number {
    this.probeWanted = false;
    return this.#probeMtu - this.mtu;
  }

  /** The first packet that arrives begins the search. */
  onPacketAcked(): void {
    if (this.#searching && this.#probeMtu === 0) this.#nextProbe();
  }

  onProbeAcked(): void {
    if (!this.#searching || this.#probeMtu <= this.mtu) return;
    this.mtu = this.#probeMtu;
    this.#nextProbe();
  }

  /** It may have been lost like any other, so it is tried again; then smaller steps are. */
  onProbeLost(): void {
    if (!this.#searching) return;
    this.#probesLost++;
    if (this.#probesLost < PROBES_MAX) {
      this.probeWanted = true;
    } else if (this.#step > STEP_MIN) {
      this.#step = STEP_MIN;
      this.#nextProbe();
    } else {
      this.#searching = false;
    }
  }

  #nextProbe(): void {
    if (this.mtu >= this.#mtuMax) {
      this.#searching = false;
      return;
    }
    this.#probeMtu = Math.min(this.mtu + this.#step, this.#mtuMax);
    this.probeWanted = true;
    this.#probesLost = 0;
  }
}

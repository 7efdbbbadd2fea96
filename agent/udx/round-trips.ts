/**
 * How long a round trip takes, and from that the retransmission timeout.
 *
 * RFC 6298 with these changes: the timeout is at least 250 ms, since peers acknowledge at once, and one
 * sample far from the others (a machine that slept) hardly moves it.
 *
 * @module
 */

const TIMEOUT_INITIAL_MS = 1000;
const TIMEOUT_MIN_MS = 250;
const TIMEOUT_MAX_MS = 30_000;
/** A round trip longer than this, and far from the others, is a machine that slept. */
const OUTLIER_MS = 5000;

export class RoundTrips {
  /** SRTT; -1 before the first sample. */
  smoothedMs = -1;
  /** RTTVAR. */
  varianceMs = 0;
  /** The shortest of this path; infinity before the first. */
  minMs: number = Number.POSITIVE_INFINITY;
  /** RTO, without back-off. */
  timeoutMs: number = TIMEOUT_INITIAL_MS;

  sample(sampleMs: number): void {
    const likely = this.smoothedMs + 5 * this.varianceMs;
    const outlier = this.smoothedMs >= 0 && sampleMs > OUTLIER_MS && sampleMs > likely;
    const rttMs = Math.min(outlier ? likely : sampleMs, TIMEOUT_MAX_MS);
    if (rttMs < this.minMs) this.minMs = rttMs;
    if (this.smoothedMs < 0) {
      this.smoothedMs = rttMs;
      this.varianceMs = rttMs / 2;
    } else {
      const delta = Math.abs(this.smoothedMs - rttMs);
      this.varianceMs += (delta - this.varianceMs) / 4;
      this.smoothedMs += (rttMs - this.smoothedMs) / 8;
    }
    const timeoutMs = this.smoothedMs + 4 * this.varianceMs;
    this.timeoutMs = Math.min(Math.max(timeoutMs, TIMEOUT_MIN_MS), TIMEOUT_MAX_MS);
  }

  /** The shortest was another path's. */
  onPathChange(): void {
    this.minMs = Number.POSITIVE_INFINITY;
  }
}

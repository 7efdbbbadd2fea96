/**
 * A stream whose other end is gone while its host is there: a process that was killed and started again has
 * the address of the one before and none of its streams. The transport would find out when a packet has gone
 * unanswered for 13 s.
 *
 * UDX has no safe way to say "I don't know that stream": its packets aren't authenticated, so whoever can forge
 * an address could end streams with it. So it is inferred. When nothing at all has come over the stream for a
 * while (a live end acknowledges what it is sent, and sends heartbeats), both are asked: the stream, by a packet
 * that a live end must acknowledge, and the host, by a ping of the DHT. A host that answers several times
 * while the stream says nothing has no such stream. To forge that somebody would have to guess the pings' ids
 * and to keep the peer's packets away, and would have gained one new handshake, in which the key is proved again.
 *
 * A node that was itself late (a pause, a suspended machine) begins anew: what came meanwhile may lie unread.
 *
 * @module
 */

/** Streams are looked at so often. */
export const lookMs = 100;
/** Two heartbeats and a half: then it is worth a question. */
const silentMs = 500;
/** Answers of the host after which a silent stream is given up. */
const answersMin = 3;
/** Questions are so far apart at least, and a tenth of the silence: a host that is down isn't pestered. */
const askMs = lookMs;
/** A look that comes so long after the one before says nothing of the time between. */
const lateMs = 3 * lookMs;

export class SilenceWatch {
  #packets = -1;
  #heardMs = Number.NaN;
  #lookedMs = Number.NaN;
  #askedMs = Number.NEGATIVE_INFINITY;
  #answers = 0;
  #answersSeen = 0;

  /**
   * One look. `ask`: ask both now, and tell of the host's answer by `answered`. `lost`: the other end is gone.
   *
   * @param nowMs On a clock that never jumps.
   * @param packets Received on the stream so far, of whatever kind.
   */
  look(nowMs: number, packets: number): "fine" | "ask" | "lost" {
    if (packets !== this.#packets || !(nowMs - this.#lookedMs <= lateMs)) {
      this.#heardMs = nowMs;
      this.#answers = 0;
      this.#answersSeen = 0;
    }
    this.#packets = packets;
    this.#lookedMs = nowMs;
    const silenceMs = nowMs - this.#heardMs;
    if (silenceMs < silentMs) return "fine";
    // One look later than the last answer: the stream's own may have been just behind it.
    if (this.#answersSeen >= answersMin) return "lost";
    this.#answersSeen = this.#answers;
    if (nowMs - this.#askedMs < Math.max(askMs * 0.9, silenceMs / 10)) return "fine";
    this.#askedMs = nowMs;
    return "ask";
  }

  /** The host has answered a question. */
  answered(): void {
    this.#answers++;
  }
}

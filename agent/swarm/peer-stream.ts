/**
 * One peer's stream after the Noise handshake: admission first, then frames.
 *
 * 1. Both sides send 37 bytes of admission at once (`core/change/admission.ts`) and have
 *    `admissionMs` to be convinced. (A full node sends its own when it has decided to make room.)
 *    Until then nothing is parsed. This is also what ends *ghosts*: the side that dials takes a
 *    connection for open when the handshake is through the DHT, before a single packet has passed
 *    between the two.
 * 2. Frames (`framing.ts`) both ways, in the order they are handed over: lanes are the node machine's,
 *    which hands over only as much as an urgent frame may wait for. Those of one task are written
 *    together when it ends.
 *
 * Frames are handed over as they come, and each costs the net thread some time, however small it is. So a stream that
 * keeps the thread busy rests, until whatever else waits for the thread has been done: the packets of the other
 * streams, timers, the store's messages. Meanwhile the transport's window closes, and its peer has to wait.
 *
 * How full the pipe is: `bytesLeft` counts what was handed over and isn't sent yet, from
 * acknowledgements and what the transport has in flight. It is told through `onDrained` as it falls.
 *
 * @module
 */

import {
  type AdmissionSession,
  admissionBytes,
  judgeAdmission,
  writeAdmission,
} from "../../core/change/admission.ts";
import type { Sha256 } from "../../core/hash.ts";
import { FrameReader, lengthBytes, writeLength } from "./framing.ts";

export interface PeerStreamHooks {
  /** Asked when the peer has proved membership: why it can't be admitted all the same. */
  readonly refuses: () => string | undefined;
  /** Both sides are members. Frames may be sent from now on. */
  readonly onAdmitted: () => void;
  /** A frame from `kind` on; a view that this module doesn't touch again. */
  readonly onFrame: (frame: Uint8Array) => void;
  readonly onDrained: (bytesLeft: number) => void;
  /** Once, last of all. */
  readonly onClosed: (why: string) => void;
}

export interface PeerStreamOptions {
  readonly sha256: Sha256;
  readonly admissionSecret: Uint8Array;
  /** The own node key, 32 bytes. */
  readonly ownKey: Uint8Array;
  /** From `connection` to the verdict. */
  readonly admissionMs: number;
  /** Whether to send the own proof only when the peer's is good and `refuses` has nothing to say. */
  readonly provesLast: boolean;
}

/** Frames are gathered into one encrypted message up to this, so that small ones share its 20 bytes. */
const batchBytesMax = 16 * 1024;
/** Acknowledgements are asked for each time so many bytes were handed over. */
const markBytes = 32 * 1024;
/** How often `bytesLeft` is looked at between acknowledgements, while there is much of it. */
const lookMs = 2;
/** The secret stream takes 16 MiB - 1 in one write. */
const writeBytesMax = 8 * 1024 * 1024;
/** What its frames may take of the thread before it rests, beyond the time that it left to others since the last. */
const turnMs = 2;
/** Frames between two looks at the clock. A message of the secret stream may hold millions. */
const framesPerLook = 32;

const refusals = {
  "not-patina": "it isn't an agent",
  version: "its release proves membership in another way",
  proof: "wrong proof, has it the same cluster file?",
} as const;

export class PeerStream {
  readonly #stream: NoiseStream;
  readonly #hooks: PeerStreamHooks;
  readonly #session: AdmissionSession;
  readonly #options: PeerStreamOptions;
  readonly #reader = new FrameReader();
  readonly #deadline: ReturnType<typeof setTimeout>;
  #state: "proving" | "open" | "closed" = "proving";
  /** Admission bytes received so far. */
  #proof = new Uint8Array(0);
  /** Handed over and not yet written. */
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #isBlocked = false;
  #isScheduled = false;
  #why = "closed by peer";
  /** Bytes handed to the stream, and of those how many the peer has acknowledged at least. */
  #writtenBytes = 0;
  #ackedBytes = 0;
  #markedBytes = 0;
  #marks = 0;
  #lookTimer: ReturnType<typeof setTimeout> | undefined;
  /** What came and wasn't read: only while it rests. */
  #unread: Uint8Array[] = [];
  /** Of its turn, and when it last read. */
  #usedMs = 0;
  #readMs = 0;
  #isResting = false;
  #hasEnded = false;
  framesSent = 0;
  framesReceived = 0;
  bytesSent = 0;
  bytesReceived = 0;

  constructor(stream: NoiseStream, options: PeerStreamOptions, hooks: PeerStreamHooks) {
    this.#stream = stream;
    this.#hooks = hooks;
    this.#options = options;
    this.#session = { secret: options.admissionSecret, handshakeHash: stream.handshakeHash };
    stream.on("error", (error) => {
      if (this.#why === "closed by peer") this.#why = error.message;
    });
    stream.on("close", () => this.#onClose());
    stream.on("data", (bytes) => this.#onData(bytes));
    stream.on("drain", () => this.#onDrain());
    // A peer that ends its half has nothing more to say.
    stream.on("end", () => {
      this.#hasEnded = true;
      this.#endIfRead();
    });
    this.#deadline = setTimeout(
      () => this.destroy("admission: no proof in time"),
      options.admissionMs,
    );
    if (!options.provesLast) this.#prove();
  }

  /** Null once the transport is gone. */
  get transport(): RawStream | null {
    return this.#stream.rawStream;
  }

  /** Bytes handed over that the transport hasn't sent yet; exact to about `markBytes`. */
  get bytesLeft(): number {
    const unacked = this.#writtenBytes - this.#ackedBytes;
    return this.#waitingBytes + Math.max(0, unacked - (this.transport?.inflight ?? 0));
  }

  /**
   * Hands over a frame from `kind` on. It must not change until it is written. Only while open.
   *
   * @param isUrgent It doesn't wait until more fills its packet.
   */
  send(frame: Uint8Array, isUrgent = false): void {
    if (this.#state !== "open") return;
    if (isUrgent) this.transport?.hurry?.();
    this.#waiting.push(frame);
    this.#waitingBytes += frame.length;
    if (this.#isBlocked || this.#isScheduled) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      this.#write();
    });
  }

  /** Sends what a live other end acknowledges. */
  ask(): void {
    if (this.#state === "open" && !this.#stream.destroying) this.transport?.askForAck?.();
  }

  /** Calls back once the stream is closed, after `onClosed`. */
  whenClosed(listener: () => void): void {
    this.#stream.on("close", listener);
  }

  /** Closes now; what wasn't sent yet is lost. */
  destroy(why: string): void {
    if (this.#state === "closed") return;
    this.#why = why;
    this.#stream.destroy();
  }

  /** Resolves when the peer has acknowledged all that was handed over, or the stream is closed. */
  async flushed(): Promise<void> {
    for (;;) {
      this.#write();
      // The stream takes little at a time, and what it didn't take yet it can't flush.
      const isAll = this.#waiting.length === 0;
      if (!(await this.#stream.flush()) || isAll) return;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #onData(bytes: Uint8Array): void {
    this.bytesReceived += bytes.length;
    const rest = this.#state === "proving" ? this.#judge(bytes) : bytes;
    if (this.#state !== "open" || rest.length === 0) return;
    this.#unread.push(rest);
    if (!this.#isResting) this.#read();
  }

  /** Hands over what came, or as much of it as its turn has time for. */
  #read(): void {
    const startMs = performance.now();
    // Others had the time since.
    this.#usedMs = Math.max(0, this.#usedMs - (startMs - this.#readMs));
    const untilMs = startMs + turnMs - this.#usedMs;
    let nowMs = startMs;
    for (;;) {
      const bytes = this.#unread[0];
      if (bytes === undefined) break;
      if (nowMs >= untilMs) {
        this.#rest();
        break;
      }
      const frames: Uint8Array[] = [];
      const framing = this.#reader.push(bytes, frames, framesPerLook);
      const { bytesLeft } = this.#reader;
      if (bytesLeft > 0) this.#unread[0] = bytes.subarray(bytes.length - bytesLeft);
      else this.#unread.shift();
      for (const frame of frames) {
        // A frame before it may have made the machine close this peer.
        if (this.#state !== "open" || this.#stream.destroying) return;
        this.framesReceived++;
        this.#hooks.onFrame(frame);
      }
      if (framing.kind === "malformed") {
        this.destroy(framing.why);
        return;
      }
      nowMs = performance.now();
    }
    this.#usedMs += nowMs - startMs;
    this.#readMs = nowMs;
  }

  #rest(): void {
    if (!this.#isResting) this.#stream.pause();
    this.#isResting = true;
    setImmediate(() => {
      if (this.#state !== "open" || this.#stream.destroying) return;
      this.#usedMs = 0;
      this.#isResting = false;
      this.#read();
      if (this.#isResting) return;
      this.#stream.resume();
      this.#endIfRead();
    });
  }

  #endIfRead(): void {
    if (this.#hasEnded && this.#unread.length === 0) this.#stream.end();
  }

  #prove(): void {
    const { sha256, ownKey } = this.#options;
    this.#stream.write(writeAdmission(sha256, this.#session, ownKey));
  }

  /** Takes admission bytes and returns what follows them; nothing unless the peer is admitted. */
  #judge(bytes: Uint8Array): Uint8Array {
    const wanted = admissionBytes - this.#proof.length;
    const proof = new Uint8Array(this.#proof.length + Math.min(wanted, bytes.length));
    proof.set(this.#proof);
    proof.set(bytes.subarray(0, wanted), this.#proof.length);
    this.#proof = proof;
    const nothing = new Uint8Array(0);
    if (proof.length < admissionBytes) return nothing;
    clearTimeout(this.#deadline);
    const { sha256 } = this.#options;
    const verdict = judgeAdmission(sha256, this.#session, this.#stream.remotePublicKey, proof);
    if (verdict.kind === "refused") {
      this.destroy(`admission: ${refusals[verdict.why]}`);
      return nothing;
    }
    const why = this.#hooks.refuses();
    if (why !== undefined) {
      this.destroy(why);
      return nothing;
    }
    if (this.#options.provesLast) this.#prove();
    this.#state = "open";
    this.#hooks.onAdmitted();
    return this.#stream.destroying ? nothing : bytes.subarray(wanted);
  }

  #write(): void {
    while (!this.#isBlocked && this.#state === "open" && !this.#stream.destroying) {
      const frames = this.#takeBatch();
      if (frames.length === 0) break;
      this.#isBlocked = !this.#writeBatch(frames);
    }
    this.#mark();
  }

  /** As many frames as share one message; one at least. */
  #takeBatch(): Uint8Array[] {
    let bytes = 0;
    let count = 0;
    for (const frame of this.#waiting) {
      if (count > 0 && bytes + lengthBytes + frame.length > batchBytesMax) break;
      bytes += lengthBytes + frame.length;
      count++;
    }
    this.#waitingBytes -= bytes - count * lengthBytes;
    return this.#waiting.splice(0, count);
  }

  /** False when the stream wants no more for now. */
  #writeBatch(frames: readonly Uint8Array[]): boolean {
    const total = frames.reduce((sum, frame) => sum + lengthBytes + frame.length, 0);
    this.framesSent += frames.length;
    this.bytesSent += total;
    this.#writtenBytes += total;
    if (total <= writeBytesMax) {
      const message = this.#stream.alloc(total);
      let offset = 0;
      for (const frame of frames) {
        writeLength(message, offset, frame.length);
        message.set(frame, offset + lengthBytes);
        offset += lengthBytes + frame.length;
      }
      return this.#stream.write(message);
    }
    // One frame that is larger than a message of the secret stream.
    const frame = frames[0] as Uint8Array;
    const header = new Uint8Array(lengthBytes);
    writeLength(header, 0, frame.length);
    let isReady = this.#stream.write(header);
    for (let offset = 0; offset < frame.length; offset += writeBytesMax) {
      isReady = this.#stream.write(frame.subarray(offset, offset + writeBytesMax));
    }
    return isReady;
  }

  #onDrain(): void {
    this.#isBlocked = false;
    this.#write();
  }

  /** Has the transport tell when what was written so far is acknowledged. */
  #mark(): void {
    const written = this.#writtenBytes;
    if (written === this.#markedBytes || this.#state !== "open") return;
    if (written - this.#ackedBytes > markBytes) this.#lookLater();
    if (this.#marks > 0 && written - this.#markedBytes < markBytes) return;
    this.#markedBytes = written;
    this.#marks++;
    void this.#stream.flush().then((isAcked) => {
      this.#marks--;
      if (!isAcked || this.#state !== "open") return;
      this.#ackedBytes = written;
      this.#mark();
      this.#hooks.onDrained(this.bytesLeft);
    });
  }

  /** On a long path the transport may have sent all long before the first acknowledgement. */
  #lookLater(): void {
    this.#lookTimer ??= setTimeout(() => {
      this.#lookTimer = undefined;
      if (this.#state !== "open" || this.#writtenBytes - this.#ackedBytes <= markBytes) return;
      this.#lookLater();
      this.#hooks.onDrained(this.bytesLeft);
    }, lookMs);
  }

  #onClose(): void {
    if (this.#state === "closed") return;
    const admitted = this.#state === "open";
    this.#state = "closed";
    clearTimeout(this.#deadline);
    clearTimeout(this.#lookTimer);
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#unread = [];
    if (!admitted && this.#why === "closed by peer") this.#why = "closed before admission";
    this.#hooks.onClosed(this.#why);
  }
}

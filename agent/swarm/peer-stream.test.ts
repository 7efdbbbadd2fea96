import { expect, test } from "bun:test";
import { EventEmitter } from "node:events";
import { type AdmissionSession, writeAdmission } from "../../core/change/admission.ts";
import { sha256 } from "../host/sha256.ts";
import { PeerStream } from "./peer-stream.ts";

/** A Noise stream to a member that takes one message at a time, each in a turn of its own. */
class SlowStream extends EventEmitter {
  readonly handshakeHash = new Uint8Array(64).fill(1);
  readonly remotePublicKey = new Uint8Array(32).fill(2);
  readonly rawStream = null;
  destroying = false;
  readonly taken: Uint8Array[] = [];
  isPaused = false;
  hasEnded = false;
  #isFull = false;

  alloc(bytes: number): Uint8Array {
    return new Uint8Array(bytes);
  }

  write(message: Uint8Array): boolean {
    this.taken.push(message);
    this.#isFull = true;
    return false;
  }

  /** Of what was written before. */
  async flush(): Promise<boolean> {
    await new Promise((resolve) => setImmediate(resolve));
    if (this.#isFull) {
      this.#isFull = false;
      this.emit("drain");
    }
    return !this.destroying;
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
  }

  end(): void {
    this.hasEnded = true;
  }

  destroy(): void {
    this.destroying = true;
    this.emit("close");
  }
}

/** A stream whose other end is admitted. */
function admitted(slow: SlowStream, onFrame: (frame: Uint8Array) => void): PeerStream {
  const secret = new Uint8Array(32).fill(3);
  const stream = new PeerStream(
    slow as unknown as NoiseStream,
    {
      sha256,
      admissionSecret: secret,
      ownKey: new Uint8Array(32).fill(4),
      admissionMs: 60_000,
      provesLast: true,
    },
    {
      refuses: () => undefined,
      onAdmitted: () => {},
      onFrame,
      onDrained: () => {},
      onClosed: () => {},
    },
  );
  const session: AdmissionSession = { secret, handshakeHash: slow.handshakeHash };
  slow.emit("data", writeAdmission(sha256, session, slow.remotePublicKey).slice());
  return stream;
}

test("before a stream is closed all is flushed that was handed to it, also what it didn't take at once", async () => {
  const slow = new SlowStream();
  const stream = admitted(slow, () => {});
  const frameBytes = 16 * 1024;
  for (let i = 0; i < 20; i++) stream.send(new Uint8Array(frameBytes).fill(i), true);
  await stream.flushed();
  const frames = slow.taken.filter(({ length }) => length > frameBytes);
  expect(frames.map((message) => message.at(-1))).toEqual(Array.from({ length: 20 }, (_, i) => i));
  stream.destroy("the test is over");
});

test("a peer that sends more than the thread can take leaves others their turns; nothing is lost of it", async () => {
  const slow = new SlowStream();
  const frames = 50_000;
  const numbers: number[] = [];
  const stream = admitted(slow, (frame) => {
    const untilMs = performance.now() + 0.002;
    while (performance.now() < untilMs);
    numbers.push(new DataView(frame.buffer, frame.byteOffset).getUint32(0));
  });
  const message = Buffer.alloc(8 * frames);
  for (let i = 0; i < frames; i++) {
    message.writeUInt32BE(4, 8 * i);
    message.writeUInt32BE(i, 8 * i + 4);
  }
  // As one message of the secret stream, but for what comes while it rests; and then it has no more to say.
  const cut = message.length - 500;
  slow.emit("data", message.subarray(0, cut));
  const atOnce = numbers.length;
  expect(atOnce).toBeLessThan(frames / 5);
  expect(slow.isPaused).toBe(true);
  slow.emit("data", message.subarray(cut));
  slow.emit("end");
  expect([numbers.length, slow.hasEnded]).toEqual([atOnce, false]);
  let turns = 0;
  for (; numbers.length < frames; turns++) await new Promise((resolve) => setImmediate(resolve));
  expect(turns).toBeGreaterThan(5);
  expect(numbers.every((number, i) => number === i)).toBe(true);
  expect([slow.isPaused, slow.hasEnded]).toEqual([false, true]);
  stream.destroy("the test is over");
});

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

  destroy(): void {
    this.destroying = true;
    this.emit("close");
  }
}

test("before a stream is closed all is flushed that was handed to it, also what it didn't take at once", async () => {
  const slow = new SlowStream();
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
      onFrame: () => {},
      onDrained: () => {},
      onClosed: () => {},
    },
  );
  const session: AdmissionSession = { secret, handshakeHash: slow.handshakeHash };
  slow.emit("data", writeAdmission(sha256, session, slow.remotePublicKey).slice());
  const frameBytes = 16 * 1024;
  for (let i = 0; i < 20; i++) stream.send(new Uint8Array(frameBytes).fill(i), true);
  await stream.flushed();
  const frames = slow.taken.filter(({ length }) => length > frameBytes);
  expect(frames.map((message) => message.at(-1))).toEqual(Array.from({ length: 20 }, (_, i) => i));
  stream.destroy("the test is over");
});

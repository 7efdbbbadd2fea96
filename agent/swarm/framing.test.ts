import { expect, test } from "bun:test";
import fc from "fast-check";
import { frameBytesMax } from "../../core/change/frame.ts";
import { FrameReader, lengthBytes, writeLength } from "./framing.ts";

function framed(...frames: readonly Uint8Array[]): Uint8Array {
  const total = frames.reduce((sum, frame) => sum + lengthBytes + frame.length, 0);
  const bytes = new Uint8Array(total);
  let offset = 0;
  for (const frame of frames) {
    writeLength(bytes, offset, frame.length);
    bytes.set(frame, offset + lengthBytes);
    offset += lengthBytes + frame.length;
  }
  return bytes;
}

const frame = () => fc.uint8Array({ minLength: 3, maxLength: 40 });

test("frames come out as they went in, however the stream is split", () => {
  fc.assert(
    fc.property(
      fc.array(frame(), { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 10 }),
      (sent, cuts) => {
        const stream = framed(...sent);
        const reader = new FrameReader();
        const received: Uint8Array[] = [];
        for (let offset = 0, i = 0; offset < stream.length; i++) {
          const size = cuts[i % cuts.length] as number;
          // Copied, as from a socket.
          expect(reader.push(stream.slice(offset, offset + size), received)).toEqual({
            kind: "ok",
          });
          offset += size;
        }
        expect(received.map((bytes) => [...bytes])).toEqual(sent.map((bytes) => [...bytes]));
      },
    ),
  );
});

test("any bytes are read without a throw, and frames never exceed what came", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 10 }), (chunks) => {
      const reader = new FrameReader();
      const frames: Uint8Array[] = [];
      let total = 0;
      for (const chunk of chunks) {
        reader.push(chunk, frames);
        total += chunk.length;
      }
      const inFrames = frames.reduce((sum, { length }) => sum + length + lengthBytes, 0);
      expect(inFrames).toBeLessThanOrEqual(total);
    }),
  );
});

test("a length that is too large or too small ends the stream for good", () => {
  for (const length of [0, 2, frameBytesMax + 1, 0xffffffff]) {
    const bytes = new Uint8Array(lengthBytes);
    writeLength(bytes, 0, length);
    const reader = new FrameReader();
    const frames: Uint8Array[] = [];
    const why = `frame length: 3 to ${frameBytesMax}, got ${length}`;
    expect(reader.push(bytes, frames)).toEqual({ kind: "malformed", why });
    // A good frame after it isn't found again.
    expect(reader.push(framed(new Uint8Array(5)), frames)).toEqual({ kind: "malformed", why });
    expect(frames).toEqual([]);
  }
});

test("no more frames are read than are wanted, and it is told where to go on", () => {
  const stream = framed(...Array.from({ length: 5 }, (_, i) => new Uint8Array(3 + i).fill(i)));
  const reader = new FrameReader();
  const lengths: number[][] = [];
  for (let left = stream.length; left > 0; left = reader.bytesLeft) {
    const frames: Uint8Array[] = [];
    reader.push(stream.subarray(stream.length - left), frames, 2);
    lengths.push(frames.map(({ length }) => length));
  }
  expect(lengths).toEqual([[3, 4], [5, 6], [7]]);
});

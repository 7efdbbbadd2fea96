import { expect, test } from "bun:test";
import { decodeFrame, type Frame, frameBytesMax, partBytesMax } from "../../change/frame.ts";
import { encodePart, type PartTaken, Reassembly } from "./parts.ts";

type Part = Extract<Frame, { kind: "part" }>;

/** A frame of so many bytes, each of which tells where it stands. */
const frameOf = (bytes: number) => Uint8Array.from({ length: bytes }, (_, i) => i * 31 + (i >> 8));

function partsOf(frame: Uint8Array, transfer: number): Part[] {
  const parts: Part[] = [];
  for (let offset = 0; offset < frame.length; ) {
    const { bytes, next } = encodePart(frame, offset, transfer, 2);
    const decoded = decodeFrame(bytes);
    if (decoded.kind !== "frame" || decoded.frame.kind !== "part") throw new Error(decoded.kind);
    parts.push(decoded.frame);
    offset = next;
  }
  return parts;
}

const part = (transfer: number, bytesTotal: number, bytes: number): Part => ({
  ...{ kind: "part", lane: 2, transfer, bytesTotal },
  bytes: new Uint8Array(bytes),
});

test("a large frame is put together from its parts, whatever parts of others stand between them", () => {
  const frames = [3 * partBytesMax + 1, 2 * partBytesMax, partBytesMax + 7].map(frameOf);
  const transfers = frames.map((frame, i) => partsOf(frame, i + 1));
  expect(transfers.map(({ length }) => length)).toEqual([4, 2, 2]);
  const reassembly = new Reassembly();
  const taken: PartTaken[] = [];
  for (let at = 0; at < 4; at++) {
    for (const parts of transfers) {
      const next = parts[at];
      if (next !== undefined) taken.push(reassembly.take(next));
    }
  }
  const wholes = taken.flatMap((one) => (one.kind === "whole" ? [one.frame] : []));
  expect(wholes).toEqual([frames[1], frames[2], frames[0]] as Uint8Array[]);
  expect(taken.filter(({ kind }) => kind === "more")).toHaveLength(8 - 3);
  expect(reassembly.bytes).toBe(0);
});

test("a number can be used again once its transfer is over", () => {
  const reassembly = new Reassembly();
  for (const bytes of [partBytesMax + 1, partBytesMax + 9]) {
    const frame = frameOf(bytes);
    const [first, last] = partsOf(frame, 5) as [Part, Part];
    expect(reassembly.take(first)).toEqual({ kind: "more" });
    expect(reassembly.bytes).toBe(partBytesMax);
    expect(reassembly.take(last)).toEqual({ kind: "whole", frame });
  }
});

test("what isn't the next part of its transfer is malformed", () => {
  const [total, next] = [3 * partBytesMax, partBytesMax];
  const why = (...parts: Part[]) => {
    const reassembly = new Reassembly();
    const taken = parts.map((one) => reassembly.take(one)).at(-1);
    return taken?.kind === "malformed" ? taken.why : taken?.kind;
  };
  expect(why(part(1, total, next), part(1, total, next))).toBe("more");
  expect(why(part(1, total, next), part(1, total + 1, next))).toBe(
    `part: ${total} bytes in all, now ${total + 1}`,
  );
  expect(why(part(1, total, next - 1))).toBe(`part: ${next} bytes wanted, got ${next - 1}`);
  // The last one has what is left.
  const left = (bytes: number) => why(part(1, next + 5, next), part(1, next + 5, bytes));
  expect([left(5), left(4), left(6)]).toEqual([
    "whole",
    "part: 5 bytes wanted, got 4",
    "part: 5 bytes wanted, got 6",
  ]);
  expect(why(part(1, 0, 0))).toBe("part: 0 bytes wanted, got 0");
});

test("a peer that begins and never ends makes this node keep so many transfers, and so many bytes, and no more", () => {
  const reassembly = new Reassembly();
  for (let transfer = 1; transfer <= 8; transfer++) {
    expect(reassembly.take(part(transfer, frameBytesMax, partBytesMax)).kind).toBe("more");
  }
  expect(reassembly.take(part(9, frameBytesMax, partBytesMax))).toEqual({
    kind: "malformed",
    why: "part: at most 8 transfers at once",
  });
  const piece = part(1, frameBytesMax, partBytesMax);
  let last: PartTaken = { kind: "more" };
  for (let i = 0; last.kind === "more"; i++) {
    last = reassembly.take({ ...piece, transfer: 1 + (i % 8) });
  }
  expect(last).toEqual({ kind: "malformed", why: "part: too much at once" });
  expect(reassembly.bytes).toBeLessThanOrEqual(2 * frameBytesMax);
  expect(reassembly.bytes).toBeGreaterThan(2 * frameBytesMax - partBytesMax);
});

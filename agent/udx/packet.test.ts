import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Packet } from "./packet.ts";
import {
  createPacket,
  decodePacket,
  encodeHeader,
  HEADER_BYTES,
  SACK_BLOCKS_MAX,
  streamIdOf,
  TYPE_DATA,
  TYPE_SACK,
  unwrap,
  writeU32,
} from "./packet.ts";
import { SeededRandom } from "./seeded-random.ts";

const u32 = (): fc.Arbitrary<number> => fc.integer({ min: 0, max: 0xffff_ffff });

function decode(bytes: Uint8Array): Packet | null {
  const packet = createPacket();
  return decodePacket(bytes, packet) ? packet : null;
}

test("the header, byte by byte", () => {
  const bytes = new Uint8Array(HEADER_BYTES);
  encodeHeader(bytes, TYPE_DATA, 0x0403_0201, 0x0807_0605, 0x0c0b_0a09, 0x100f_0e0d);
  expect([...bytes]).toEqual([255, 1, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
});

test("what is encoded is decoded", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 63 }).filter((type) => (type & TYPE_SACK) === 0),
      u32(),
      u32(),
      u32(),
      u32(),
      fc.uint8Array({ maxLength: 1452 }),
      (type, streamId, windowBytes, seq, ack, payload) => {
        const bytes = new Uint8Array(HEADER_BYTES + payload.length);
        encodeHeader(bytes, type, streamId, windowBytes, seq, ack);
        bytes.set(payload, HEADER_BYTES);
        expect(streamIdOf(bytes)).toBe(streamId);
        expect(decode(bytes)).toEqual({
          type,
          streamId,
          windowBytes,
          seq,
          ack,
          sackBlocks: 0,
          payloadStart: HEADER_BYTES,
          payloadEnd: bytes.length,
        });
      },
    ),
  );
});

describe("SACK blocks", () => {
  const withBody = (type: number, dataOffset: number, bodyBytes: number): Uint8Array => {
    const bytes = new Uint8Array(HEADER_BYTES + bodyBytes);
    encodeHeader(bytes, type, 1, 2, 3, 4);
    bytes[3] = dataOffset;
    return bytes;
  };

  test("without a data offset they are the body", () => {
    const packet = decode(withBody(TYPE_SACK, 0, 16));
    expect([packet?.sackBlocks, packet?.payloadStart, packet?.payloadEnd]).toEqual([2, 36, 36]);
  });

  test("with a data offset, payload follows", () => {
    const packet = decode(withBody(TYPE_SACK | TYPE_DATA, 8, 20));
    expect([packet?.sackBlocks, packet?.payloadStart, packet?.payloadEnd]).toEqual([1, 28, 40]);
  });

  test("without the flag, the data offset is padding", () => {
    const packet = decode(withBody(TYPE_DATA, 8, 20));
    expect([packet?.sackBlocks, packet?.payloadStart, packet?.payloadEnd]).toEqual([0, 28, 40]);
  });

  test("a cut block and those beyond the limit don't count", () => {
    expect(decode(withBody(TYPE_SACK, 0, 15))?.sackBlocks).toBe(1);
    expect(decode(withBody(TYPE_SACK, 0, 1400))?.sackBlocks).toBe(SACK_BLOCKS_MAX);
  });
});

test("what is no packet is refused", () => {
  const bytes = new Uint8Array(HEADER_BYTES);
  encodeHeader(bytes, 0, 1, 2, 3, 4);
  expect(decode(bytes)).not.toBeNull();
  expect(decode(bytes.subarray(0, 19))).toBeNull();
  expect(decode(new Uint8Array(0))).toBeNull();
  expect(decode(bytes.with(0, 0xfe))).toBeNull();
  expect(decode(bytes.with(1, 2))).toBeNull();
  // An offset beyond the end.
  expect(decode(bytes.with(3, 1))).toBeNull();
});

test("a million random and mutated packets: no throw, and every field within the datagram", () => {
  const random = new SeededRandom(20_261_125);
  const packet = createPacket();
  const buffer = new Uint8Array(200);
  let decoded = 0;
  for (let i = 0; i < 1_000_000; i++) {
    const bytes = buffer.subarray(0, random.integer(0, 200));
    for (let at = 0; at < bytes.length; at += 4) writeU32(buffer, at, random.integer(0, 2 ** 32));
    // Nine in ten get past the first check.
    if (bytes.length >= 2 && random.next() < 0.9) {
      bytes[0] = 255;
      bytes[1] = 1;
      if (bytes.length > 3 && random.next() < 0.5) bytes[3] = random.integer(0, 10);
    }
    if (!decodePacket(bytes, packet)) continue;
    decoded++;
    if (
      packet.payloadStart < HEADER_BYTES ||
      packet.payloadStart > packet.payloadEnd ||
      packet.payloadEnd !== bytes.length ||
      HEADER_BYTES + packet.sackBlocks * 8 > bytes.length ||
      !(packet.seq >= 0 && packet.seq <= 0xffff_ffff)
    ) {
      throw new Error(`packet ${i}: ${JSON.stringify(packet)} of ${bytes.length} bytes`);
    }
  }
  expect(decoded).toBeGreaterThan(300_000);
});

test("unwrap finds the nearest number that is equal modulo 2**32", () => {
  expect(unwrap(0, 5)).toBe(5);
  expect(unwrap(0, 0xffff_ffff)).toBe(-1);
  expect(unwrap(0xffff_fffe, 3)).toBe(0x1_0000_0003);
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 2 ** 50 }),
      fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
      (reference, distance) => {
        const wanted = reference + distance;
        const wire = ((wanted % 2 ** 32) + 2 ** 32) % 2 ** 32;
        expect(unwrap(reference, wire)).toBe(wanted);
      },
    ),
  );
});

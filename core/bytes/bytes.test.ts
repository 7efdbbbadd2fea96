import { expect, test } from "bun:test";
import fc from "fast-check";
import { bytesToHex, hexToBytes } from "./hex.ts";
import { ByteReader } from "./reader.ts";
import { utf8Decode, utf8Encode, utf8Length } from "./utf8.ts";
import { ByteWriter } from "./writer.ts";

test("UTF-8 equals the platform's, lone surrogates included", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: "binary", maxLength: 50 }),
      fc.string({ unit: "grapheme" }),
      (a, b) => {
        const text = a + b;
        const expected = new TextEncoder().encode(text);
        expect(utf8Encode(text)).toEqual(expected);
        expect(utf8Length(text)).toBe(expected.length);
      },
    ),
  );
});

test("strict UTF-8 decoding equals the platform's", () => {
  const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  fc.assert(
    fc.property(
      fc.oneof(fc.uint8Array({ maxLength: 12 }), fc.string().map(utf8Encode)),
      (bytes) => {
        let expected: string | undefined;
        try {
          expected = strict.decode(bytes);
        } catch {}
        expect(utf8Decode(bytes)).toBe(expected as string);
      },
    ),
    {
      numRuns: 5000,
      examples: [
        [new Uint8Array([0xc0, 0x80])],
        [new Uint8Array([0xed, 0xa0, 0x80])],
        [new Uint8Array([0xf4, 0x90, 0x80, 0x80])],
        [new Uint8Array([0xef, 0xbb, 0xbf])],
      ],
    },
  );
});

test("integers come back, and each has one encoding", () => {
  fc.assert(
    fc.property(
      fc.maxSafeNat(),
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
      fc.integer({ min: 0, max: 2 ** 48 - 1 }),
      (count, wide, ms) => {
        const writer = new ByteWriter(1);
        writer.varint(count);
        writer.zigzag(wide);
        writer.u48(ms);
        const reader = new ByteReader(writer.finish());
        expect(reader.varint("count")).toBe(count);
        expect(BigInt(reader.zigzag("wide"))).toBe(wide);
        expect(reader.u48("ms")).toBe(ms);
        expect(reader.why).toBe("");
      },
    ),
    {
      examples: [
        [0, 0n, 0],
        [2 ** 53 - 1, 2n ** 63n - 1n, 2 ** 48 - 1],
        [127, -(2n ** 63n), 2 ** 32],
        [128, 2n ** 53n, 1],
        [1, -(2n ** 51n), 1],
        [1, 2n ** 51n, 1],
        [1, -(2n ** 48n) - 1n, 1],
      ],
    },
  );
});

test("a number and the bigint of its value are written alike", () => {
  fc.assert(
    fc.property(fc.maxSafeInteger(), (value) => {
      const narrow = new ByteWriter();
      const wide = new ByteWriter();
      narrow.zigzag(value);
      wide.zigzag(BigInt(value));
      expect(narrow.finish()).toEqual(wide.finish());
    }),
  );
});

test("a varint that isn't the shortest is refused", () => {
  const reader = new ByteReader(new Uint8Array([0x80, 0x00]));
  reader.varint("count");
  expect(reader.why).toBe("count: varint is not in its shortest form at byte 2");
});

test("a failed reader stays failed, with its first reason", () => {
  const reader = new ByteReader(new Uint8Array([1]));
  reader.u32("first");
  reader.u8("second");
  expect(reader.ok).toBe(false);
  expect(reader.why).toBe("first: 4 bytes wanted, 1 left at byte 0");
});

test("hex comes back", () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      expect(hexToBytes(bytesToHex(bytes))).toEqual(bytes);
      expect(bytesToHex(bytes)).toBe(Buffer.from(bytes).toString("hex"));
    }),
  );
});

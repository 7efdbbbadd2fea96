import { expect, test } from "bun:test";
import fc from "fast-check";
import { bytesToHex, hexToBytes } from "./hex.ts";
import { ByteReader } from "./reader.ts";
import { utf8Decode, utf8DecodeByLoop, utf8Encode, utf8Length, utf8Write } from "./utf8.ts";
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
      fc.oneof(
        fc.uint8Array({ maxLength: 12 }),
        // Around the length of what counts as short.
        fc.string({ maxLength: 200 }).map(utf8Encode),
        fc.uint8Array({ minLength: 60, maxLength: 68, max: 0x81 }),
      ),
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

test("long text is written as by the loop", () => {
  const text = fc.string({ unit: "binary", minLength: 20, maxLength: 400 });
  fc.assert(
    fc.property(text, fc.string({ unit: "binary-ascii", maxLength: 100 }), (a, b) => {
      // A pair that is cut in two isn't UTF-8.
      const whole = (b + a).slice(0, -1);
      const looped = new Uint8Array(utf8Length(whole));
      expect(utf8Write(looped, 0, whole)).toBe(looped.length);
      expect(utf8Encode(whole)).toEqual(looped);
      const written = new ByteWriter(1);
      written.text(whole);
      const expected = new ByteWriter(1);
      expected.blob(looped);
      expect(written.finish()).toEqual(expected.finish());
    }),
    { numRuns: 2000 },
  );
});

test("long text is decoded as by the loop, and refused where it is", () => {
  const text = fc.string({ unit: "binary", minLength: 20, maxLength: 400 });
  const ascii = fc.string({ unit: "binary-ascii", minLength: 20, maxLength: 400 });
  fc.assert(
    fc.property(fc.oneof(text, ascii), fc.nat(), fc.nat({ max: 255 }), (whole, at, byte) => {
      const bytes = utf8Encode(`\ufeff${whole}`);
      if (at % 2 > 0) bytes[at % bytes.length] = byte;
      const start = at % 5;
      const end = bytes.length - (at % 3);
      expect(utf8Decode(bytes, start, end)).toBe(utf8DecodeByLoop(bytes, start, end) as string);
    }),
    { numRuns: 3000 },
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

test("a count that is too large is refused, of one byte or more, and named", () => {
  const reader = (...bytes: number[]) => new ByteReader(new Uint8Array(bytes));
  const whyOf = (read: (one: ByteReader) => unknown, one: ByteReader) => {
    read(one);
    return one.why;
  };
  expect(whyOf((one) => one.varint("count", 4), reader(5))).toBe(
    "count: at most 4, got 5 at byte 1",
  );
  expect(whyOf((one) => one.copiedBlob("key", 4), reader(5, 1, 2, 3, 4, 5))).toBe(
    "key length: at most 4, got 5 at byte 1",
  );
  expect(whyOf((one) => one.copiedBlob("key", 400), reader(0x91, 3))).toBe(
    "key length: at most 400, got 401 at byte 2",
  );
  expect(whyOf((one) => one.textOrBytes("value", 9), reader(3, 65, 66))).toBe(
    "value: 3 bytes wanted, 2 left at byte 1",
  );
  expect(whyOf((one) => one.textOrBytes("value", 9), reader())).toBe(
    "value length: 1 bytes wanted, 0 left at byte 0",
  );
});

test("what is copied out of an input is no view of it", () => {
  const input = new Uint8Array([2, 1, 2, 2, 0xff, 0xfe, 1, 65]);
  const reader = new ByteReader(input);
  const blob = reader.copiedBlob("blob", 9);
  const raw = reader.textOrBytes("raw", 9);
  expect(reader.textOrBytes("text", 9)).toBe("A");
  expect(reader.left).toBe(0);
  input.fill(7);
  expect([blob, raw]).toEqual([new Uint8Array([1, 2]), new Uint8Array([0xff, 0xfe])]);
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

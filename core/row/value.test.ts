import { expect, test } from "bun:test";
import fc from "fast-check";
import { sqlValue } from "../../test/generators/rows.ts";
import { ByteReader } from "../bytes/reader.ts";
import { ByteWriter } from "../bytes/writer.ts";
import { canonicalKeyValue, decodeKey, encodeKey, isKeyBytes } from "./key.ts";
import {
  compareValues,
  RawText,
  Real,
  readValue,
  type SqlValue,
  shortValueBytesMax,
  writeShortValue,
  writeValue,
} from "./value.ts";

function encode(value: SqlValue): Uint8Array {
  const writer = new ByteWriter();
  writeValue(writer, value);
  return writer.finish();
}

test("a value comes back as it was, type and bytes", () => {
  fc.assert(
    fc.property(sqlValue(), (value) => {
      const reader = new ByteReader(encode(value));
      const back = readValue(reader, "value");
      expect(reader.why).toBe("");
      expect(reader.left).toBe(0);
      expect(Object.is(back, value) || compareValues(back, value) === 0).toBe(true);
      expect(encode(back)).toEqual(encode(value));
    }),
  );
});

test("values have a total order, and only equal ones compare as equal", () => {
  fc.assert(
    fc.property(sqlValue(), sqlValue(), sqlValue(), (a, b, c) => {
      expect(Math.sign(compareValues(a, b))).toBe(-Math.sign(compareValues(b, a)) || 0);
      if (compareValues(a, b) <= 0 && compareValues(b, c) <= 0) {
        expect(compareValues(a, c)).toBeLessThanOrEqual(0);
      }
      expect(compareValues(a, b) === 0).toBe(Buffer.compare(encode(a), encode(b)) === 0);
    }),
  );
});

test("INTEGER > REAL > TEXT > BLOB > NULL", () => {
  const ascending: SqlValue[] = [
    null,
    new Uint8Array([255]),
    "",
    new RawText(new Uint8Array([255])),
    new Real(-1),
    new Real(0),
    new Real(-0),
    new Real(1e300),
    -(2n ** 63n),
    -1,
    2n ** 63n - 1n,
  ];
  for (let i = 1; i < ascending.length; i++) {
    expect(compareValues(ascending[i - 1] as SqlValue, ascending[i] as SqlValue)).toBeLessThan(0);
  }
});

test("keys that SQLite holds equal have the same bytes, and others don't", () => {
  expect(encodeKey([new Real(1)])).toEqual(encodeKey([1]));
  expect(encodeKey([new Real(-0)])).toEqual(encodeKey([0]));
  expect(encodeKey([new Real(2 ** 53)])).toEqual(encodeKey([2n ** 53n]));
  expect(encodeKey(["1"])).not.toEqual(encodeKey([1]));
  expect(encodeKey([new Real(1.5)])).not.toEqual(encodeKey([1]));
  // 2**63 is no INTEGER.
  expect(canonicalKeyValue(new Real(2 ** 63))).toEqual(new Real(2 ** 63));
  expect(encodeKey([1, null])).toBeUndefined();
});

test("a key comes back as its canonical values", () => {
  const part = sqlValue().filter((value) => value !== null);
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 4 }), (values) => {
      const bytes = encodeKey(values) as Uint8Array;
      expect(decodeKey(bytes)).toEqual(values.map(canonicalKeyValue));
    }),
  );
});

test("decoding a key never throws, and takes only canonical bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      const values = decodeKey(bytes);
      if (values !== undefined) expect(encodeKey(values)).toEqual(bytes);
    }),
    { numRuns: 2000 },
  );
});

test("bytes are found to be a key where they can be decoded, and nowhere else", () => {
  const part = sqlValue().filter((value) => value !== null);
  const key = fc.array(part, { minLength: 1, maxLength: 4 }).map((values) => encodeKey(values));
  const small = fc.uint8Array({ maxLength: 8, max: 5 });
  fc.assert(
    fc.property(fc.oneof(key, small), fc.nat(), fc.nat({ max: 255 }), (bytes, at, byte) => {
      const nearly = (bytes as Uint8Array).slice();
      if (at % 3 > 0) nearly[at % (nearly.length + 1)] = byte;
      expect(isKeyBytes(nearly)).toBe(decodeKey(nearly) !== undefined);
      const cut = nearly.subarray(0, at % (nearly.length + 1));
      expect(isKeyBytes(cut)).toBe(decodeKey(cut) !== undefined);
    }),
    { numRuns: 3000 },
  );
});

test("a short value is written as by the writer, or not at all", () => {
  const known: SqlValue[] = [
    0,
    -1,
    1,
    63,
    64,
    -65,
    2 ** 30 - 1,
    2 ** 30,
    -(2 ** 30),
    -(2 ** 30) - 1,
    2 ** 31,
  ];
  known.push(null, "", "a", "a".repeat(64), "a".repeat(65), "\u007f", "\u0080", "\ud800", 1n);
  fc.assert(
    fc.property(sqlValue(), fc.nat(9), (value, at) => {
      const bytes = new Uint8Array(at + shortValueBytesMax);
      const end = writeShortValue(bytes, at, value);
      if (end === 0) return;
      const writer = new ByteWriter();
      writeValue(writer, value);
      expect([...bytes.subarray(at, end)]).toEqual([...writer.finish()]);
    }),
    { examples: known.map((value) => [value, 3]) },
  );
  const isShort = (value: SqlValue) => writeShortValue(new Uint8Array(99), 0, value) > 0;
  expect([null, 5, -(2 ** 30), "a".repeat(64)].map(isShort)).toEqual([true, true, true, true]);
});

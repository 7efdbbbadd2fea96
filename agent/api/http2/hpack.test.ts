import { expect, test } from "bun:test";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { encodeField, encodeString } from "./header-fields.ts";
import { HpackDecoder } from "./hpack-decoder.ts";
import { decodeHuffman, encodeHuffman } from "./huffman.ts";
import { staticTable } from "./static-table.ts";

type Field = readonly [name: string, value: string];

/** Undefined: it is no header block. */
function decode(decoder: HpackDecoder, block: Buffer): Field[] | undefined {
  const fields: Field[] = [];
  const isBlock = decoder.decode(block, 0, block.length, (name, value) => {
    fields.push([name, value]);
    return true;
  });
  return isBlock ? fields : undefined;
}

const hex = (text: string) => Buffer.from(text.replaceAll(" ", ""), "hex");

// The examples of RFC 7541, Appendix C.
test.each([
  [
    "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
    "custom-key",
    "custom-header",
  ],
  ["040c 2f73 616d 706c 652f 7061 7468", ":path", "/sample/path"],
  ["1008 7061 7373 776f 7264 0673 6563 7265 74", "password", "secret"],
  ["82", ":method", "GET"],
])("C.2: %s", (block, name, value) => {
  expect(decode(new HpackDecoder(), hex(block))).toEqual([[name, value]]);
});

const requests: readonly Field[][] = [
  [
    [":method", "GET"],
    [":scheme", "http"],
    [":path", "/"],
    [":authority", "www.example.com"],
  ],
  [
    [":method", "GET"],
    [":scheme", "http"],
    [":path", "/"],
    [":authority", "www.example.com"],
    ["cache-control", "no-cache"],
  ],
  [
    [":method", "GET"],
    [":scheme", "https"],
    [":path", "/index.html"],
    [":authority", "www.example.com"],
    ["custom-key", "custom-value"],
  ],
];

test.each([
  [
    "C.3",
    "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
    "8286 84be 5808 6e6f 2d63 6163 6865",
    "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
  ],
  [
    "C.4, with Huffman's code",
    "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
    "8286 84be 5886 a8eb 1064 9cbf",
    "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
  ],
])("%s: requests on one connection", (_, first, second, third) => {
  const decoder = new HpackDecoder();
  const blocks = [first, second, third].map(hex);
  expect(blocks.map((block) => decode(decoder, block))).toEqual([...requests]);
});

// C.5 and C.6 with a table of 256 bytes, from which entries are evicted. The size comes first in the first block (0x3f 0xe1 0x01).
test.each([
  [
    "C.5",
    "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
    "4803 3330 37c1 c0bf",
    "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
  ],
  [
    "C.6, with Huffman's code",
    "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
    "4883 640e ffc1 c0bf",
    "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
  ],
])("%s: answers, and a table from which entries go", (_, first, second, third) => {
  const decoder = new HpackDecoder();
  const [date, cookie] = [
    "Mon, 21 Oct 2013 20:13:2",
    "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
  ];
  const common: Field[] = [
    ["cache-control", "private"],
    ["date", `${date}1 GMT`],
    ["location", "https://www.example.com"],
  ];
  const blocks = [`3fe101${first}`, second, third].map(hex);
  expect(blocks.map((block) => decode(decoder, block))).toEqual([
    [[":status", "302"], ...common],
    [[":status", "307"], ...common],
    [
      [":status", "200"],
      ["cache-control", "private"],
      ["date", `${date}2 GMT`],
      ["location", "https://www.example.com"],
      ["content-encoding", "gzip"],
      ["set-cookie", cookie],
    ],
  ]);
  // Three are left; the fourth is gone.
  expect(decode(decoder, hex("c0"))).toEqual([["date", `${date}2 GMT`]]);
  expect(decode(decoder, hex("c1"))).toBeUndefined();
});

test("the static table has 61 entries", () => {
  expect(staticTable.length).toBe(61);
  expect(staticTable[60]).toEqual({ name: "www-authenticate", value: "" });
  expect(staticTable[27]?.name).toBe("content-length");
});

const latin1 = fc
  .uint8Array({ maxLength: 300 })
  .map((bytes) => Buffer.from(bytes).toString("latin1"));

test("what is written is read: Huffman's code", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const packed = encodeHuffman(bytes);
      const unpacked = Buffer.alloc(2 * packed.length);
      const length = decodeHuffman(packed, 0, packed.length, unpacked);
      expect(unpacked.subarray(0, length)).toEqual(Buffer.from(bytes));
    }),
  );
});

test("what is written is read: fields", () => {
  const name = fc.oneof(latin1, fc.constantFrom(...staticTable.map(({ name }) => name)));
  const value = fc.oneof(latin1, fc.constantFrom(...staticTable.map(({ value }) => value)));
  fc.assert(
    fc.property(fc.array(fc.tuple(name, value), { maxLength: 10 }), (fields) => {
      const block = Buffer.concat(fields.map(([name, value]) => encodeField(name, value)));
      expect(decode(new HpackDecoder(), block)).toEqual(fields);
    }),
  );
});

// RFC 7541 §5.2: seven ones at most, and no other bits.
test.each([
  ["a whole byte of padding", "f1e3c2e5f23a6ba0ab90f4ffff"],
  ["padding that isn't ones", "18"],
  ["the end in the middle", "fffffffc"],
])("%s is no end of a string", (_, text) => {
  const bytes = hex(text);
  expect(decodeHuffman(bytes, 0, bytes.length, Buffer.alloc(100))).toBeUndefined();
});

test.each([
  ["an index of nothing", "80"],
  ["an index beyond the tables", "be"],
  ["a name by an index of nothing", "7f0001 61"],
  ["an integer without an end", "ff"],
  ["an integer that is too large", "ffffffffffff0f"],
  ["a string without an end", "4001"],
  ["a string that is longer than the block", "400561"],
  ["a size of the table after a field", "8220"],
  ["a table larger than ours", "3fe21f"],
])("%s is no header block", (_, text) => {
  expect(decode(new HpackDecoder(), hex(text))).toBeUndefined();
});

test("a field that is larger than the table empties it", () => {
  const decoder = new HpackDecoder();
  const large = "x".repeat(5000);
  decode(decoder, hex("400161 0162"));
  expect(decode(decoder, hex("be"))).toEqual([["a", "b"]]);
  const block = Buffer.concat([hex("400161"), encodeString(large)]);
  expect(decode(decoder, block)).toEqual([["a", large]]);
  expect(decode(decoder, hex("be"))).toBeUndefined();
});

test("no bytes make it throw", () => {
  const any = fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 10 });
  fc.assert(
    fc.property(any, (blocks) => {
      const decoder = new HpackDecoder();
      for (const block of blocks) decode(decoder, Buffer.from(block));
    }),
    { numRuns: 1000 },
  );
});

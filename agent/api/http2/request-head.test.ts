import { expect, test } from "bun:test";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { headerBlock, requestFields } from "../../../test/contract/raw-h2.ts";
import { HpackDecoder } from "./hpack-decoder.ts";
import { HeadReader, Http2Head } from "./request-head.ts";

const read = (reader: HeadReader, block: Buffer) => reader.read(block, 0, block.length);
const of = (fields: readonly (readonly [string, string])[]) => {
  const head = read(new HeadReader(), headerBlock(fields));
  if (!(head instanceof Http2Head)) return head;
  const { method, path, query } = head;
  return `${method} ${path} ?${query}`;
};
const get = (path: string, more: readonly (readonly [string, string])[] = []) =>
  of(requestFields("GET", path, more));

test("a request has a method, a path and what follows the question mark", () => {
  expect(get("/a/b?c=d?e")).toBe("GET /a/b ?c=d?e");
  expect(get("/\xc3\xa9")).toBe("GET /é ?");
  expect(of(requestFields("OPTIONS", "*"))).toBe("OPTIONS * ?");
});

test.each<[string, readonly (readonly [string, string])[]]>([
  ["an empty path", requestFields("GET", "")],
  ["a path that is no path", requestFields("GET", "http://x/")],
  ["a blank in the path", requestFields("GET", "/a b")],
  ["all of a server, but to ask for options", requestFields("GET", "*")],
  ["a method that is none", requestFields("GE T", "/")],
  [
    "CONNECT",
    [
      [":method", "CONNECT"],
      [":authority", "x:1"],
    ],
  ],
  [
    "CONNECT to another protocol (RFC 8441)",
    [[":protocol", "websocket"], ...requestFields("CONNECT", "/")],
  ],
  ["another host", requestFields("GET", "/", [["host", "y"]])],
  ["a length that is none", requestFields("POST", "/", [["content-length", "1x"]])],
  [
    "two lengths",
    requestFields("POST", "/", [
      ["content-length", "1"],
      ["content-length", "1"],
    ]),
  ],
  ["a blank before a value", requestFields("GET", "/", [["x", " a"]])],
  ["a tab after a value", requestFields("GET", "/", [["x", "a\t"]])],
  ["a zero in a value", requestFields("GET", "/", [["x", "a\0b"]])],
  ["a name of nothing", requestFields("GET", "/", [["", "a"]])],
  ["a colon in a name", requestFields("GET", "/", [["a:b", "a"]])],
  ["TE but for trailers", requestFields("GET", "/", [["te", "gzip"]])],
])("%s is malformed", (_, fields) => {
  expect(of(fields)).toBe("malformed");
});

test("fields of one name are one, and the authority is the host", () => {
  const fields = [
    ["x", "1"],
    ["te", "trailers"],
    ["x", "2"],
  ] as const;
  const head = read(new HeadReader(), headerBlock(requestFields("GET", "/", fields)));
  expect(head instanceof Http2Head && [head.header("x"), head.header("host")]).toEqual([
    "1, 2",
    "x",
  ]);
});

// Blocks that have been seen aren't unpacked again, as long as they mean the same.
test("a block means what it would without memory", () => {
  const literal = (name: string, value: string) => headerBlock([[name, value]]);
  const kept = (name: string, value: string) => {
    const bytes = literal(name, value);
    bytes[0] = 0x40;
    return bytes;
  };
  const part = fc.constantFrom(
    ...[kept("x", "1"), kept("x", "2"), literal("x", "3")],
    // The newest of the table and the one before; a table of nothing, and one of 100 bytes.
    ...["be", "bf", "20", "3f45"].map((hex) => Buffer.from(hex, "hex")),
  );
  const whole = headerBlock(requestFields("GET", "/"));
  const block = fc
    .array(part, { maxLength: 3 })
    .map((parts) =>
      Buffer.concat([...parts.filter(isSize), whole, ...parts.filter((one) => !isSize(one))]),
    );
  fc.assert(
    fc.property(fc.array(block, { minLength: 1, maxLength: 30 }), (blocks) => {
      const reader = new HeadReader();
      const decoder = new HpackDecoder();
      for (const one of blocks) {
        const values: string[] = [];
        const isBlock = decoder.decode(one, 0, one.length, (name, value) => {
          if (name === "x") values.push(value);
          return true;
        });
        const head = read(reader, one);
        if (!isBlock) {
          expect(head).toBe("unreadable");
          return;
        }
        const wanted = values.length === 0 ? undefined : values.join(", ");
        expect(head instanceof Http2Head && head.header("x")).toBe(wanted as string);
      }
    }),
    { numRuns: 1000 },
  );
});

function isSize(bytes: Buffer): boolean {
  return ((bytes[0] as number) & 0xe0) === 0x20;
}

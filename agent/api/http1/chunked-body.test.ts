import { expect, test } from "bun:test";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { ChunkedBody } from "./chunked-body.ts";

/** Feeds the text in pieces that end at `cuts`. */
function decode(text: string, bytesMax = 1000, cuts: readonly number[] = []) {
  let body = "";
  const chunked = new ChunkedBody((part) => {
    body += Buffer.from(part).toString("latin1");
  }, bytesMax);
  const bytes = Buffer.from(text, "latin1");
  let from = 0;
  for (const to of [...cuts, bytes.length]) {
    const end = chunked.feed(bytes.subarray(from, to), 0);
    if (end !== "more") return { body, end: typeof end === "number" ? from + end : end };
    from = to;
  }
  return { body, end: "more" };
}

test("chunks are joined; extensions and trailers are passed over", () => {
  const text = '4;a=b\r\nWiki\r\n0A ;c="d"\r\npedia in\r\n\r\n0\r\nX: y\r\nZ:\r\n\r\n';
  expect(decode(`${text}GET /`)).toEqual({ body: "Wikipedia in\r\n", end: text.length });
});

test.each([
  "x\r\n",
  "\r\n",
  "-1\r\n",
  "1\n",
  "1\r\nab",
  "1\r\na\n",
  "1\r\na\r\r\n",
  "0\r\n\n",
  "0\r\n\x00\r\n",
  "00000000000001\r\na\r\n",
  "1 \r\na\r\n",
  "1 2\r\na\r\n",
  "1;a\nb\r\na\r\n",
  "0\r\nPOST / HTTP/1.1\r\n",
  "0\r\n folded: x\r\n",
  "0\r\n: x\r\n",
  "0\r\nx: y\n\r\n",
])("%p is malformed", (text) => {
  expect(decode(text).end).toBe("malformed");
});

test("extensions and trailers are bounded", () => {
  expect(decode(`1;${"x".repeat(5000)}`).end).toBe("malformed");
  expect(decode(`0\r\n${"x: y\r\n".repeat(2000)}`).end).toBe("malformed");
});

test("a chunk that the body has no room for is too large, before it comes", () => {
  expect(decode("5\r\nabcde\r\n6\r\n", 10)).toEqual({ body: "abcde", end: "too-large" });
  expect(decode("5\r\nabcde\r\n5\r\nfghij\r\n0\r\n\r\n", 10).body).toBe("abcdefghij");
});

// However it is cut into chunks and pieces, the body is the same.
test("a body comes out as it went in", () => {
  const parts = fc.array(fc.string({ minLength: 1, unit: "binary-ascii" }));
  fc.assert(
    fc.property(parts, fc.array(fc.nat(200)), (chunks, at) => {
      const text = `${chunks.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join("")}0\r\n\r\n`;
      const cuts = at.filter((cut) => cut < text.length).sort((a, b) => a - b);
      expect(decode(text, 1e6, cuts)).toEqual({ body: chunks.join(""), end: text.length });
    }),
  );
});

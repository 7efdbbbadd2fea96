import { describe, expect, test } from "bun:test";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { Http1Head, headBytesMax, readHead } from "./request-head.ts";

const read = (text: string) => readHead(Buffer.from(text, "latin1"), 0);

function headOf(text: string): Http1Head {
  const head = read(text);
  if (!(head instanceof Http1Head)) throw new Error(`${head}`);
  return head;
}

test("a head is read with its fields, and where its body begins", () => {
  const text =
    "\r\nPOST /v1/queries?timeout=3 HTTP/1.1\r\nHost: x\r\nCONTENT-Type:\tapplication/json \r\nX: a\r\nx: b\r\nContent-Length: 12\r\n\r\n";
  const head = headOf(`${text}123456789012`);
  const { method, path, query, end, contentLength, isChunked, keepsAlive } = head;
  expect({ method, path, query, end, contentLength, isChunked, keepsAlive }).toEqual({
    method: "POST",
    path: "/v1/queries",
    query: "timeout=3",
    end: text.length,
    contentLength: 12,
    isChunked: false,
    keepsAlive: true,
  });
  expect(head.header("content-type")).toBe("application/json");
  expect(head.header("x")).toBe("a, b");
  expect(head.header("y")).toBeUndefined();
});

test.each([
  ["/v1/updates/t%20a", "/v1/updates/t%20a"],
  ["/v1/updates/caf\xc3\xa9", "/v1/updates/café"],
  ["http://host:80/v1/health", "/v1/health"],
  ["HTTPS://host/v1/health", "/v1/health"],
  ["http://host", ""],
  ["http://host?a=/b", ""],
  ["*", ""],
])("the path of %p is %p", (target, path) => {
  expect(headOf(`GET ${target} HTTP/1.1\r\n\r\n`).path).toBe(path);
});

test.each([
  ["HTTP/1.1", "", true],
  ["HTTP/1.1", "Connection: close\r\n", false],
  ["HTTP/1.1", "Connection: te, Close\r\n", false],
  ["HTTP/1.0", "", false],
  ["HTTP/1.0", "Connection: Keep-Alive\r\n", true],
])("%s with %p keeps its connection: %p", (version, field, keepsAlive) => {
  expect(headOf(`GET / ${version}\r\n${field}\r\n`).keepsAlive).toBe(keepsAlive);
});

describe("refused are", () => {
  test.each([
    [400, "GET  / HTTP/1.1\r\n\r\n"],
    [400, "GET / x HTTP/1.1\r\n\r\n"],
    [400, "GET /\r\n\r\n"],
    [400, "GET /\x00 HTTP/1.1\r\n\r\n"],
    [400, "GET v1/health HTTP/1.1\r\n\r\n"],
    [400, "GET ftp://host/ HTTP/1.1\r\n\r\n"],
    [400, "GET http:///v1/health HTTP/1.1\r\n\r\n"],
    [400, "CONNECT host:80 HTTP/1.1\r\n\r\n"],
    [400, "G(T / HTTP/1.1\r\n\r\n"],
    [400, "GET / HTTP/1.1\nHost: x\n\n"],
    [400, "GET / HTTP/1.1 \r\n\r\n"],
    [400, "GET / HTTP/1.1\nHost: x\n\nGET / HTTP/1.1\r\n\r\n"],
    [400, "GET / FTP/1.1\r\n\r\n"],
    [505, "GET / HTTP/2.0\r\n\r\n"],
    [400, "GET / HTTP/1.1\r\nHost : x\r\n\r\n"],
    [400, "GET / HTTP/1.1\r\n: x\r\n\r\n"],
    [400, "GET / HTTP/1.1\r\nHost\r\n\r\n"],
    [400, "GET / HTTP/1.1\r\nA: x\r\n folded\r\n\r\n"],
    [400, "GET / HTTP/1.1\r\nA: x\ny\r\n\r\n"],
    [400, "GET / HTTP/1.1\r\nA: x\ry\r\n\r\n"],
    [400, "GET / HTTP/1.1\r\nA: \x00\r\n\r\n"],
    [400, "GET / HTTP/1.1\r\nHost: x\r\nhost: y\r\n\r\n"],
    [400, "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n"],
    [400, "POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n"],
    [400, "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"],
    [400, "POST / HTTP/1.1\r\nContent-Length: 0x1\r\n\r\n"],
    [400, "POST / HTTP/1.1\r\nContent-Length: 9999999999999999\r\n\r\n"],
    [400, "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"],
    [400, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"],
    [400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"],
    [501, "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"],
    [400, "\x16\x03\x01\x00"],
  ] as const)("with %i: %p", (status, text) => {
    expect(read(text)).toBe(status);
  });
});

test("a head that is too large is refused, whole or not", () => {
  const field = `A: ${"x".repeat(headBytesMax)}`;
  expect(read(`GET / HTTP/1.1\r\n${field}`)).toBe(431);
  expect(read(`GET / HTTP/1.1\r\n${field}\r\n\r\n`)).toBe(431);
  expect(read("\r\n".repeat(headBytesMax))).toBe(431);
});

test("what has not come to its end may go on", () => {
  const text = "\r\nPOST / HTTP/1.1\r\nHost: x\r\n\r\n";
  for (let length = 0; length < text.length; length++)
    expect(read(text.slice(0, length))).toBe("more");
});

// Whatever comes, it is a head, none, or the beginning of one.
test("no bytes make it throw", () => {
  const part = fc.constantFrom(
    ..."GET / HTTP/1.1|\r\n|\r|\n|: |Host|Content-Length|Transfer-Encoding|chunked|1| |\t|\x00|\xff".split(
      "|",
    ),
  );
  fc.assert(
    fc.property(fc.array(part), (parts) => {
      const head = read(parts.join(""));
      if (head instanceof Http1Head) expect(head.end).toBeLessThanOrEqual(parts.join("").length);
      else expect(["more", 400, 431, 501, 505]).toContain(head);
    }),
  );
});

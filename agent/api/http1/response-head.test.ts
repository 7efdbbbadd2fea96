import { afterEach, expect, setSystemTime, test } from "bun:test";
import { Buffer } from "node:buffer";
import { chunkOf, type Persistence, responseHead } from "./response-head.ts";

afterEach(() => void setSystemTime());

test("a chunk has its size before it, in hexadecimal", () => {
  const bytes = Buffer.from("x".repeat(26));
  const framed = `1a\r\n${"x".repeat(26)}\r\n`;
  expect(chunkOf(bytes).toString()).toBe(framed);
  // The same again, another, and the first once more.
  expect(chunkOf(bytes).toString()).toBe(framed);
  expect(chunkOf(Buffer.from("y")).toString()).toBe("1\r\ny\r\n");
  expect(chunkOf(bytes).toString()).toBe(framed);
  // An empty one would be the last.
  expect(chunkOf(Buffer.alloc(0)).toString()).toBe("");
});

test("heads of one second differ where their answers do", () => {
  const text = (
    status: number,
    headers: Readonly<Record<string, string>>,
    persistence: Persistence = "stays",
  ) =>
    responseHead({ status, headers, body: Buffer.alloc(0) }, 0, persistence)
      .toString()
      .replace(/date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\r\n/, "");
  const headers = { "patina-agreed-ms": "7" };
  const own = "patina-agreed-ms: 7\r\ncontent-length: 0\r\n";
  expect(text(200, headers)).toBe(`HTTP/1.1 200 OK\r\n${own}\r\n`);
  expect(text(503, headers)).toBe(`HTTP/1.1 503 Service Unavailable\r\n${own}\r\n`);
  expect(text(200, headers, "ends")).toBe(`HTTP/1.1 200 OK\r\n${own}connection: close\r\n\r\n`);
  const told = "connection: keep-alive\r\n";
  expect(text(200, headers, "stays-1.0")).toBe(`HTTP/1.1 200 OK\r\n${own}${told}\r\n`);
  expect(text(200, {})).toBe("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
});

test("every head says when it was written, also one like the last", () => {
  const response = { status: 200, headers: {}, body: Buffer.alloc(0) };
  const dateAt = (at: string) => {
    setSystemTime(new Date(at));
    return /date: (.*)\r\n/.exec(responseHead(response, 0, "stays").toString())?.[1];
  };
  // RFC 9110 §5.6.7's example.
  expect(dateAt("1994-11-06T08:49:37.900Z")).toBe("Sun, 06 Nov 1994 08:49:37 GMT");
  expect(dateAt("1994-11-06T08:49:38Z")).toBe("Sun, 06 Nov 1994 08:49:38 GMT");
});

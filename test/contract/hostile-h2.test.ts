/**
 * HTTP/2 clients that don't keep to the rules: each gets what RFC 9113 has for it, nobody else notices, and what they can make
 * the agent do and hold is bounded.
 *
 * @module
 */

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import fc from "fast-check";
import { Front, RouteRoom } from "../../agent/api/front.ts";
import { serveTcp, type TcpServer } from "../../agent/api/tcp-server.ts";
import { createPlainAgent, type PlainAgent } from "./plain-agent.ts";
import {
  endHeaders,
  endStream,
  frame,
  frameTypes,
  get,
  headerBlock,
  initialWindowSize,
  integer,
  padded,
  post,
  postHead,
  preface,
  RawH2,
  requestFields,
  reset,
  settings,
  u32,
  windowUpdate,
} from "./raw-h2.ts";

const bodyMs = 600;
const idleMs = 4000;

let agent: PlainAgent;
let server: TcpServer;
const faults: unknown[] = [];
const clients: RawH2[] = [];

beforeAll(() => {
  agent = createPlainAgent(
    "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v TEXT); CREATE TABLE large (id INTEGER NOT NULL PRIMARY KEY, v TEXT);" +
      `INSERT INTO large WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 60) SELECT x, printf('%.*c', 1000, 'x') FROM c`,
  );
  const serving = serveTcp({
    address: { host: "127.0.0.1", port: 0 },
    front: new Front({ handle: agent.handle, room: new RouteRoom(), gate: undefined }),
    bodyBytesMax: 1024 * 1024,
    requestMs: bodyMs,
    idleMs,
    onFault: (fault) => faults.push(fault),
  });
  if (serving.kind === "refused") throw new Error(serving.why);
  server = serving.server;
});
afterAll(async () => {
  await server.stop();
  agent[Symbol.dispose]();
});
afterEach(async () => {
  const other = open();
  other.send(post(1, "/v1/queries", '"SELECT 7 AS n"'));
  await other.until(() => other.hasEnded(1));
  expect(other.body(1)).toContain('{"row":[1,[7]]}');
  for (const client of clients.splice(0)) client.close();
  await other.until(() => agent.service.live.listenerCount === 0);
  expect(faults.splice(0)).toEqual([]);
});

function open(...first: readonly (readonly [number, number])[]): RawH2 {
  const client = RawH2.open(server.address.port, ...first);
  clients.push(client);
  return client;
}

const codes = {
  protocol: 1,
  internal: 2,
  flowControl: 3,
  streamClosed: 5,
  frameSize: 6,
  refused: 7,
  compression: 9,
  calm: 11,
} as const;

const health = requestFields("GET", "/v1/health");
const whole = endHeaders | endStream;
const request = (fields: readonly (readonly [string, string])[], stream = 1, flags = whole) =>
  frame(frameTypes.headers, flags, stream, headerBlock(fields));
const without = (name: string) => health.filter(([one]) => one !== name);

// ---- Frames that aren't allowed where they stand ------------------------------------------------

test.each<[string, Uint8Array, number]>([
  ["DATA without a stream", frame(frameTypes.data, 0, 0, Buffer.from("x")), codes.protocol],
  ["DATA on a stream that was never opened", frame(frameTypes.data, 0, 5), codes.protocol],
  ["HEADERS without a stream", request(health, 0), codes.protocol],
  ["HEADERS on a server's stream", request(health, 2), codes.protocol],
  [
    "HEADERS that are padded beyond their end",
    frame(frameTypes.headers, whole | padded, 1, Buffer.of(9, 0)),
    codes.protocol,
  ],
  [
    "HEADERS on an older stream",
    Buffer.concat([get(5, "/v1/health"), get(3, "/v1/health")]),
    codes.protocol,
  ],
  [
    "HEADERS that are no HPACK",
    frame(frameTypes.headers, whole, 1, Buffer.from("ffffffff", "hex")),
    codes.compression,
  ],
  [
    "an index beyond the table",
    frame(
      frameTypes.headers,
      whole,
      1,
      Buffer.concat([headerBlock(health), integer(200, 7, 0x80)]),
    ),
    codes.compression,
  ],
  [
    "a table larger than was agreed",
    frame(
      frameTypes.headers,
      whole,
      1,
      Buffer.concat([integer(65_536, 5, 0x20), headerBlock(health)]),
    ),
    codes.compression,
  ],
  [
    "another frame inside of a header block",
    Buffer.concat([request(health, 1, endStream), settings()]),
    codes.protocol,
  ],
  [
    "another stream's CONTINUATION",
    Buffer.concat([request(health, 1, endStream), frame(frameTypes.continuation, endHeaders, 3)]),
    codes.protocol,
  ],
  ["a CONTINUATION of nothing", frame(frameTypes.continuation, endHeaders, 1), codes.protocol],
  ["a PRIORITY that is too short", frame(frameTypes.priority, 0, 1, u32(0)), codes.frameSize],
  ["RST_STREAM of a stream that was never opened", reset(7), codes.protocol],
  [
    "RST_STREAM of the wrong size",
    Buffer.concat([get(1, "/v1/health"), frame(frameTypes.reset, 0, 1, Buffer.alloc(3))]),
    codes.frameSize,
  ],
  ["SETTINGS on a stream", frame(frameTypes.settings, 0, 1), codes.protocol],
  [
    "SETTINGS of the wrong size",
    frame(frameTypes.settings, 0, 0, Buffer.alloc(5)),
    codes.frameSize,
  ],
  [
    "acknowledged SETTINGS with something in them",
    frame(frameTypes.settings, 1, 0, Buffer.alloc(6)),
    codes.frameSize,
  ],
  ["a window that is too large", settings([initialWindowSize, 2 ** 31]), codes.flowControl],
  ["frames that are too small", settings([5, 100]), codes.protocol],
  ["PUSH_PROMISE of a client", frame(frameTypes.push, endHeaders, 1, u32(2)), codes.protocol],
  ["PING of the wrong size", frame(frameTypes.ping, 0, 0, Buffer.alloc(7)), codes.frameSize],
  ["PING on a stream", frame(frameTypes.ping, 0, 1, Buffer.alloc(8)), codes.protocol],
  ["GOAWAY on a stream", frame(frameTypes.goaway, 0, 1, Buffer.alloc(8)), codes.protocol],
  ["a window that grows by nothing", windowUpdate(0, 0), codes.protocol],
  ["a window that grows beyond its end", windowUpdate(0, 2 ** 31 - 1), codes.flowControl],
  ["a frame over 16 KiB", frame(frameTypes.data, 0, 1, Buffer.alloc(16_385)), codes.frameSize],
])("%s ends the connection", async (_, bytes, code) => {
  const client = open();
  client.send(bytes);
  await client.until(() => client.isClosed);
  expect(client.code()).toBe(code);
});

test.each<[string, Uint8Array, number]>([
  ["a name in upper case", request([...health, ["X-A", "b"]]), codes.protocol],
  ["a line break in a value", request([...health, ["x-a", "b\r\nc: d"]]), codes.protocol],
  ["a field of one connection", request([...health, ["connection", "close"]]), codes.protocol],
  ["a transfer encoding", request([...health, ["transfer-encoding", "chunked"]]), codes.protocol],
  ["no :path", request(without(":path")), codes.protocol],
  ["no :method", request(without(":method")), codes.protocol],
  ["two :paths", request([...health.slice(0, 3), [":path", "/"]]), codes.protocol],
  ["a :status", request([[":status", "200"], ...health]), codes.protocol],
  [
    "a :path after other fields",
    request([...without(":path"), ["x-a", "b"], [":path", "/"]]),
    codes.protocol,
  ],
  ["a length, and no body", request([...health, ["content-length", "5"]]), codes.protocol],
  [
    "more than its length",
    Buffer.concat([
      request([...requestFields("POST", "/v1/queries"), ["content-length", "1"]], 1, endHeaders),
      frame(frameTypes.data, endStream, 1, Buffer.from("12")),
    ]),
    codes.protocol,
  ],
  [
    "a stream that depends on itself",
    frame(
      frameTypes.headers,
      whole | 0x20,
      1,
      Buffer.concat([u32(1), Buffer.of(0), headerBlock(health)]),
    ),
    codes.protocol,
  ],
])("a request with %s ends its stream, and no other", async (_, bytes, code) => {
  const client = open();
  client.send(bytes);
  await client.until(() => client.hasEnded(1));
  expect(client.code(1)).toBe(code);
  client.send(post(3, "/v1/queries", '"SELECT 7"'));
  await client.until(() => client.hasEnded(3));
  expect(client.body(3)).toContain('{"row":[1,[7]]}');
});

test("frames that nobody knows, padding, priorities and trailers do no harm", async () => {
  const client = open();
  client.send(
    frame(0x42, 0xff, 1, Buffer.alloc(100)),
    frame(frameTypes.priority, 0, 9, Buffer.concat([u32(3), Buffer.of(200)])),
    postHead(1, "/v1/queries"),
    frame(
      frameTypes.data,
      padded,
      1,
      Buffer.concat([Buffer.of(4), Buffer.from('"SELECT'), Buffer.alloc(4)]),
    ),
    frame(frameTypes.data, 0, 1, Buffer.from(' 7"')),
    request([["x-trailer", "1"]], 1),
  );
  await client.until(() => client.hasEnded(1));
  expect(client.body(1)).toContain('{"row":[1,[7]]}');
});

// Whatever is broken in a connection that was sound, wherever: it may answer or end, and nobody else notices.
test("any byte of a connection may be another, and it may end anywhere", async () => {
  const sound = Buffer.concat([
    preface,
    settings([initialWindowSize, 100_000], [1, 0]),
    post(1, "/v1/queries", '"SELECT 7"'),
    postHead(3, "/v1/subscriptions"),
    frame(
      frameTypes.data,
      endStream | padded,
      3,
      Buffer.concat([Buffer.of(2), Buffer.from('"SELECT v FROM t"  ')]),
    ),
    frame(frameTypes.priority, 0, 5, Buffer.alloc(5)),
    frame(frameTypes.ping, 0, 0, Buffer.alloc(8)),
    windowUpdate(3, 1000),
    reset(3),
    request(health, 7, endStream),
    frame(frameTypes.continuation, endHeaders, 7),
    frame(frameTypes.goaway, 0, 0, Buffer.alloc(8)),
  ]);
  const change = fc.record({ at: fc.nat(sound.length - 1), byte: fc.nat(255) });
  await fc.assert(
    fc.asyncProperty(
      fc.array(change, { maxLength: 3 }),
      fc.nat(sound.length),
      fc.nat(sound.length),
      async (changes, pieceEnd, end) => {
        const bytes = Buffer.from(sound);
        for (const { at, byte } of changes) bytes[at] = byte;
        const client = new RawH2(server.address.port);
        client.send(bytes.subarray(0, Math.min(pieceEnd, end)));
        await new Promise((resolve) => setImmediate(resolve));
        client.send(bytes.subarray(Math.min(pieceEnd, end), end));
        client.socket.end();
        await client.until(() => client.isClosed);
      },
    ),
    { numRuns: 300 },
  );
}, 120_000);

// ---- Floods -------------------------------------------------------------------------------------

/** Sends until the connection is closed. */
async function flood(client: RawH2, bytes: () => Uint8Array, timesMax: number): Promise<number> {
  let times = 0;
  for (; times < timesMax && !client.isClosed; times++) {
    if (client.send(bytes())) await new Promise((resolve) => setImmediate(resolve));
    else {
      await new Promise<void>((resolve) => {
        client.socket.once("drain", resolve);
        client.socket.once("close", resolve);
      });
    }
  }
  return times;
}

const times = (count: number, bytes: Uint8Array) => Buffer.concat(Array(count).fill(bytes));

test("streams that are opened and reset as fast as can be (CVE-2023-44487) end the connection", async () => {
  const client = open();
  let stream = -1;
  await flood(
    client,
    () => {
      const pairs: Uint8Array[] = [];
      for (let i = 0; i < 100; i++) {
        stream += 2;
        pairs.push(postHead(stream, "/v1/subscriptions"), reset(stream));
      }
      return Buffer.concat(pairs);
    },
    1000,
  );
  await client.until(() => client.isClosed);
  // A thousand, and some that were on their way.
  expect(stream / 2).toBeLessThan(10_000);
});

test.each<[string, Uint8Array]>([
  ["CONTINUATION without an end", frame(frameTypes.continuation, 0, 1)],
  [
    "CONTINUATION that grows",
    frame(frameTypes.continuation, 0, 1, headerBlock([["x", "y".repeat(8000)]])),
  ],
])("%s ends the connection", async (_, bytes) => {
  const client = open();
  client.send(request(health, 1, endStream));
  expect(await flood(client, () => bytes, 1000)).toBeLessThan(1000);
});

test("a header block that unpacks to fifty megabytes ends the connection", async () => {
  const client = open();
  // One field of 4,000 bytes that enters the table (RFC 7541 §6.2.1), and 12,000 references to it of a byte each.
  const field = Buffer.concat([
    Buffer.of(0x40, 1, 0x78),
    integer(4000, 7),
    Buffer.alloc(4000, 0x61),
  ]);
  const block = Buffer.concat([headerBlock(health), field, Buffer.alloc(12_000, 0x80 | 62)]);
  client.send(frame(frameTypes.headers, whole, 1, block));
  await client.until(() => client.isClosed);
  expect(client.code()).toBe(codes.calm);
});

test("more header fields, or larger ones, than are taken are answered with 431", async () => {
  // Without a table, so that both answers are written out.
  const client = open([1, 0]);
  const many = Array.from({ length: 300 }, (_, i) => [`x${i}`, "1"] as const);
  client.send(request([...health, ...many]));
  const large = headerBlock([...health, ["x", "y".repeat(15_000)], ["z", "y".repeat(9000)]]);
  client.send(
    frame(frameTypes.headers, endStream, 3, large.subarray(0, 16_000)),
    frame(frameTypes.continuation, endHeaders, 3, large.subarray(16_000)),
  );
  await client.until(() => client.hasEnded(1) && client.hasEnded(3));
  for (const stream of [1, 3]) expect(client.status(stream)).toBe("431");
});

test.each<[string, Uint8Array]>([
  ["PINGs", frame(frameTypes.ping, 0, 0, Buffer.alloc(8))],
  ["SETTINGS", settings()],
])("%s whose answers nobody reads end the connection", async (_, bytes) => {
  const client = open();
  client.socket.pause();
  const many = times(1000, bytes);
  // A megabyte of answers, beside what the kernel holds.
  expect(await flood(client, () => many, 20_000)).toBeLessThan(20_000);
});

test("two thousand settings in a frame end the connection", async () => {
  const client = open();
  client.send(
    settings(...Array.from({ length: 2000 }, (_, i) => [initialWindowSize, i % 2] as const)),
  );
  await client.until(() => client.isClosed);
  expect(client.code()).toBe(codes.calm);
});

// ---- Streams ------------------------------------------------------------------------------------

test("nothing is sent beyond the window, and all of it as it opens", async () => {
  const client = open([initialWindowSize, 0]);
  const sentBytes = (stream: number) =>
    client.of(frameTypes.data, stream).reduce((sum, { payload }) => sum + payload.length, 0);
  const streams = Array.from({ length: 100 }, (_, i) => 1 + 2 * i);
  client.send(...streams.map((stream) => post(stream, "/v1/queries", '"SELECT v FROM large"')));
  await client.until(() => streams.every((one) => client.of(frameTypes.headers, one).length === 1));
  expect(sentBytes(1)).toBe(0);
  client.send(windowUpdate(1, 1000));
  await client.until(() => sentBytes(1) === 1000);
  client.send(windowUpdate(1, 1_000_000), windowUpdate(3, 1_000_000), windowUpdate(0, 1_000_000));
  await client.until(() => client.hasEnded(1) && client.hasEnded(3));
  for (const stream of [1, 3]) {
    expect(client.body(stream)).toMatch(/^\{"columns":\["v"\]\}\n(\{"row":.*\n){60}\{"eoq":.*\n$/);
  }
  expect(sentBytes(5)).toBe(0);
});

test("a stream that is reset ends its subscription; others of its connection go on", async () => {
  const client = open();
  client.send(
    post(1, "/v1/subscriptions", '"SELECT id FROM t"'),
    post(3, "/v1/subscriptions", '"SELECT v FROM t"'),
  );
  await client.until(() => [1, 3].every((stream) => client.body(stream).includes("eoq")));
  expect(agent.service.live.listenerCount).toBe(2);
  client.send(reset(1));
  await client.until(() => agent.service.live.listenerCount === 1);
  // A client that says goodbye hears what it waits for to the end.
  client.send(frame(frameTypes.goaway, 0, 0, Buffer.alloc(8)));
  const outcome = await agent.service.transact(
    [{ sql: "INSERT INTO t VALUES (1, 'a')", parameters: undefined }],
    undefined,
  );
  expect(outcome.kind).not.toBe("refused");
  await client.until(() => client.body(3).includes('{"change":["insert",1,["a"],1]}'));
  expect(client.hasEnded(3)).toBe(false);
  client.send(reset(3));
  await client.until(() => client.isClosed);
});

test("streams beyond 256 are refused, and may come again", async () => {
  const client = open();
  const head = (stream: number) => post(stream, "/v1/subscriptions", '"SELECT id FROM t"');
  // As many as may be between their head and their answer's.
  for (let at = 0; at < 256; at += 64) {
    const some = Array.from({ length: 64 }, (_, i) => 2 * (at + i) + 1);
    client.send(...some.map(head));
    await client.until(() => some.every((one) => client.of(frameTypes.headers, one).length === 1));
  }
  client.send(head(513));
  await client.until(() => client.hasEnded(513));
  expect(client.code(513)).toBe(codes.refused);
  client.send(reset(1), head(515));
  await client.until(() => client.of(frameTypes.headers, 515).length === 1);
});

// ---- Time ---------------------------------------------------------------------------------------

test("bodies that don't end give up their places", async () => {
  const client = open();
  const streams = Array.from({ length: 128 }, (_, i) => 2 * i + 1);
  client.send(...streams.map((stream) => postHead(stream, "/v1/queries")));
  // They live, but don't get on.
  const drip = setInterval(() => {
    for (const one of streams.slice(0, 64)) {
      if (!client.hasEnded(one)) client.send(frame(frameTypes.data, 0, one, Buffer.of(0x20)));
    }
  }, bodyMs / 4);
  // Whose bytes are read first isn't said.
  let other = open();
  for (let isFull = false; !isFull; ) {
    other.close();
    other = open();
    other.send(post(1, "/v1/queries", '"SELECT 7"'));
    await other.until(() => other.hasEnded(1));
    isFull = other.body(1) === "max concurrency limit reached";
  }
  await client.until(() => streams.every((one) => client.hasEnded(one)));
  clearInterval(drip);
  expect(client.body(1)).toBe('{"error":"the request\'s body took too long"}');
  other.send(post(3, "/v1/queries", '"SELECT 7"'));
  await other.until(() => other.hasEnded(3));
  expect(other.body(3)).toContain('{"row":[1,[7]]}');
});

test("a connection without a request is closed after a while, one with a stream never", async () => {
  const silent = open();
  silent.send(post(1, "/v1/subscriptions", '"SELECT id FROM t"'));
  const h1 = new RawH2(server.address.port);
  clients.push(h1);
  const body = '"SELECT id FROM t"';
  h1.send(
    Buffer.from(
      `POST /v1/subscriptions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    ),
  );
  const idle = [
    // Nothing but the beginning of a preface; a preface; an answered request, pings after it.
    new RawH2(server.address.port),
    open(),
    open(),
  ] as const;
  clients.push(idle[0]);
  idle[0].send(preface.subarray(0, 10));
  idle[2].send(get(1, "/v1/health"));
  // A reader that has stopped, whatever it says beside.
  const stopped = open([initialWindowSize, 0]);
  stopped.send(post(1, "/v1/queries", body));
  const pings = setInterval(() => stopped.send(frame(frameTypes.ping, 0, 0, Buffer.alloc(8))), 300);
  for (const one of [...idle, stopped]) await one.until(() => one.isClosed);
  clearInterval(pings);
  expect([silent.isClosed, h1.isClosed]).toEqual([false, false]);
  expect(agent.service.live.listenerCount).toBe(2);
}, 120_000);

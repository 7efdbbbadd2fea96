import { afterEach, expect, test } from "bun:test";
import { Buffer } from "node:buffer";
import type { Socket } from "bun";
import fc from "fast-check";
import {
  acknowledged,
  endHeaders,
  endStream,
  frame,
  frameTypes,
  get,
  headerBlock,
  initialWindowSize,
  post,
  postHead,
  preface,
  requestFields,
  reset,
  settings,
  u32,
  windowUpdate,
} from "../../../test/contract/raw-h2.ts";
import { Front, RouteRoom } from "../front.ts";
import type { ApiRequest, ApiResponse } from "../http.ts";
import { LateRequests } from "../late-requests.ts";
import { Http2Connection } from "./connection.ts";
import { errorCodes } from "./frames.ts";
import { HpackDecoder } from "./hpack-decoder.ts";

/** A socket of which only as much is taken as `takes` says. */
class FakeSocket {
  readonly writes: number[] = [];
  takes: number = Number.POSITIVE_INFINITY;
  state = "open";
  isPaused = false;
  #sent: Buffer = Buffer.alloc(0);
  write(bytes: Uint8Array): number {
    const taken = Math.min(bytes.length, this.takes);
    this.takes -= taken;
    this.writes.push(taken);
    this.#sent = Buffer.concat([this.#sent, bytes.subarray(0, taken)]);
    return taken;
  }
  shutdown(): void {
    this.state = "shut down";
  }
  end(): void {
    this.state = "ended";
  }
  terminate(): void {
    this.state = "terminated";
  }
  pause(): void {
    this.isPaused = true;
  }
  resume(): void {
    this.isPaused = false;
  }
  /** What was sent, but for our settings and their window. */
  get frames(): string[] {
    return [...this.#frames()].map(textOf).slice(2);
  }
  payloads(type: number): Buffer[] {
    return [...this.#frames()].filter((one) => one[3] === type).map((one) => one.subarray(9));
  }
  /** How many answers have ended. Of a body one can't tell by its text: it may end with a dot of its own. */
  get ends(): number {
    const isEnd = (one: Buffer) =>
      (one[3] as number) <= frameTypes.headers && ((one[4] as number) & endStream) !== 0;
    return [...this.#frames()].filter(isEnd).length;
  }
  /** What has been sent of a stream's answer, but for a frame that isn't whole yet. */
  bodyOf(stream: number): Buffer {
    const parts: Buffer[] = [];
    for (const one of this.#frames()) {
      if (one[3] === frameTypes.data && one.readUInt32BE(5) === stream) parts.push(one.subarray(9));
    }
    return Buffer.concat(parts);
  }
  *#frames(): Generator<Buffer> {
    for (let at = 0; at + 9 <= this.#sent.length; ) {
      const end = at + 9 + this.#sent.readUIntBE(at, 3);
      yield this.#sent.subarray(at, end);
      at = end;
    }
  }
}

const decoder = new HpackDecoder();

/** `HEADERS 1 200`, `DATA 1 body`, `DATA 1 body.` where it ends there, and so on. */
function textOf(bytes: Buffer): string {
  const payload = bytes.subarray(9);
  const [type, flags, stream] = [bytes[3], bytes[4] as number, bytes.readUInt32BE(5)];
  const end = (flags & endStream) !== 0 ? "." : "";
  switch (type) {
    case frameTypes.data:
      return `DATA ${stream} ${payload.length > 100 ? payload.length : payload}${end}`;
    case frameTypes.headers: {
      let status = "";
      decoder.decode(payload, 0, payload.length, (name, value) => {
        if (name === ":status") status = value;
        return true;
      });
      return `HEADERS ${stream} ${status}${end}`;
    }
    case frameTypes.reset:
      return `RST_STREAM ${stream} ${payload.readUInt32BE(0)}`;
    case frameTypes.settings:
      return flags === acknowledged ? "SETTINGS ack" : "SETTINGS";
    case frameTypes.ping:
      return `PING ${flags === acknowledged ? "ack" : ""}`;
    case frameTypes.goaway:
      return `GOAWAY ${payload.readUInt32BE(0)} ${payload.readUInt32BE(4)}`;
    case frameTypes.window:
      return `WINDOW_UPDATE ${stream} ${payload.readUInt32BE(0)}`;
    default:
      return `type ${type}`;
  }
}

const faults: unknown[] = [];
let room: RouteRoom;
const quick = (request: ApiRequest): ApiResponse => ({
  status: 200,
  headers: {},
  body: Buffer.from(`${request.path} ${request.body}`),
});
const turn = () => new Promise((resolve) => setImmediate(resolve));

type Handle = (request: ApiRequest) => ApiResponse | Promise<ApiResponse>;

/** @param first the client's settings */
function connect(
  handle: Handle = quick,
  {
    first = settings(),
    turnMs = Number.POSITIVE_INFINITY,
    requestMs = 60_000,
    bodyBytesMax = 400_000,
  } = {},
) {
  const socket = new FakeSocket();
  room = new RouteRoom();
  const connection = new Http2Connection(socket as unknown as Socket<unknown>, {
    front: new Front({ handle, room, gate: undefined }),
    bodyBytesMax,
    lateRequests: new LateRequests(requestMs),
    onFault: (fault) => faults.push(fault),
    turnMs,
  });
  const send = (...bytes: readonly Uint8Array[]) => connection.received(Buffer.concat(bytes));
  send(preface, first);
  return { socket, connection, send };
}

/** Answers when it is told to, by path. */
function later(): { handle: Handle; answer(path: string): Promise<void> } {
  const waiting = new Map<string, () => void>();
  return {
    handle: (request) =>
      new Promise((resolve) => {
        waiting.set(request.path, () => resolve(quick(request)));
      }),
    async answer(path) {
      waiting.get(path)?.();
      await turn();
    },
  };
}

/** All places of all routes are free again. */
function expectRoom(): void {
  for (const path of ["/v1/queries", "/a"]) expect(room.enter(path)?.running).toBe(1);
  expect(room.bodies.heldBytes).toBe(0);
}

afterEach(() => {
  expect(faults.splice(0)).toEqual([]);
});

// ---- Laws ---------------------------------------------------------------------------------------

test("a connection is a sequence of bytes: however it is cut, what is sent is the same", () => {
  const body = fc.string({ unit: "binary-ascii", maxLength: 20 });
  const step = fc.oneof(
    fc.record({ kind: fc.constant("post" as const), body, pieces: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ kind: fc.constantFrom("ping", "bad", "late reset") }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 6 }), fc.array(fc.nat(600)), (steps, cuts) => {
      const bytes = [preface, settings()];
      for (const [i, one] of steps.entries()) {
        const id = 2 * i + 1;
        if (one.kind === "ping") bytes.push(frame(frameTypes.ping, 0, 0, Buffer.alloc(8)));
        else if (one.kind === "bad") bytes.push(request([["x", "y"]], id));
        else if (one.kind === "late reset") bytes.push(post(id, "/b", ""), reset(id));
        else if ("body" in one) {
          bytes.push(postHead(id, "/a"));
          const at = Math.ceil(one.body.length / one.pieces);
          for (let piece = 0; piece < one.pieces; piece++) {
            const part = Buffer.from(one.body.slice(piece * at, (piece + 1) * at));
            const flags = piece === one.pieces - 1 ? endStream : 0;
            bytes.push(frame(frameTypes.data, flags, id, part));
          }
        }
      }
      const whole = Buffer.concat(bytes);
      const sent = (at: readonly number[]) => {
        const { socket, connection } = connect(quick, { first: noBytes });
        let from = preface.length;
        for (const to of [...at, whole.length]) {
          if (to > from) connection.received(Buffer.from(whole.subarray(from, to)));
          from = Math.max(from, to);
        }
        connection.closed();
        expectRoom();
        return socket.frames;
      };
      expect(sent(cuts.sort((a, b) => a - b))).toEqual(sent([]));
    }),
  );
});

const noBytes = Buffer.alloc(0);
const request = (fields: readonly (readonly [string, string])[], stream: number) =>
  frame(frameTypes.headers, endHeaders | endStream, stream, headerBlock(fields));

test("no frames make it throw, and whatever they are, all places are free at the end", async () => {
  const block = headerBlock(requestFields("POST", "/v1/queries"));
  const payload = fc.oneof(
    fc.uint8Array({ maxLength: 30 }),
    fc.constantFrom(block, u32(0), u32(1), u32(2 ** 31 - 1), Buffer.alloc(8), Buffer.alloc(5)),
    fc.nat(block.length).map((end) => block.subarray(0, end)),
  );
  const any = fc.record({
    type: fc.integer({ min: 0, max: 10 }),
    flags: fc.constantFrom(0, 1, 4, 5, 8, 0x20, 0x2d),
    stream: fc.constantFrom(0, 1, 1, 3, 3, 5, 2, 7),
    payload,
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(any, { maxLength: 30 }),
      fc.constantFrom(0, 30, Number.POSITIVE_INFINITY),
      async (frames, takes) => {
        const { socket, connection, send } = connect((one) =>
          one.body.length % 2 === 0 ? quick(one) : Promise.resolve(quick(one)),
        );
        socket.takes = takes;
        for (const { type, flags, stream, payload } of frames) {
          send(frame(type, flags, stream, payload));
        }
        await turn();
        socket.takes = Number.POSITIVE_INFINITY;
        connection.drained();
        await turn();
        connection.ended();
        connection.closed();
        await turn();
        expectRoom();
      },
    ),
    { numRuns: 1000 },
  );
});

// A client that opens windows, and takes bytes, as it likes: it is never sent more than that, and at the end it has all.
test("windows hold, and every answer arrives whole, whatever is opened and taken when", async () => {
  const piece = fc.nat(30_000).map((length) => Buffer.alloc(length, length % 251));
  const answers = fc.array(
    fc.record({ isWhole: fc.boolean(), pieces: fc.array(piece, { maxLength: 3 }) }),
    { minLength: 1, maxLength: 4 },
  );
  const step = fc.oneof(
    fc.record({ kind: fc.constant("takes" as const), bytes: fc.nat(40_000) }),
    fc.record({ kind: fc.constant("window" as const), bytes: fc.nat(40_000), of: fc.nat(4) }),
    fc.record({ kind: fc.constant("initial" as const), bytes: fc.nat(50_000) }),
    fc.record({ kind: fc.constant("turn" as const), bytes: fc.nat(0) }),
  );
  await fc.assert(
    fc.asyncProperty(answers, fc.array(step, { maxLength: 30 }), async (wanted, steps) => {
      const { socket, send, connection } = connect((one) => {
        const { isWhole, pieces } = wanted[Number(one.path.slice(1))] as (typeof wanted)[number];
        const body = isWhole ? Buffer.concat(pieces) : inTurn(pieces);
        return { status: 200, headers: {}, body };
      });
      let initial = 65_535;
      let opened = 65_535;
      const openedById = new Map(wanted.map((_, i) => [2 * i + 1, 0]));
      const check = () => {
        let sum = 0;
        for (const [id, more] of openedById) {
          const bytes = socket.bodyOf(id).length;
          sum += bytes;
          expect(bytes).toBeLessThanOrEqual(Math.max(highest, initial) + more);
        }
        expect(sum).toBeLessThanOrEqual(opened);
      };
      let highest = initial;
      const change = (bytes: number) => {
        initial = bytes;
        highest = Math.max(highest, bytes);
        send(settings([initialWindowSize, bytes]));
      };
      change(1000);
      highest = 1000;
      for (const id of openedById.keys()) send(get(id, `/${(id - 1) / 2}`));
      for (const { kind, bytes, ...rest } of steps) {
        if (kind === "initial") change(bytes);
        else if (kind === "turn") await turn();
        else if (kind === "takes") {
          socket.takes = bytes;
          connection.drained();
        } else if (bytes > 0 && "of" in rest) {
          const id = rest.of === 0 ? 0 : 2 * ((rest.of - 1) % wanted.length) + 1;
          if (id === 0) opened += bytes;
          else openedById.set(id, (openedById.get(id) as number) + bytes);
          send(windowUpdate(id, bytes));
        }
        check();
      }
      socket.takes = Number.POSITIVE_INFINITY;
      connection.drained();
      send(settings([initialWindowSize, 1_000_000]), windowUpdate(0, 10_000_000));
      for (let i = 0; i < 10; i++) await turn();
      for (const [i, { pieces }] of wanted.entries()) {
        expect(socket.bodyOf(2 * i + 1).equals(Buffer.concat(pieces))).toBe(true);
      }
      expect(socket.ends).toBe(wanted.length);
      expect(connection.idleSinceMs).toBeNumber();
      expectRoom();
    }),
    // A body that ends with a dot was taken for two ends.
    { numRuns: 200, examples: [[[{ isWhole: false, pieces: [Buffer.alloc(46, ".")] }], []]] },
  );
}, 120_000);

async function* inTurn(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const piece of pieces) yield piece;
}

// ---- Answers ------------------------------------------------------------------------------------

test("answers to what came together leave together", () => {
  const { socket, send } = connect();
  const before = socket.writes.length;
  send(post(1, "/a", "x"), post(3, "/b", "y"), get(5, "/c"));
  expect(socket.writes.length - before).toBe(1);
  expect(socket.frames.slice(1)).toEqual([
    ...["HEADERS 1 200", "DATA 1 /a x."],
    ...["HEADERS 3 200", "DATA 3 /b y."],
    ...["HEADERS 5 200", "DATA 5 /c ."],
  ]);
});

test("an answer leaves as soon as it is there, whatever was asked before", async () => {
  const { handle, answer } = later();
  const { socket, send } = connect(handle);
  send(get(1, "/a"), get(3, "/b"));
  await answer("/b");
  expect(socket.frames.slice(1)).toEqual(["HEADERS 3 200", "DATA 3 /b ."]);
  await answer("/a");
  expect(socket.frames.slice(3)).toEqual(["HEADERS 1 200", "DATA 1 /a ."]);
});

test("a stream whose window is closed holds up no other, and asks for nothing more", async () => {
  let asked = 0;
  async function* lines(): AsyncGenerator<Uint8Array> {
    for (;;) {
      asked++;
      yield Buffer.from("line\n");
    }
  }
  const { socket, send } = connect(
    (one) => (one.path === "/a" ? { status: 200, headers: {}, body: lines() } : quick(one)),
    { first: settings([initialWindowSize, 7]) },
  );
  send(get(1, "/a"));
  await turn();
  await turn();
  expect(socket.frames.slice(1)).toEqual(["HEADERS 1 200", "DATA 1 line\n", "DATA 1 li"]);
  expect(asked).toBe(2);
  send(get(3, "/b"));
  expect(socket.frames.slice(4)).toEqual(["HEADERS 3 200", "DATA 3 /b ."]);
  send(windowUpdate(1, 4));
  await turn();
  expect(socket.frames.slice(6)).toEqual(["DATA 1 ne\n", "DATA 1 l"]);
  send(reset(1));
  await turn();
  expect(asked).toBe(3);
});

test("streams take turns, and none has the connection's window for itself", async () => {
  const large = Buffer.alloc(50_000, "x");
  const { socket, send } = connect(() => ({ status: 200, headers: {}, body: large }), {
    first: settings([initialWindowSize, 100_000]),
  });
  send(get(1, "/a"), get(3, "/b"));
  expect(socket.frames.slice(1)).toEqual([
    ...["HEADERS 1 200", "DATA 1 16384", "HEADERS 3 200", "DATA 3 16384"],
    ...["DATA 1 16384", "DATA 3 16383"],
  ]);
  // A head needs no window.
  send(get(5, "/c"));
  expect(socket.frames.slice(7)).toEqual(["HEADERS 5 200"]);
  send(windowUpdate(0, 1_000_000));
  expect(socket.frames.filter((text) => text.endsWith("."))).toEqual([
    ...["DATA 1 848.", "DATA 3 849.", "DATA 5 848."],
  ]);
});

test("a client that takes nothing is asked for nothing more, and hears all when it does", async () => {
  let asked = 0;
  async function* lines(): AsyncGenerator<Uint8Array> {
    for (; asked < 5; ) {
      asked++;
      yield Buffer.from("line\n");
    }
  }
  const { socket, send, connection } = connect(() => ({ status: 200, headers: {}, body: lines() }));
  socket.takes = 0;
  send(get(1, "/a"), get(3, "/b"));
  await turn();
  await turn();
  expect(asked).toBeLessThan(4);
  expect(socket.frames.slice(1)).toEqual([]);
  socket.takes = Number.POSITIVE_INFINITY;
  connection.drained();
  await turn();
  await turn();
  const sent = socket.frames.filter((text) => text.includes("line")).length;
  expect(sent).toBe(5);
  expect(socket.frames.filter((text) => text.endsWith(".")).length).toBe(2);
});

test("a stream that breaks is reset, also before its head", async () => {
  const { socket, send } = connect(({ path }) => ({
    status: 200,
    headers: {},
    body: (async function* () {
      if (path === "/b") yield Buffer.from("line\n");
      throw new Error("broken");
    })(),
  }));
  send(get(1, "/a"), get(3, "/b"));
  await turn();
  await turn();
  expect(faults.splice(0).length).toBe(2);
  expect(socket.frames.slice(1)).toEqual([
    `RST_STREAM 1 ${errorCodes.internal}`,
    ...["HEADERS 3 200", "DATA 3 line\n", `RST_STREAM 3 ${errorCodes.internal}`],
  ]);
  expectRoom();
});

test("a stream that is cut off is reset, whatever wasn't taken of it, and others go on", async () => {
  let cut = (): void => {};
  let isEnded = false;
  async function* lines(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) yield Buffer.from("line\n");
    } finally {
      isEnded = true;
    }
  }
  const { socket, send } = connect(
    (one) =>
      one.path === "/b"
        ? quick(one)
        : {
            status: 200,
            headers: {},
            body: lines(),
            isEndless: true,
            onCut: (how) => {
              cut = how;
            },
          },
    { first: settings([initialWindowSize, 3]) },
  );
  send(get(1, "/a"));
  await turn();
  await turn();
  cut();
  cut();
  send(get(3, "/b"));
  await turn();
  expect(isEnded).toBe(true);
  expect(socket.frames.slice(1)).toEqual([
    ...["HEADERS 1 200", "DATA 1 lin", `RST_STREAM 1 ${errorCodes.internal}`],
    ...["HEADERS 3 200", "DATA 3 /b ."],
  ]);
  expectRoom();
});

test("what a request said isn't kept for an answer that nobody takes, nor for a stream", async () => {
  const requests: ApiRequest[] = [];
  const { send } = connect(
    (one) => {
      requests.push(one);
      expect([one.header("x-long"), one.path, one.body.length]).toEqual(["value", "/a", 4]);
      if (requests.length === 1) return quick(one);
      const body = (async function* () {
        yield Buffer.from("line\n");
      })();
      return { status: 200, headers: {}, body };
    },
    { first: settings([initialWindowSize, 0]) },
  );
  const fields = headerBlock(requestFields("POST", "/a", [["x-long", "value"]]));
  for (const stream of [1, 3]) {
    send(frame(frameTypes.headers, endHeaders, stream, fields));
    send(frame(frameTypes.data, endStream, stream, Buffer.from("body")));
  }
  await turn();
  for (const one of requests) {
    expect([one.header("x-long"), one.path, one.body.length]).toEqual([undefined, "/", 0]);
  }
});

test("a request that is reset ends its stream, and the place that it had", async () => {
  const { handle, answer } = later();
  let isAborted = false;
  const { socket, send } = connect((one) => {
    one.signal.addEventListener("abort", () => {
      isAborted = true;
    });
    return handle(one);
  });
  send(get(1, "/a"), postHead(3, "/a"), reset(1), reset(3));
  expect(isAborted).toBe(true);
  await answer("/a");
  expect(socket.frames.slice(1)).toEqual([]);
  expectRoom();
});

test("who wants no table is told that there is none, once", () => {
  for (const expects of [[], [["expect", "100-continue"]]] as const) {
    const { socket, send } = connect(quick, { first: settings([1, 0]) });
    const block = headerBlock(requestFields("POST", "/a", expects));
    send(frame(frameTypes.headers, endHeaders, 1, block));
    send(frame(frameTypes.data, endStream, 1), get(3, "/a"));
    const updates = socket.payloads(frameTypes.headers).map((payload) => payload[0] === 0x20);
    expect(updates).toEqual(expects.length === 0 ? [true, false] : [true, false, false]);
  }
});

// ---- Bodies -------------------------------------------------------------------------------------

/** DATA of `bytes` bytes in frames, without an end. */
function data(stream: number, bytes: number): Buffer {
  const frames: Buffer[] = [];
  for (let left = bytes; left > 0; left -= 16_384) {
    const payload = Buffer.alloc(Math.min(left, 16_384), "x");
    frames.push(frame(frameTypes.data, 0, stream, payload));
  }
  return Buffer.concat(frames);
}

test("windows are given back as a body comes, and it is whole", () => {
  const { socket, send } = connect((one) => ({
    status: 200,
    headers: {},
    body: Buffer.from(String(one.body.length)),
  }));
  send(postHead(1, "/a"));
  for (let i = 0; i < 20; i++) send(data(1, 16_384));
  send(frame(frameTypes.data, endStream, 1));
  expect(socket.frames.slice(1)).toEqual([
    ...["WINDOW_UPDATE 1 147456", "WINDOW_UPDATE 1 147456"],
    ...["HEADERS 1 200", `DATA 1 ${20 * 16_384}.`],
  ]);
});

test("who sends more than its window is reset", async () => {
  const first = settings([initialWindowSize, 0]);
  const { socket, send } = connect(quick, { bodyBytesMax: 1000, first });
  // Its answer isn't taken, and nothing is given back for what isn't wanted.
  send(postHead(1, "/a"), data(1, 262_144));
  while (socket.isPaused) await turn();
  send(data(1, 1));
  expect(socket.frames.slice(1)).toEqual([
    "HEADERS 1 200",
    `RST_STREAM 1 ${errorCodes.flowControl}`,
  ]);
  expectRoom();
});

test("a body over the limit is answered, and the rest of it isn't wanted", async () => {
  const { socket, send } = connect(
    (one) => ({ status: one.body === "too-large" ? 413 : 200, headers: {}, body: Buffer.alloc(0) }),
    { bodyBytesMax: 1000 },
  );
  const told = [["content-length", "100000"]] as const;
  const head = headerBlock(requestFields("POST", "/a", told));
  send(frame(frameTypes.headers, endHeaders, 1, head), postHead(3, "/a"), data(3, 1001));
  expect(socket.frames.slice(1)).toEqual([
    ...["HEADERS 1 413.", "RST_STREAM 1 0", "HEADERS 3 413.", "RST_STREAM 3 0"],
  ]);
  // What was on its way does no harm.
  send(data(1, 5000), data(3, 5000), request([["x-trailer", "1"]], 1));
  send(get(5, "/a"));
  expect(socket.frames.slice(5)).toEqual(["HEADERS 5 200."]);
});

test("a short body that nobody wants may still come", () => {
  const { socket, send } = connect();
  for (let i = 0; i < 128; i++) room.enter("/a");
  const told = [["content-length", "5"]] as const;
  const head = headerBlock(requestFields("POST", "/a", told));
  send(frame(frameTypes.headers, endHeaders, 1, head));
  send(frame(frameTypes.data, endStream, 1, Buffer.alloc(5)));
  expect(socket.frames.slice(1)).toEqual([
    "HEADERS 1 503",
    "DATA 1 max concurrency limit reached.",
  ]);
});

test("who asks first is told to go on", () => {
  const { socket, send } = connect();
  const fields = requestFields("POST", "/a", [["expect", "100-continue"]]);
  send(frame(frameTypes.headers, endHeaders, 1, headerBlock(fields)));
  expect(socket.frames.slice(1)).toEqual(["HEADERS 1 100"]);
  send(frame(frameTypes.data, endStream, 1, Buffer.from("x")));
  expect(socket.frames.slice(2)).toEqual(["HEADERS 1 200", "DATA 1 /a x."]);
});

const pong = frame(frameTypes.ping, acknowledged, 0, Buffer.alloc(8));

// ---- Bounds -------------------------------------------------------------------------------------

test("others have their turn after a while, and what comes meanwhile waits", async () => {
  const { socket, send } = connect(quick, { turnMs: 0 });
  send(...Array.from({ length: 100 }, (_, i) => get(2 * i + 1, "/a")));
  const answers = () => socket.frames.filter((text) => text.startsWith("HEADERS")).length;
  expect(answers()).toBe(1);
  send(...Array.from({ length: 5000 }, () => pong));
  expect(socket.isPaused).toBe(true);
  while (answers() < 100 || socket.isPaused) await turn();
});

test("who sends much at once isn't read on in the same turn, however little it takes", async () => {
  const { socket, send } = connect();
  send(...Array.from({ length: 5000 }, () => pong));
  expect(socket.isPaused).toBe(true);
  await turn();
  expect(socket.isPaused).toBe(false);
});

test("pings that nobody hears the answers of end the connection", () => {
  const { socket, send } = connect();
  socket.takes = 0;
  for (let i = 0; i < 100; i++) {
    send(...Array.from({ length: 100 }, () => frame(frameTypes.ping, 0, 0, Buffer.alloc(8))));
  }
  expect(socket.state).toBe("terminated");
});

test("streams that never get to their answers end the connection, unless others do", async () => {
  const { handle, answer } = later();
  const { socket, send } = connect(handle);
  let id = -1;
  const cut = (times: number) => {
    for (let i = 0; i < times; i++) {
      id += 2;
      send(postHead(id, "/a"), reset(id));
    }
  };
  for (let round = 0; round < 4; round++) {
    cut(400);
    for (let i = 0; i < 200; i++) {
      id += 2;
      send(get(id, "/b"));
      await answer("/b");
    }
  }
  expect(socket.state).toBe("open");
  cut(201);
  await turn();
  expect(socket.frames.at(-1)).toMatch(/^GOAWAY \d+ 11$/);
  expect(socket.state).toBe("ended");
});

// ---- Time ---------------------------------------------------------------------------------------

test("it is idle while it has no request, and while only its client has something to do", async () => {
  const { handle, answer } = later();
  const { send, connection } = connect(handle, { first: settings([initialWindowSize, 0]) });
  expect(connection.idleSinceMs).toBeNumber();
  send(get(1, "/a"));
  expect(connection.idleSinceMs).toBeUndefined();
  await answer("/a");
  const sinceMs = connection.idleSinceMs as number;
  expect(sinceMs).toBeNumber();
  send(frame(frameTypes.ping, 0, 0, Buffer.alloc(8)));
  expect(connection.idleSinceMs).toBe(sinceMs);
  send(postHead(3, "/a"));
  expect(connection.idleSinceMs).toBeUndefined();
  send(reset(3), windowUpdate(1, 1));
  expect(connection.idleSinceMs).toBeGreaterThan(sinceMs);
});

test("it is idle while its client takes nothing of a stream that has an end, be it by a window or the socket", async () => {
  const isEndless = new Set(["/endless"]);
  const { socket, send, connection } = connect(
    ({ path }) => ({
      status: 200,
      headers: {},
      body: (async function* () {
        for (;;) yield Buffer.from("line\n");
      })(),
      isEndless: isEndless.has(path),
    }),
    { first: settings([initialWindowSize, 0]) },
  );
  send(get(1, "/a"));
  expect(connection.idleSinceMs).toBeUndefined();
  await turn();
  await turn();
  const sinceMs = connection.idleSinceMs as number;
  expect(sinceMs).toBeNumber();
  // What it takes counts, and nothing else.
  send(frame(frameTypes.ping, 0, 0, Buffer.alloc(8)));
  expect(connection.idleSinceMs).toBe(sinceMs);
  send(windowUpdate(1, 2));
  expect(connection.idleSinceMs).toBeGreaterThan(sinceMs);
  socket.takes = 0;
  send(windowUpdate(1, 1000));
  await turn();
  expect(connection.idleSinceMs).toBeNumber();
  send(get(3, "/endless"));
  await turn();
  await turn();
  expect(connection.idleSinceMs).toBeUndefined();
  connection.closed();
});

test("it isn't idle while a stream is open, however silent, and is when that has ended", async () => {
  let end = (): void => {};
  async function* lines(): AsyncGenerator<Uint8Array> {
    yield Buffer.from("line\n");
    await new Promise<void>((resolve) => {
      end = resolve;
    });
  }
  const { send, connection } = connect(() => ({ status: 200, headers: {}, body: lines() }));
  send(get(1, "/a"));
  await turn();
  await turn();
  expect(connection.idleSinceMs).toBeUndefined();
  end();
  await turn();
  expect(connection.idleSinceMs).toBeNumber();
});

test("a body that takes too long is answered", async () => {
  const { socket, send } = connect(quick, { requestMs: 30 });
  send(postHead(1, "/a"));
  while (socket.frames.length < 4) await turn();
  expect(socket.frames.slice(1)).toEqual([
    "HEADERS 1 408",
    `DATA 1 {"error":"the request's body took too long"}.`,
    "RST_STREAM 1 0",
  ]);
  expectRoom();
});

test("it ends when it is stopped and what was begun is answered", async () => {
  const { handle, answer } = later();
  const { socket, send, connection } = connect(handle);
  send(get(1, "/a"));
  connection.stop();
  send(get(3, "/b"));
  expect(socket.frames.slice(1)).toEqual(["GOAWAY 1 0", "RST_STREAM 3 7"]);
  expect(socket.state).toBe("open");
  await answer("/a");
  expect(socket.frames.slice(3)).toEqual(["HEADERS 1 200", "DATA 1 /a ."]);
  expect(socket.state).toBe("shut down");
  connection.ended();
  expect(socket.state).toBe("ended");
});

test("who sends no more gets what it asked for, as far as its windows are open", async () => {
  const { handle, answer } = later();
  const endless = (): ApiResponse => ({
    status: 200,
    headers: {},
    body: new ReadableStream<Uint8Array>() as unknown as AsyncIterable<Uint8Array>,
    isEndless: true,
  });
  const { socket, send, connection } = connect((one) => {
    if (one.path === "/endless") return endless();
    return one.path === "/v1/queries" ? quick(one) : handle(one);
  });
  send(get(1, "/endless"), get(3, "/a"), postHead(5, "/v1/queries"));
  await turn();
  connection.ended();
  expect(socket.frames.slice(1)).toEqual(["HEADERS 1 200", "PING "]);
  await answer("/a");
  expect(socket.frames.slice(3)).toEqual(["HEADERS 3 200", "DATA 3 /a ."]);
  expect(socket.state).toBe("ended");
  expectRoom();
});

import { expect, test } from "bun:test";
import { Buffer } from "node:buffer";
import type { Socket } from "bun";
import fc from "fast-check";
import { BodyRoom } from "../body-room.ts";
import { Front, RouteRoom } from "../front.ts";
import type { ApiRequest, ApiResponse } from "../http.ts";
import { LateRequests } from "../late-requests.ts";
import { Http1Connection } from "./connection.ts";

/** A socket of which only as much is taken as `takes` says. */
class FakeSocket {
  sent = "";
  takes: number = Number.POSITIVE_INFINITY;
  state = "open";
  isPaused = false;
  write(bytes: Uint8Array): number {
    const taken = Math.min(bytes.length, this.takes);
    this.takes -= taken;
    this.sent += Buffer.from(bytes.subarray(0, taken)).toString("latin1");
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
  /** Without the line that tells the time. */
  get text(): string {
    return this.sent.replaceAll(/date: [^\r]*\r\n/g, "");
  }
}

const faults: unknown[] = [];
const quick = (request: ApiRequest): ApiResponse => ({
  status: 200,
  headers: {},
  body: Buffer.from(`${request.method} ${request.path} ${request.body}`),
});

function connect(
  handle: (request: ApiRequest) => ApiResponse | Promise<ApiResponse> = quick,
  turnMs = Number.POSITIVE_INFINITY,
  asksWhoEnded = false,
) {
  const socket = new FakeSocket();
  const bodies = new BodyRoom();
  const connection = new Http1Connection(socket as unknown as Socket<unknown>, {
    front: new Front({ handle, room: new RouteRoom(bodies), gate: undefined }),
    bodyBytesMax: 100_000,
    lateRequests: new LateRequests(60_000),
    onFault: (fault) => faults.push(fault),
    asksWhoEnded,
    turnMs,
  });
  const send = (text: string) => connection.received(Buffer.from(text, "latin1"));
  return { socket, connection, send };
}

const quickAnswer = { status: 200, headers: {} };
const post = (path: string, body: string) =>
  `POST ${path} HTTP/1.1\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
const answer = (body: string) => `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
const turn = () => new Promise((resolve) => setImmediate(resolve));

// However requests are cut into pieces, the answers are the same.
test("a connection is a sequence of bytes", () => {
  const body = fc.string({ unit: "binary-ascii", maxLength: 20 });
  const request = fc.record({ path: fc.constantFrom("/a", "/b"), body, isChunked: fc.boolean() });
  fc.assert(
    fc.property(fc.array(request, { maxLength: 5 }), fc.array(fc.nat(400)), (requests, at) => {
      const text = requests
        .map(({ path, body, isChunked }) => {
          if (!isChunked) return post(path, body);
          const chunk = body === "" ? "" : `${body.length.toString(16)}\r\n${body}\r\n`;
          return `POST ${path} HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n${chunk}0\r\n\r\n`;
        })
        .join("");
      const { socket, send, connection } = connect();
      let from = 0;
      for (const to of [...at.sort((a, b) => a - b), text.length]) {
        send(text.slice(from, to));
        from = Math.max(from, to);
      }
      connection.closed();
      const wanted = requests.map(({ path, body }) => answer(`POST ${path} ${body}`));
      expect(socket.text).toBe(wanted.join(""));
    }),
  );
});

test("an answer that is awaited holds up what was sent after it, and nothing is lost", async () => {
  const waiting: (() => void)[] = [];
  const { socket, send } = connect(
    (request) =>
      new Promise((resolve) => {
        waiting.push(() => resolve(quick(request)));
      }),
  );
  send(post("/a", "1") + post("/b", "2"));
  send(post("/c", "3"));
  expect([waiting.length, socket.sent]).toEqual([1, ""]);
  for (const path of ["/a 1", "/b 2", "/c 3"]) {
    waiting.shift()?.();
    await turn();
    expect(socket.text).toEndWith(answer(`POST ${path}`));
  }
});

test("what a client sends far ahead isn't read", async () => {
  let done = (): void => {};
  const { socket, send } = connect(
    (request) =>
      new Promise((resolve) => {
        done = () => resolve(quick(request));
      }),
  );
  send(post("/a", "1") + post("/b", "x".repeat(90_000)));
  expect(socket.isPaused).toBe(true);
  done();
  await turn();
  done();
  await turn();
  expect(socket.isPaused).toBe(false);
  expect(socket.text).toEndWith("x");
});

test("an answer that isn't taken holds up the next request", async () => {
  const { socket, send, connection } = connect();
  socket.takes = 10;
  send(post("/a", "1") + post("/b", "2"));
  send(post("/c", "3"));
  expect(socket.sent).toBe("HTTP/1.1 2");
  socket.takes = Number.POSITIVE_INFINITY;
  connection.drained();
  await turn();
  expect(socket.text).toBe(answer("POST /a 1") + answer("POST /b 2") + answer("POST /c 3"));
});

test("a stream is sent in chunks, as its client takes them, and ends when it goes", async () => {
  let asked = 0;
  let isEnded = false;
  async function* lines(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        asked++;
        yield Buffer.from("line\n");
      }
    } finally {
      isEnded = true;
    }
  }
  const { socket, send, connection } = connect(() => ({ status: 200, headers: {}, body: lines() }));
  const head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
  socket.takes = 120;
  send("GET /a HTTP/1.1\r\n\r\n");
  await turn();
  await turn();
  expect(socket.text.startsWith(`${head}5\r\nline\n\r\n`)).toBe(true);
  const before = asked;
  await turn();
  expect(asked).toBe(before);
  connection.closed();
  await turn();
  expect(isEnded).toBe(true);
});

test("what a request said isn't kept for a stream", async () => {
  let request: ApiRequest | undefined;
  const { send, socket } = connect((one) => {
    request = one;
    expect([one.header("x-long"), one.body.length]).toEqual(["value", 4]);
    const body = (async function* () {
      yield Buffer.from("line\n");
      await new Promise(() => {});
    })();
    return { status: 200, headers: {}, body, isEndless: true };
  });
  send("POST /a HTTP/1.1\r\nx-long: value\r\ncontent-length: 4\r\n\r\nbody");
  await turn();
  await turn();
  expect(socket.text).toEndWith("line\n\r\n");
  expect([request?.header("x-long"), request?.body.length]).toEqual([undefined, 0]);
});

test("a stream that is cut off takes its connection along, whatever wasn't taken of it", async () => {
  let cut = (): void => {};
  async function* lines(): AsyncGenerator<Uint8Array> {
    for (;;) yield Buffer.from("line\n");
  }
  const { socket, send } = connect(() => ({
    status: 200,
    headers: {},
    body: lines(),
    isEndless: true,
    onCut: (one) => {
      cut = one;
    },
  }));
  socket.takes = 120;
  send("GET /a HTTP/1.1\r\n\r\n");
  await turn();
  await turn();
  expect(socket.state).toBe("open");
  cut();
  expect(socket.state).toBe("terminated");
});

test("a stream that breaks off has no end", async () => {
  async function* lines(): AsyncGenerator<Uint8Array> {
    yield Buffer.from("line\n");
    throw new Error("broken");
  }
  const { socket, send } = connect(() => ({ status: 200, headers: {}, body: lines() }));
  send("GET /a HTTP/1.1\r\n\r\n");
  await turn();
  await turn();
  expect(socket.state).toBe("terminated");
  expect(socket.text).toEndWith("line\n\r\n");
  expect(faults.splice(0)).toHaveLength(1);
});

test.each([
  ["no HTTP", "no HTTP\r\n\r\n", 400],
  ["no chunk", "POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nx", 400],
  ["a head without end", `GET /${"x".repeat(20_000)}`, 431],
])("what can't be read is refused, and the connection ends: %s", async (_what, text, status) => {
  const { socket, send } = connect();
  send(text + post("/b", "2"));
  await turn();
  expect(socket.text).toStartWith(`HTTP/1.1 ${status} `);
  expect(socket.text).toContain("connection: close");
  expect(socket.text.match(/^HTTP\/1\.1 /gm)).toHaveLength(1);
  expect(socket.state).toBe("shut down");
});

test("a body that is too large is told so before it comes, and the connection ends", async () => {
  for (const head of [
    "POST /a HTTP/1.1\r\ncontent-length: 200000\r\n\r\n",
    "POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n40000\r\n",
  ]) {
    const { socket, send } = connect();
    send(head);
    await turn();
    expect(socket.text).toEndWith("POST /a too-large");
    expect(socket.state).toBe("shut down");
    send("x".repeat(1000));
  }
});

test("a client that asks first is told to go on", () => {
  const { socket, send } = connect();
  send("POST /a HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n");
  expect(socket.sent).toBe("HTTP/1.1 100 Continue\r\n\r\n");
  send("ok");
  expect(socket.text).toEndWith(answer("POST /a ok"));
});

test("HEAD has the head of GET alone; HTTP/1.0 and `close` end the connection", async () => {
  const { socket, send } = connect();
  send("HEAD /a HTTP/1.1\r\n\r\n");
  expect(socket.text).toBe("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n");
  send("GET /a HTTP/1.0\r\n\r\nGET /b HTTP/1.0\r\n\r\n");
  await turn();
  expect(socket.text).toEndWith("content-length: 7\r\nconnection: close\r\n\r\nGET /a ");
  expect(socket.state).toBe("shut down");
});

test("a fault of ours is answered with 500, and the connection goes on", async () => {
  let isFirst = true;
  const { socket, send } = connect((request) => {
    if (!isFirst) return quick(request);
    isFirst = false;
    throw new Error("ours");
  });
  send(post("/a", "1") + post("/b", "2"));
  expect(socket.text).toStartWith("HTTP/1.1 500 ");
  expect(socket.text).toEndWith(answer("POST /b 2"));
  expect(faults.splice(0)).toHaveLength(1);
});

test("a client that goes before its answer is told of by the signal", async () => {
  let isGone = false;
  const { connection, send } = connect(
    ({ signal }) =>
      new Promise((resolve) => {
        signal.addEventListener("abort", () => {
          isGone = true;
          resolve({ status: 200, headers: {}, body: Buffer.from("too late") });
        });
      }),
  );
  send(post("/a", "1"));
  connection.closed();
  await turn();
  expect(isGone).toBe(true);
});

test("a client that sends no more is answered all that it asked for whole, and then it is the end", async () => {
  const waiting: (() => void)[] = [];
  const { socket, send, connection } = connect(
    (request) =>
      new Promise((resolve) => {
        waiting.push(() => resolve(quick(request)));
      }),
  );
  send(post("/a", "1") + post("/b", "2"));
  connection.ended();
  waiting.shift()?.();
  await turn();
  expect([socket.text, socket.state]).toEqual([answer("POST /a 1"), "open"]);
  waiting.shift()?.();
  await turn();
  expect([socket.text, socket.state]).toEqual([answer("POST /a 1") + answer("POST /b 2"), "ended"]);
});

test("a client that sends no more gets an answer whole, also where it takes it slowly", async () => {
  const { socket, send, connection } = connect();
  socket.takes = 10;
  send(post("/a", "1"));
  connection.ended();
  await turn();
  expect([socket.sent, socket.state]).toEqual(["HTTP/1.1 2", "open"]);
  socket.takes = Number.POSITIVE_INFINITY;
  connection.drained();
  await turn();
  expect([socket.text, socket.state]).toEqual([answer("POST /a 1"), "ended"]);
});

test.each(["GET /a HT", post("/a", "12").slice(0, -1)])(
  "a request that its client left unfinished is refused: %p",
  async (text) => {
    const { socket, send, connection } = connect();
    send(post("/b", "2") + text);
    connection.ended();
    await turn();
    expect(socket.text).toStartWith(`${answer("POST /b 2")}HTTP/1.1 400 `);
    expect(socket.state).toBe("ended");
  },
);

test("a client that closes after `connection: close` is closed", async () => {
  const { socket, send, connection } = connect();
  send("GET /a HTTP/1.1\r\nconnection: close\r\n\r\n");
  await turn();
  expect(socket.state).toBe("shut down");
  connection.ended();
  expect(socket.state).toBe("ended");
});

test("HTTP/1.0 is told that its connection stays", () => {
  const { socket, send } = connect();
  send("GET /a HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
  expect(socket.text).toContain("\r\nconnection: keep-alive\r\n");
});

test("between requests that come together others have their turn", async () => {
  let answered = 0;
  const { socket, send, connection } = connect((request) => {
    answered++;
    return quick(request);
  }, 0);
  send(post("/a", "1") + post("/b", "2") + post("/c", "3"));
  expect(answered).toBe(1);
  send(post("/d", "4"));
  connection.ended();
  for (let turns = 1; turns < 4; turns++) {
    await turn();
    expect(answered).toBe(turns + 1);
  }
  await turn();
  const wanted = ["/a 1", "/b 2", "/c 3", "/d 4"].map((path) => answer(`POST ${path}`));
  expect([socket.text, socket.state]).toEqual([wanted.join(""), "ended"]);
});

test("within a body of many small chunks others have their turn", async () => {
  const { socket, send } = connect(
    ({ body }) => ({ ...quickAnswer, body: Buffer.from(`${body.length}`) }),
    0,
  );
  const chunks = "1;x\r\n \r\n".repeat(20_000);
  send(`POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`);
  let turns = 0;
  for (; socket.text === ""; turns++) await turn();
  // 160 KB, 16 at a time.
  expect(turns).toBeGreaterThanOrEqual(10);
  expect(socket.text).toBe(answer("20000"));
});

test("who sends much at once isn't read on in the same turn, be it a body or after the end", async () => {
  const { socket, send } = connect();
  send(`POST /a HTTP/1.1\r\ncontent-length: 90000\r\n\r\n${"x".repeat(70_000)}`);
  expect(socket.isPaused).toBe(true);
  await turn();
  expect(socket.isPaused).toBe(false);
  send("x".repeat(20_000));
  expect(socket.text).toEndWith("x");
  send("no HTTP\r\n\r\n");
  await turn();
  expect(socket.state).toBe("shut down");
  send("x".repeat(70_000));
  expect(socket.isPaused).toBe(true);
  await turn();
  expect(socket.isPaused).toBe(false);
});

test("what is sent far ahead of a stream's end waits; a client behind one without end is cut off", async () => {
  for (const isEndless of [false, true]) {
    let end = (): void => {};
    async function* lines(): AsyncGenerator<Uint8Array> {
      yield Buffer.from("line\n");
      await new Promise<void>((resolve) => {
        end = resolve;
      });
    }
    const { socket, send } = connect((request) =>
      request.path === "/stream"
        ? { status: 200, headers: {}, body: lines(), isEndless }
        : quick(request),
    );
    send(post("/stream", "") + post("/b", "x".repeat(90_000)));
    await turn();
    await turn();
    send("");
    expect([socket.isPaused, socket.state]).toEqual(
      isEndless ? [false, "terminated"] : [true, "open"],
    );
    end();
    await turn();
    await turn();
    if (!isEndless) expect([socket.isPaused, socket.text.at(-1)]).toEqual([false, "x"]);
  }
});

/** One line, and then nothing until it is told to end. */
function silentStream(): { body: AsyncIterable<Uint8Array>; end: () => void } {
  let end = (): void => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  async function* lines(): AsyncGenerator<Uint8Array> {
    yield Buffer.from("line\n");
    await ended;
  }
  return { body: lines(), end: () => end() };
}

test("it is idle without a request, and while an answer isn't taken; never with a stream", async () => {
  const { body, end } = silentStream();
  const { socket, send, connection } = connect((request) =>
    request.path === "/stream"
      ? { status: 200, headers: {}, body, isEndless: true }
      : quick(request),
  );
  const isIdle = () => connection.idleSinceMs !== undefined;
  const seen = [isIdle()];
  send("POST /a HT");
  seen.push(isIdle());
  send("TP/1.1\r\ncontent-length: 1\r\n\r\n");
  seen.push(isIdle());
  send("1");
  seen.push(isIdle());
  send(post("/stream", ""));
  await turn();
  await turn();
  seen.push(isIdle());
  end();
  await turn();
  await turn();
  seen.push(isIdle());
  expect(seen).toEqual([true, true, false, true, false, true]);
  socket.takes = 10;
  send(post("/a", "1"));
  const sinceMs = connection.idleSinceMs as number;
  while (performance.now() <= sinceMs) await turn();
  send(post("/a", "1"));
  expect(connection.idleSinceMs).toBe(sinceMs);
  connection.drained();
  expect(connection.idleSinceMs).toBeGreaterThan(sinceMs);
});

test("one that sends no more may be asked whether it is gone, with nothing that it minds", async () => {
  const { body } = silentStream();
  let answer = (): void => {};
  const { socket, send, connection } = connect(
    () =>
      new Promise((resolve) => {
        answer = () => resolve({ status: 200, headers: {}, body, isEndless: true });
      }),
    undefined,
    true,
  );
  send("GET /a HTTP/1.1\r\n\r\n");
  connection.ended();
  expect(socket.text).toBe("HTTP/1.1 102 Processing\r\n\r\n");
  answer();
  await turn();
  await turn();
  expect(socket.text).toEndWith("5\r\nline\n\r\n");
  connection.ended();
  expect(socket.text).toEndWith("5\r\nline\n\r\n1\r\n \r\n");
});

/**
 * What is TCP's own: which protocol a connection speaks, and how it begins, stalls and ends.
 *
 * @module
 */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import * as http2 from "node:http2";
import { connect, type Socket } from "node:net";
import { BodyRoom } from "../../agent/api/body-room.ts";
import { ConnectionLimit, type LimitReport } from "../../agent/api/connection-limit.ts";
import { Front, RouteRoom } from "../../agent/api/front.ts";
import { serveTcp, type TcpServer, type TcpServerOptions } from "../../agent/api/tcp-server.ts";
import { missingProgram, testIf } from "../real.ts";
import { until } from "../until.ts";
import { HttpClient } from "./http-target.ts";
import { createPlainAgent, type PlainAgent } from "./plain-agent.ts";

let bodies: BodyRoom;
let agent: PlainAgent;
let server: TcpServer;
const clients: HttpClient[] = [];
const faults: unknown[] = [];

beforeEach(async () => {
  agent = createPlainAgent("CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v TEXT)", {
    subscriberBytesMax: 64 * 1024,
  });
  bodies = new BodyRoom(1_500_000);
  const serving = serveTcp({
    address: { host: "127.0.0.1", port: 0 },
    front: new Front({
      handle: agent.handle,
      room: new RouteRoom(bodies),
      gate: undefined,
    }),
    bodyBytesMax: 1024 * 1024,
    onFault: (fault) => faults.push(fault),
  });
  if (serving.kind === "refused") throw new Error(serving.why);
  server = serving.server;
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await server.stop();
  agent[Symbol.dispose]();
  expect(faults.splice(0)).toEqual([]);
});

const urlOf = ({ address }: TcpServer) => `http://127.0.0.1:${address.port}`;
const url = () => urlOf(server);
function client(isH2c: boolean): HttpClient {
  const made = new HttpClient({ at: url(), isPatina: true, isH2c });
  clients.push(made);
  return made;
}
const listeners = () => agent.service.live.listenerCount;

interface RawClient {
  readonly socket: Socket;
  readonly text: () => string;
  readonly isClosed: () => boolean;
}

function openRaw(of: TcpServer = server): RawClient {
  const socket = connect(of.address.port, "127.0.0.1");
  let text = "";
  let isClosed = false;
  socket.setNoDelay(true);
  socket.on("error", () => {});
  socket.on("data", (bytes) => {
    text += bytes.toString("latin1");
  });
  socket.on("close", () => {
    isClosed = true;
  });
  return { socket, text: () => text, isClosed: () => isClosed };
}

const headOf = (path: string, length: number) =>
  `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n`;

test("a request may come byte by byte, and another after it on the same connection", async () => {
  const { socket, text } = openRaw();
  const body = '"SELECT 17 AS n"';
  for (const byte of `${headOf("/v1/queries", body.length)}${body}`) {
    socket.write(byte);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await until(() => text().includes('{"row":[1,[17]]}'));
  socket.write(`${headOf("/v1/queries", body.length)}${body}`);
  await until(() => text().split('{"row":[1,[17]]}').length === 3);
  socket.destroy();
});

test("requests that come together are answered in order", async () => {
  const { socket, text } = openRaw();
  const queries = [1, 2, 3].map((n) => {
    const body = `"SELECT ${n}0 AS n"`;
    return `${headOf("/v1/queries", body.length)}${body}`;
  });
  socket.write(queries.join(""));
  await until(() => text().includes('{"row":[1,[30]]}'));
  const rows = [...text().matchAll(/\{"row":\[1,\[(\d+)\]\]\}/g)].map(([, n]) => n);
  expect(rows).toEqual(["10", "20", "30"]);
  socket.destroy();
});

test("an HTTP/2 preface may come in pieces", async () => {
  const socket = connect(server.address.port, "127.0.0.1");
  const session = http2.connect(url(), {
    createConnection: () => {
      const { write } = socket;
      let isFirst = true;
      // The preface and the settings, a byte at a time.
      socket.write = ((bytes: Uint8Array, ...rest: never[]) => {
        if (!isFirst || typeof bytes === "string") return write.call(socket, bytes, ...rest);
        isFirst = false;
        for (const byte of bytes.subarray(0, -1)) write.call(socket, Uint8Array.of(byte));
        return write.call(socket, bytes.subarray(-1), ...rest);
      }) as Socket["write"];
      return socket;
    },
  });
  const stream = session.request({ ":path": "/v1/nothing" });
  const [status] = await new Promise<[number]>((resolve) =>
    stream.on("response", (head) => resolve([head[":status"] as number])),
  );
  expect(status).toBe(404);
  session.destroy();
});

test("what is no HTTP is cut off, and others don't notice", async () => {
  const { socket, isClosed } = openRaw();
  socket.write("\x16\x03\x01\x00\x00 this is no HTTP\r\n\r\n");
  await until(isClosed);
  const { socket: other, isClosed: otherIsClosed } = openRaw();
  other.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nno frames follow, but this\r\n\r\n");
  await until(otherIsClosed);
  expect(await client(true).cells('"SELECT 1"')).toEqual(["[1]"]);
});

test("a client that goes away in the middle of its body has changed nothing", async () => {
  const body = '["INSERT INTO t VALUES (1, NULL)"]';
  const { socket } = openRaw();
  // The JSON is whole, and yet two bytes are missing.
  socket.write(`${headOf("/v1/transactions", body.length + 2)}${body}`);
  await until(() => socket.bytesWritten > 100);
  await new Promise((resolve) => setTimeout(resolve, 50));
  socket.destroy();
  const http = client(false);
  await http.transact('["INSERT INTO t VALUES (2, NULL)"]');
  expect(await http.cells('"SELECT id FROM t"')).toEqual(["[2]"]);
});

test("more than 128 requests of one route at once are refused, others aren't", async () => {
  const waiting = Array.from({ length: 128 }, () => openRaw());
  for (const { socket } of waiting) socket.write(headOf("/v1/queries", 3));
  const http = client(false);
  await until(async () => (await http.query('"SELECT 1"')).status === 503);
  const full = await http.query('"SELECT 1"');
  expect([full.status, full.text]).toEqual([503, "max concurrency limit reached"]);
  expect((await http.transact('["DELETE FROM t"]')).status).toBe(200);
  expect((await http.ask("GET", "/v1/health")).status).toBe(200);
  // One ends, one may come.
  waiting[0]?.socket.write("1  ");
  await until(async () => (await http.query('"SELECT 1"')).status === 200);
  for (const { socket } of waiting) socket.destroy();
  await until(async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => http.query('"SELECT 1"')));
    return answers.every(({ status }) => status === 200);
  });
});

test("bodies have a bound together, of every route and however their length is told", async () => {
  const noRoom = "the bodies of other requests take too much memory: try again";
  const large = JSON.stringify(["SELECT length(?)", ["x".repeat(800_000)]]);
  const http = client(false);
  const ask = async (body: string) => (await http.query(body)).status;
  const [whole, chunked] = [openRaw(), openRaw()];
  whole.socket.write(headOf("/v1/transactions", 1_000_000));
  await until(() => bodies.heldBytes === 1_000_000);
  const refused = await http.query(large);
  expect([refused.status, refused.text]).toEqual([503, expect.stringContaining(noRoom)]);
  expect(await ask('"SELECT 1"')).toBe(200);
  whole.socket.destroy();
  await until(() => bodies.heldBytes === 0);
  expect(await ask(large)).toBe(200);

  const head = headOf("/v1/transactions", 0).replace(
    "content-length: 0",
    "transfer-encoding: chunked",
  );
  chunked.socket.write(`${head}${(900_000).toString(16)}\r\n${" ".repeat(900_000)}\r\n`);
  await until(() => bodies.heldBytes === 900_000);
  expect(await ask(large)).toBe(503);
  chunked.socket.destroy();
  await until(() => bodies.heldBytes === 0);
  // One alone always has room.
  expect(await ask(JSON.stringify(["SELECT length(?)", ["x".repeat(1_000_000)]]))).toBe(200);
});

test("HEAD answers like GET, without a body", async () => {
  for (const isH2c of [false, true]) {
    const answer = await client(isH2c).ask("HEAD", "/v1/health");
    expect([answer.status, answer.text]).toEqual([200, ""]);
  }
});

describe.each([false, true])("with HTTP/2: %p", (isH2c) => {
  test("a client that goes away ends its subscription", async () => {
    const http = client(isH2c);
    const stream = await http.subscribe('"SELECT id FROM t"');
    await stream.take(2);
    expect(listeners()).toBe(1);
    await stream[Symbol.asyncDispose]();
    await until(() => listeners() === 0);
  });

  test("headers and lines come at once, also when there is nothing to say yet", async () => {
    const http = client(isH2c);
    await using stream = await http.subscribe('"SELECT id FROM t"', "?skip_rows=true");
    expect(stream.headers.get("corro-query-id")).toMatch(/^[0-9a-f-]{36}$/);
    await http.transact('["INSERT INTO t VALUES (1, NULL)"]');
    expect(await stream.next()).toBe('{"change":["insert",1,[1],1]}');
  });

  test("many streams of one connection don't hold each other up", async () => {
    const http = client(isH2c);
    // At most 128 at once are between their head and their answer's.
    const wave = (from: number) =>
      Array.from({ length: 100 }, (_, i) =>
        http.subscribe(`"SELECT v FROM t WHERE id = ${from + i}"`),
      );
    const streams = [...(await Promise.all(wave(0))), ...(await Promise.all(wave(100)))];
    await Promise.all(streams.map((stream) => stream.take(2)));
    await http.transact("[\"INSERT INTO t VALUES (77, 'x')\"]");
    expect(await streams[77]?.next()).toBe('{"change":["insert",1,["x"],1]}');
    for (const stream of streams) await stream[Symbol.asyncDispose]();
    await until(() => listeners() === 0);
  });

  test("a reader that doesn't read is let go; memory and others don't notice", async () => {
    const http = client(isH2c);
    await using quick = await http.subscribe('"SELECT id FROM t"');
    await quick.take(2);
    const slow = stalled(isH2c, '"SELECT v FROM t"');
    await until(() => listeners() === 2);
    let id = 0;
    while (listeners() === 2 && id < 2000) {
      id++;
      await http.transact(`[["INSERT INTO t VALUES (?, ?)", [${id}, "${"x".repeat(10_000)}"]]]`);
      expect(await quick.next()).toBe(`{"change":["insert",${id},[${id}],${id}]}`);
    }
    // More than the bound, and not much more than what the kernel and HTTP/2's window hold.
    expect(id).toBeGreaterThan(7);
    expect(id).toBeLessThan(1000);
    expect(listeners()).toBe(1);
    const text = await slow.read();
    const [, from] =
      /"error":"too slow: over 65536 bytes of events were waiting to be read; go on with from=(\d+)"/.exec(
        text,
      ) ?? [];
    slow.close();
    // Nothing is lost.
    await using again = await http.subscribe('"SELECT v FROM t"', `?from=${from}`);
    const rest = await again.take(id - Number(from));
    expect(JSON.parse(rest[0] as string).change[3]).toBe(Number(from) + 1);
    expect(JSON.parse(rest.at(-1) as string).change[3]).toBe(id);
  }, 120_000);

  test("the end of the agent ends streams, and no new ones begin", async () => {
    const http = client(isH2c);
    const stream = await http.subscribe('"SELECT id FROM t"');
    await stream.take(2);
    agent.service.endStreams();
    await server.stop();
    await stream.end();
    await expect(http.query('"SELECT 1"')).rejects.toThrow();
  });
});

/** A subscriber that takes nothing until it is told to read. */
function stalled(isH2c: boolean, body: string): { read(): Promise<string>; close(): void } {
  let text = "";
  const headers = { "content-type": "application/json" };
  if (isH2c) {
    const session = http2.connect(url());
    session.on("error", () => {});
    const path = "/v1/subscriptions";
    const stream = session.request({ ":method": "POST", ":path": path, ...headers });
    stream.pause();
    stream.end(body);
    return {
      async read() {
        for await (const chunk of stream) text = (text + chunk).slice(-1000);
        return text;
      },
      close: () => session.destroy(),
    };
  }
  const socket = connect(server.address.port, "127.0.0.1");
  socket.on("error", () => {});
  socket.pause();
  socket.write(`${headOf("/v1/subscriptions", body.length)}${body}`);
  return {
    async read() {
      socket.on("data", (chunk) => {
        text = (text + chunk).slice(-1000);
      });
      socket.resume();
      await until(() => text.includes('"error"'));
      return text;
    },
    close: () => socket.destroy(),
  };
}

for (const version of ["--http1.1", "--http2-prior-knowledge"]) {
  testIf(missingProgram("curl"), `curl ${version}`, async () => {
    const curl = (...args: string[]) =>
      Bun.spawn(["curl", "-sS", "-N", version, "-w", "|%{http_version}|%{http_code}", ...args], {
        stdout: "pipe",
        stderr: "pipe",
      });
    const json = ["-H", "content-type: application/json"];
    const read = async (...args: string[]) => {
      const child = curl(...args);
      return (await new Response(child.stdout).text()) + (await new Response(child.stderr).text());
    };
    const spoken = version === "--http1.1" ? "1.1" : "2";
    const insert = '["INSERT INTO t VALUES (1, NULL)"]';
    expect(await read(`${url()}/v1/transactions`, ...json, "-d", insert)).toMatch(
      new RegExp(`"version":1,"actor_id":"[0-9a-f]{32}"\\}\\|${spoken}\\|200$`),
    );
    // Large enough for curl to ask first, with `Expect: 100-continue`.
    const large = JSON.stringify([["UPDATE t SET v = ?", ["x".repeat(1_000_000)]]]);
    const sent = await read(`${url()}/v1/transactions`, ...json, "-d", `@-`).catch(String);
    expect(sent).toContain(`|${spoken}|400`);
    const child = Bun.spawn(
      ["curl", "-sS", version, `${url()}/v1/transactions`, ...json, "--data-binary", "@-"],
      { stdin: Buffer.from(large), stdout: "pipe" },
    );
    expect(await new Response(child.stdout).text()).toContain('"rows_affected":1');
    expect(await read(`${url()}/v1/nothing`)).toBe(`|${spoken}|404`);
    // A stream's lines arrive while it is open.
    const live = curl(`${url()}/v1/subscriptions`, ...json, "-d", '"SELECT id FROM t"');
    const reader = live.stdout.getReader();
    let text = "";
    while (!text.includes("eoq")) text += Buffer.from((await reader.read()).value ?? []).toString();
    await client(false).transact('["INSERT INTO t VALUES (2, NULL)"]');
    while (!text.includes('change":[')) {
      text += Buffer.from((await reader.read()).value ?? []).toString();
    }
    expect(text).toEndWith('{"change":["insert",2,[2],1]}\n');
    live.kill();
    await live.exited;
    await until(() => listeners() === 0);
  });
}

/** A second server, for what the first has other settings for. */
function serveAlso(options: Partial<TcpServerOptions> = {}): TcpServer {
  const serving = serveTcp({
    address: { host: "127.0.0.1", port: 0 },
    front: agent.front,
    bodyBytesMax: 1024 * 1024,
    onFault: (fault) => faults.push(fault),
    ...options,
  });
  if (serving.kind === "refused") throw new Error(serving.why);
  return serving.server;
}

test("an answer that is long in coming doesn't make its connection idle", async () => {
  const slow = serveAlso({
    idleMs: 500,
    front: new Front({
      handle: async () => {
        await Bun.sleep(1500);
        return { status: 200, headers: {}, body: new TextEncoder().encode("at last") };
      },
      room: new RouteRoom(),
      gate: undefined,
    }),
  });
  const texts = [false, true].map(async (isH2c) => {
    const http = new HttpClient({ at: urlOf(slow), isPatina: true, isH2c });
    clients.push(http);
    return (await http.ask("GET", "/v1/health")).text;
  });
  expect(await Promise.all(texts)).toEqual(["at last", "at last"]);
  await slow.stop();
});

test("an idle connection is closed after a while, one with a stream isn't", async () => {
  const impatient = serveAlso({ idleMs: 500 });
  const body = '"SELECT id FROM t"';
  const [asked, subscribed] = [openRaw(impatient), openRaw(impatient)];
  asked.socket.write(`${headOf("/v1/queries", body.length)}${body}`);
  subscribed.socket.write(`${headOf("/v1/subscriptions", body.length)}${body}`);
  await until(() => asked.isClosed());
  expect(asked.text()).toContain('"eoq"');
  expect([subscribed.isClosed(), listeners()]).toEqual([false, 1]);
  subscribed.socket.destroy();
  await until(() => listeners() === 0);
  await impatient.stop();
});

test("one that doesn't take its answer is idle, whatever it sends meanwhile", async () => {
  const impatient = serveAlso({ idleMs: 500 });
  const rows =
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 1000) SELECT hex(zeroblob(10000)) FROM c";
  const body = JSON.stringify(rows);
  const { socket, isClosed } = openRaw(impatient);
  socket.pause();
  socket.write(`${headOf("/v1/queries", body.length)}${body}`);
  const more = setInterval(() => socket.write("G"), 20);
  // A client that takes nothing hears of its end when it writes.
  await until(isClosed);
  clearInterval(more);
  await impatient.stop();
});

test("silent clients, and those that begin and don't go on, are closed after a request's time", async () => {
  const impatient = serveAlso({ requestMs: 600 });
  const silent = openRaw(impatient);
  const begun = openRaw(impatient);
  const slow = openRaw(impatient);
  begun.socket.write("PRI *");
  slow.socket.write("POST /v1/queries HTTP/1.1\r\n");
  const drip = setInterval(() => slow.socket.write("x"), 10);
  await until(() => silent.isClosed() && begun.isClosed());
  expect([silent.text(), begun.text()]).toEqual(["", ""]);
  await until(() => slow.text().startsWith("HTTP/1.1 408 "));
  clearInterval(drip);
  await until(slow.isClosed);
  await impatient.stop();
});

test("PRI is a method like others where it doesn't begin an HTTP/2 preface", async () => {
  const { socket, text } = openRaw();
  socket.write("PRI /v1/nothing HTTP/1.1\r\nhost: x\r\n\r\n");
  await until(() => text().startsWith("HTTP/1.1 404 "));
  socket.destroy();
});

test("what a client sends while a stream is open waits, and isn't lost", async () => {
  const { socket, text, isClosed } = openRaw();
  const body = '"SELECT id FROM t"';
  const query = '"SELECT 30 AS n"';
  socket.write(`${headOf("/v1/subscriptions", body.length)}${body}`);
  await until(() => text().includes('"eoq"'));
  socket.write(`${headOf("/v1/queries", query.length)}${query}`);
  await client(false).transact('["INSERT INTO t VALUES (1, NULL)"]');
  await until(() => text().includes('{"change":["insert",1,[1],1]}'));
  expect([isClosed(), text().includes("[30]")]).toEqual([false, false]);
  socket.destroy();
});

test("a client that goes while it waits ends its query", async () => {
  let isAsked = false;
  let isGone = false;
  const waiting = serveAlso({
    front: new Front({
      handle: ({ signal }) =>
        new Promise((resolve) => {
          isAsked = true;
          signal.addEventListener("abort", () => {
            isGone = true;
            resolve({ status: 200, headers: {}, body: new Uint8Array() });
          });
        }),
      room: new RouteRoom(),
      gate: undefined,
    }),
  });
  const { socket } = openRaw(waiting);
  socket.write("GET /v1/health HTTP/1.1\r\nhost: x\r\n\r\n");
  await until(() => isAsked);
  socket.destroy();
  await until(() => isGone);
  await waiting.stop();
});

test("above the limit one that says nothing makes room for another, then idle ones; who asks isn't closed", async () => {
  const reports: LimitReport[] = [];
  const limit = new ConnectionLimit({
    connectionsMax: 4,
    filesMax: undefined,
    onReached: (report) => reports.push(report),
  });
  const few = serveAlso({ limit });
  const body = '"SELECT id FROM t"';
  const subscribe = () => {
    const one = openRaw(few);
    one.socket.write(`${headOf("/v1/subscriptions", body.length)}${body}`);
    return one;
  };
  const streams = [subscribe(), subscribe()];
  await until(() => streams.every((one) => one.text().includes('"eoq"')));
  const idle = openRaw(few);
  idle.socket.write("GET /v1/nothing HTTP/1.1\r\nhost: x\r\n\r\n");
  await until(() => idle.text().startsWith("HTTP/1.1 404 "));
  const silent = openRaw(few);
  await until(() => !silent.socket.connecting);
  // The fifth and the sixth. Whoever has just come may be about to say something.
  for (const closed of [silent, idle]) {
    let one = subscribe();
    await until(() => {
      if (one.isClosed()) one = subscribe();
      return one.text().includes('"eoq"') && closed.isClosed();
    });
    streams.push(one);
  }
  const { refused: before } = few.connections;
  const refused = subscribe();
  await until(refused.isClosed);
  expect(few.connections).toEqual({ open: 4, refused: before + 1, closedForOthers: 2 });
  expect(refused.text()).toBe("");
  expect(streams.map((one) => one.isClosed())).toEqual([false, false, false, false]);
  expect(reports).toHaveLength(1);
  // One goes, one may come.
  streams[0]?.socket.destroy();
  await until(() => listeners() === 3);
  const last = subscribe();
  await until(() => last.text().includes('"eoq"'));
  for (const { socket } of [...streams, last]) socket.destroy();
  await until(() => listeners() === 0 && few.connections.open === 0);
  await few.stop();
});

test("IPv6 is served like IPv4, and an address that is taken isn't", async () => {
  const v6 = serveAlso({ address: { host: "::1", port: 0 } });
  const http = new HttpClient({ at: `http://[::1]:${v6.address.port}`, isPatina: true });
  expect(await http.cells('"SELECT 1"')).toEqual(["[1]"]);
  const options = { front: agent.front, bodyBytesMax: 1, onFault: () => {} };
  const again = (host: string, port: number) => serveTcp({ ...options, address: { host, port } });
  expect(again("::1", v6.address.port)).toEqual({
    kind: "refused",
    why: `[::1]:${v6.address.port}: another program listens there`,
  });
  expect(again("192.0.2.1", 0)).toEqual({
    kind: "refused",
    why: "192.0.2.1:0: it is no address of this host",
  });
  http.close();
  await v6.stop();
});

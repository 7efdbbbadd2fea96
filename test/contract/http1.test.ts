/**
 * HTTP/1.1 with real sockets, on the Unix socket and over TCP. Its parts have tests beside them (`agent/api/http1/`), what is
 * TCP's own has `tcp.test.ts`.
 *
 * @module
 */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type NetConnectOpts, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { HttpServer, HttpServerOptions } from "../../agent/api/http-server.ts";
import { serveTcp } from "../../agent/api/tcp-server.ts";
import { serveUnix } from "../../agent/api/unix-server.ts";
import { until } from "../until.ts";
import { createPlainAgent, type PlainAgent } from "./plain-agent.ts";

interface Served {
  readonly server: HttpServer;
  readonly at: NetConnectOpts;
}

/** @param path that is free */
function serveOnUnix(path: string, options: HttpServerOptions): Served {
  return { server: serveUnix({ ...options, path }), at: { path } };
}

function serveOnTcp(_path: string, options: HttpServerOptions): Served {
  const serving = serveTcp({ ...options, address: { host: "127.0.0.1", port: 0 } });
  if (serving.kind === "refused") throw new Error(serving.why);
  const { server } = serving;
  return { server, at: { host: "127.0.0.1", port: server.address.port } };
}

const requestOf = (route: string, body: string) =>
  `POST ${route} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;

describe.each([
  ["the Unix socket", serveOnUnix],
  ["TCP", serveOnTcp],
])("HTTP/1.1 over %s", (_name, serve) => {
  let agent: PlainAgent;
  let served: Served;
  let folder: string;
  const faults: unknown[] = [];

  const options = (): HttpServerOptions => ({
    front: agent.front,
    bodyBytesMax: 1024,
    onFault: (fault) => faults.push(fault),
  });

  beforeEach(() => {
    agent = createPlainAgent("CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v TEXT)");
    folder = mkdtempSync(join(tmpdir(), "patina-http1-"));
    served = serve(join(folder, "agent.sock"), options());
  });
  afterEach(async () => {
    await served.server.stop();
    agent[Symbol.dispose]();
    rmSync(folder, { recursive: true });
    expect(faults.splice(0)).toEqual([]);
  });

  /** Sends all at once, and reads until the answers hold `last`. */
  function answersTo(requests: readonly string[], last: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect(served.at);
      let text = "";
      socket.on("data", (bytes) => {
        text += bytes.toString("latin1");
        if (!text.includes(last)) return;
        socket.destroy();
        resolve(text);
      });
      socket.on("error", reject);
      socket.on("close", () => reject(new Error(`closed after ${text}`)));
      socket.write(requests.join(""));
    });
  }

  test("queries and transactions that come together are answered in order", async () => {
    const text = await answersTo(
      [
        requestOf("/v1/queries", '"SELECT 10 AS n"'),
        requestOf("/v1/transactions", '["INSERT INTO t VALUES (1, NULL)"]'),
        requestOf("/v1/queries", '["SELECT count(*) + 20 FROM t", []]'),
        requestOf("/v1/transactions", '["INSERT INTO t VALUES (1, NULL)"]'),
        requestOf("/v1/nothing", "[]"),
        requestOf("/v1/queries", '"SELECT 30 AS n"'),
      ],
      '{"row":[1,[30]]}',
    );
    expect([...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status))).toEqual([
      200, 200, 200, 500, 404, 200,
    ]);
    expect([...text.matchAll(/\{"row":\[1,\[(\d+)\]\]\}/g)].map(([, n]) => n)).toEqual([
      "10",
      "21",
      "30",
    ]);
  });

  test("only what has a content type by the contract has one", async () => {
    const text = await answersTo(
      [
        requestOf("/v1/queries", '"SELECT 10 AS n"'),
        requestOf("/v1/queries", '"SELECT"'),
        requestOf("/v1/transactions", "[]"),
        requestOf("/v1/queries", '"SELECT 30 AS n"'),
      ],
      '{"row":[1,[30]]}',
    );
    const types = text.split("HTTP/1.1 ").slice(1);
    expect(types.map((one) => /^content-type: (.*)\r$/im.exec(one)?.[1])).toEqual([
      undefined,
      undefined,
      "application/json",
      undefined,
    ]);
  });

  test("requests behind one that takes long are answered in order", async () => {
    const long =
      "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 100000) SELECT count(*) + 7 FROM c";
    const text = await answersTo(
      [
        requestOf("/v1/subscriptions/x", ""),
        requestOf("/v1/queries", JSON.stringify(long)),
        requestOf("/v1/health", "").replace("POST", "GET"),
        requestOf("/v1/transactions", '["INSERT INTO t VALUES (1, NULL)"]'),
        requestOf("/v1/queries", '"SELECT 30 AS n"'),
      ],
      '{"row":[1,[30]]}',
    );
    expect([...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status))).toEqual([
      405, 200, 200, 200, 200,
    ]);
    expect([...text.matchAll(/\{"row":\[1,\[(\d+)\]\]\}/g)].map(([, n]) => n)).toEqual([
      "100007",
      "30",
    ]);
  });

  test("a request that doesn't come to its end is given up", async () => {
    const impatient = serve(join(folder, "other.sock"), { ...options(), requestMs: 60 });
    const texts = await Promise.all(
      ["POST /v1/queries HT", requestOf("/v1/queries", '"SELECT 1"').slice(0, -1)].map(
        (begun) =>
          new Promise<string>((resolve) => {
            let text = "";
            const socket = connect(impatient.at, () => socket.write(begun));
            socket.on("data", (bytes) => {
              text += bytes.toString();
            });
            socket.on("close", () => resolve(text));
          }),
      ),
    );
    for (const text of texts) expect(text).toMatch(/^HTTP\/1\.1 408 .*connection: close/s);
    await impatient.server.stop();
  });

  test("an answer of megabytes goes to a slow client whole", async () => {
    const fill = `INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 3000) SELECT x, hex(zeroblob(500)) FROM c`;
    await answersTo([requestOf("/v1/transactions", JSON.stringify([fill]))], '"version":1');
    const socket = connect(served.at);
    socket.pause();
    socket.write(
      requestOf("/v1/queries", '"SELECT id, v FROM t"') + requestOf("/v1/queries", '"SELECT 7"'),
    );
    let text = "";
    for await (const bytes of socket) {
      text += bytes.toString("latin1");
      if (text.includes('{"row":[1,[7]]}')) break;
      await Bun.sleep(1);
    }
    expect(text.match(/\{"row":/g)).toHaveLength(3001);
  });

  // Closed while it still sends, a client gets a reset, and may lose what it hasn't read yet.
  test("a client that sends a body that is too large gets its answer, and may send on", async () => {
    const socket = connect({ ...served.at, allowHalfOpen: true });
    let text = "";
    const failures: unknown[] = [];
    socket.on("error", (error) => failures.push(error));
    socket.on("data", (bytes) => {
      text += bytes.toString("latin1");
    });
    socket.write(requestOf("/v1/queries", "x".repeat(8_000_000)));
    await new Promise((resolve) => socket.on("end", resolve));
    expect(text).toStartWith("HTTP/1.1 413 ");
    await until(() => socket.writableLength === 0);
    expect(failures).toEqual([]);
    socket.destroy();
  });

  /** Sends it and says that this was all. */
  function sendAll(text: string): { readonly socket: Socket; readonly text: () => string } {
    const socket = connect({ ...served.at, allowHalfOpen: true });
    let received = "";
    socket.on("data", (bytes) => {
      received += bytes.toString("latin1");
    });
    socket.end(text);
    return { socket, text: () => received };
  }

  test("a client that has sent all gets its answers whole, and then the end", async () => {
    const rows =
      "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 20000) SELECT x, hex(zeroblob(20)) FROM c";
    const { socket, text } = sendAll(
      requestOf("/v1/transactions", '["INSERT INTO t VALUES (1, NULL)"]') +
        requestOf("/v1/queries", JSON.stringify(rows)) +
        requestOf("/v1/queries", '"SELECT 30 AS n"'),
    );
    await new Promise((resolve) => socket.on("end", resolve));
    expect([...text().matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)).toEqual([
      "200",
      "200",
      "200",
    ]);
    expect(text().match(/\{"row":/g)).toHaveLength(20_001);
    expect(text()).toContain('{"row":[1,[30]]}');
    socket.destroy();
  });

  /** Over TCP, of one that had sent all before, by what is written to it; or by its silence, within two minutes. */
  async function noticed(left: number): Promise<void> {
    if (serve === serveOnTcp) {
      const more = requestOf("/v1/transactions", '["INSERT INTO t VALUES (99, NULL)"]');
      await answersTo([more], "version");
    }
    await until(() => agent.service.live.listenerCount === left);
  }

  test("a subscriber that has sent all hears of changes, until it goes", async () => {
    const listeners = () => agent.service.live.listenerCount;
    const { socket, text } = sendAll(requestOf("/v1/subscriptions", '"SELECT id FROM t"'));
    await until(() => text().includes('"eoq"'));
    await answersTo(
      [requestOf("/v1/transactions", '["INSERT INTO t VALUES (7, NULL)"]')],
      "version",
    );
    await until(() => text().includes('{"change":["insert",1,[7],1]}'));
    expect(listeners()).toBe(1);
    socket.destroy();
    await noticed(0);
  });

  test("a subscriber that goes is noticed, though nothing is sent to it", async () => {
    const listeners = () => agent.service.live.listenerCount;
    const sockets = Array.from({ length: 8 }, () => connect(served.at));
    let begun = 0;
    for (const [i, socket] of sockets.entries()) {
      socket.on("data", () => begun++);
      socket.write(requestOf("/v1/subscriptions", `"SELECT id, ${i} FROM t"`));
    }
    await until(() => listeners() === 8 && begun >= 8);
    for (const [i, socket] of sockets.entries()) i % 2 === 0 ? socket.destroy() : socket.end();
    await until(() => listeners() === 4);
    for (const socket of sockets) socket.destroy();
    await noticed(0);
  });
});

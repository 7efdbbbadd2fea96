import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { HttpServer } from "../../agent/api/http-server.ts";
import { serveUnix } from "../../agent/api/unix-server.ts";
import { until } from "../until.ts";
import { HttpClient } from "./http-target.ts";
import { createPlainAgent, type PlainAgent } from "./plain-agent.ts";

let folder: string;
let agent: PlainAgent;
let server: HttpServer;
let http: HttpClient;
const faults: unknown[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "patina-slow-"));
  agent = createPlainAgent("CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v TEXT)", {
    subscriberBytesMax: 64 * 1024,
  });
  const path = join(folder, "s.sock");
  const bodyBytesMax = 1024 * 1024;
  server = serveUnix({
    path,
    front: agent.front,
    bodyBytesMax,
    onFault: (fault) => faults.push(fault),
  });
  http = new HttpClient({ at: path, isPatina: true });
});
afterEach(async () => {
  await server.stop();
  agent[Symbol.dispose]();
  rmSync(folder, { recursive: true });
  expect(faults).toEqual([]);
});

function openRaw(sql: string): Socket {
  const body = JSON.stringify(sql);
  const socket = connect(join(folder, "s.sock"));
  socket.on("error", () => {});
  socket.write(
    `POST /v1/subscriptions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
  return socket;
}

const listeners = () => agent.service.live.listenerCount;

test("a reader that doesn't read is let go with a line that says so; others and memory don't notice", async () => {
  await using quick = await http.subscribe('"SELECT id FROM t"');
  await quick.take(2);
  const slow = openRaw("SELECT v, id FROM t");
  slow.pause();
  await until(() => listeners() === 2);

  const text = "x".repeat(10_000);
  let id = 0;
  await until(async () => {
    const answer = await http.transact(`[["INSERT INTO t VALUES (?,?)",[${++id},"${text}"]]]`);
    expect(answer.status).toBe(200);
    expect(await quick.next()).toBe(`{"change":["insert",${id},[${id}],${id}]}`);
    return listeners() === 1;
  });
  // What the kernel and the server hold for it, and the bound: not all that was written.
  expect(id).toBeLessThan(400);

  let read = "";
  slow.on("data", (chunk) => {
    read += chunk.toString();
  });
  slow.resume();
  await until(() => read.includes('{"error":"too slow: '));
  await until(() => read.endsWith("0\r\n\r\n"));
  slow.destroy();
  // All that comes before it is whole, and it says where to go on: nothing is lost.
  const ids = [...read.matchAll(/"x+",\d+\],(\d+)\]\}/g)].map(([, change]) => Number(change));
  expect(ids).toEqual(Array.from(ids, (_, index) => index + 1));
  const [, from] = /too slow: [^"]*; go on with from=(\d+)"\}/.exec(read) as unknown as [
    string,
    string,
  ];
  expect(Number(from)).toBe(ids.length);
  await using again = await http.subscribe('"SELECT v, id FROM t"', `?from=${from}`);
  const rest = await again.take(id - ids.length);
  expect(rest.map((line) => JSON.parse(line).change[3])).toEqual(
    Array.from(rest, (_, index) => ids.length + 1 + index),
  );
});

test("a reader that keeps up gets a transaction that is larger than the bound", async () => {
  await using stream = await http.subscribe('"SELECT id, v FROM t"');
  await stream.take(2);
  const all = `INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 5000) SELECT x, 'value ' || x FROM c`;
  for (let round = 0; round < 3; round++) {
    await http.transact(JSON.stringify([all]));
    const inserts = await stream.take(5000);
    expect(inserts[4999]).toContain('"insert"');
    await http.transact('["DELETE FROM t"]');
    expect((await stream.take(5000))[4999]).toContain('"delete"');
  }
}, 120_000);

test("a client that goes is forgotten, in the middle of silence", async () => {
  const sockets = Array.from({ length: 20 }, (_, i) =>
    openRaw(`SELECT id FROM t WHERE id > ${i % 3}`),
  );
  await until(() => listeners() === 20);
  for (const socket of sockets) socket.destroy();
  await until(() => listeners() === 0);
  expect(agent.service.live.count).toBe(3);
});

test("a stream that has nothing to say yet has its headers at once", async () => {
  await using stream = await http.subscribe('"SELECT id FROM t"', "?skip_rows=true");
  expect(stream.status).toBe(200);
  expect(stream.headers.get("corro-query-id")).not.toBeNull();
  expect(stream.lines).toEqual([]);
  await http.transact('["INSERT INTO t VALUES (1, NULL)"]');
  expect(await stream.next()).toBe('{"change":["insert",1,[1],1]}');
});

test("a large snapshot counts to no limit, and a large query comes in pieces", async () => {
  const all = `INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 5000) SELECT x, 'value ' || x FROM c`;
  await http.transact(JSON.stringify([all]));
  await using stream = await http.subscribe('"SELECT id, v FROM t"');
  const lines = await stream.take(5002);
  expect(lines[5000]).toBe('{"row":[5000,[5000,"value 5000"]]}');
  expect(await http.cells('"SELECT id, v FROM t"')).toHaveLength(5000);
});

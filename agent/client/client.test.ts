import { afterEach, beforeEach, expect, spyOn, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ApiFailure, type LiveEvent, PatinaClient, Unreachable } from "./client.ts";

const rows = '{"columns":["a"]}\n{"row":[1,[7]]}\n{"eoq":{"time":0.1}}\n';
const transacted =
  '{"results":[{"rows_affected":1,"time":0.1}],"time":0.1,"version":1,"actor_id":"x"}';

let folder: string;
let server: Server;
let client: PatinaClient;
/** Paths in the order in which they were asked for. */
let asked: string[];

// Answers the first request of each connection, and closes it at the second.
beforeEach(async () => {
  asked = [];
  folder = mkdtempSync(join(tmpdir(), "patina-client-"));
  server = createServer((socket) => {
    let text = "";
    let requests = 0;
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      text += bytes.toString();
      const bodyAt = text.indexOf("\r\n\r\n") + 4;
      const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0);
      if (bodyAt < 4 || text.length < bodyAt + length) return;
      const path = text.split(" ")[1] as string;
      text = "";
      asked.push(path);
      if (++requests > 1) {
        socket.destroy();
        return;
      }
      const body = path === "/v1/transactions" ? transacted : rows;
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
    });
  });
  const path = join(folder, "agent.sock");
  await new Promise<void>((resolve) => server.listen(path, resolve));
  client = new PatinaClient(path);
});
afterEach(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

test("a read whose kept connection is closed as it is used is asked once more", async () => {
  for (let i = 0; i < 3; i++) expect((await client.query("SELECT a FROM t")).rows).toEqual([[7]]);
  expect(await client.get("/v1/status")).toBe(rows);
  const queries: string[] = new Array(5).fill("/v1/queries");
  expect(asked).toEqual([...queries, "/v1/status", "/v1/status"]);
});

test("a transaction isn't: whether it was applied isn't known", async () => {
  const insert = "INSERT INTO t VALUES (1)";
  expect((await client.transact(insert)).version).toBe(1);
  const cutOff = await client.transact(insert).catch((error) => error);
  expect([cutOff instanceof Unreachable, cutOff.mayBeDone]).toEqual([true, true]);
  expect(asked).toEqual(["/v1/transactions", "/v1/transactions"]);
  const nobody = new PatinaClient(join(folder, "nobody.sock"));
  const refused = await nobody.transact(insert).catch((error) => error);
  expect([refused instanceof Unreachable, refused.mayBeDone]).toEqual([true, false]);
});

// All readers of an agent come back at once when it is started again, and it lets 128 in at a time.
test("a subscription comes back when the agent has room again, and leaves nobody who listens to its signal", async () => {
  const head = "HTTP/1.1 200 OK\r\ncorro-query-id: q\r\nconnection: close\r\n\r\n";
  const busy = '{"error":"max concurrency limit reached"}';
  const answers = [
    `${head}{"columns":["a"]}\n{"eoq":{"time":0.1,"change_id":3}}\n`,
    `HTTP/1.1 503 Busy\r\ncontent-length: ${busy.length}\r\nconnection: close\r\n\r\n${busy}`,
    `${head}{"change":["insert",1,[7],4]}\n`,
  ];
  const lines: string[] = [];
  const scripted = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", (bytes) => {
      lines.push(bytes.toString().split(" HTTP")[0] as string);
      socket.end(answers.shift() ?? "");
    });
  });
  const path = join(folder, "scripted.sock");
  await new Promise<void>((resolve) => scripted.listen(path, resolve));
  const { signal } = new AbortController();
  const listeners = new Set<unknown>();
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...args: unknown[]) => {
    listeners.add(args[1]);
    Reflect.apply(addEventListener, signal, args);
  };
  signal.removeEventListener = (...args: unknown[]) => {
    listeners.delete(args[1]);
    Reflect.apply(removeEventListener, signal, args);
  };
  try {
    const kinds: string[] = [];
    for await (const event of new PatinaClient(path).subscribe("SELECT a FROM t", { signal })) {
      kinds.push(event.kind);
      if (event.kind === "change") break;
    }
    expect(kinds).toEqual(["columns", "end-of-rows", "resumed", "change"]);
    const again = "GET /v1/subscriptions/q?from=3";
    expect(lines).toEqual(["POST /v1/subscriptions", again, again]);
    expect(listeners.size).toBe(0);
  } finally {
    scripted.close();
  }
});

// A row that was deleted meanwhile isn't among those that come anew: who keeps the old ones would keep it for ever.
test("a subscription that breaks off before its first change comes anew, and says so", async () => {
  const head = "HTTP/1.1 200 OK\r\ncorro-query-id: q\r\nconnection: close\r\n\r\n";
  const answers = [
    `${head}{"columns":["a"]}\n{"row":[1,[7]]}\n{"row":[2,[8]]}\n{"eoq":{"time":0.1,"change_id":0}}\n`,
    `${head}{"columns":["a"]}\n{"row":[1,[7]]}\n{"eoq":{"time":0.1,"change_id":1}}\n`,
  ];
  const scripted = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.end(answers.shift() ?? ""));
  });
  const path = join(folder, "zero.sock");
  await new Promise<void>((resolve) => scripted.listen(path, resolve));
  const ended = new AbortController();
  const { signal } = ended;
  const seen: unknown[] = [];
  for await (const event of new PatinaClient(path).subscribe("SELECT a FROM t", { signal })) {
    if (event.kind === "resumed") seen.push(event);
    if (event.kind === "end-of-rows") seen.push(event.changeId);
    if (seen.at(-1) === 1) ended.abort();
  }
  scripted.close();
  expect(seen).toEqual([0, { kind: "resumed", isComplete: false }, 1]);
});

/** One answer for each connection; each ends its connection. */
async function scripted(
  name: string,
  answers: string[],
): Promise<AsyncDisposable & { readonly asked: string[]; readonly client: PatinaClient }> {
  const asked: string[] = [];
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", (bytes) => {
      asked.push(bytes.toString().split(" HTTP")[0] as string);
      socket.end(answers.shift() ?? "");
    });
  });
  const path = join(folder, `${name}.sock`);
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    asked,
    client: new PatinaClient(path),
    async [Symbol.asyncDispose]() {
      server.close();
    },
  };
}

const streamHead = "HTTP/1.1 200 OK\r\ncorro-query-id: q\r\nconnection: close\r\n\r\n";
const firstRows = `${streamHead}{"columns":["a"]}\n{"eoq":{"time":0.1,"change_id":3}}\n`;
const change = (id: number): string => `{"change":["insert",1,[7],${id}]}\n`;
const tooLate = '{"error":"subscription already deleted older changes, min change id: 9"}\n';

async function untilChange(
  events: AsyncGenerator<LiveEvent>,
  changeId: number,
): Promise<unknown[]> {
  const seen: unknown[] = [];
  for await (const event of events) {
    const { kind } = event;
    if (kind === "change") seen.push(event.changeId);
    else seen.push(kind === "resumed" ? event.isComplete : kind);
    if (kind === "change" && event.changeId === changeId) break;
  }
  return seen;
}

test("a subscription that was let go for being too slow goes on where it was", async () => {
  const slow =
    '{"error":"too slow: over 9 bytes of events were waiting to be read; go on with from=4"}\n';
  const stalled = '{"error":"too slow: nothing was read for 10000 ms, and others wait"}\n';
  await using agent = await scripted("slow", [
    firstRows + change(4) + slow,
    streamHead + change(5) + stalled,
    streamHead + change(6),
  ]);
  const seen = await untilChange(agent.client.subscribe("SELECT a FROM t"), 6);
  expect(seen).toEqual(["columns", "end-of-rows", 4, true, 5, true, 6]);
  const again = "GET /v1/subscriptions/q?from=";
  expect(agent.asked).toEqual(["POST /v1/subscriptions", `${again}4`, `${again}5`]);
});

test("one whose history no longer reaches is resumed once, and what is missing is said", async () => {
  await using agent = await scripted("late", [
    firstRows + change(4),
    streamHead.replace("\r\n\r\n", "\r\npatina-ended: true\r\n\r\n") + tooLate,
    firstRows + change(10),
  ]);
  const seen = await untilChange(agent.client.subscribe("SELECT a FROM t"), 10);
  expect(seen).toEqual(["columns", "end-of-rows", 4, false, "columns", "end-of-rows", 10]);
  const by = "GET /v1/subscriptions/q";
  expect(agent.asked).toEqual(["POST /v1/subscriptions", `${by}?from=4`, by]);
});

test("one that a new schema ends is asked for anew, as it begins and later", async () => {
  const changed = "the schema changed: subscribe again";
  const columns = "the schema changed, and with it this query's columns: subscribe again";
  const body = JSON.stringify({ error: changed });
  const refused = `HTTP/1.1 400 Bad Request\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`;
  const answers = [
    refused,
    `${streamHead}{"columns":["a"]}\n{"error":"${changed}"}\n`,
    `${firstRows + change(4)}{"error":"${columns}"}\n`,
    refused,
    firstRows + change(5),
  ];
  await using agent = await scripted("schema", [...answers]);
  const seen = await untilChange(agent.client.subscribe("SELECT * FROM t"), 5);
  const rows = ["columns", "end-of-rows"];
  expect(seen).toEqual(["columns", false, ...rows, 4, false, ...rows, 5]);
  expect(new Set(agent.asked)).toEqual(new Set(["POST /v1/subscriptions"]));

  for (const answer of answers.slice(0, 2)) {
    await using once = await scripted("schema-once", [answer]);
    const events = once.client.subscribe("SELECT * FROM t", { once: true });
    await expect(untilChange(events, 5)).rejects.toThrow(changed);
  }
});

test("one that doesn't come back says why it ends", async () => {
  for (const line of [tooLate, '{"error":"too slow: of whatever"}\n']) {
    await using agent = await scripted("once", [streamHead + line]);
    const events = agent.client.subscribe("SELECT a FROM t", { id: "q", from: 2, once: true });
    const ended = await Array.fromAsync(events).catch((error) => error);
    expect([ended instanceof ApiFailure, ended.message]).toEqual([true, JSON.parse(line).error]);
  }
});

test("a refusal that breaks off is none: nobody answered", async () => {
  const cutOff = (status: number): string =>
    `HTTP/1.1 ${status} No\r\ncontent-length: 90\r\nconnection: close\r\n\r\n{"err`;
  await using agent = await scripted("cut", [
    cutOff(500),
    cutOff(503),
    cutOff(503),
    firstRows,
    cutOff(503),
    cutOff(404),
    streamHead + change(4),
  ]);
  const { client } = agent;
  for (const ask of [
    () => client.query("SELECT 1"),
    () => client.health(),
    () => client.subscribe("SELECT a FROM t").next(),
  ]) {
    const refused = await ask().catch((error) => error);
    expect(refused instanceof Unreachable).toBe(true);
  }
  const seen = await untilChange(client.subscribe("SELECT a FROM t"), 4);
  expect(seen).toEqual(["columns", "end-of-rows", true, 4]);
});

test("a long line is looked through once, in however many pieces it comes", async () => {
  const cell = "x".repeat(2_000_000);
  const lines = `{"columns":["a"]}\n\n{"row":[1,["${cell}"]]}\n{"eoq":{"time":0.1,"change_id":0}}\n`;
  const pieces = createServer((socket) => {
    socket.once("data", async () => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${lines.length}\r\n\r\n`);
      for (let at = 0; at < lines.length; at += 4000) {
        await new Promise((resolve) => socket.write(lines.slice(at, at + 4000), resolve));
      }
    });
  });
  const path = join(folder, "pieces.sock");
  await new Promise<void>((resolve) => pieces.listen(path, resolve));
  const split = spyOn(String.prototype, "split");
  let chars = 0;
  const { mock } = split;
  try {
    const events = new PatinaClient(path).subscribe("SELECT a FROM t", { once: true });
    const told = await Array.fromAsync(events);
    expect(told.map(({ kind }) => kind)).toEqual(["columns", "row", "end-of-rows"]);
    expect(told[1]).toMatchObject({ cells: [cell] });
    for (const text of mock.contexts as unknown as string[]) chars += text.length;
  } finally {
    split.mockRestore();
    pieces.close();
  }
  expect(chars).toBeLessThan(lines.length * 2);
});

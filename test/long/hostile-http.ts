/**
 * Hostile HTTP clients against an agent of its own: `bun test/long/hostile-http.ts --idle 10000`.
 *
 * Floods of each kind over several connections at once, readers that stop with a megabyte to come, and thousands of connections
 * that say nothing, each while somebody else's reads go on: prints what the agent's memory grew by and how long those reads took,
 * and fails where memory isn't given back or isn't bounded. Meanwhile subscriptions of each kind are silent for
 * longer than the two minutes after which idle connections are closed, and hear of a commit at the end.
 *
 * @module
 */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { HttpClient } from "../contract/http-target.ts";
import {
  endStream,
  frame,
  frameTypes,
  headerBlock,
  initialWindowSize,
  post,
  postHead,
  preface,
  RawH2,
  requestFields,
  reset,
  settings,
  windowUpdate,
} from "../contract/raw-h2.ts";
import { Checks, descriptorCount, isTrueWithin, residentMib, startBuiltAgent } from "./soak.ts";

const { values } = parseArgs({
  options: {
    idle: { type: "string", default: "10000" },
    seconds: { type: "string", default: "3" },
  },
});
const idleCount = Number(values.idle);
const floodMs = Number(values.seconds) * 1000;
/** After which the agent closes a connection without a request. */
const idleMs = 120_000;
/** Of one flood, at once. */
const connections = 4;

const folder = await mkdtemp(join(tmpdir(), "patina-hostile-http-"));
await writeFile(
  join(folder, "schema.sql"),
  "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v TEXT);",
);
const agent = await startBuiltAgent({
  folder,
  arguments: ["--listen", "127.0.0.1:0"],
  environment: { PATINA_API_TOKEN: "false" },
});
const port = Number((agent.listen[0] as string).split(":")[1]);
const client = new HttpClient({ at: agent.socket, isPatina: true });
const checks = new Checks();

try {
  // 60 KB, which is what SELECT v FROM t answers.
  await client.transact(
    "[\"INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 60) SELECT x, printf('%.*c', 1000, 'x') FROM c\"]",
  );
  const silent = subscribeSilently();
  for (const { name, growthMibMax, open, piece, what } of floods()) {
    await attack(name, growthMibMax, async () => {
      const { pieces, ended } = await flood(open, piece);
      return `${what(pieces)}, ${ended} connections ended`;
    });
  }
  const restMib = residentMib(agent.pid);
  const stopped = await stoppedReaders();
  await endlessBodies();
  const descriptors = descriptorCount(agent.pid);
  await idleConnections();
  checks.check(
    await isTrueWithin(idleMs, () => stopped.every((one) => one.isClosed)),
    "so were stopped readers",
  );
  const isGivenBack = await isTrueWithin(60_000, () => descriptorCount(agent.pid) <= descriptors);
  checks.check(isGivenBack, `${descriptorCount(agent.pid)} descriptors are left`);
  // The answers that nobody took are ours: the collector comes when it comes.
  const isFreed = await isTrueWithin(60_000, () => residentMib(agent.pid) - restMib < 100);
  checks.check(
    isFreed,
    `memory: ${restMib.toFixed(0)} MiB before, ${residentMib(agent.pid).toFixed(0)} after`,
  );
  await silent.hear();
} finally {
  checks.check((await agent.stop()) === 0, "the agent stops in order");
  await rm(folder, { recursive: true });
}
process.exit(checks.end());

/** Runs `attackers` while others read, and says what it did to them and to memory. */
async function attack(
  name: string,
  growthMibMax: number,
  attackers: () => Promise<string>,
): Promise<void> {
  const beforeMib = residentMib(agent.pid);
  let mostMib = beforeMib;
  let longestMs = 0;
  let reads = 0;
  let isOver = false;
  const reading = (async () => {
    while (!isOver) {
      const begunMs = performance.now();
      const [cells] = await client.cells('"SELECT count(*) FROM t"');
      if (cells === undefined) throw new Error("a read was refused");
      longestMs = Math.max(longestMs, performance.now() - begunMs);
      reads++;
      mostMib = Math.max(mostMib, residentMib(agent.pid));
      await Bun.sleep(10);
    }
  })();
  const did = await attackers();
  isOver = true;
  await reading;
  const grewMib = mostMib - beforeMib;
  checks.check(
    grewMib <= growthMibMax,
    `${name}: ${did}; it grew by ${grewMib.toFixed(0)} MiB at most; ${reads} other reads, the longest ${longestMs.toFixed(0)} ms`,
  );
}

// ---- Floods ---------------------------------------------------------------------------------------

interface Flood {
  readonly name: string;
  readonly growthMibMax: number;
  readonly open: () => RawH2;
  /** What is sent next on a connection, after `sent` pieces. */
  readonly piece: (sent: number) => Uint8Array;
  readonly what: (pieces: number) => string;
}

function floods(): readonly Flood[] {
  const streamsInPiece = 100;
  const openedAndReset = (sent: number): Uint8Array => {
    const pairs: Uint8Array[] = [];
    for (let i = 0; i < streamsInPiece; i++) {
      const stream = 2 * (streamsInPiece * sent + i) + 1;
      pairs.push(postHead(stream, "/v1/queries"), reset(stream));
    }
    return Buffer.concat(pairs);
  };
  /** The same bytes again and again. */
  const again = (name: string, bytes: Uint8Array, open: () => RawH2): Flood => ({
    name,
    growthMibMax: 150,
    open,
    piece: () => bytes,
    what: (pieces) => `${pieces} pieces of ${bytes.length} bytes`,
  });
  const pings = times(1000, frame(frameTypes.ping, 0, 0, Buffer.alloc(8)));
  const windowsOpenAndClose = Array.from(
    { length: 32 },
    (_, i) => [initialWindowSize, i % 2] as const,
  );
  const byteByByte = Array.from({ length: 100 }, (_, i) => windowUpdate(2 * i + 1, 1));
  return [
    {
      name: "streams opened and reset",
      growthMibMax: 200,
      open: () => RawH2.open(port),
      piece: openedAndReset,
      what: (pieces) => `${pieces * streamsInPiece} streams`,
    },
    again("pings whose answers are read", pings, () => RawH2.open(port)),
    again("pings whose answers nobody reads", pings, unread),
    again("settings whose answers nobody reads", times(1000, settings()), unread),
    again(
      "settings that open and close all windows",
      times(100, settings(...windowsOpenAndClose)),
      () => withStreams(0, "/v1/subscriptions", '"SELECT id FROM t"'),
    ),
    again("empty DATA", times(1000, frame(frameTypes.data, 0, 1)), () => {
      const connection = RawH2.open(port);
      connection.send(postHead(1, "/v1/queries"));
      return connection;
    }),
    again("windows that open by a byte", Buffer.concat(byteByByte), () =>
      withStreams(1, "/v1/queries", '"SELECT v FROM t"'),
    ),
    again(
      "CONTINUATION without an end",
      frame(frameTypes.continuation, 0, 1, Buffer.alloc(100)),
      () => {
        const connection = RawH2.open(port);
        const fields = headerBlock(requestFields("GET", "/v1/health"));
        connection.send(frame(frameTypes.headers, endStream, 1, fields));
        return connection;
      },
    ),
  ];
}

/** Opens connection after connection, and sends all that is taken. How many pieces were taken, and connections ended. */
async function flood(
  open: () => RawH2,
  piece: (sent: number) => Uint8Array,
): Promise<{ pieces: number; ended: number }> {
  const endMs = performance.now() + floodMs;
  let pieces = 0;
  let ended = 0;
  const one = async (): Promise<void> => {
    while (performance.now() < endMs) {
      const connection = open();
      for (let sent = 0; !connection.isClosed && performance.now() < endMs; sent++) {
        if (!connection.send(piece(sent))) await drained(connection.socket);
        pieces++;
        await new Promise((resolve) => setImmediate(resolve));
      }
      if (connection.isClosed) ended++;
      connection.close();
    }
  };
  await Promise.all(Array.from({ length: connections }, one));
  return { pieces, ended };
}

/** Or 200 ms are over: one that isn't read never drains. */
function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, 200);
    const done = (): void => {
      clearTimeout(timer);
      resolve();
    };
    socket.once("drain", done);
    socket.once("close", done);
  });
}

function times(count: number, bytes: Uint8Array): Buffer {
  return Buffer.concat(Array(count).fill(bytes));
}

function unread(): RawH2 {
  const connection = RawH2.open(port);
  connection.socket.pause();
  return connection;
}

/** A hundred requests on one connection whose windows have `windowBytes`. */
function withStreams(windowBytes: number, path: string, body: string): RawH2 {
  const connection = RawH2.open(port, [initialWindowSize, windowBytes]);
  for (let i = 0; i < 100; i++) connection.send(post(2 * i + 1, path, body));
  return connection;
}

// ---- Clients that stop ----------------------------------------------------------------------------

/** @returns their connections, still open */
async function stoppedReaders(): Promise<readonly RawH2[]> {
  const stopped: RawH2[] = [];
  await attack("readers that stop before 100 answers of 60 KB each", 200, async () => {
    for (let i = 0; i < 20; i++) {
      const connection = withStreams(0, "/v1/queries", '"SELECT v FROM t"');
      stopped.push(connection);
      await connection.until(() => connection.of(frameTypes.headers).length === 100);
    }
    return `${stopped.length} connections`;
  });
  return stopped;
}

/** Bodies of which only a part comes. */
async function endlessBodies(): Promise<void> {
  await attack("bodies that don't end", 150, async () => {
    const connection = RawH2.open(port);
    const streams = Array.from({ length: 64 }, (_, i) => 2 * i + 1);
    for (const stream of streams) {
      connection.send(postHead(stream, "/v1/transactions"));
      connection.send(times(3, frame(frameTypes.data, 0, stream, Buffer.alloc(16_384, 0x20))));
    }
    const areEnded = () => streams.every((stream) => connection.hasEnded(stream));
    checks.check(await isTrueWithin(45_000, areEnded), "all of them are told so within 45 s");
    connection.close();
    return `${streams.length} bodies`;
  });
}

async function idleConnections(): Promise<void> {
  const descriptors = descriptorCount(agent.pid);
  let closed = 0;
  await attack(`${idleCount} connections that say nothing more`, 250, async () => {
    for (let i = 0; i < idleCount; i++) {
      const socket = connect(port, "127.0.0.1");
      socket.on("error", () => {});
      socket.on("close", () => closed++);
      // It reads, or it wouldn't hear of its end.
      socket.resume();
      // Nothing at all, half a head, a preface with settings, an answered request.
      if (i % 4 === 1) socket.write("GET /v1/hea");
      if (i % 4 === 2) socket.write(Buffer.concat([preface, settings()]));
      if (i % 4 === 3) socket.write("GET /v1/health HTTP/1.1\r\nhost: x\r\n\r\n");
      // The listener's backlog is short.
      if (i % 200 === 199) await Bun.sleep(10);
    }
    const opened = () => descriptorCount(agent.pid) - descriptors;
    await isTrueWithin(60_000, () => opened() >= idleCount / 2);
    return `${opened()} descriptors`;
  });
  const closedMs = idleMs + 30_000;
  const areClosed = await isTrueWithin(closedMs, () => closed === idleCount);
  checks.check(areClosed, `${closed} of ${idleCount} were closed within ${closedMs / 1000} s`);
}

/** Two subscriptions that hear nothing until `hear`. */
function subscribeSilently(): { hear(): Promise<void> } {
  const sql = '"SELECT id FROM t WHERE id > 1000"';
  const overH2 = RawH2.open(port);
  overH2.send(post(1, "/v1/subscriptions", sql));
  const overH1 = connect(port, "127.0.0.1");
  let heard = "";
  overH1.on("error", () => {});
  overH1.on("data", (bytes) => {
    heard += bytes;
  });
  overH1.write(
    `POST /v1/subscriptions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${sql.length}\r\n\r\n${sql}`,
  );
  const sinceMs = performance.now();
  return {
    async hear() {
      await Bun.sleep(Math.max(0, idleMs + 10_000 - (performance.now() - sinceMs)));
      await client.transact('["INSERT INTO t VALUES (1001, NULL)"]');
      const event = '{"change":["insert",1,[1001],1]}';
      checks.check(
        await isTrueWithin(60_000, () => overH2.body(1).includes(event)),
        "a stream of h2c was silent for over two minutes, and hears",
      );
      checks.check(
        await isTrueWithin(60_000, () => heard.includes(event)),
        "so does one of HTTP/1.1",
      );
      overH2.close();
      overH1.destroy();
    },
  };
}

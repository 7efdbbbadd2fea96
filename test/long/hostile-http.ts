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

import { readdirSync, readFileSync } from "node:fs";
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
  RawH2,
  requestFields,
  reset,
  settings,
  windowUpdate,
} from "../contract/raw-h2.ts";

const { values } = parseArgs({
  options: {
    idle: { type: "string", default: "10000" },
    seconds: { type: "string", default: "3" },
  },
});
const idleCount = Number(values.idle);
const floodMs = Number(values.seconds) * 1000;
const root = join(import.meta.dir, "..", "..");
// Read by `agent-process.ts` when it is loaded.
process.env.PATINA_TEST_BINARY ??= join(root, "dist", "patina");
const { startTestAgent } = await import("../agent-process.ts");

/** After which the agent closes a connection without a request. */
const idleMs = 120_000;
const connections = 4;

const folder = await mkdtemp(join(tmpdir(), "patina-hostile-http-"));
await writeFile(
  join(folder, "schema.sql"),
  "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v TEXT);",
);
const agent = await startTestAgent({
  folder,
  arguments: ["--listen", "127.0.0.1:0"],
  environment: { PATINA_API_TOKEN: "false" },
});
const port = Number((agent.listen[0] as string).split(":")[1]);
const client = new HttpClient({ at: agent.socket, isPatina: true });

let passed = 0;
let failed = 0;
function check(isTrue: boolean, what: string): void {
  if (isTrue) passed++;
  else failed++;
  console.log(`${isTrue ? "ok" : "FAILED"}: ${what}`);
}

const residentMib = (): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${agent.pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
const descriptors = (): number => readdirSync(`/proc/${agent.pid}/fd`).length;

async function until(isTrue: () => boolean | Promise<boolean>, ms: number): Promise<boolean> {
  const deadlineMs = performance.now() + ms;
  while (!(await isTrue())) {
    if (performance.now() > deadlineMs) return false;
    await Bun.sleep(50);
  }
  return true;
}

/** Runs `attack` while others read, and says what it did to them and to memory. */
async function attacked(
  name: string,
  growthMibMax: number,
  attack: () => Promise<string>,
): Promise<void> {
  const before = residentMib();
  let most = before;
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
      most = Math.max(most, residentMib());
      await Bun.sleep(10);
    }
  })();
  const did = await attack();
  isOver = true;
  await reading;
  const grew = most - before;
  const text = `${name}: ${did}; it grew by ${grew.toFixed(0)} MiB at most; ${reads} other reads, the longest ${longestMs.toFixed(0)} ms`;
  check(grew <= growthMibMax, text);
}

const times = (count: number, bytes: Uint8Array) => Buffer.concat(Array(count).fill(bytes));

/** Opens connection after connection, and sends all that is taken. How many pieces were taken, and connections ended. */
async function flood(
  open: () => RawH2,
  piece: (connection: RawH2, sent: number) => Uint8Array,
): Promise<{ pieces: number; ended: number }> {
  const endMs = performance.now() + floodMs;
  let pieces = 0;
  let ended = 0;
  const one = async (): Promise<void> => {
    while (performance.now() < endMs) {
      const connection = open();
      for (let sent = 0; !connection.isClosed && performance.now() < endMs; sent++) {
        if (!connection.send(piece(connection, sent))) await drained(connection.socket);
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

const unread = (): RawH2 => {
  const connection = RawH2.open(port);
  connection.socket.pause();
  return connection;
};

try {
  await client.transact(
    "[\"INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 60) SELECT x, printf('%.*c', 1000, 'x') FROM c\"]",
  );
  // Silent until the end.
  const silentH2 = RawH2.open(port);
  silentH2.send(post(1, "/v1/subscriptions", '"SELECT id FROM t WHERE id > 1000"'));
  const silentH1 = new RawH2(port);
  let heardH1 = "";
  silentH1.socket.removeAllListeners("data");
  silentH1.socket.on("data", (bytes) => {
    heardH1 += bytes;
  });
  const text = '"SELECT id FROM t WHERE id > 1000"';
  silentH1.send(
    Buffer.from(
      `POST /v1/subscriptions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n${text}`,
    ),
  );
  const silentSinceMs = performance.now();

  await attacked("streams opened and reset", 200, async () => {
    const { pieces, ended } = await flood(
      () => RawH2.open(port),
      (_, sent) => {
        const pairs: Uint8Array[] = [];
        for (let i = 0; i < 100; i++) {
          const stream = 2 * (100 * sent + i) + 1;
          pairs.push(postHead(stream, "/v1/queries"), reset(stream));
        }
        return Buffer.concat(pairs);
      },
    );
    return `${pieces * 100} streams, ${ended} connections ended`;
  });
  const ping = times(1000, frame(frameTypes.ping, 0, 0, Buffer.alloc(8)));
  for (const [name, open, bytes] of [
    ["pings whose answers are read", () => RawH2.open(port), ping],
    ["pings whose answers nobody reads", unread, ping],
    ["settings whose answers nobody reads", unread, times(1000, settings())],
    [
      "settings that open and close all windows",
      () => {
        const connection = RawH2.open(port, [initialWindowSize, 0]);
        for (let i = 0; i < 100; i++) {
          connection.send(post(2 * i + 1, "/v1/subscriptions", '"SELECT id FROM t"'));
        }
        return connection;
      },
      times(
        100,
        settings(...Array.from({ length: 32 }, (_, i) => [initialWindowSize, i % 2] as const)),
      ),
    ],
    [
      "empty DATA",
      () => {
        const connection = RawH2.open(port);
        connection.send(postHead(1, "/v1/queries"));
        return connection;
      },
      times(1000, frame(frameTypes.data, 0, 1)),
    ],
    [
      "windows that open by a byte",
      () => {
        const connection = RawH2.open(port, [initialWindowSize, 1]);
        for (let i = 0; i < 100; i++) {
          connection.send(post(2 * i + 1, "/v1/queries", '"SELECT v FROM t"'));
        }
        return connection;
      },
      Buffer.concat(Array.from({ length: 100 }, (_, i) => windowUpdate(2 * i + 1, 1))),
    ],
    [
      "CONTINUATION without an end",
      () => {
        const connection = RawH2.open(port);
        connection.send(
          frame(frameTypes.headers, endStream, 1, headerBlock(requestFields("GET", "/v1/health"))),
        );
        return connection;
      },
      frame(frameTypes.continuation, 0, 1, Buffer.alloc(100)),
    ],
  ] as const) {
    await attacked(name, 150, async () => {
      const { pieces, ended } = await flood(open, () => bytes);
      return `${pieces} pieces of ${bytes.length} bytes, ${ended} connections ended`;
    });
  }

  const atRest = residentMib();
  const stopped: RawH2[] = [];
  await attacked("readers that stop before 100 answers of 60 KB each", 200, async () => {
    for (let i = 0; i < 20; i++) {
      const connection = RawH2.open(port, [initialWindowSize, 0]);
      stopped.push(connection);
      for (let j = 0; j < 100; j++) {
        connection.send(post(2 * j + 1, "/v1/queries", '"SELECT v FROM t"'));
      }
      await connection.until(() => connection.of(frameTypes.headers).length === 100, 30_000);
    }
    return `${stopped.length} connections`;
  });
  // Some large bodies, of which nearly all has come.
  await attacked("bodies of 1 MB that don't end", 150, async () => {
    const connection = RawH2.open(port);
    let streams = 0;
    for (; streams < 64; streams++) {
      connection.send(postHead(2 * streams + 1, "/v1/transactions"));
      connection.send(
        times(3, frame(frameTypes.data, 0, 2 * streams + 1, Buffer.alloc(16_384, 0x20))),
      );
    }
    const ended = () =>
      Array.from({ length: streams }, (_, i) => connection.hasEnded(2 * i + 1)).every(Boolean);
    check(await until(ended, 45_000), "all of them are told so within 45 s");
    connection.close();
    return `${streams} bodies`;
  });

  const open = descriptors();
  const idle: Socket[] = [];
  let closed = 0;
  await attacked(`${idleCount} connections that say nothing more`, 250, async () => {
    for (let i = 0; i < idleCount; i++) {
      const socket = connect(port, "127.0.0.1");
      socket.on("error", () => {});
      socket.on("close", () => closed++);
      // It reads, or it wouldn't hear of its end.
      socket.resume();
      // Nothing at all, half a head, a preface with settings, an answered request.
      if (i % 4 === 1) socket.write("GET /v1/hea");
      if (i % 4 === 2) {
        socket.write(Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), settings()]));
      }
      if (i % 4 === 3) socket.write("GET /v1/health HTTP/1.1\r\nhost: x\r\n\r\n");
      idle.push(socket);
      if (i % 200 === 199) await Bun.sleep(10);
    }
    await until(() => descriptors() >= open + idleCount / 2, 20_000);
    return `${descriptors() - open} descriptors`;
  });
  check(
    await until(() => closed === idleCount, idleMs + 30_000),
    `${closed} of ${idleCount} were closed within ${(idleMs + 30_000) / 1000} s`,
  );
  check(await until(() => stopped.every((one) => one.isClosed), idleMs), "so were stopped readers");
  check(await until(() => descriptors() <= open, 10_000), `${descriptors()} descriptors are left`);
  const left = residentMib();
  check(left - atRest < 100, `memory: ${atRest.toFixed(0)} MiB before, ${left.toFixed(0)} after`);

  await Bun.sleep(Math.max(0, idleMs + 10_000 - (performance.now() - silentSinceMs)));
  await client.transact('["INSERT INTO t VALUES (1001, NULL)"]');
  const event = '{"change":["insert",1,[1001],1]}';
  check(
    await until(() => silentH2.body(1).includes(event), 5000),
    "a stream of h2c was silent for over two minutes, and hears",
  );
  check(await until(() => heardH1.includes(event), 5000), "so does one of HTTP/1.1");
  silentH2.close();
  silentH1.close();
} finally {
  check((await agent.stop()) === 0, "the agent stops in order");
  await rm(folder, { recursive: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

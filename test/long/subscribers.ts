/**
 * Thousands of subscribers on one agent, and some that don't read: `bun test/long/subscribers.ts --count 5000`.
 *
 * A third each over the Unix socket, TCP with HTTP/1.1, and h2c. Prints the agent's memory a subscriber for each. Then one
 * reader on each carrier stops reading while rows are written: others hear of every commit, and the reader's last line
 * says from where to go on, which loses nothing. Prints what the agent grew by meanwhile.
 *
 * @module
 */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import * as http2 from "node:http2";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { parseArgs } from "node:util";
import { HttpClient } from "../contract/http-target.ts";
import { Checks, isTrueWithin, startBuiltAgent } from "./soak.ts";

const { values } = parseArgs({ options: { count: { type: "string", default: "5000" } } });
const countEach = Math.ceil(Number(values.count) / 3);

/** What a subscriber may leave unread. */
const unreadBytesMax = 256 * 1024;
const valueBytes = 20_000;
const writes = 400;
/** Different ones, among all subscribers. */
const queries = 100;
const streamsOfConnection = 250;
/** Subscriptions that are opened at once. */
const waveSize = 50;

const folder = await mkdtemp(join(tmpdir(), "patina-subscribers-"));
await writeFile(
  join(folder, "schema.sql"),
  "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v TEXT);",
);
const agent = await startBuiltAgent({
  folder,
  arguments: ["--listen", "127.0.0.1:0"],
  environment: {
    PATINA_API_TOKEN: "false",
    PATINA_API_SUBSCRIBER_BYTES_MAX: String(unreadBytesMax),
  },
});
const [address] = agent.listen as [string];
const [host, port] = address.split(":") as [string, string];
const client = new HttpClient({ at: agent.socket, isPatina: true });
const rss = async (): Promise<number> =>
  JSON.parse((await client.ask("GET", "/v1/status")).text).rss_bytes;
const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;

interface Carrier {
  readonly name: string;
  /** A subscription's lines as they come, once its head is there. */
  open(statement: string): Promise<Readable & { destroy(): unknown }>;
}

const sessions: http2.ClientHttp2Session[] = [];
let streams = 0;

function overHttp1(to: () => Socket): Carrier["open"] {
  return (statement) =>
    new Promise((resolve, reject) => {
      const socket = to();
      socket.on("error", reject);
      socket.write(
        `POST /v1/subscriptions HTTP/1.1\r\nhost: p\r\ncontent-type: application/json\r\ncontent-length: ${statement.length}\r\n\r\n${statement}`,
      );
      socket.once("readable", () => resolve(socket));
    });
}

const carriers: readonly Carrier[] = [
  { name: "Unix socket", open: overHttp1(() => connect(agent.socket)) },
  { name: "TCP, HTTP/1.1", open: overHttp1(() => connect(Number(port), host)) },
  {
    name: "TCP, h2c",
    open: (statement) =>
      new Promise((resolve, reject) => {
        if (streams++ % streamsOfConnection === 0)
          sessions.push(http2.connect(`http://${address}`));
        const session = sessions.at(-1) as http2.ClientHttp2Session;
        const stream = session.request({
          ":method": "POST",
          ":path": "/v1/subscriptions",
          "content-type": "application/json",
        });
        stream.on("error", reject);
        stream.once("response", () => resolve(stream));
        stream.end(statement);
      }),
  },
];

const checks = new Checks();
const open: Readable[] = [];
/** Changes that were heard, by all subscribers together. */
let heard = 0;

/** Subscribes `countEach` times, and says what one takes of the agent's memory. */
async function subscribeMany(carrier: Carrier): Promise<void> {
  const before = await rss();
  for (let i = 0; i < countEach; i += waveSize) {
    const wave = Array.from({ length: Math.min(waveSize, countEach - i) }, (_, n) =>
      carrier.open(`["SELECT id, v FROM t WHERE id = ?",[${(i + n) % queries}]]`),
    );
    for (const stream of await Promise.all(wave)) {
      stream.on("data", (chunk: Buffer) => {
        if (chunk.includes('"change"')) heard++;
      });
      open.push(stream);
    }
  }
  const kibEach = ((await rss()) - before) / countEach / 1024;
  console.log(
    `${carrier.name}: ${countEach} subscribers, ${kibEach.toFixed(1)} KiB of the agent's memory each`,
  );
}

async function allHearOfOneCommit(): Promise<void> {
  await client.transact(
    `["INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM c WHERE x < ${queries - 1}) SELECT x, 'all' FROM c"]`,
  );
  await isTrueWithin(60_000, () => heard === open.length);
  checks.check(heard === open.length, `${heard} of ${open.length} heard of one commit`);
}

/** @param from of its rows' ids: no other reader's */
async function aReaderStops(carrier: Carrier, from: number): Promise<void> {
  const where = `FROM t WHERE id BETWEEN ${from} AND ${from + writes}`;
  const body = JSON.stringify(`SELECT id, v ${where}`);
  const slow = await carrier.open(body);
  slow.pause();
  await using quick = await client.subscribe(JSON.stringify(`SELECT id ${where}`));
  await quick.take(2);
  const before = await rss();
  for (let n = 0; n < writes; n++) {
    await client.transact(
      `[["INSERT INTO t VALUES (?, ?)",[${from + n},"${"x".repeat(valueBytes)}"]]]`,
    );
    await quick.next();
  }
  const grown = (await rss()) - before;
  let read = "";
  slow.on("data", (chunk: Buffer) => {
    read += chunk.toString();
  });
  slow.resume();
  await isTrueWithin(60_000, () => read.includes('"error"'));
  const [, last] = /too slow: [^"]*go on with from=(\d+)"/.exec(read) ?? [];
  const got = [...read.matchAll(/\],(\d+)\]\}/g)].length;
  checks.check(
    last !== undefined && got === Number(last) && got < writes,
    `${carrier.name}: let go after ${got} of ${writes} events of ${valueBytes} bytes, and told from=${last}; the agent grew by ${mib(grown)}`,
  );
  await using again = await client.subscribe(body, `?from=${last}`);
  const rest = await again.take(writes - Number(last));
  checks.check(
    JSON.parse(rest.at(-1) as string).change[3] === writes,
    `${carrier.name}: the other ${rest.length} came when it went on`,
  );
  slow.destroy();
}

try {
  for (const carrier of carriers) await subscribeMany(carrier);
  console.log(`${open.length} subscribers: ${mib(await rss())} in all`);
  await allHearOfOneCommit();
  for (const [nth, carrier] of carriers.entries()) {
    await aReaderStops(carrier, 1_000_000 * (nth + 1));
  }
} finally {
  for (const stream of open) stream.destroy();
  for (const session of sessions) session.destroy();
  await agent.kill();
  await rm(folder, { recursive: true });
}
process.exit(checks.end());

/**
 * Long reads without a pause, a client that reads too slowly, and writes all the time, on the executable:
 * `bun test/long/long-reads.ts --seconds 60`. The WAL is never longer than ARCHITECTURE says, begins anew, and no
 * read is ended but the slow client's.
 *
 * @module
 */

import { existsSync, statSync } from "node:fs";
import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { PatinaClient } from "../../agent/client/client.ts";
import { startBuiltAgent } from "./soak.ts";

const { values } = parseArgs({ options: { seconds: { type: "string", default: "60" } } });
const secondsMax = 4 * Number(values.seconds);

const rows = 100_000;
const readers = 4;
/** 256 MB, and what a commit or two bring. */
const walBytesMax = 270 * 2 ** 20;

const folder = await mkdtemp(join(tmpdir(), "patina-long-reads-"));
await writeFile(
  join(folder, "schema.sql"),
  "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v TEXT, n INTEGER);",
);
// Reads aren't to be ended by their time on a busy machine.
const environment = { PATINA_STORE_QUERY_TIMEOUT_MS: "10000" };
const agent = await startBuiltAgent({ folder, arguments: [], environment });
const client = new PatinaClient(agent.socket);
const status = async () => JSON.parse(await client.get("/v1/status"));
for (let first = 0; first < rows; first += 5000) {
  await client.transact(
    `INSERT INTO t (id, v, n) WITH RECURSIVE c(x) AS (SELECT ${first} UNION ALL SELECT x + 1 FROM c WHERE x < ${first + 4999}) SELECT x, hex(randomblob(100)), x FROM c`,
  );
}

let isOver = false;
let reads = 0;
const reading = Array.from({ length: readers }, async (_, reader) => {
  const own = new PatinaClient(agent.socket);
  while (!isOver) {
    await own.query(`SELECT count(*), sum(length(v)), max(v || ${reader}) FROM t`);
    reads++;
  }
});
let slowEnd: string | undefined;
const slow = connect(agent.socket);
slow.on("error", () => {});
const body = JSON.stringify("SELECT a.id, a.v FROM t a, t b");
slow.write(
  `POST /v1/queries HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
);
slow.on("data", (bytes) => {
  slowEnd ??= /\{"error":"[^"]*"\}/.exec(bytes.toString())?.[0];
  slow.pause();
  setTimeout(() => slow.resume(), 2000);
});

const wal = `${(await status()).database}-wal`;
/** Others each time that it begins anew. */
const salts = new Set<string>();
let [writes, worst, paused, lookedMs] = [0, 0, 0, 0];
const begunMs = performance.now();
const elapsed = (): number => (performance.now() - begunMs) / 1000;
const isDone = (): boolean => salts.size > 2 && slowEnd !== undefined;
while (elapsed() < Number(values.seconds) || (!isDone() && elapsed() < secondsMax)) {
  const first = (writes++ * 7919) % (rows - 400);
  await client.transact(
    `UPDATE t SET n = n + 1, v = hex(randomblob(100)) WHERE id BETWEEN ${first} AND ${first + 399}`,
  );
  if (existsSync(wal)) worst = Math.max(worst, statSync(wal).size);
  if (performance.now() - lookedMs < 500) continue;
  lookedMs = performance.now();
  salts.add(await saltOf(wal));
  if ((await status()).reader_thread?.paused) paused++;
}
isOver = true;
await Promise.all(reading);
slow.destroy();
await agent.stop();
await rm(folder, { recursive: true });

const mebibytes = (worst / 2 ** 20).toFixed(0);
console.log(
  `${writes} commits of 400 rows, ${reads} long reads by ${readers} that never pause, in ${elapsed().toFixed(0)} s; ` +
    `a WAL of at most ${mebibytes} MiB, begun ${salts.size} times; lending paused at ${paused} looks; the slow client: ${slowEnd}`,
);
if (worst > walBytesMax) throw new Error("the WAL is longer than it may be");
if (salts.size <= 2) throw new Error("the WAL doesn't begin anew");
if (slowEnd === undefined) throw new Error("the slow client holds its snapshot for ever");
if (reads === 0) throw new Error("nothing was read");

async function saltOf(path: string): Promise<string> {
  await using file = await open(path);
  const { buffer } = await file.read(Buffer.alloc(8), 0, 8, 16);
  return buffer.toString("hex");
}

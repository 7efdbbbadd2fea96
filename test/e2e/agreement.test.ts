/**
 * Every answer says since when nobody was found who has exactly what this agent has.
 *
 * @module
 */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freeUdpPort } from "../../agent/swarm/free-port.ts";
import { patinaCommand, runPatina, startTestAgent, type TestAgent } from "../agent-process.ts";
import { HttpClient } from "../contract/http-target.ts";
import { until } from "../until.ts";

let folder: string;
let bootstrap: Bun.Subprocess;
let a: TestAgent;
let b: TestAgent;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "patina-agreement-"));
  const cluster = join(folder, "cluster.toml");
  expect((await runPatina(["cluster", "init", cluster])).code).toBe(0);
  const address = `127.0.0.1:${await freeUdpPort()}`;
  const [host, port] = address.split(":") as [string, string];
  bootstrap = Bun.spawn([...patinaCommand, "bootstrap", "--host", host, "--port", port, "--json"], {
    stdout: "pipe",
    stderr: "ignore",
  });
  await (bootstrap.stdout as ReadableStream<Uint8Array>).getReader().read();
  const start = (name: string): Promise<TestAgent> => {
    mkdirSync(join(folder, name));
    writeFileSync(
      join(folder, name, "schema.sql"),
      "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v TEXT);",
    );
    return startTestAgent({
      folder: join(folder, name),
      arguments: ["--name", name, "--cluster", cluster, "--host", host, "--bootstrap", address],
    });
  };
  [a, b] = await Promise.all([start("a"), start("b")]);
}, 120_000);
afterAll(async () => {
  await Promise.all([a.stop(), b.kill()]);
  bootstrap.kill();
  rmSync(folder, { recursive: true });
});

const header = async (agent: TestAgent): Promise<string | null> =>
  (
    await new HttpClient({ at: agent.socket, isPatina: true }).query('"SELECT id FROM t"')
  ).headers.get("patina-agreed-ms");
const agreedMs = async (agent: TestAgent): Promise<number> => {
  const text = await header(agent);
  return text === "none" ? Number.POSITIVE_INFINITY : Number(text);
};

function eventually(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  return until(what, isTrue, 60_000, () => a.log());
}

const statusOf = async (agent: TestAgent) =>
  JSON.parse((await runPatina(["status", "--json", "--socket", agent.socket])).stdout);

test("agents that agree say so, over and over", async () => {
  const http = new HttpClient({ at: a.socket, isPatina: true });
  await http.transact("[\"INSERT INTO t VALUES (1, 'x')\"]");
  // A comparison a second or so: it never grows old.
  for (const agent of [a, b]) {
    await eventually("they agree", async () => (await agreedMs(agent)) < 3000);
  }
  let before = await agreedMs(a);
  await eventually("they agree again", async () => {
    const now = await agreedMs(a);
    const isNewer = now < before;
    before = now;
    return isNewer;
  });
  const health = await http.ask("GET", "/v1/health");
  expect(health.headers.get("patina-agreed-ms")).toMatch(/^\d+$/);
  await using stream = await http.subscribe('"SELECT id FROM t"');
  expect(stream.headers.get("patina-agreed-ms")).toMatch(/^\d+$/);
  const status = await statusOf(a);
  expect(status.agreed).toEqual([
    { node: "b", key: b.key, ms: expect.any(Number), cut: expect.any(Number) },
  ]);
  expect(status.agreed[0].ms).toBeGreaterThanOrEqual(status.agreed_ms);
}, 120_000);

test("metrics have the network, and each peer", async () => {
  const http = new HttpClient({ at: a.socket, isPatina: true });
  const scrape = async () => {
    const { text } = await http.ask("GET", "/metrics");
    const lines = text.split("\n");
    return (sample: string): number =>
      Number(lines.find((line) => line.startsWith(`${sample} `))?.split(" ")[1]);
  };
  // On a busy machine a heartbeat may be late: SUSPECT for a moment.
  await eventually("both are ALIVE", async () => (await scrape())("patina_members_alive") === 2);
  const value = await scrape();
  expect([value("patina_net_up"), value("patina_peers")]).toEqual([1, 1]);
  expect(value("patina_agreed_seconds")).toBeWithin(0, 60);
  expect(value(`patina_peer_rtt_seconds{peer="${b.key}",node="b"}`)).toBeWithin(0, 60);
  expect(value('patina_node_events_total{event="commits"}')).toBe(1);
  expect(value('patina_node_events_total{event="verdicts_equal"}')).toBeGreaterThan(0);
  expect(value('patina_frame_bytes_sent_total{kind="heartbeat"}')).toBeGreaterThan(0);
}, 120_000);

test("a subscription that asks is told whose writes a merge took in", async () => {
  const [atA, atB] = [a, b].map(({ socket }) => new HttpClient({ at: socket, isPatina: true }));
  const sql = '"SELECT id, v FROM t WHERE id >= 100"';
  await using stream = await (atB as HttpClient).subscribe(sql, "?tx=1");
  await stream.take(2);
  const { text } = await (atA as HttpClient).transact(
    "[\"INSERT INTO t VALUES (100, 'x'), (101, 'y')\"]",
  );
  expect(JSON.parse(text).actor_id).toBe(a.site);
  const told = await stream.take(3);
  expect(told.map((line) => Object.keys(JSON.parse(line))[0])).toEqual(["change", "change", "tx"]);
  expect(JSON.parse(told[2] as string).tx).toEqual({
    changes: 2,
    change_id: 2,
    origins: [{ site: a.site, hlc: expect.stringMatching(/^\d{13}\.\d+$/) }],
  });
});

test("an agent that is cut off says how long it has been", async () => {
  const before = { atMs: performance.now(), agreedMs: await agreedMs(a) };
  process.kill(b.pid, "SIGSTOP");
  let last = 0;
  await eventually("it has grown to 5 s", async () => {
    const now = await agreedMs(a);
    last = now;
    return now > 5000;
  });
  // It isn't older than it can be: they had agreed once before the cut.
  expect(last).toBeLessThanOrEqual(before.agreedMs + Math.ceil(performance.now() - before.atMs));
  // From here on nothing makes it younger, and a read goes on answering.
  for (let i = 0; i < 10; i++) {
    const now = await agreedMs(a);
    expect(now).toBeGreaterThanOrEqual(last);
    last = now;
    await Bun.sleep(20);
  }
  const { agreed, agreed_ms: ms } = await statusOf(a);
  expect(ms).toBeGreaterThanOrEqual(last);
  expect(agreed[0].ms).toBeGreaterThanOrEqual(last);

  process.kill(b.pid, "SIGCONT");
  await eventually("they agree again", async () => (await agreedMs(a)) < 2000);
}, 120_000);

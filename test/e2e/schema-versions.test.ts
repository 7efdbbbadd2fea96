import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PatinaClient } from "../../agent/client/client.ts";
import { freeUdpPort } from "../../agent/swarm/free-port.ts";
import { runPatina, startTestAgent, type TestAgent } from "../agent-process.ts";
import { until } from "../until.ts";

/** What three releases of an application declare, each more than the one before. */
const versions = {
  a: "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, status TEXT);",
  b: "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, status TEXT, weight INTEGER DEFAULT 1);",
  c: "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, status TEXT, weight INTEGER DEFAULT 1);\nCREATE TABLE u (k INTEGER NOT NULL PRIMARY KEY, v);",
};
const rows = 20_000;

let folder: string;
const agents = new Map<string, TestAgent>();

const start = async (name: string): Promise<PatinaClient> => {
  const config = ["-c", join(folder, `${name}.toml`), "--name", name];
  const agent = await startTestAgent({ folder: join(folder, name), arguments: config });
  agents.set(name, agent);
  return new PatinaClient(agent.socket);
};

function eventually(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  return until(what, isTrue, 60_000, () =>
    [...agents.values()].map((agent) => agent.log()).join("\n"),
  );
}

const statusOf = async (client: PatinaClient) => JSON.parse(await client.get("/v1/status"));

const countOf = async (client: PatinaClient, sql: string) =>
  Number((await client.query(sql)).rows[0]?.[0]);

/** All have the same root at the same cut, and as many rows. */
async function agree(clients: readonly PatinaClient[]): Promise<boolean> {
  const all = await Promise.all(clients.map(statusOf));
  const texts = all.map(({ root, cut, rows_held: held }) => `${root} ${cut} ${held}`);
  return new Set(texts).size === 1;
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "patina-versions-"));
  expect((await runPatina(["cluster", "init", join(folder, "cluster.toml")])).code).toBe(0);
  const port = await freeUdpPort();
  for (const [name, schema] of Object.entries(versions)) {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, "schema.sql"), schema);
    const more = name === "c" ? `port = ${port}\nact_as_bootstrap = true\n` : "";
    writeFileSync(
      join(folder, `${name}.toml`),
      `[cluster]\nfile = "cluster.toml"\n[swarm]\nhost = "127.0.0.1"\nbootstrap = ["127.0.0.1:${port}"]\n${more}`,
    );
  }
}, 120_000);

afterAll(async () => {
  await Promise.all([...agents.values()].map((agent) => agent.stop()));
  rmSync(folder, { recursive: true });
});

test("three schemas in one cluster agree to the last digest; what is held surfaces when its schema comes", async () => {
  const c = await start("c");
  await c.transact(
    `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows}) INSERT INTO t SELECT 'r' || i, 'up', i FROM n`,
    "INSERT INTO u VALUES (1, 'one'), (2, x'0102')",
  );
  const b = await start("b");
  const a = await start("a");
  // Until it has found itself identical with a peer an agent answers, and says that it isn't ready.
  let early = 0;
  await eventually("a is ready", async () => {
    const { status, body } = await a.health();
    const { ready } = await statusOf(a);
    if (ready) expect(await countOf(a, "SELECT count(*) FROM t")).toBe(rows);
    if (body.includes("not ready")) early++;
    else if (!ready) throw new Error(`not ready, and health is ${status} ${body}`);
    return ready;
  });
  expect(early).toBeGreaterThan(0);
  await eventually("all have all", async () => agree([a, b, c]));
  expect((await statusOf(a)).not_shown).toEqual([
    { table: "t", column: "weight", cells: rows },
    { table: "u", column: "", cells: 2 },
  ]);
  expect((await statusOf(b)).not_shown).toEqual([{ table: "u", column: "", cells: 2 }]);

  // Every version writes: a knows no weight, and leaves it as it is.
  await a.transact(
    "UPDATE t SET status = 'down' WHERE id = 'r7'",
    "INSERT INTO t VALUES ('new', 'up')",
  );
  await b.transact("UPDATE t SET weight = -8 WHERE id = 'r8'", "DELETE FROM t WHERE id = 'r9'");
  await c.transact("DELETE FROM u WHERE k = 1");
  const some = "SELECT * FROM t WHERE id IN ('r7', 'r8', 'r9', 'new') ORDER BY id";
  const expected = [
    ["new", "up", 1],
    ["r7", "down", 7],
    ["r8", "up", -8],
  ];
  await eventually("c has them", async () => {
    return Bun.deepEquals((await c.query(some)).rows as unknown[], expected);
  });
  await eventually("all agree again", async () => agree([a, b, c]));
  // What is written elsewhere reaches it, so that it can tell how late.
  await eventually("a is healthy", async () => (await a.health()).status === 200);

  // The last release comes to a and b, in the running agents.
  const before = await statusOf(a);
  for (const name of ["a", "b"]) {
    writeFileSync(join(folder, name, "schema.sql"), versions.c);
    const { socket } = agents.get(name) as TestAgent;
    expect(await runPatina(["reload", "--socket", socket])).toMatchObject({ code: 0 });
  }
  for (const client of [a, b]) {
    expect((await statusOf(client)).not_shown).toEqual([]);
    expect((await client.query(some)).rows as unknown[]).toEqual(expected);
    expect((await client.query("SELECT * FROM u")).rows).toEqual([[2, new Uint8Array([1, 2])]]);
    expect(await countOf(client, "SELECT sum(weight) FROM t")).toBe(
      await countOf(c, "SELECT sum(weight) FROM t"),
    );
  }
  expect(await agree([a, b, c])).toBe(true);
  expect((await statusOf(a)).rows_held).toBe(before.rows_held);
}, 120_000);

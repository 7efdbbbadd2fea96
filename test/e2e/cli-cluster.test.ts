import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PatinaClient } from "../../agent/client/client.ts";
import { freeUdpPort } from "../../agent/swarm/free-port.ts";
import { patinaCommand, runPatina, startTestAgent, type TestAgent } from "../agent-process.ts";
import { until } from "../until.ts";

const schema = `
CREATE TABLE instances (id TEXT NOT NULL PRIMARY KEY, node TEXT NOT NULL DEFAULT '', status TEXT NOT NULL DEFAULT 'up');
`;

let folder: string;
let bootstrap: Bun.Subprocess;
let address: string;
let a: TestAgent;
let b: TestAgent;

const start = (name: string): Promise<TestAgent> =>
  startTestAgent({
    folder: join(folder, name),
    arguments: ["-c", join(folder, "patina.toml"), "--name", name, "--bootstrap", address],
  });

function eventually(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  return until(what, isTrue, 60_000, () => b.log());
}

const rowsOf = async (agent: TestAgent, sql: string) =>
  (await new PatinaClient(agent.socket).query(sql)).rows;
const stateOf = async (agent: TestAgent, node: string) =>
  (await rowsOf(agent, `SELECT state FROM patina_members WHERE node = '${node}'`))[0]?.[0];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "patina-cluster-"));
  for (const name of ["a", "b"]) {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, "schema.sql"), schema);
  }
  const cluster = join(folder, "cluster.toml");
  expect((await runPatina(["cluster", "init", cluster])).code).toBe(0);
  writeFileSync(
    join(folder, "patina.toml"),
    `[cluster]\nfile = "cluster.toml"\n[swarm]\nhost = "127.0.0.1"\n[tables.instances]\nurgent = "status <> 'up'"\n`,
  );
  const port = await freeUdpPort();
  address = `127.0.0.1:${port}`;
  const command = [
    ...patinaCommand,
    "bootstrap",
    "--host",
    "127.0.0.1",
    "--port",
    `${port}`,
    "--json",
  ];
  bootstrap = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
  const { value } = await (bootstrap.stdout as ReadableStream<Uint8Array>).getReader().read();
  expect(JSON.parse(Buffer.from(value as Uint8Array).toString())).toEqual({ bootstrap: address });
  [a, b] = await Promise.all([start("a"), start("b")]);
}, 120_000);

afterAll(async () => {
  await Promise.all([a?.stop(), b?.stop()]);
  bootstrap.kill();
  await bootstrap.exited;
  rmSync(folder, { recursive: true });
});

test("agents that know only the bootstrap and the cluster's file find each other", async () => {
  await eventually(
    "both alive",
    async () => (await stateOf(b, "a")) === "ALIVE" && (await stateOf(a, "b")) === "ALIVE",
  );
  const swarm = JSON.parse((await runPatina(["swarm", "--json", "--socket", a.socket])).stdout);
  expect(swarm.peers.map(({ peer }: { peer: string }) => peer)).toEqual([b.key]);
}, 120_000);

test("a write on one is an event and a row on the other", async () => {
  const ended = new AbortController();
  const events = new PatinaClient(b.socket).subscribe("SELECT id, status FROM instances", {
    signal: ended.signal,
  });
  await events.next();
  await events.next();
  const write = async (sql: string) => {
    expect((await runPatina(["exec", "--socket", a.socket, sql])).code).toBe(0);
    return (await events.next()).value;
  };
  expect(await write("INSERT INTO instances (id, node) VALUES ('web-1', 'a')")).toMatchObject({
    kind: "change",
    type: "insert",
    cells: ["web-1", "up"],
  });
  expect(await write("UPDATE instances SET status = 'down'")).toMatchObject({
    type: "update",
    cells: ["web-1", "down"],
  });
  expect(await write("DELETE FROM instances")).toMatchObject({
    type: "delete",
    cells: ["web-1", "down"],
  });
  ended.abort();
  await events.next();
  // The first waits until both have agreed: it might be a row that b has marked down.
}, 120_000);

test("health counts both, and has a lag", async () => {
  await eventually("health", async () => {
    const { status, body } = await new PatinaClient(b.socket).health();
    return status === 200 && JSON.parse(body).response.members === 2;
  });
  // It is ready once it was found equal, which takes some five seconds.
}, 120_000);

test("an agent that is killed becomes DOWN, comes back with its port, and catches up", async () => {
  await a.kill();
  await eventually("a suspect", async () => (await stateOf(b, "a")) !== "ALIVE");
  await new PatinaClient(b.socket).transact(
    "INSERT INTO instances (id, node) VALUES ('web-2', 'b'), ('web-3', 'b')",
  );
  const { port } = a;
  a = await start("a");
  expect(a.port).toBe(port);
  await eventually("a alive", async () => (await stateOf(b, "a")) === "ALIVE");
  await eventually(
    "a equal",
    async () => (await rowsOf(a, "SELECT id FROM instances")).length === 2,
  );
  expect(await rowsOf(a, "SELECT * FROM instances ORDER BY id")).toEqual(
    await rowsOf(b, "SELECT * FROM instances ORDER BY id"),
  );
}, 120_000);

test("an agent that is stopped in order isn't DOWN at once", async () => {
  await eventually("a alive", async () => (await stateOf(b, "a")) === "ALIVE");
  expect(await a.stop()).toBe(0);
  expect(await stateOf(b, "a")).not.toBe("DOWN");
  a = await start("a");
  await eventually("a alive again", async () => (await stateOf(b, "a")) === "ALIVE");
}, 120_000);

test("a down that is said again by an agent that couldn't hear of the up between wins on both", async () => {
  const statusOf = async (agent: TestAgent) =>
    (await rowsOf(agent, "SELECT status FROM instances WHERE id = 'web-9'"))[0]?.[0];
  const exec = (agent: TestAgent, sql: string) =>
    runPatina(["exec", "--socket", agent.socket, sql]).then(({ stdout }) => stdout);
  await exec(a, "INSERT INTO instances (id, status) VALUES ('web-9', 'down')");
  await eventually("b has it", async () => (await statusOf(b)) === "down");
  // They take turns, so that neither hears of the other.
  await a.kill();
  await exec(b, "UPDATE instances SET status = 'up' WHERE id = 'web-9'");
  await b.kill();
  a = await start("a");
  expect(await statusOf(a)).toBe("down");
  expect(await exec(a, "UPDATE instances SET node = node WHERE id = 'web-9'")).toBe(
    "1 row, nothing to replicate\n",
  );
  const said = await exec(a, "UPDATE instances SET status = 'down' WHERE id = 'web-9'");
  expect(said).toMatch(/^1 row, version \d+\n$/);
  b = await start("b");
  await eventually("b hears of the down", async () => (await statusOf(b)) === "down");
  await eventually("a hears from b", async () => (await stateOf(a, "b")) === "ALIVE");
  expect([await statusOf(a), await statusOf(b)]).toEqual(["down", "down"]);
}, 120_000);

test("an agent of another cluster gets nothing", async () => {
  const name = "stranger";
  mkdirSync(join(folder, name));
  writeFileSync(join(folder, name, "schema.sql"), schema);
  const cluster = join(folder, name, "cluster.toml");
  await runPatina(["cluster", "init", cluster]);
  // It knows where the members meet, but not their secret.
  const own = await Bun.file(join(folder, "cluster.toml")).text();
  const id = /^id = .*$/m.exec(own)?.[0] as string;
  writeFileSync(cluster, (await Bun.file(cluster).text()).replace(/^id = .*$/m, id));
  const stranger = await startTestAgent({
    folder: join(folder, name),
    arguments: [
      "--name",
      name,
      "--cluster",
      cluster,
      "--host",
      "127.0.0.1",
      "--bootstrap",
      address,
    ],
  });
  await eventually(
    "refused",
    async () => /peer refused/.test(b.log()) || /peer refused/.test(a.log()),
  );
  expect(await rowsOf(stranger, "SELECT * FROM instances")).toEqual([]);
  expect(await stateOf(b, name)).toBeUndefined();
  await stranger.stop();
}, 120_000);

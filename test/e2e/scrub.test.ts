import { Database } from "bun:sqlite";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PatinaClient } from "../../agent/client/client.ts";
import { freeUdpPort } from "../../agent/swarm/free-port.ts";
import { runPatina, startTestAgent, type TestAgent } from "../agent-process.ts";
import { until } from "../until.ts";

const schema = "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, status TEXT, n INTEGER);\n";

let folder: string;
const running = new Map<string, TestAgent>();

async function start(name: string, ...more: readonly string[]): Promise<TestAgent> {
  const agent = await startTestAgent({
    folder: join(folder, name),
    arguments: ["--name", name, ...more],
  });
  running.set(name, agent);
  return agent;
}

async function stop(name: string): Promise<void> {
  await running.get(name)?.stop();
  running.delete(name);
}

function eventually(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  return until(what, isTrue, 60_000, () =>
    [...running.values()].map((agent) => agent.log()).join("\n"),
  );
}

const rowsOf = async (agent: TestAgent) =>
  (await new PatinaClient(agent.socket).query("SELECT * FROM t ORDER BY id")).rows;

const scrubOf = async (agent: TestAgent) =>
  JSON.parse(await new PatinaClient(agent.socket).get("/v1/status")).scrub;

/** With the shell where there is one, as somebody would. */
function edit(name: string, sql: string): void {
  const path = join(folder, name, "data", "patina.db");
  expect(existsSync(`${path}-wal`)).toBe(false);
  if (Bun.which("sqlite3") !== null) {
    const { exitCode, stderr } = Bun.spawnSync(["sqlite3", path, sql]);
    if (exitCode !== 0) throw new Error(stderr.toString());
    return;
  }
  using database = new Database(path);
  database.run(sql);
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "patina-scrub-"));
  for (const name of ["a", "b", "alone"]) {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, "schema.sql"), schema);
  }
  expect((await runPatina(["cluster", "init", join(folder, "cluster.toml")])).code).toBe(0);
  const port = await freeUdpPort();
  for (const [name, more] of [
    ["a", ""],
    ["b", `port = ${port}\nact_as_bootstrap = true\n`],
  ]) {
    const swarm = `host = "127.0.0.1"\nbootstrap = ["127.0.0.1:${port}"]\n${more}`;
    writeFileSync(
      join(folder, `${name}.toml`),
      `[cluster]\nfile = "cluster.toml"\n[swarm]\n${swarm}`,
    );
  }
}, 120_000);

afterAll(async () => {
  await Promise.all([...running.values()].map((agent) => agent.stop()));
  rmSync(folder, { recursive: true });
});

test("values edited while the agent was down are found and healed by a peer, and no peer's row changes", async () => {
  const config = (name: string) => ["-c", join(folder, `${name}.toml`)];
  const b = await start("b", ...config("b"));
  let a = await start("a", ...config("a"));
  const write = new PatinaClient(a.socket);
  await write.transact("INSERT INTO t VALUES ('x', 'mmm', 1), ('y', 'mmm', 2), ('z', 'mmm', 3)");
  await write.transact("UPDATE t SET n = n + 10");
  await eventually("b has them", async () => (await rowsOf(b)).length === 3);
  const sound = await rowsOf(b);
  await stop("a");
  edit(
    "a",
    "UPDATE t SET status = 'zzz' WHERE id = 'x'; UPDATE t SET status = 'aaa', n = NULL WHERE id = 'y'",
  );
  const ended = new AbortController();
  const events: unknown[] = [];
  const watching = (async () => {
    const live = new PatinaClient(b.socket).subscribe("SELECT * FROM t", { signal: ended.signal });
    for await (const event of live) if (event.kind === "change") events.push(event);
  })();
  a = await start("a", ...config("a"));
  await eventually("a is healed", async () => Bun.deepEquals(await rowsOf(a), sound));
  expect(await rowsOf(b)).toEqual(sound);
  expect(await scrubOf(a)).toMatchObject({ cells_found_damaged: 3, damaged_now: [] });
  expect(a.log()).toContain("damaged values");
  // And it stays so: what a sent meanwhile was nothing that b took.
  await Bun.sleep(2000);
  expect(await rowsOf(b)).toEqual(sound);
  expect(events).toEqual([]);
  expect(JSON.parse(await new PatinaClient(b.socket).get("/v1/status")).conflicts).toBe(0);
  ended.abort();
  await watching;
}, 120_000);

test("with no peer that has it, damage is reported", async () => {
  let alone = await start("alone");
  const sql = "INSERT INTO t VALUES ('x', 'mmm', 1), ('y', 'mmm', 2)";
  await new PatinaClient(alone.socket).transact(sql);
  await stop("alone");
  edit("alone", "UPDATE t SET status = 'zzz' WHERE id = 'x'");
  alone = await start("alone");
  await eventually("it is found", async () => (await scrubOf(alone)).cells_found_damaged === 1);
  const damaged = [{ table: "t", column: "status", cells: 1 }];
  expect(await scrubOf(alone)).toMatchObject({ damaged_now: damaged });
  // Also by a later start.
  await stop("alone");
  alone = await start("alone");
  expect(await scrubOf(alone)).toMatchObject({ damaged_now: damaged });
  await new PatinaClient(alone.socket).transact("UPDATE t SET status = 'right' WHERE id = 'x'");
  expect(await scrubOf(alone)).toMatchObject({ damaged_now: [] });
}, 120_000);

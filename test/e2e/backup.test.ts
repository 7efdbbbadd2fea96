import { Database } from "bun:sqlite";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PatinaClient } from "../../agent/client/client.ts";
import { freeUdpPort } from "../../agent/swarm/free-port.ts";
import { patinaCommand, runPatina, startTestAgent, type TestAgent } from "../agent-process.ts";
import { until } from "../until.ts";

const schema =
  "CREATE TABLE instances (id TEXT NOT NULL PRIMARY KEY, node TEXT NOT NULL DEFAULT '', n INTEGER);\n";

let folder: string;
let agents: TestAgent[];
let address: string;

const start = (name: string, more: readonly string[] = []): Promise<TestAgent> =>
  startTestAgent({
    folder: join(folder, name),
    arguments: ["-c", join(folder, "patina.toml"), "--name", name, ...more],
  });

const rowsOf = async (agent: TestAgent, sql: string) =>
  (await new PatinaClient(agent.socket).query(sql)).rows;

function eventually(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  return until(what, isTrue, 60_000, () => agents.map((agent) => agent.log()).join("\n"));
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "patina-backup-"));
  for (const name of ["a", "b", "c"]) {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, "schema.sql"), schema);
  }
  expect((await runPatina(["cluster", "init", join(folder, "cluster.toml")])).code).toBe(0);
  const port = await freeUdpPort();
  address = `127.0.0.1:${port}`;
  writeFileSync(
    join(folder, "patina.toml"),
    `[cluster]\nfile = "cluster.toml"\n[swarm]\nhost = "127.0.0.1"\nbootstrap = ["${address}"]\n`,
  );
  const first = await startTestAgent({
    folder: join(folder, "c"),
    arguments: ["-c", join(folder, "patina.toml"), "--name", "c", "--port", `${port}`],
    environment: { PATINA_SWARM_ACT_AS_BOOTSTRAP: "true" },
  });
  agents = [await start("a"), await start("b"), first];
}, 120_000);

afterAll(async () => {
  await Promise.all(agents.map((agent) => agent.stop()));
  rmSync(folder, { recursive: true });
});

test("a stale backup is restored into a busy cluster: no write of a peer's is lost, and all are the same", async () => {
  const [a, b, c] = agents as [TestAgent, TestAgent, TestAgent];
  const client = (agent: TestAgent) => new PatinaClient(agent.socket);
  await eventually("three members", async () => {
    const states = await rowsOf(a, "SELECT state FROM patina_members");
    return states.length === 3 && states.every(([state]) => state === "ALIVE");
  });
  await client(a).transact(
    "WITH RECURSIVE k(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < 2000) INSERT INTO instances SELECT 'old-' || i, 'a', 0 FROM k",
  );
  for (const agent of [b, c]) {
    await eventually("all have the rows", async () => {
      return (await rowsOf(agent, "SELECT count(*) FROM instances"))[0]?.[0] === 2000;
    });
  }
  // Clients of b and c write all the time: new rows, changes of the old ones, deletes.
  const acknowledged = new Map<string, number>();
  const removed = new Set<string>();
  let isBusy = true;
  const writing = [b, c].map(async (agent, w) => {
    for (let i = 1; isBusy; i++) {
      const id = `w${w}-${i}`;
      await client(agent).transact(
        { sql: "INSERT INTO instances VALUES (?, 'w', ?)", parameters: [id, i] },
        {
          sql: "UPDATE instances SET n = n + 1 WHERE id = ?",
          parameters: [`old-${(i % 900) + 1}`],
        },
        { sql: "DELETE FROM instances WHERE id = ?", parameters: [`old-${1000 + w * 500 + i}`] },
      );
      acknowledged.set(id, i);
      removed.add(`old-${1000 + w * 500 + i}`);
      await Bun.sleep(5);
    }
  });
  const backup = join(folder, "stale.backup");
  const made = await runPatina(["backup", backup, "--json", "--socket", a.socket]);
  expect(made).toMatchObject({ code: 0 });
  expect(JSON.parse(made.stdout)).toMatchObject({ path: backup });
  const again = await runPatina(["backup", backup, "--socket", a.socket]);
  expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining("is there already") });
  // After the backup, and acknowledged by the others before a stops.
  await client(a).transact("INSERT INTO instances VALUES ('after', 'a', 1)");
  await eventually("b has it", async () => {
    return (await rowsOf(b, "SELECT 1 FROM instances WHERE id = 'after'")).length === 1;
  });
  const dataDir = join(folder, "a", "data");
  const config = ["-c", join(folder, "patina.toml"), "--data-dir", dataDir];
  const refused = await runPatina(["restore", backup, ...config]);
  expect(refused).toMatchObject({ code: 4, stderr: expect.stringContaining("it is locked") });
  await a.stop();
  await Bun.sleep(1000);
  const restored = await runPatina(["restore", backup, "--json", ...config]);
  expect(restored).toMatchObject({ code: 0 });
  const back = await start("a");
  agents[0] = back;
  expect(back.site).not.toBe(a.site);
  expect(back.key).toBe(a.key);
  await client(back).transact("INSERT INTO instances VALUES ('new-life', 'a', 2)");
  await Bun.sleep(500);
  isBusy = false;
  await Promise.all(writing);
  expect(acknowledged.size).toBeGreaterThan(100);

  const all = "SELECT id, node, n FROM instances ORDER BY id";
  const text = async (agent: TestAgent) => JSON.stringify(await rowsOf(agent, all));
  await eventually("all the same", async () => {
    const [x, y, z] = await Promise.all([text(back), text(b), text(c)]);
    return x === y && y === z;
  });
  const rows = new Map((await rowsOf(back, all)).map(([id, , n]) => [String(id), Number(n)]));
  for (const [id, n] of acknowledged) expect(rows.get(id)).toBe(n);
  for (const id of removed) expect(rows.has(id)).toBe(false);
  expect([rows.get("after"), rows.get("new-life")]).toEqual([1, 2]);
}, 180_000);

test("a restore that is killed leaves the old database or the new one, whole", async () => {
  const place = join(folder, "killed");
  mkdirSync(place);
  writeFileSync(join(place, "schema.sql"), schema);
  const agent = await startTestAgent({ folder: place });
  const client = new PatinaClient(agent.socket);
  await client.transact("INSERT INTO instances VALUES ('x', 'backed up', 1)");
  const backup = join(place, "killed.backup");
  expect((await runPatina(["backup", backup, "--socket", agent.socket])).code).toBe(0);
  await client.transact("UPDATE instances SET node = 'later'");
  expect(await agent.stop()).toBe(0);
  const path = join(place, "data", "patina.db");
  const command = [...patinaCommand, "restore", backup, "--data-dir", join(place, "data")];
  // Ever nearer to the moment when the new one takes the old one's place, however busy the machine is.
  const began = performance.now();
  expect(Bun.spawnSync(command).exitCode).toBe(0);
  let [lowerMs, upperMs] = [0, performance.now() - began];
  const found = new Set<unknown>();
  for (let i = 0; i < 6; i++) {
    const afterMs = i === 5 && !found.has("later") ? 0 : (lowerMs + upperMs) / 2;
    {
      using old = new Database(path);
      old.run("UPDATE instances SET node = 'later'");
    }
    const running = Bun.spawn(command, { stdout: "ignore", stderr: "ignore" });
    await Bun.sleep(afterMs);
    running.kill("SIGKILL");
    await running.exited;
    using database = new Database(path, { create: false, readwrite: true });
    expect(database.query("PRAGMA integrity_check").values()).toEqual([["ok"]]);
    const [row] = database.query("SELECT node FROM instances").values();
    expect(["later", "backed up"]).toContain(row?.[0] as string);
    found.add(row?.[0]);
    if (row?.[0] === "later") lowerMs = afterMs;
    else upperMs = afterMs;
  }
  expect(found).toContain("later");
}, 120_000);

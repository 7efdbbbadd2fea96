import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PatinaClient } from "../../agent/client/client.ts";
import { freeUdpPort } from "../../agent/swarm/free-port.ts";
import { patinaCommand, runPatina, startTestAgent, type TestAgent } from "../agent-process.ts";
import { until } from "../until.ts";

const t = "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, v TEXT NOT NULL DEFAULT '')";
const big = "CREATE TABLE big (id TEXT NOT NULL PRIMARY KEY, n INTEGER)";
const rows = 12_000;

let folder: string;
let a: TestAgent;
let b: TestAgent;

const schemaOf = (name: string, text: string): void =>
  writeFileSync(join(folder, name, "schema.sql"), text);

const start = (name: string): Promise<TestAgent> =>
  startTestAgent({
    folder: join(folder, name),
    arguments: ["-c", join(folder, `${name}.toml`), "--name", name],
  });

const reload = (...more: readonly string[]) => runPatina(["reload", "--socket", a.socket, ...more]);

function eventually(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  return until(what, isTrue, 60_000, () => a.log());
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "patina-reload-"));
  for (const name of ["a", "b"]) mkdirSync(join(folder, name));
  expect((await runPatina(["cluster", "init", join(folder, "cluster.toml")])).code).toBe(0);
  const port = await freeUdpPort();
  const config = (more: string) =>
    `[cluster]\nfile = "cluster.toml"\n[swarm]\nhost = "127.0.0.1"\nbootstrap = ["127.0.0.1:${port}"]\n${more}`;
  writeFileSync(join(folder, "a.toml"), config("[tables.big]\nreplicated = false\n"));
  writeFileSync(join(folder, "b.toml"), config(`port = ${port}\nact_as_bootstrap = true\n`));
  schemaOf("a", `${t};\n${big};\n`);
  schemaOf("b", `${t};\n${big};\n`);
  b = await start("b");
  a = await start("a");
}, 120_000);

afterAll(async () => {
  await Promise.all([a?.stop(), b?.stop()]);
  rmSync(folder, { recursive: true });
});

test("reload plans, applies or refuses; live queries and statements go on", async () => {
  const client = new PatinaClient(a.socket);
  await client.transact("INSERT INTO t VALUES ('x', 'one')");
  const ended = new AbortController();
  const kept = client.subscribe("SELECT id, v FROM t", { signal: ended.signal });
  const star = client.subscribe("SELECT * FROM t", { signal: ended.signal, once: true });
  for (const events of [kept, star]) {
    expect((await events.next()).value).toMatchObject({ kind: "columns", columns: ["id", "v"] });
    expect((await events.next()).value).toMatchObject({ kind: "row" });
    expect((await events.next()).value).toMatchObject({ kind: "end-of-rows" });
  }
  const query = () => client.query("SELECT * FROM t");
  expect((await query()).columns).toEqual(["id", "v"]);

  schemaOf(
    "a",
    `${t.replace(")", ", w INTEGER DEFAULT 7)")};\n${big};\nCREATE TABLE u (id TEXT NOT NULL PRIMARY KEY);\n`,
  );
  const dry = await reload("--dry-run");
  expect(dry).toMatchObject({ code: 0 });
  expect(dry.stdout).toContain('ALTER TABLE "t" ADD COLUMN w INTEGER DEFAULT 7;');
  expect(dry.stdout).toContain("nothing was done");
  for (const body of ['{"dry_run":"yes"}', '{"dry_run":1}', "[]"]) {
    const headers = { "content-type": "application/json" };
    const init = { unix: a.socket, method: "POST", headers, body };
    expect((await fetch("http://patina/v1/reload", init)).status).toBe(400);
  }
  expect((await query()).columns).toEqual(["id", "v"]);

  const done = await reload("--json");
  expect(done).toMatchObject({ code: 0 });
  expect(JSON.parse(done.stdout)).toMatchObject({ dry_run: false, rows_taken_in: 0 });
  expect(await query()).toEqual({ columns: ["id", "v", "w"], rows: [["x", "one", 7]] });
  await client.transact("INSERT INTO t VALUES ('y', 'two', 8)", "INSERT INTO u VALUES ('new')");
  expect((await kept.next()).value).toMatchObject({
    kind: "change",
    type: "insert",
    cells: ["y", "two"],
  });
  await expect(star.next()).rejects.toThrow("the schema changed");
  ended.abort();
  expect((await reload()).stdout).toBe("the database is as the schema files say\n");

  schemaOf("a", `${t};\n${big};\nCREATE TABLE u (id TEXT NOT NULL PRIMARY KEY);\n`);
  const refused = await reload();
  expect(refused).toMatchObject({ code: 1 });
  expect(refused.stderr).toContain(`schema.sql:1: table t: column w can't be dropped`);
  schemaOf("a", "CREATE TABLE t (id TEXT;\n");
  expect(await reload()).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("schema.sql:1"),
  });
  expect((await query()).columns).toEqual(["id", "v", "w"]);
  // Who watches the log is to know of it, too.
  await eventually("its log says so", async () => a.log().includes("reloaded statements="));
}, 120_000);

test("SIGHUP does the same", async () => {
  const client = new PatinaClient(a.socket);
  const grown = t.replace(")", ", w INTEGER DEFAULT 7)");
  const u = "CREATE TABLE u (id TEXT NOT NULL PRIMARY KEY)";
  schemaOf("a", `${grown};\n${big};\n${u};\nCREATE TABLE hup (id TEXT NOT NULL PRIMARY KEY);\n`);
  process.kill(a.pid, "SIGHUP");
  await eventually("the new table", async () => {
    try {
      return (await client.transact("INSERT INTO hup VALUES ('z')")).version !== null;
    } catch {
      return false;
    }
  });
  expect(a.log()).toContain("reloaded");
}, 120_000);

test("a filled local table becomes replicated: its rows reach the others", async () => {
  const [client, peer] = [new PatinaClient(a.socket), new PatinaClient(b.socket)];
  await client.transact(
    `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows}) INSERT INTO big SELECT 'r' || i, i FROM n`,
  );
  // The others have it replicated, and rows of their own, one of the same key.
  await peer.transact("INSERT INTO big VALUES ('r5', -1), ('own', -2)");
  await eventually("a holds b's rows", async () => {
    const { not_shown: notShown } = JSON.parse(await client.get("/v1/status"));
    return notShown.some((one: { table: string; cells: number }) => one.cells === 2);
  });
  const config = await Bun.file(join(folder, "a.toml")).text();
  writeFileSync(join(folder, "a.toml"), config.replace("replicated = false", "replicated = true"));
  const done = await reload("--json");
  expect(done).toMatchObject({ code: 0 });
  expect(JSON.parse(await client.get("/v1/status"))).toMatchObject({
    taking_in: [],
    not_shown: [],
  });
  const all = "SELECT * FROM big ORDER BY id";
  await eventually("the same rows", async () => {
    const [x, y] = await Promise.all([client.query(all), peer.query(all)]);
    return x.rows.length === rows + 1 && JSON.stringify(x.rows) === JSON.stringify(y.rows);
  });
  // What was said of a row comes after what was there before.
  expect((await peer.query("SELECT n FROM big WHERE id = 'r5'")).rows).toEqual([[-1]]);
  const roots = async () =>
    Promise.all(
      [client, peer].map(async (one) => JSON.parse(await one.get("/v1/status")).rows_held),
    );
  await eventually("as many rows held", async () => {
    const [x, y] = await roots();
    return x === y;
  });
}, 120_000);

test("a SIGHUP that comes while the agent starts isn't lost", async () => {
  const own = mkdtempSync(join(tmpdir(), "patina-early-"));
  writeFileSync(join(own, "schema.sql"), t);
  const files = ["--data-dir", join(own, "data"), "--schema", join(own, "schema.sql")];
  const options = [...files, "--cluster", join(folder, "cluster.toml"), "--host", "127.0.0.1"];
  const child = Bun.spawn([...patinaCommand, "agent", ...options], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  let log = "";
  for await (const chunk of child.stderr) {
    const before = log;
    log += Buffer.from(chunk).toString();
    const isSaidNow = (text: string) => !before.includes(text) && log.includes(text);
    // Its schema has been read by now, and its network isn't there yet.
    if (isSaidNow("serving")) child.kill("SIGHUP");
    if (isSaidNow("reloaded")) child.kill("SIGTERM");
  }
  expect(await child.exited).toBe(0);
  rmSync(own, { recursive: true });
}, 60_000);

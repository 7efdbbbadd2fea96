import { afterAll, beforeAll, expect } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ApiFailure, PatinaClient } from "../../agent/client/client.ts";
import { freeUdpPort } from "../../agent/swarm/free-port.ts";
import { runPatina, startTestAgent, type TestAgent } from "../agent-process.ts";
import { testIf } from "../real.ts";
import { until } from "../until.ts";

const schema = "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, v TEXT, n INTEGER);\n";
/** Of the file system that the agent has its data on. */
const disk = "size=12m";

let folder: string;
let mounted: string | undefined;
let missing: string | undefined;
let a: TestAgent;
let b: TestAgent;

function eventually(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  return until(what, isTrue, 60_000, () => `${a?.log()}\n${b?.log()}`);
}

/** A file of nothing takes all the room there is. */
function fill(path: string): void {
  const dd = Bun.spawnSync(["dd", "if=/dev/zero", `of=${path}`, "bs=4096"], { stderr: "pipe" });
  expect(dd.stderr.toString()).toContain("No space left");
}

const data = mkdtempSync(join(tmpdir(), "patina-full-"));
const mount = Bun.which("mount") === null ? undefined : join(data, "a", "data");
if (mount === undefined) missing = "mount is not installed";
else {
  mkdirSync(mount, { recursive: true });
  const { exitCode, stderr } = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", disk, "tmpfs", mount]);
  if (exitCode === 0) mounted = mount;
  else missing = `a file system can't be mounted: ${stderr.toString().trim()}`;
}

beforeAll(() => {
  folder = data;
});

afterAll(async () => {
  await Promise.all([a?.kill(), b?.kill()]);
  if (mounted !== undefined) Bun.spawnSync(["umount", mounted]);
  rmSync(folder, { recursive: true });
});

testIf(
  missing,
  "a full disk refuses writes and says so; reads go on, and with room again everything does",
  async () => {
    expect((await runPatina(["cluster", "init", join(folder, "cluster.toml")])).code).toBe(0);
    const port = await freeUdpPort();
    const start = async (name: string, more: string) => {
      mkdirSync(join(folder, name), { recursive: true });
      writeFileSync(join(folder, name, "schema.sql"), schema);
      writeFileSync(
        join(folder, `${name}.toml`),
        `[cluster]\nfile = "cluster.toml"\n[swarm]\nhost = "127.0.0.1"\nbootstrap = ["127.0.0.1:${port}"]\n${more}`,
      );
      const config = ["-c", join(folder, `${name}.toml`), "--name", name];
      return startTestAgent({ folder: join(folder, name), arguments: config });
    };
    b = await start("b", `port = ${port}\nact_as_bootstrap = true\n`);
    a = await start("a", "");
    const [mine, theirs] = [new PatinaClient(a.socket), new PatinaClient(b.socket)];
    const status = async () => JSON.parse(await mine.get("/v1/status"));
    const count = async (client: PatinaClient) =>
      Number((await client.query("SELECT count(*) FROM t")).rows[0]?.[0]);
    await theirs.transact(
      "WITH RECURSIVE k(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < 500) INSERT INTO t SELECT 'r' || i, '', 0 FROM k",
    );
    await eventually("a has b's rows", async () => (await count(mine)) === 500);

    const ballast = join(mounted as string, "ballast");
    fill(ballast);
    const large = {
      sql: "INSERT INTO t VALUES ('mine', ?, 1)",
      parameters: ["x".repeat(3_000_000)],
    };
    const refused = (await mine.transact(large).catch((error) => error)) as ApiFailure;
    expect(refused).toMatchObject({ status: 500 });
    expect(refused.message).toContain("disk is full");
    // Also where nobody else writes: what a client was refused is told.
    expect((await status()).store_error).toContain("disk is full");
    // What the other writes isn't lost for being too large for now.
    await theirs.transact(
      `WITH RECURSIVE k(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < 300) INSERT INTO t SELECT 'b' || i, hex(zeroblob(5000)), 0 FROM k`,
      "UPDATE t SET n = 7 WHERE id = 'r7'",
    );
    await eventually("a says that it can't write", async () => {
      return (await status()).store_error !== null;
    });
    expect((await status()).store_error).toContain("full");
    expect(await count(mine)).toBe(500);
    expect((await mine.query("SELECT n FROM t WHERE id = 'r7'")).rows).toEqual([[0]]);

    // Its host needs discovery after a crash as well: it starts, serves reads, and says what is wrong.
    await a.kill();
    rmSync(ballast);
    fill(ballast);
    a = await start("a", "");
    expect(a.log()).toContain("the disk is full: what is here is served");
    expect(await count(mine)).toBe(500);
    const notWritten = "the start isn't written down";
    expect((await status()).store_error).toContain(notWritten);
    const small = "INSERT INTO t VALUES ('small', NULL, 1)";
    const smallRefused = (await mine.transact(small).catch((error) => error)) as ApiFailure;
    expect([smallRefused.status, smallRefused.message]).toEqual([
      500,
      expect.stringContaining("disk is full"),
    ]);
    const health = await fetch("http://patina/v1/health", { unix: a.socket });
    expect([health.status, await health.text()]).toEqual([
      503,
      expect.stringContaining(notWritten),
    ]);
    // What it can't write of its members ends it as little.
    await eventually("a has heard of b", async () => (await status()).members_alive === 2);
    await b.kill();
    await eventually("a has noticed that b went", async () => (await status()).members_alive === 1);
    b = await start("b", `port = ${port}\nact_as_bootstrap = true\n`);

    rmSync(ballast);
    const members = "SELECT count(*) FROM patina_members WHERE state = 'ALIVE'";
    await eventually("patina_members is right again", async () => {
      return (await mine.query(members)).rows[0]?.[0] === 2;
    });
    await eventually("a tells that there is room", async () =>
      a.log().includes("there is room on the disk again"),
    );
    await eventually("a has everything", async () => (await count(mine)) === 800);
    expect(await mine.transact(large)).toMatchObject({ rowsAffected: [1] });
    await eventually("both are the same", async () => {
      const [x, y] = await Promise.all(
        [mine, theirs].map(async (client) => JSON.parse(await client.get("/v1/status"))),
      );
      const isSame = x.root === y.root && x.cut === y.cut && y.rows_held === 801;
      return isSame && x.rows_held === 801 && x.store_error === null;
    });
    expect((await mine.query("SELECT n FROM t WHERE id = 'r7'")).rows).toEqual([[7]]);
    expect((await theirs.query("SELECT length(v) FROM t WHERE id = 'mine'")).rows).toEqual([
      [3_000_000],
    ]);
  },
  120_000,
);

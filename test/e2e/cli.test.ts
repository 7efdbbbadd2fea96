import { Database as NativeDatabase } from "bun:sqlite";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PatinaClient } from "../../agent/client/client.ts";
import { openDatabase } from "../../wasm/database.ts";
import { FileVfs } from "../../wasm/vfs/file.ts";
import { patinaCommand, runPatina, startTestAgent, type TestAgent } from "../agent-process.ts";
import { testIf } from "../real.ts";

const schema = `
CREATE TABLE services (name TEXT NOT NULL PRIMARY KEY, port INTEGER NOT NULL DEFAULT 0, weight REAL, secret BLOB);
`;

function createFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "patina-cli-"));
  writeFileSync(join(folder, "schema.sql"), schema);
  return folder;
}

/** Everything that says something only once it has run and ended. */
describe("commands without an agent", () => {
  test("--version and --help", async () => {
    const { version } = JSON.parse(
      readFileSync(join(import.meta.dir, "../../package.json"), "utf8"),
    );
    expect(await runPatina(["--version"])).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
    for (const command of [
      [],
      ["agent"],
      ["query"],
      ["exec"],
      ["watch"],
      ["cluster", "init"],
      ["bootstrap"],
    ]) {
      const { code, stdout } = await runPatina([...command, "--help"]);
      expect([command, code]).toEqual([command, 0]);
      expect(stdout).toMatch(/Example|A cluster of two/);
    }
  });

  test.each([
    [["qery", "SELECT 1"], "Did you mean query?"],
    [["query"], "missing required argument 'sql'"],
    [["query", "--jsn", "SELECT 1"], "unknown option '--jsn'"],
    [["bootstrap", "--host", "127.0.0.1"], "--port"],
    [["bootstrap", "--host", "127.0.0.1", "--port", "0"], "--port: 1 to 65535"],
    [["bootstrap", "--host", "0.0.0.0", "--port", "7700"], "--host: an IPv4 address"],
    [["agent", "--port", "x"], "swarm.port: a whole number"],
    [["agent", "-c", "/nowhere/patina.toml"], "/nowhere/patina.toml"],
  ])("%p is refused with 2", async (args, why) => {
    const { code, stdout, stderr } = await runPatina(args);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toContain(why);
  });

  test("no arguments are wrong ones: the usage goes to stderr; asked for, to stdout", async () => {
    for (const args of [[], ["cluster"]]) {
      const bare = await runPatina(args);
      expect([bare.code, bare.stdout]).toEqual([2, ""]);
      const asked = await runPatina([...args, "--help"]);
      expect([asked.code, asked.stdout, asked.stderr]).toEqual([0, bare.stderr, ""]);
      expect(asked.stdout).toStartWith("Usage: patina");
    }
  });

  test("wrong arguments are told as JSON, too", async () => {
    const { code, stdout, stderr } = await runPatina(["query", "--json", "--jsn", "SELECT 1"]);
    expect([code, stderr]).toEqual([2, ""]);
    const { error } = JSON.parse(stdout);
    expect(error).toEqual({ code: 2, message: expect.stringMatching(/^unknown option '--jsn'/) });
  });

  test("no statement at all is a wrong argument, whether an agent is there or not", async () => {
    for (const command of ["query", "exec", "watch"]) {
      const { code, stderr } = await runPatina([command, "--socket", "/nowhere/patina.sock", " "]);
      expect([code, stderr]).toEqual([2, expect.stringContaining("a statement is wanted")]);
    }
  });

  test("an agent that isn't there: 3, in words and in JSON", async () => {
    const args = ["query", "--socket", "/nowhere/patina.sock", "SELECT 1"];
    const plain = await runPatina(args);
    expect([plain.code, plain.stdout]).toEqual([3, ""]);
    expect(plain.stderr).toContain("no agent answers on /nowhere/patina.sock: there is no socket");
    const json = await runPatina([...args, "--json"]);
    expect([json.code, json.stderr]).toEqual([3, ""]);
    expect(JSON.parse(json.stdout).error.code).toBe(3);
    for (const [path, why] of [
      [import.meta.dir, "it is a folder"],
      [import.meta.path, "it is no socket"],
    ] as const) {
      const { code, stderr } = await runPatina(["status", "--socket", path]);
      expect([code, stderr]).toEqual([3, expect.stringContaining(`on ${path}: ${why}\n`)]);
    }
  });

  test("keygen and cluster init write secrets once, for their owner alone", async () => {
    const folder = createFolder();
    const key = join(folder, "node.key");
    const cluster = join(folder, "cluster.toml");
    const made = await runPatina(["keygen", key, "--json"]);
    expect(JSON.parse(made.stdout)).toEqual({
      key: expect.stringMatching(/^[0-9a-f]{64}$/),
      file: key,
    });
    expect((await runPatina(["keygen", key])).code).toBe(1);
    const init = await runPatina(["cluster", "init", cluster, "--name", "prod", "--json"]);
    expect(JSON.parse(init.stdout)).toEqual({
      name: "prod",
      id: expect.stringMatching(/^[0-9a-f]{32}$/),
      file: cluster,
    });
    expect((await runPatina(["cluster", "init", cluster])).code).toBe(1);
    for (const file of [key, cluster]) expect(statSync(file).mode & 0o777).toBe(0o600);
    rmSync(folder, { recursive: true });
  });
});

describe("commands with an agent", () => {
  let folder: string;
  let agent: TestAgent;
  const run = (command: string, ...args: string[]) =>
    runPatina([command, "--socket", agent.socket, ...args]);

  beforeAll(async () => {
    folder = createFolder();
    agent = await startTestAgent({ folder, arguments: ["--name", "cli-test"] });
  });
  afterAll(async () => {
    await agent.stop();
    rmSync(folder, { recursive: true });
  });

  test("exec writes and query reads, exactly", async () => {
    const insert = "INSERT INTO services VALUES (?, ?, ?, ?)";
    const written = await run(
      "exec",
      insert,
      "web",
      "9223372036854775807",
      "1.0",
      "x'00ff'",
      "--json",
    );
    expect(JSON.parse(written.stdout)).toEqual({
      rows_affected: [1],
      version: 1,
      actor_id: agent.site,
    });
    expect((await run("query", "SELECT * FROM services", "--json")).stdout).toBe(
      '{"columns":["name","port","weight","secret"],"rows":[["web",9223372036854775807,1.0,[0,255]]]}\n',
    );
    expect((await run("query", "SELECT * FROM services WHERE name = ?", "web")).stdout).toBe(
      [
        "name                 port  weight  secret",
        "────  ───────────────────  ──────  ───────",
        "web   9223372036854775807     1.0  x'00ff'",
        "1 row",
        "",
      ].join("\n"),
    );
    expect((await run("exec", "UPDATE services SET weight = 1.0")).stdout).toBe(
      "1 row, nothing to replicate\n",
    );
  });

  test("exec takes a list from stdin, all or nothing", async () => {
    const bad =
      '[["INSERT INTO services (name) VALUES (?)", ["a"]], "INSERT INTO nowhere VALUES (1)"]';
    const refused = await runPatina(["exec", "--socket", agent.socket], { stdin: bad });
    expect([refused.code, refused.stdout]).toEqual([1, ""]);
    expect(refused.stderr).toContain("patina: no such table: nowhere");
    const good =
      '["INSERT INTO services (name) VALUES (\'a\')", ["DELETE FROM services WHERE name = ?", ["a"]]]';
    expect((await runPatina(["exec", "--socket", agent.socket], { stdin: good })).code).toBe(0);
    expect((await runPatina(["exec", "--socket", agent.socket], { stdin: "{" })).code).toBe(2);
    expect(
      (await run("query", "SELECT name FROM services WHERE name = 'a'", "--json")).stdout,
    ).toContain('"rows":[]');
  });

  test("a refused query: 1, with SQLite's words", async () => {
    const { code, stderr } = await run("query", "SELECT missing FROM services");
    expect([code, stderr]).toEqual([
      1,
      "patina: no such column: missing in SELECT missing FROM services at offset 7\n",
    ]);
    expect((await run("query", "DELETE FROM services")).stderr).toBe(
      "patina: statement is not readonly\n",
    );
  });

  test("watch prints rows, then changes, and ends with 0 at Ctrl-C", async () => {
    const child = Bun.spawn(
      [
        ...patinaCommand,
        "watch",
        "--socket",
        agent.socket,
        "SELECT name, port FROM services WHERE name LIKE ?",
        "w-%",
      ],
      { stdin: "ignore", stdout: "pipe", stderr: "pipe" },
    );
    const reader = child.stdout.getReader();
    let text = "";
    const read = async (end: string) => {
      while (!text.includes(end)) {
        const { done, value } = await reader.read();
        if (done) throw new Error(text);
        text += Buffer.from(value).toString();
      }
    };
    await read("changes from here on");
    for (const sql of [
      "INSERT INTO services (name) VALUES ('w-1')",
      "UPDATE services SET port = 80 WHERE name = 'w-1'",
      "DELETE FROM services WHERE name = 'w-1'",
    ]) {
      expect((await run("exec", sql)).code).toBe(0);
    }
    await read("- w-1  80");
    child.kill("SIGINT");
    expect(await child.exited).toBe(0);
    expect(text.split("\n").slice(0, 5)).toEqual([
      "  name  port",
      "── changes from here on (+ insert, ~ update, - delete)",
      "+ w-1  0",
      "~ w-1  80",
      "- w-1  80",
    ]);
  });

  test("members, status and swarm", async () => {
    const members = await run("members", "--json");
    expect(JSON.parse(members.stdout)).toMatchObject({
      node: "cli-test",
      state: "ALIVE",
      key: agent.key,
    });
    expect((await run("members")).stdout).toMatch(/^node +state[^\n]*\n─[^\n]*\ncli-test +ALIVE/);
    const status = JSON.parse((await run("status", "--json")).stdout);
    expect(status).toMatchObject({
      node: "cli-test",
      site: agent.site,
      incarnation: 1,
      stands_alone: true,
      tables: { replicated: ["services"], local: [] },
    });
    expect((await run("status")).stdout).toContain(agent.site);
    expect(JSON.parse((await run("swarm", "--json")).stdout)).toEqual({ kind: "stands-alone" });
  });

  test("values can't move the cursor of who looks at them", async () => {
    const { stdout } = await run("query", "SELECT char(27) || '[2J' || char(10) AS x");
    expect(stdout).toContain("\\x1b[2J\\n");
  });

  test("the socket, the database and the key are their owner's alone", () => {
    const data = join(folder, "data");
    for (const name of ["patina.sock", "patina.db", "node.key", "nonce"]) {
      expect([name, statSync(join(data, name)).mode & 0o077]).toEqual([name, 0]);
    }
    expect(statSync(data).mode & 0o077).toBe(0);
  });

  test("the log tells the configuration and no secret", () => {
    expect(agent.log()).toContain("configuration");
    expect(agent.log()).not.toContain(
      readFileSync(join(folder, "data", "node.key"), "utf8").trim(),
    );
  });
});

describe("watch", () => {
  test("goes on where it was when the agent comes back, and says when it can't", async () => {
    const folder = createFolder();
    let agent = await startTestAgent({ folder });
    const client = new PatinaClient(agent.socket);
    const ended = new AbortController();
    const events = client.subscribe("SELECT name FROM services", { signal: ended.signal });
    const next = async () => (await events.next()).value;
    expect(await next()).toMatchObject({ kind: "columns" });
    expect(await next()).toEqual({ kind: "end-of-rows", changeId: 0 });
    await client.transact("INSERT INTO services (name) VALUES ('a')");
    expect(await next()).toMatchObject({ kind: "change", cells: ["a"], changeId: 1 });

    await agent.kill();
    agent = await startTestAgent({ folder });
    const resumed = next();
    await client.transact("INSERT INTO services (name) VALUES ('b')");
    expect(await resumed).toEqual({ kind: "resumed", isComplete: true });
    expect(await next()).toMatchObject({ kind: "change", cells: ["b"], changeId: 2 });

    expect(await agent.stop()).toBe(0);
    // Without what the agent wrote down of it, the subscription is unknown: it begins anew, and says so.
    const database = openDatabase(join(folder, "data", "patina.db"), { vfs: new FileVfs() });
    database.exec("DELETE FROM patina_live");
    database.close();
    agent = await startTestAgent({ folder });
    expect(await next()).toEqual({ kind: "resumed", isComplete: false });
    expect(await next()).toMatchObject({ kind: "columns" });
    expect(await next()).toMatchObject({ kind: "row", cells: ["a"] });
    expect(await next()).toMatchObject({ kind: "row", cells: ["b"] });
    expect(await next()).toMatchObject({ kind: "end-of-rows", changeId: 0 });
    ended.abort();
    expect(await next()).toBeUndefined();
    expect(await agent.stop()).toBe(0);
    rmSync(folder, { recursive: true });
  });
});

describe("an agent that starts and stops", () => {
  let folder: string;
  beforeEach(() => {
    folder = createFolder();
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const start = (...args: string[]) =>
    runPatina([
      "agent",
      "--data-dir",
      join(folder, "data"),
      "--schema",
      join(folder, "schema.sql"),
      ...args,
    ]);

  test("stops in order: exit code 0, streams ended, WAL copied, socket gone", async () => {
    const agent = await startTestAgent({ folder });
    const client = new PatinaClient(agent.socket);
    await client.transact("INSERT INTO services (name) VALUES ('a')");
    const events = client.subscribe("SELECT name FROM services", { once: true });
    await events.next();
    await events.next();
    expect(await agent.stop()).toBe(0);
    for await (const event of events) expect(event.kind).toBe("end-of-rows");
    expect(existsSync(agent.socket)).toBe(false);
    const wal = join(folder, "data", "patina.db-wal");
    expect(existsSync(wal) && statSync(wal).size > 0).toBe(false);
    using database = new NativeDatabase(join(folder, "data", "patina.db"), { readonly: true });
    expect(database.query("SELECT name FROM services").all()).toEqual([{ name: "a" }]);
    expect(database.query("PRAGMA integrity_check").all()).toEqual([{ integrity_check: "ok" }]);
  });

  test("keeps its site, its versions and every acknowledged write over kill -9", async () => {
    let agent = await startTestAgent({ folder });
    const { site } = agent;
    let last = 0;
    for (let round = 1; round <= 3; round++) {
      const { version } = await new PatinaClient(agent.socket).transact(
        `INSERT INTO services (name) VALUES ('${round}')`,
      );
      // What was reserved for a burst that never came is left out.
      expect(version).toBeGreaterThan(last);
      expect(version).toBeLessThanOrEqual(Number(last) + 257);
      last = Number(version);
      await agent.kill();
      agent = await startTestAgent({ folder });
      const { rows } = await new PatinaClient(agent.socket).query("SELECT count(*) FROM services");
      expect([agent.site, rows]).toEqual([site, [[round]]]);
    }
    await agent.stop();
  });

  test("is another site on a copy of its file", async () => {
    const first = await startTestAgent({ folder });
    await new PatinaClient(first.socket).transact("INSERT INTO services (name) VALUES ('a')");
    await first.stop();
    const data = join(folder, "data");
    copyFileSync(join(data, "patina.db"), join(folder, "copy"));
    rmSync(join(data, "patina.db"));
    copyFileSync(join(folder, "copy"), join(data, "patina.db"));
    const second = await startTestAgent({ folder });
    expect(second.site).not.toBe(first.site);
    const { version } = await new PatinaClient(second.socket).transact("DELETE FROM services");
    expect(version).toBe(1);
    await second.stop();
  });

  test("takes the place of a stale socket, and never of a live one", async () => {
    const agent = await startTestAgent({ folder });
    const second = await runPatina([
      "agent",
      "--data-dir",
      join(folder, "other"),
      "--socket",
      agent.socket,
    ]);
    expect(second.code).toBe(5);
    expect(second.stderr).toContain("another agent serves it");
    expect(await new PatinaClient(agent.socket).query("SELECT 1")).toMatchObject({ rows: [[1]] });
    await agent.kill();
    expect(existsSync(agent.socket)).toBe(true);
    const next = await startTestAgent({ folder });
    await next.stop();
  });

  test("refuses a socket path that is too long: 5", async () => {
    const { code, stderr } = await start("--socket", join(folder, "x".repeat(100)));
    expect(code).toBe(5);
    expect(stderr).toContain("at most 107 bytes");
  });

  test("refuses a database that another agent has: 4", async () => {
    const agent = await startTestAgent({ folder });
    const { code, stderr } = await start("--socket", join(folder, "other.sock"));
    expect(code).toBe(4);
    expect(stderr).toContain("it is locked");
    expect(existsSync(join(folder, "other.sock"))).toBe(false);
    await agent.stop();
  });

  test("keeps other programs out while it runs", async () => {
    const agent = await startTestAgent({ folder });
    using database = new NativeDatabase(join(folder, "data", "patina.db"));
    expect(() => database.query("SELECT * FROM services").all()).toThrow("database is locked");
    await agent.stop();
  });

  test("refuses a database that is none, is damaged, has other text, or is another program's: 4", async () => {
    const agent = await startTestAgent({ folder });
    await agent.stop();
    const path = join(folder, "data", "patina.db");
    const sound = readFileSync(path);

    writeFileSync(path, "this is no database, but long enough to be taken for one".repeat(100));
    const none = await start();
    expect([none.code, none.stderr]).toEqual([4, expect.stringContaining("no SQLite database")]);

    const damaged = Buffer.from(sound);
    damaged.fill(0xff, 100, 4096);
    writeFileSync(path, damaged);
    const broken = await start();
    expect([broken.code, broken.stderr]).toEqual([4, expect.stringContaining("damaged")]);

    rmSync(path);
    using wide = new NativeDatabase(path);
    wide.run("PRAGMA encoding = 'UTF-16le'");
    wide.run("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL)");
    wide.close();
    const utf16 = await start();
    expect([utf16.code, utf16.stderr]).toEqual([4, expect.stringContaining("UTF-16")]);

    rmSync(path);
    using database = new NativeDatabase(path);
    database.run("PRAGMA application_id = 12345");
    database.close();
    const foreign = await start();
    expect([foreign.code, foreign.stderr]).toEqual([4, expect.stringContaining("another program")]);
    expect(existsSync(join(folder, "data", "patina.sock"))).toBe(false);
  });

  test("refuses a schema that can't be replicated: 2, with file and line", async () => {
    const path = join(folder, "schema.sql");
    writeFileSync(path, "\n\nCREATE TABLE t (id INTEGER PRIMARY KEY NOT NULL, a TEXT UNIQUE);\n");
    const { code, stderr } = await start();
    expect(code).toBe(2);
    expect(stderr).toContain(`${path}:3:`);
    writeFileSync(path, "CREATE TABLE t (");
    expect((await start()).code).toBe(2);
    expect((await start("--schema", join(folder, "nothing.sql"))).code).toBe(2);
  });

  test("refuses a cluster's file or a key that others can read", async () => {
    const cluster = join(folder, "cluster.toml");
    await runPatina(["cluster", "init", cluster]);
    chmodSync(cluster, 0o644);
    const open = await start("--cluster", cluster);
    expect([open.code, open.stderr]).toEqual([2, expect.stringContaining("chmod 600")]);
    const agent = await startTestAgent({ folder });
    await agent.stop();
    chmodSync(join(folder, "data", "node.key"), 0o644);
    const key = await start();
    expect([key.code, key.stderr]).toEqual([4, expect.stringContaining("chmod 600")]);
  });

  test("ends with 6 when the network can't be used, and leaves nothing behind", async () => {
    const cluster = join(folder, "cluster.toml");
    await runPatina(["cluster", "init", cluster]);
    // TEST-NET-3 of RFC 5737: nobody's address.
    const { code, stderr } = await start("--cluster", cluster, "--host", "203.0.113.7");
    expect([code, stderr]).toEqual([6, expect.stringContaining("203.0.113.7")]);
    expect(existsSync(join(folder, "data", "patina.sock"))).toBe(false);
    const agent = await startTestAgent({ folder });
    await agent.stop();
  });

  test("says that a configured UDP port is taken, and serves by another", async () => {
    const cluster = join(folder, "cluster.toml");
    await runPatina(["cluster", "init", cluster]);
    const other = await Bun.udpSocket({ hostname: "127.0.0.1", port: 0 });
    const args = ["--cluster", cluster, "--host", "127.0.0.1", "--port", String(other.port)];
    const agent = await startTestAgent({ folder, arguments: args });
    other.close();
    await agent.stop();
    expect(agent.log()).toContain(
      `swarm.port is taken, and another port is used wanted=${other.port} port=`,
    );
  });

  test("--check reads configuration and schema, and starts nothing", async () => {
    const { code, stdout } = await start("--check");
    expect([code, stdout]).toEqual([0, "configuration and schema are sound: 1 tables\n"]);
    expect(existsSync(join(folder, "data"))).toBe(false);
  });

  // A mount namespace, because root may write anywhere.
  const missing =
    spawnSync("unshare", ["-rm", "true"]).status === 0 ? undefined : "unshare -rm is not allowed";
  testIf(missing, "refuses a data directory on a read-only or full disk: 4", async () => {
    const data = join(folder, "mounted");
    const inMount = (options: string, fill: string) =>
      runPatina(["agent", "--data-dir", data, "--schema", join(folder, "schema.sql")], {
        before: [
          "unshare",
          "-rm",
          "sh",
          "-c",
          `mkdir -p ${data} && mount -t tmpfs -o ${options} tmpfs ${data} && ${fill} && exec "$@"`,
          "sh",
        ],
      });
    const readOnly = await inMount("ro,size=1m", "true");
    expect([readOnly.code, readOnly.stderr]).toEqual([
      4,
      expect.stringContaining("read-only file system"),
    ]);
    const full = await inMount("size=64k", `(cat /dev/zero > ${data}/fill 2>/dev/null || true)`);
    expect([full.code, full.stderr]).toEqual([4, expect.stringContaining("the disk is full")]);
    // Room for the first files, but not for the database.
    const nearlyFull = await inMount("size=32k", "true");
    expect([nearlyFull.code, nearlyFull.stderr]).toEqual([4, expect.stringContaining("full")]);
  });
});

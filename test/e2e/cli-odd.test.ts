/** The command line where something is in its way: a full disk, a reader that leaves, an agent that is stuck. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { patinaCommand, runPatina, startTestAgent, type TestAgent } from "../agent-process.ts";
import { testIf } from "../real.ts";

const missingFull = existsSync("/dev/full") ? undefined : "there is no /dev/full";

let folder: string;
let agent: TestAgent;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "patina-odd-"));
  writeFileSync(join(folder, "schema.sql"), "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, v);");
  agent = await startTestAgent({ folder });
});
afterAll(async () => {
  await agent.stop();
  rmSync(folder, { recursive: true });
});

describe("what is printed", () => {
  testIf(missingFull, "a full disk behind stdout is a failure, not an empty success", async () => {
    for (const args of [
      ["query", "SELECT 1"],
      ["query", "--json", "SELECT 1"],
      ["watch", "SELECT * FROM t"],
      ["--version"],
      ["agent", "--help"],
    ]) {
      const full = openSync("/dev/full", "w");
      const child = Bun.spawn([...patinaCommand, ...args, "--socket", agent.socket], {
        stdout: full,
        stderr: "pipe",
      });
      const stderr = await new Response(child.stderr).text();
      closeSync(full);
      expect([await child.exited, stderr]).toEqual([
        1,
        expect.stringContaining("stdout can't be written"),
      ]);
      expect(stderr).not.toMatch(/ at .*\.ts:/);
    }
  });

  testIf(missingFull, "what was done is told with the failure to print it", async () => {
    const insert = "INSERT INTO t VALUES ('full', 1)";
    const toFull = ["sh", "-c", 'exec "$@" >/dev/full', "sh"];
    for (const [args, done] of [
      [["exec", insert], "but it was committed: 1 row, version"],
      [["exec", "--json", "DELETE FROM t WHERE k = 'full'"], "but it was committed: 1 row"],
      [["backup", join(folder, "full.db")], "but the backup was made"],
      [["reload"], "but it was reloaded"],
    ] as const) {
      const { code, stderr } = await runPatina([...args, "--socket", agent.socket], {
        before: toFull,
      });
      expect([code, stderr]).toEqual([1, expect.stringContaining(done)]);
    }
    const file = join(folder, "full.key");
    const { code, stderr } = await runPatina(["keygen", file], { before: toFull });
    expect([code, stderr]).toEqual([1, expect.stringContaining(`but ${file} was made`)]);
    const dry = ["reload", "--dry-run", "--socket", agent.socket];
    expect((await runPatina(dry, { before: toFull })).stderr).not.toContain("reloaded");
  });

  test("a reader that leaves a pipe ends the command, also one that would go on for ever", async () => {
    const many =
      "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 100000) SELECT x FROM c";
    const rows =
      "SELECT t.k, c.x FROM t, (WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 50000) SELECT x FROM c) AS c";
    await runPatina(["exec", "--socket", agent.socket, "REPLACE INTO t VALUES ('a', 1)"]);
    for (const args of [
      ["query", many],
      ["watch", rows],
    ]) {
      const { code, stdout, stderr } = await runPatina([...args, "--socket", agent.socket], {
        before: ["sh", "-c", '("$@"; echo "code $?" >&2) | head -1', "sh"],
      });
      expect([code, stdout.split("\n").length, stderr]).toEqual([0, 2, "code 0\n"]);
    }
  });
});

describe("an agent that doesn't answer", () => {
  test("query --timeout gives up: at the agent, or by itself when the agent is stopped", async () => {
    const endless =
      "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";
    const args = ["query", "--socket", agent.socket, "--timeout"];
    const busy = await runPatina([...args, "1", endless]);
    expect([busy.code, busy.stderr]).toEqual([1, expect.stringContaining("interrupted")]);
    process.kill(agent.pid, "SIGSTOP");
    try {
      const stuck = await runPatina([...args, "0.2", "SELECT 1"]);
      expect([stuck.code, stuck.stderr]).toEqual([
        3,
        expect.stringMatching(/it took longer than was asked for\nIt may hang, be stopped/),
      ]);
    } finally {
      process.kill(agent.pid, "SIGCONT");
    }
    for (const wrong of ["abc", "0", "-1", "1e3", "99999999"]) {
      const refused = await runPatina([
        "query",
        "--socket",
        agent.socket,
        `--timeout=${wrong}`,
        "SELECT 1",
      ]);
      expect([wrong, refused.code]).toEqual([wrong, 2]);
    }
  });

  test("who asks without a deadline is told of the silence, and has the answer when it comes", async () => {
    const commands = [
      ["exec", "DELETE FROM t WHERE k = 'silence'"],
      ["query", "SELECT 1"],
      ["reload", "--dry-run"],
      ["backup", join(folder, "silence.db")],
      ["watch", "SELECT 1 FROM t"],
    ];
    process.kill(agent.pid, "SIGSTOP");
    const children = commands.map((args) =>
      Bun.spawn([...patinaCommand, ...args, "--socket", agent.socket], {
        stdout: "ignore",
        stderr: "pipe",
      }),
    );
    try {
      for (const child of children) {
        const { value } = await child.stderr.getReader().read();
        expect(Buffer.from(value ?? []).toString()).toBe(
          "patina: no answer for 10 s: the agent hangs, has much to do, or is still catching up; Ctrl-C gives up\n",
        );
      }
    } finally {
      process.kill(agent.pid, "SIGCONT");
    }
    const watching = children.pop();
    expect(await Promise.all(children.map(({ exited }) => exited))).toEqual([0, 0, 0, 0]);
    watching?.kill("SIGINT");
    expect(await watching?.exited).toBe(0);
  }, 60_000);

  testIf(
    process.getuid?.() === 0 ? undefined : "only root can become another user",
    "a socket of another user is told apart from none",
    async () => {
      const path = join(mkdtempSync(join(tmpdir(), "patina-odd-")), "p.sock");
      const server = Bun.serve({ unix: path, fetch: () => new Response("") });
      chmodSync(join(path, ".."), 0o755);
      chmodSync(path, 0o600);
      const module = join(import.meta.dir, "../../agent/client/client.ts");
      const client = `const { PatinaClient } = await import(${JSON.stringify(module)});
      process.seteuid(65534);
      await new PatinaClient(${JSON.stringify(path)}).get("/v1/status").catch((error) => console.log(error.message));`;
      const asNobody = Bun.spawn([process.execPath, "-e", client], {
        stdout: "pipe",
        stderr: "pipe",
      });
      const text = await new Response(asNobody.stdout).text();
      await asNobody.exited;
      server.stop(true);
      rmSync(join(path, ".."), { recursive: true });
      expect(text).toContain("this user may not connect");
    },
  );
});

test("an agent that goes away in the middle of an answer: 3, and never a part of it", async () => {
  const path = join(folder, "gone.sock");
  const first = {
    "/v1/queries": '{"columns":["x"]}\n{"row":[1,[1]]}\n',
    "/v1/backup": '{"progress":{"pages":1,"of":9}}\n',
    "/v1/transactions": '{"results":[',
  };
  using _listener = Bun.listen({
    unix: path,
    socket: {
      data(socket, data) {
        const line = first[data.toString().split(" ")[1] as keyof typeof first];
        socket.write(
          `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${line.length.toString(16)}\r\n${line}\r\n`,
        );
        setTimeout(() => socket.terminate(), 50);
      },
    },
  });
  for (const args of [
    ["query", "SELECT 1"],
    ["backup", join(folder, "gone.db")],
    ["exec", "DELETE FROM t"],
  ]) {
    const { code, stdout, stderr } = await runPatina([...args, "--socket", path]);
    // Who is told that nobody answers would do it again.
    expect(stderr.includes("It may have been done all the same")).toBe(args[0] !== "query");
    expect([code, stdout, stderr]).toEqual([
      3,
      "",
      expect.stringContaining("it went away in the middle"),
    ]);
  }
});

test("the socket of another web server is told: 3, and not by a stack", async () => {
  const path = join(folder, "web.sock");
  const headers = { "content-type": "text/html; charset=utf-8" };
  using _server = Bun.serve({
    unix: path,
    fetch: () => new Response("<html></html>", { headers }),
  });
  const commands = [
    ["status"],
    ["members"],
    ["query", "SELECT 1"],
    ["exec", "DELETE FROM t"],
    ["reload"],
  ];
  for (const args of commands) {
    const { code, stdout, stderr } = await runPatina([...args, "--socket", path]);
    const wanted = `patina: no agent answers on ${path}: another program answers there\n`;
    expect([args, code, stdout, stderr]).toEqual([args, 3, "", expect.stringContaining(wanted)]);
  }
});

test("an answer of 200 that is no agent's, or was cut off, is told: 3, and not by a stack", async () => {
  const path = join(folder, "other.sock");
  let body = "";
  using _server = Bun.serve({ unix: path, fetch: () => new Response(body) });
  const commands = [
    ["status", "/v1/status"],
    ["swarm", "/v1/swarm"],
    ["subs", "/v1/subs"],
    ["members", "/v1/queries"],
    ["query", "/v1/queries", "SELECT 1"],
    ["watch", "/v1/subscriptions", "SELECT 1"],
    ["exec", "/v1/transactions", "DELETE FROM t"],
    ["reload", "/v1/reload"],
  ];
  for (const sent of ["{}\n", "[]\n", '"ok"\n', "null\n", '{"columns":["a"],\n']) {
    body = sent;
    await Promise.all(
      commands.map(async ([command, asked, ...args]) => {
        const run = await runPatina([command as string, ...args, "--socket", path]);
        const why = `what came for ${asked} is no agent's answer, or was cut off`;
        const wanted = `patina: no agent answers on ${path}: ${why}\n`;
        const got = [sent, command, run.code, run.stdout, run.stderr];
        expect(got).toEqual([sent, command, 3, "", expect.stringContaining(wanted)]);
        // Who is told that nobody answers would do it again.
        const mayBeDone = run.stderr.includes("It may have been done all the same");
        expect([command, mayBeDone]).toEqual([command, command === "exec" || command === "reload"]);
      }),
    );
  }
}, 120_000);

test("a backup that the agent made where this command can't see it is told", async () => {
  // As an agent under `PrivateTmp=` answers, whose /tmp is another.
  const path = join(folder, "private-tmp.sock");
  const to = join(folder, "elsewhere.db");
  using _server = Bun.serve({
    unix: path,
    fetch: () => new Response(`{"done":{"path":${JSON.stringify(to)},"bytes":4096}}\n`),
  });
  const { code, stdout, stderr } = await runPatina(["backup", to, "--socket", path]);
  expect([code, stdout]).toEqual([0, `${to}: 4096 bytes\n`]);
  expect(stderr).toContain(`warning: ${to} isn't there for this command`);
  const seen = await runPatina(["backup", join(folder, "seen.db"), "--socket", agent.socket]);
  expect([seen.code, seen.stderr]).toEqual([0, ""]);
});

describe("exec from stdin", () => {
  const exec = (stdin: string) => runPatina(["exec", "--socket", agent.socket], { stdin });

  test("takes every form that the API takes, values as they are", async () => {
    const body = JSON.stringify([
      "DELETE FROM t",
      ["INSERT INTO t VALUES (:k, :v)", { ":k": "named", ":v": [0, 255] }],
      { query: "INSERT INTO t VALUES (?, ?)", params: ["verbose", 1.5] },
    ]);
    expect((await exec(body)).code).toBe(0);
    const got = await runPatina([
      "query",
      "--socket",
      agent.socket,
      "--json",
      "SELECT k, v FROM t ORDER BY k",
    ]);
    expect(JSON.parse(got.stdout).rows).toEqual([
      ["named", [0, 255]],
      ["verbose", 1.5],
    ]);
  });

  test("refuses what is no list of statements, and bytes that are none", async () => {
    for (const stdin of [
      "",
      "{}",
      '"SELECT 1"',
      "[",
      "[1]",
      '[["INSERT INTO t VALUES (?, ?)", ["x", [256]]]]',
    ]) {
      const { code, stderr } = await exec(stdin);
      expect([stdin, code, stderr]).toEqual([
        stdin,
        2,
        expect.stringContaining("a JSON list of statements"),
      ]);
    }
  });

  test("refuses bytes that are no UTF-8, a folder, and what has no end", async () => {
    const command = [...patinaCommand, "exec", "--socket", agent.socket];
    const text = join(folder, "latin-1.json");
    writeFileSync(text, Buffer.from(`["INSERT INTO t VALUES ('caf\xe9', 1)"]`, "latin1"));
    for (const [from, why] of [
      [text, "stdin: it is not UTF-8"],
      [folder, "stdin: "],
      ["/dev/zero", "a JSON list of statements"],
    ] as const) {
      const shell = ["sh", "-c", 'from=$1; shift; exec "$@" < "$from"', "sh", from, ...command];
      const child = Bun.spawn(shell, { stdout: "ignore", stderr: "pipe" });
      const stderr = await new Response(child.stderr).text();
      expect([from, await child.exited, stderr]).toEqual([from, 2, expect.stringContaining(why)]);
      expect(stderr).not.toMatch(/ at .*\.ts:/);
    }
  });
});

describe("before anything is made", () => {
  test("--check reads the cluster's file, the tokens and the socket's path too", async () => {
    const check = (...args: string[]) => runPatina(["agent", "--check", ...args]);
    const nowhere = join(folder, "nowhere");
    expect(
      await check("--data-dir", nowhere, "--cluster", join(folder, "none.toml")),
    ).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("cluster.file"),
    });
    const config = join(folder, "tokens-missing.toml");
    writeFileSync(config, '[api]\ntokens_file = "none"\nlisten = ["127.0.0.1:0"]\n');
    expect(await check("--data-dir", nowhere, "-c", config)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("api.tokens_file"),
    });
    writeFileSync(config, '[api]\nsocket_owner = "nobody-of-that-name"\n');
    expect(await check("--data-dir", nowhere, "-c", config)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("api.socket_owner: there is no user nobody-of-that-name"),
    });
    writeFileSync(config, "[tables.__proto__]\nreplicated = false\n[constructor]\n");
    expect((await check("--data-dir", nowhere, "-c", config)).stderr).toContain(
      "unknown section [constructor]",
    );
    writeFileSync(config, "[tables.__proto__]\nreplicated = false\n");
    expect((await check("--data-dir", nowhere, "-c", config)).stderr).toContain(
      "no schema file creates a table of that name",
    );
    const long = join(nowhere, "x".repeat(120));
    expect((await check("--data-dir", long)).code).toBe(5);
    expect((await runPatina(["agent", "--data-dir", long])).code).toBe(5);
    expect(existsSync(nowhere)).toBe(false);
  });

  test("--check refuses a data directory and a node key that a start would refuse, and leaves them as they are", async () => {
    const check = (...args: string[]) => runPatina(["agent", "--check", "--data-dir", ...args]);
    const file = join(folder, "no-folder");
    writeFileSync(file, "");
    const config = join(folder, "key-file.toml");
    writeFileSync(config, '[node]\nkey_file = "others-read.key"\n');
    const key = join(folder, "others-read.key");
    writeFileSync(key, "0".repeat(64), { mode: 0o644 });
    const sound = mkdtempSync(join(folder, "sound-"));
    for (const [args, why] of [
      [[file], `data directory ${file}: there is a file of that name`],
      [[join(file, "data")], "there is a file of that name, or in its path"],
      [[sound, "-c", config], `node.key_file: ${key}: others can read it`],
    ] as const) {
      const checked = await check(...args);
      expect([args, checked.code, checked.stderr]).toEqual([args, 4, expect.stringContaining(why)]);
      const started = await runPatina(["agent", "--data-dir", ...args]);
      expect([args, started.code]).toEqual([args, 4]);
    }
    expect((await check(sound)).code).toBe(0);
    expect(readdirSync(sound)).toEqual([]);
  });

  test("a schema path that can't be read is named, and so is one that is no UTF-8", async () => {
    const check = (path: string) =>
      runPatina(["agent", "--check", "--data-dir", folder, "--schema", path]);
    const file = join(folder, "latin-1.sql");
    writeFileSync(
      file,
      Buffer.from("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, v TEXT DEFAULT '\xe9');", "latin1"),
    );
    for (const [path, why] of [
      [join(folder, "none.sql"), "there is no such file or folder"],
      [file, "not UTF-8"],
    ] as const) {
      const { code, stderr } = await check(path);
      expect([code, stderr]).toEqual([2, expect.stringContaining(`${path}: `)]);
      expect(stderr).toContain(why);
    }
  });

  test("what is no file, or has no end, isn't read for ever", async () => {
    const schemas = join(folder, "schemas");
    mkdirSync(join(schemas, "queue.sql"), { recursive: true });
    const data = ["--data-dir", folder];
    for (const [args, why] of [
      [[...data, "--schema", "/dev/zero"], "schema.paths: /dev/zero: it is larger than"],
      [[...data, "--schema", schemas], "queue.sql: it is no file"],
      [["-c", "/dev/zero"], "configuration: /dev/zero: it is larger than"],
      [["--data-dir", ""], "--data-dir: node.data_dir: a path"],
      [[...data, "--schema", ""], "configuration and schema are sound: 0 tables"],
      [[...data, "--schema", "schema.sql,,"], "--schema: schema.paths: a list of paths"],
    ] as const) {
      const { stdout, stderr } = await runPatina(["agent", "--check", ...args]);
      expect(stdout + stderr).toContain(why);
    }
  });

  test("an argument that is no UTF-8 is refused, and not repaired into another value", async () => {
    const script = `exec "$@" exec --socket "$0" 'INSERT INTO t VALUES (?, 1)' $'\\xff'`;
    const child = Bun.spawn(["bash", "-c", script, agent.socket, ...patinaCommand], {
      stderr: "pipe",
    });
    const stderr = await new Response(child.stderr).text();
    expect([await child.exited, stderr]).toEqual([2, "patina: an argument is not UTF-8\n"]);
    const sound = await runPatina(["query", "--socket", agent.socket, "SELECT ?", "\ufffd"]);
    expect([sound.code, sound.stdout]).toEqual([0, expect.stringContaining("\ufffd")]);
  });

  testIf(
    missingFull,
    "what can't be made is told in a line, and leaves no half of a file",
    async () => {
      const refused = await runPatina(["keygen", join(folder, "no", "folder")]);
      expect([refused.code, refused.stderr.split("\n").length]).toEqual([1, 2]);
      const again = join(folder, "node.key");
      expect((await runPatina(["keygen", again])).code).toBe(0);
      const { code, stderr } = await runPatina(["keygen", again]);
      expect([code, stderr]).toEqual([
        1,
        `patina: ${again}: it exists, and is never overwritten: choose another name\n`,
      ]);
    },
  );
});

testIf(
  missingFull,
  "an agent whose log can't be written goes on: a full disk, a collector that has gone",
  async () => {
    for (const script of ['exec "$@" 2>/dev/full', 'exec "$@" 2> >(exec head -1 >/dev/null)']) {
      const data = mkdtempSync(join(folder, "log-"));
      const schema = join(folder, "schema.sql");
      const agent = [...patinaCommand, "agent", "--json", "--data-dir", data, "--schema", schema];
      const child = Bun.spawn(["bash", "-c", script, "sh", ...agent], {
        stdout: "pipe",
        stderr: "ignore",
      });
      const socket = join(data, "patina.sock");
      const query = () => runPatina(["query", "--socket", socket, "SELECT 1"]);
      const reader = child.stdout.getReader();
      expect(Buffer.from((await reader.read()).value ?? []).toString()).toContain('"socket"');
      // Each backup writes two lines to the log.
      for (const name of ["one", "two"]) {
        expect((await runPatina(["backup", "--socket", socket, join(data, name)])).code).toBe(0);
      }
      expect((await query()).code).toBe(0);
      child.kill("SIGTERM");
      expect(await child.exited).toBe(0);
    }
  },
);

test("with too few files an agent doesn't start, and says why in a line", async () => {
  const data = mkdtempSync(join(folder, "few-"));
  const before = ["sh", "-c", 'ulimit -n 20; exec "$@"', "sh"];
  const { code, stderr } = await runPatina(["agent", "--data-dir", data], { before });
  expect([code, stderr.split("\n").at(-2)]).toEqual([4, expect.stringContaining("EMFILE")]);
  expect(stderr).toContain("only 20 files may be open at once");
  expect(stderr).toContain("raise LimitNOFILE= (ulimit -n)");
});

test("two signals that come together are one wish: the agent stops in order", async () => {
  const own = mkdtempSync(join(folder, "twice-"));
  writeFileSync(join(own, "schema.sql"), "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, v);");
  // Its stop waits for what its peers are told.
  const cluster = join(own, "cluster.toml");
  expect((await runPatina(["cluster", "init", cluster])).code).toBe(0);
  const args = ["--cluster", cluster, "--host", "127.0.0.1"];
  const stopped = await startTestAgent({ folder: own, arguments: args });
  process.kill(stopped.pid, "SIGINT");
  expect(await stopped.stop()).toBe(0);
  expect(stopped.log()).toContain("stopped");
});

test("without memory for machine code an agent doesn't start, and says which limits to lift", async () => {
  const data = mkdtempSync(join(folder, "narrow-"));
  const schema = join(folder, "schema.sql");
  const { code, stderr } = await runPatina(["agent", "--data-dir", data, "--schema", schema], {
    before: ["sh", "-c", 'ulimit -v 2000000; exec "$@"', "sh"],
  });
  expect([code, stderr.split("\n").at(-2)]).toEqual([5, expect.stringContaining("ulimit -v")]);
  expect(stderr).not.toContain("musl");
});

describe("a database that is a link", () => {
  test("has its WAL beside the file that it leads to, where whoever opens that finds it", async () => {
    const [real, linked] = ["real", "linked"].map((name) => join(folder, name)) as [string, string];
    mkdirSync(join(real, "data"), { recursive: true });
    mkdirSync(join(linked, "data"), { recursive: true });
    for (const one of [real, linked]) {
      writeFileSync(join(one, "schema.sql"), "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, v);");
    }
    const first = await startTestAgent({ folder: real });
    await first.stop();
    symlinkSync("../../real/data/patina.db", join(linked, "data", "patina.db"));
    const second = await startTestAgent({ folder: linked });
    const written = ["exec", "--socket", second.socket, "INSERT INTO t VALUES ('linked', 1)"];
    expect((await runPatina(written)).code).toBe(0);
    await second.kill();
    const third = await startTestAgent({ folder: real });
    const query = ["query", "--json", "--socket", third.socket, "SELECT k FROM t"];
    expect(JSON.parse((await runPatina(query)).stdout).rows).toEqual([["linked"]]);
    await third.stop();
  });

  test("that leads nowhere is refused: 4", async () => {
    const data = mkdtempSync(join(folder, "dangling-"));
    symlinkSync("nowhere.db", join(data, "patina.db"));
    const { code, stderr } = await runPatina(["agent", "--data-dir", data]);
    expect([code, stderr]).toEqual([4, expect.stringContaining("a link that leads to no file")]);
    expect(existsSync(join(data, "nowhere.db"))).toBe(false);
  });
});

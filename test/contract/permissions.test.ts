/**
 * Who may do what: tokens on TCP, owner and mode on the socket, and secrets that stay where they are.
 *
 * @module
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { once } from "node:events";
import { chmodSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Token } from "../../agent/api/access.ts";
import { Front, RouteRoom } from "../../agent/api/front.ts";
import { createGate } from "../../agent/api/gate.ts";
import { serveTcp, type TcpServer } from "../../agent/api/tcp-server.ts";
import { TokenSet } from "../../agent/api/token-set.ts";
import { serveUnix } from "../../agent/api/unix-server.ts";
import { runPatina, startTestAgent } from "../agent-process.ts";
import { testIf } from "../real.ts";
import { until } from "../until.ts";
import { HttpClient } from "./http-target.ts";
import { createPlainAgent, type PlainAgent } from "./plain-agent.ts";

const token = (name: string, mayWrite: boolean, tables?: readonly string[]): Token => ({
  name,
  secret: `secret-of-${name}-token`,
  access: { mayWrite, tables: tables === undefined ? undefined : new Set(tables) },
});
const tokens = [
  token("full", true),
  token("reader", false),
  token("limited", true, ["mine"]),
  token("limited-reader", false, ["mine"]),
  token("limited-viewer", false, ["mine", "changing"]),
  token("limited-mixed", true, ["mine", "mixed", "of_mixed", "later"]),
];

let agent: PlainAgent;
let server: TcpServer;

beforeAll(async () => {
  agent = createPlainAgent(`
    CREATE TABLE mine (id INTEGER NOT NULL PRIMARY KEY, v TEXT);
    CREATE TABLE other (id INTEGER NOT NULL PRIMARY KEY, v TEXT);
    CREATE VIEW both AS SELECT mine.id, other.v FROM mine LEFT JOIN other USING (id);
    CREATE VIEW my_view AS SELECT id FROM mine;
    CREATE VIEW changing AS SELECT id, v FROM mine;
    CREATE VIEW mixed AS SELECT mine.id FROM mine LEFT JOIN other USING (id);
    CREATE VIEW of_mixed AS SELECT id FROM mixed;
    CREATE INDEX other_by_v ON other (v);
    CREATE INDEX mine_by_v ON mine (v);
    CREATE TABLE patina_clock_other (id INTEGER NOT NULL PRIMARY KEY, clock BLOB);
    INSERT INTO mine VALUES (1, 'm');
    INSERT INTO other VALUES (1, 'o');
  `);
  const gate = createGate({ tokens: new TokenSet(tokens), endpointName: "edge-1" });
  const serving = serveTcp({
    address: { host: "127.0.0.1", port: 0 },
    front: new Front({ handle: agent.handle, room: new RouteRoom(), gate }),
    bodyBytesMax: 1024 * 1024,
    onFault: (fault) => {
      throw fault;
    },
  });
  if (serving.kind === "refused") throw new Error(serving.why);
  server = serving.server;
});
afterAll(async () => {
  await server.stop();
  agent[Symbol.dispose]();
});

const as = (name: string | undefined): HttpClient =>
  new HttpClient({
    at: `http://127.0.0.1:${server.address.port}`,
    isPatina: true,
    ...(name === undefined ? {} : { token: `secret-of-${name}-token` }),
  });
const json = { "content-type": "application/json" };

describe("a bearer token", () => {
  const paths: [string, string][] = [
    ["POST", "/v1/queries"],
    ["POST", "/v1/transactions"],
    ["POST", "/v1/subscriptions"],
    ["GET", "/v1/subscriptions/11111111222243334444555566667777"],
    ["POST", "/v1/updates/mine"],
    ["POST", "/v1/table_stats"],
    ["GET", "/v1/health"],
    ["GET", "/v1/status"],
    ["GET", "/metrics"],
    ["GET", "/v1/nothing"],
    ["GET", "/"],
  ];

  test("is wanted on every path, also on those that aren't there", async () => {
    for (const [method, path] of paths) {
      const body = method === "POST" ? '"SELECT 1"' : undefined;
      for (const name of [undefined, "wrong"]) {
        const { status, text, contentType } = await as(name).ask(method, path, body);
        expect([path, status, text, contentType]).toEqual([path, 401, "", null]);
      }
    }
    expect((await as("full").ask("GET", "/v1/nothing")).status).toBe(404);
    expect((await as("full").ask("GET", "/v1/health")).status).toBe(200);
  });

  test("isn't checked against a part of itself", async () => {
    for (const secret of [
      "",
      "secret-of-full-toke",
      "secret-of-full-tokenn",
      "SECRET-OF-FULL-TOKEN",
    ]) {
      const headers = { ...json, authorization: `Bearer ${secret}` };
      expect((await as(undefined).ask("POST", "/v1/queries", '"SELECT 1"', headers)).status).toBe(
        secret === "" ? 400 : 401,
      );
    }
  });

  test("comes as bearer, in any case; another scheme is a bad request", async () => {
    const ask = (authorization: string) =>
      as(undefined).ask("POST", "/v1/queries", '"SELECT 1"', { ...json, authorization });
    for (const scheme of ["Bearer", "bearer", "BEARER"]) {
      expect((await ask(`${scheme} secret-of-full-token`)).status).toBe(200);
    }
    for (const header of ["Basic c2VjcmV0", "secret-of-full-token", "Bearer"]) {
      const { status, text } = await ask(header);
      expect([header, status, text]).toEqual([header, 400, "invalid HTTP header (authorization)"]);
    }
  });

  test("for reading only writes nothing", async () => {
    const reader = as("reader");
    expect(await reader.cells('"SELECT v FROM other"')).toEqual(['["o"]']);
    const { status, text } = await reader.transact('["DELETE FROM other"]');
    expect(status).toBe(403);
    expect(JSON.parse(text)).toMatchObject({
      results: [{ error: "this token may only read" }],
      version: null,
    });
    expect(await reader.cells('"SELECT count(*) FROM other"')).toEqual(["[1]"]);
  });

  test.each([
    "SELECT id FROM mine",
    "SELECT count(*) FROM mine",
    "SELECT id FROM Mine AS other",
    "SELECT value FROM mine, json_each('[1]')",
    "WITH other AS (SELECT 5) SELECT * FROM other",
    "SELECT 1",
  ])("for one table reads by %s", async (sql) => {
    const { status, text } = await as("limited-reader").query(JSON.stringify(sql));
    expect([status, text]).toEqual([200, expect.stringContaining('{"row":')]);
  });

  test.each([
    "SELECT v FROM other",
    "SELECT count(*) FROM other",
    "SELECT 1 FROM OTHER",
    "SELECT id FROM mine WHERE EXISTS (SELECT 1 FROM other)",
    "SELECT (SELECT v FROM other)",
    "SELECT mine.id FROM mine JOIN other USING (id)",
    "WITH x AS (SELECT v FROM other) SELECT * FROM x",
    "SELECT id FROM mine UNION ALL SELECT v FROM other",
    "SELECT * FROM both",
    "SELECT sql FROM sqlite_schema",
    "SELECT tbl FROM patina_changes",
    "SELECT id FROM mine JOIN patina_changes ON key = id WHERE tbl = 'mine'",
    "SELECT * FROM pragma_table_info('other')",
    "PRAGMA table_info(other)",
    "PRAGMA integrity_check",
    "EXPLAIN SELECT v FROM other",
  ])("for one table doesn't read by %s", async (sql) => {
    const limited = as("limited");
    const body = JSON.stringify(sql);
    // The statement is compiled already for one who may.
    await as("full").query(body);
    for (const path of ["/v1/queries", "/v1/subscriptions"]) {
      const { status, text } = await limited.ask("POST", path, body);
      expect([path, status, text]).toEqual([path, 403, expect.stringContaining("may not read")]);
    }
    expect((await as("full").query(body)).status).toBe(200);
  });

  test("for one table writes that one", async () => {
    const limited = as("limited");
    expect((await limited.transact('["INSERT INTO mine VALUES (7, NULL)"]')).status).toBe(200);
    for (const sql of [
      "DELETE FROM other",
      "UPDATE other SET v = 'x'",
      "INSERT INTO other VALUES (9, NULL)",
      "INSERT INTO mine SELECT id + 100, v FROM other",
      "DELETE FROM mine WHERE id IN (SELECT id FROM other)",
    ]) {
      const { status, text } = await limited.transact(
        JSON.stringify(["DELETE FROM mine WHERE id = 7", sql]),
      );
      expect([sql, status]).toEqual([sql, 403]);
      expect(JSON.parse(text).results[0].error).toContain("this token is not for other");
    }
    expect(await limited.cells('"SELECT id FROM mine"')).toEqual(["[1]", "[7]"]);
    expect(await as("full").cells('"SELECT id, v FROM other"')).toEqual(['[1,"o"]']);
  });

  test("for one table has no other way to what it may not see", async () => {
    const limited = as("limited");
    await using stream = await as("full").subscribe('"SELECT v FROM other"');
    await stream.take(2);
    const path = `/v1/subscriptions/${stream.headers.get("corro-query-id")}`;
    const attached = await limited.ask("GET", path);
    expect(attached.status).toBe(404);
    expect((await limited.ask("POST", "/v1/updates/other", "")).status).toBe(403);
    expect((await limited.ask("POST", "/v1/updates/OTHER", "")).status).toBe(403);
    const stats = await limited.ask("POST", "/v1/table_stats", '{"tables":["mine","other"]}');
    expect(JSON.parse(stats.text).invalid_tables).toEqual(["other"]);
    for (const inside of ["/v1/status", "/v1/swarm", "/v1/subs", "/metrics"]) {
      expect((await limited.ask("GET", inside)).status).toBe(403);
    }
    for (const operation of ["/v1/backup", "/v1/reload"]) {
      for (const name of ["full", "reader", "limited"]) {
        expect((await as(name).ask("POST", operation, "{}")).status).toBe(403);
      }
    }
    await using own = await limited.subscribe('"SELECT id FROM mine WHERE id > 100"');
    await own.take(2);
    await as("full").transact('["INSERT INTO mine VALUES (101, NULL)"]');
    expect(await own.next()).toBe('{"change":["insert",1,[101],1]}');
  });
});

describe("a token for some tables", () => {
  /** A name as long, that nothing has: errors tell where in a text they are. */
  const nowhere = (table: string) => "q".repeat(table.length);
  /** What each way in says of a statement in which `NAME` stands for a table. */
  async function answers(sql: string, table: string): Promise<unknown[]> {
    const limited = as("limited");
    const text = sql.replaceAll("NAME", table);
    const asked = [
      await limited.query(JSON.stringify(text)),
      await limited.ask("POST", "/v1/subscriptions", JSON.stringify(text)),
      await limited.transact(JSON.stringify([text])),
    ];
    return asked.map(({ status, text: body }) => [status, body.replaceAll(table, "NAME")]);
  }

  test.each([
    "SELECT * FROM NAME",
    "SELECT nosuch FROM NAME",
    "SELECT NAME.nosuch FROM NAME",
    "SELECT nosuch() FROM NAME",
    "SELECT 1 FROM main.NAME",
    "SELECT 1 FROM temp.NAME",
    'SELECT 1 FROM "NAME" AS mine',
    "SELECT 1 FROM NAME(1)",
    "SELECT 1 FROM NAME WHERE id = ?",
    "SELECT 1 FROM NAME INDEXED BY other_by_v",
    "SELECT (SELECT 1 FROM NAME), nosuch FROM mine",
    "SELECT id FROM mine WHERE v IN (SELECT nosuch FROM NAME)",
    "SELECT id FROM mine WHERE v IN NAME",
    "SELECT id FROM mine UNION SELECT id, v, 3 FROM NAME",
    "SELECT mine.id FROM mine JOIN NAME USING (nosuch)",
    "SELECT count(*) FROM mine NATURAL JOIN NAME",
    "WITH x AS (SELECT nosuch FROM NAME) SELECT * FROM x",
    "SELECT 1 FROM NAME; SELECT 1",
    "EXPLAIN SELECT 1 FROM NAME",
    "EXPLAIN SELECT count(*) FROM mine JOIN NAME USING (id)",
    "EXPLAIN QUERY PLAN SELECT 1 FROM NAME",
    "EXPLAIN QUERY PLAN SELECT count(*) FROM mine JOIN NAME USING (id)",
    "EXPLAIN INSERT INTO NAME VALUES (1)",
    "INSERT INTO NAME VALUES (1)",
    "INSERT INTO NAME VALUES (1, 2, 3, 4, 5)",
    "INSERT INTO NAME (nosuch) VALUES (1)",
    "INSERT INTO NAME DEFAULT VALUES",
    "INSERT INTO mine SELECT * FROM NAME",
    "INSERT INTO mine SELECT nosuch FROM NAME",
    "REPLACE INTO NAME VALUES (1) RETURNING nosuch",
    "UPDATE NAME SET nosuch = 1",
    "UPDATE mine SET v = NAME.nosuch FROM NAME",
    "UPDATE mine SET v = 1 WHERE id = (SELECT max(nosuch) FROM NAME)",
    "DELETE FROM NAME WHERE nosuch = 1",
    "DROP TABLE NAME",
    "DROP VIEW NAME",
    "ALTER TABLE NAME RENAME TO x",
    "CREATE TABLE NAME (x)",
    "CREATE VIEW NAME AS SELECT 1",
    "CREATE INDEX x ON NAME (nosuch)",
    "CREATE TRIGGER x AFTER INSERT ON NAME BEGIN SELECT 1; END",
    "ANALYZE NAME",
    "REINDEX NAME",
    "PRAGMA table_info(NAME)",
    "SELECT * FROM pragma_table_info('NAME')",
    "SELECT id FROM mine JOIN pragma_table_info('NAME') ON name = id",
  ])("isn't told by %s whether a table is there", async (sql) => {
    for (const table of ["other", "both", "my_view", "patina_clock_other"]) {
      expect([table, await answers(sql, table)]).toEqual([
        table,
        await answers(sql, nowhere(table)),
      ]);
    }
  });

  test.each([
    "SELECT id FROM mine INDEXED BY NAME",
    "DROP INDEX NAME",
    "CREATE INDEX NAME ON mine (id)",
  ])("isn't told by %s whether an index is there", async (sql) => {
    expect(await answers(sql, "other_by_v")).toEqual(await answers(sql, "nowhere_to_be_found"));
  });

  test("isn't told by updates, table_stats and ids of subscriptions", async () => {
    const limited = as("limited");
    const ask = async (table: string) => {
      const updates = await limited.ask("POST", `/v1/updates/${table}`, "");
      const stats = await limited.ask("POST", "/v1/table_stats", `{"tables":["${table}"]}`);
      return [updates, stats].map(({ status, text }) => [status, text.replaceAll(table, "NAME")]);
    };
    for (const table of ["other", "both", "patina_clock_other"]) {
      expect([table, await ask(table)]).toEqual([table, await ask(nowhere(table))]);
    }
    await using stream = await as("full").subscribe('"SELECT v FROM other"');
    const attach = async (id: string) => {
      const { status, text } = await limited.ask("GET", `/v1/subscriptions/${id}`);
      return [status, text.replaceAll(id, "ID")];
    };
    const id = stream.headers.get("corro-query-id") as string;
    expect(await attach(id)).toEqual(await attach("11111111-2222-4333-8444-555566667777"));
    const sent = ["CREATE TABLE other (id INTEGER NOT NULL PRIMARY KEY, v TEXT)"];
    expect((await limited.ask("POST", "/v1/migrations", JSON.stringify(sent))).status).toBe(403);
  });

  test("is told what is wrong with a statement on its own tables", async () => {
    const limited = as("limited-mixed");
    const ask = async (path: string, sql: string) => {
      const body = path === "/v1/transactions" ? [sql] : sql;
      const { status, text } = await limited.ask("POST", path, JSON.stringify(body));
      return [status, text];
    };
    const told = (status: number, why: string) => [status, expect.stringContaining(why)];
    for (const path of ["/v1/queries", "/v1/subscriptions"]) {
      expect(await ask(path, "SELECT nosuch FROM mine")).toEqual(
        told(400, "no such column: nosuch"),
      );
      expect(await ask(path, "SELECT hlc_time(), nosuch FROM mine")).toEqual(
        told(400, "no such column: nosuch"),
      );
      expect(await ask(path, "SELECT id FROM later")).toEqual(told(400, "no such table: later"));
      expect(await ask(path, "SELECT id FROM mixed")).toEqual(
        told(403, "this token may not read mixed"),
      );
      expect(await ask(path, "SELECT id FROM of_mixed")).toEqual(
        told(403, "this token may not read of_mixed"),
      );
    }
    expect(await ask("/v1/queries", "DELETE FROM mine")).toEqual(
      told(400, "statement is not readonly"),
    );
    expect(await ask("/v1/subscriptions", "DELETE FROM mine")).toEqual(
      told(400, "unsupported statement"),
    );
    expect(await ask("/v1/queries", "EXPLAIN SELECT v FROM mine INDEXED BY mine_by_v")).toEqual(
      told(200, "OpenRead"),
    );
    const write = (sql: string) => ask("/v1/transactions", sql);
    expect(await write("INSERT INTO mine VALUES (1, 2, 3)")).toEqual(
      told(500, "table mine has 2 columns but 3 values were supplied"),
    );
    expect(await write("INSERT INTO later VALUES (1)")).toEqual(told(500, "no such table: later"));
    expect(await write("CREATE TABLE mine (x)")).toEqual(told(500, "DDL is not accepted"));
    expect(await write("EXPLAIN DELETE FROM mine")).toEqual(told(500, "Execute returned results"));
    expect(await write("UPDATE mine SET v = 1 WHERE id IN mixed")).toEqual(
      told(403, "this token is not for mixed"),
    );
  });
});

test("a stream for some tables ends when a change of schema has it read another", async () => {
  const sql = '"SELECT id, v FROM changing"';
  await using full = await as("full").subscribe(sql);
  const path = `/v1/subscriptions/${full.headers.get("corro-query-id")}`;
  const limited = await Promise.all([
    as("limited-viewer").subscribe(sql),
    as("limited-viewer").subscribe(sql, "?tx=1"),
    as("limited-viewer").subscribe('"SELECT count(*) FROM changing"'),
    as("limited-viewer").stream("GET", path),
  ]);
  await using untouched = await as("limited-viewer").subscribe('"SELECT id FROM mine"');
  for (const stream of [...limited, full, untouched])
    await stream.until(() => stream.lines.some((line) => line.includes("eoq")));
  const told = limited.map(({ lines }) => lines.length);

  agent.changeSchema("DROP VIEW changing; CREATE VIEW changing AS SELECT id, v FROM other");
  // So many that the count is another one, whenever it is looked at.
  await as("full").transact(
    "[\"INSERT INTO other VALUES (2, 'secret'), (3, 'secret'), (4, 'secret')\"]",
  );
  await full.until(() => full.lines.some((line) => line.includes("secret")));
  for (const [i, stream] of limited.entries()) {
    await stream.end();
    // Nor is it told which one.
    const why = "this token may not read what this query reads now";
    expect(stream.lines.slice(told[i])).toEqual([`{"error":"${why}"}`]);
    expect(stream.isBroken).toBe(false);
  }
  expect((await as("limited-viewer").ask("GET", path)).status).toBe(404);
  expect((await as("limited-viewer").ask("POST", "/v1/subscriptions", sql)).status).toBe(403);
  await as("full").transact('["INSERT INTO mine VALUES (50, NULL)"]');
  await untouched.until(() => untouched.lines.some((line) => line.includes("[50]")));
});

test("a client that names another endpoint is misdirected", async () => {
  const ask = (name: string | undefined) =>
    as("full").ask("POST", "/v1/queries", '"SELECT 1"', {
      ...json,
      authorization: "bearer secret-of-full-token",
      ...(name === undefined ? {} : { "x-corrosion-requested-endpoint-name": name }),
    });
  expect((await ask(undefined)).status).toBe(200);
  expect((await ask("edge-1")).status).toBe(200);
  const wrong = await ask("edge-2");
  expect([wrong.status, wrong.text]).toEqual([421, ""]);
  expect((await ask("\u00e9dge")).status).toBe(400);
});

describe("an agent", () => {
  let folder: string;
  let count = 0;
  const secret = "the-secret-that-nobody-sees";

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "patina-permissions-"));
  });
  afterAll(() => rm(folder, { recursive: true }));

  /** A folder with a schema and a configuration. */
  async function configured(toml: string): Promise<{ at: string; config: string }> {
    const at = join(folder, String(count++));
    await mkdir(at);
    await writeFile(join(at, "schema.sql"), "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v);");
    await writeFile(join(at, "tokens.toml"), `[[tokens]]\nname = "p"\nsecret = "${secret}"\n`, {
      mode: 0o600,
    });
    const config = join(at, "patina.toml");
    await writeFile(config, toml);
    return { at, config };
  }

  const check = async (toml: string) => {
    const { at, config } = await configured(toml);
    const schema = ["--schema", join(at, "schema.sql"), "--data-dir", join(at, "data")];
    return runPatina(["agent", "-c", config, ...schema]);
  };

  test.each([
    ['listen = ["127.0.0.1:0"]', "TCP needs a token: set api.tokens_file, or api.token = false"],
    ['listen = ["0.0.0.0:0"]', "TCP needs a token: set api.tokens_file"],
    ['listen = ["0.0.0.0:0"]\ntoken = false', "0.0.0.0 is none"],
    ['listen = ["127.0.0.1:0", "[::]:0"]\ntoken = false', ":: is none"],
    ['listen = ["localhost:80"]', 'addresses as "127.0.0.1:8080"'],
    ['listen = ["127.0.0.1:99999"]', 'addresses as "127.0.0.1:8080"'],
    ['token = false\ntokens_file = "tokens.toml"', "write one or the other"],
    ['tokens_file = "missing.toml"', "no such file"],
    [`[[api.tokens]]\nsecret = "short"`, "16 to 512 visible ASCII characters"],
    [`[[api.tokens]]\nsecret = "${secret}"\nread-only = true`, "unknown key read-only"],
    [
      `[[api.tokens]]\nsecret = "${secret}"\n[[api.tokens]]\nsecret = "${secret}"`,
      "another one has the same secret",
    ],
    ['socket_group = "no-such-group"', "there is no group no-such-group"],
  ])("doesn't start with %j", async (toml, why) => {
    const { code, stderr } = await check(`[api]\n${toml}\n`);
    expect([code, stderr]).toEqual([2, expect.stringContaining(why)]);
    expect(stderr).not.toContain(secret);
  });

  test("refuses a file of tokens that others can read, or that is broken, without quoting it", async () => {
    const { at, config } = await configured('[api]\ntokens_file = "tokens.toml"\n');
    const args = ["agent", "-c", config, "--data-dir", join(at, "data")];
    chmodSync(join(at, "tokens.toml"), 0o644);
    const open = await runPatina(args);
    expect([open.code, open.stderr]).toEqual([2, expect.stringContaining("chmod 600")]);
    await rm(join(at, "tokens.toml"));
    await writeFile(join(at, "tokens.toml"), `[[tokens]]\nsecret = "${secret}`, { mode: 0o600 });
    const broken = await runPatina(args);
    expect([broken.code, broken.stderr]).toEqual([2, expect.stringContaining("line 2")]);
    expect(broken.stderr).not.toContain(secret);
  });

  test("takes tokens back at a reload: their streams end, those of others go on", async () => {
    const tokens = (text: string) => writeFile(join(at, "tokens.toml"), text, { mode: 0o600 });
    const entry = (name: string, more = "") =>
      `[[tokens]]\nname = "${name}"\nsecret = "secret-of-${name}-token"\n${more}`;
    const { at, config } = await configured(
      '[api]\nlisten = ["127.0.0.1:0"]\ntokens_file = "tokens.toml"\n',
    );
    await tokens(entry("kept") + entry("lost") + entry("narrowed"));
    const agent = await startTestAgent({ folder: at, arguments: ["-c", config] });
    try {
      const of = (name: string, isH2c = false) =>
        new HttpClient({
          at: `http://${agent.listen[0]}`,
          isPatina: true,
          isH2c,
          token: `secret-of-${name}-token`,
        });
      const reload = () => runPatina(["reload", "--json", "--socket", agent.socket]);
      const streams = await Promise.all(
        ["kept", "lost", "narrowed"].flatMap((name) => [
          of(name).subscribe('"SELECT id FROM t"'),
          of(name, true).subscribe('"SELECT id FROM t"'),
          of(name).stream("POST", "/v1/updates/t"),
        ]),
      );
      for (const stream of streams) expect(stream.status).toBe(200);

      // One that can't be read changes nothing.
      await tokens(`${entry("kept")}[[tokens]]\nsecret = "short"\n`);
      const broken = await reload();
      expect([broken.code, broken.stdout + broken.stderr]).toEqual([
        1,
        expect.stringContaining("16 to 512 visible ASCII characters"),
      ]);
      expect((await of("lost").query('"SELECT 1"')).status).toBe(200);

      await tokens(entry("kept") + entry("narrowed", "read_only = true\n") + entry("fresh"));
      const done = await reload();
      expect(JSON.parse(done.stdout).tokens).toEqual({
        kept: ["kept"],
        added: ["narrowed", "fresh"],
        revoked: ["lost", "narrowed"],
      });
      const line = '{"error":"the token of this stream is no longer valid"}';
      for (const stream of streams.slice(3)) {
        await stream.end();
        expect([stream.lines.at(-1), stream.isBroken]).toEqual([line, false]);
      }
      expect((await of("lost").query('"SELECT 1"')).status).toBe(401);
      expect((await of("narrowed").query('"SELECT 1"')).status).toBe(200);
      const insert = `["INSERT INTO t VALUES (41, NULL)"]`;
      expect((await of("narrowed").transact(insert)).status).toBe(403);
      const written = await of("fresh", true).transact(insert);
      expect([written.status, written.text]).toEqual([200, expect.stringContaining('"version":')]);
      for (const stream of streams.slice(0, 3)) {
        await stream.until(() => stream.lines.some((one) => one.includes("[41]")));
        expect(stream.isEnded).toBe(false);
      }
      // SIGHUP does the same.
      await tokens(entry("fresh"));
      process.kill(agent.pid, "SIGHUP");
      for (const stream of streams.slice(0, 3)) await stream.end();
    } finally {
      await agent.stop();
    }
  });

  test("does nothing for a token that is taken back while a request's body comes, or a query runs", async () => {
    const tokens = (text: string) => writeFile(join(at, "tokens.toml"), text, { mode: 0o600 });
    const { at, config } = await configured(
      '[api]\nlisten = ["127.0.0.1:0"]\ntokens_file = "tokens.toml"\n[store]\nquery_timeout_ms = 60000\n',
    );
    await tokens('[[tokens]]\nsecret = "secret-of-lost-token"\n');
    const agent = await startTestAgent({ folder: at, arguments: ["-c", config] });
    try {
      const url = `http://${agent.listen[0]}`;
      const http = new HttpClient({ at: url, isPatina: true, token: "secret-of-lost-token" });
      const endless =
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c";
      const running = await http.stream("POST", "/v1/queries", JSON.stringify(endless));
      await running.until(() => running.lines.length === 1);
      const body = `["INSERT INTO t VALUES (1, NULL)"]`;
      const { hostname, port } = new URL(url);
      const slow = connect(Number(port), hostname);
      let answers = "";
      slow.on("data", (bytes) => (answers += bytes));
      const head = (method: string, path: string, more: string): string =>
        `${method} ${path} HTTP/1.1\r\nhost: x\r\nauthorization: bearer secret-of-lost-token\r\n${more}\r\n`;
      const isJson = "content-type: application/json\r\n";
      const length = `connection: close\r\n${isJson}content-length: ${body.length}\r\n`;
      slow.write(`${head("GET", "/v1/nothing", "")}${head("POST", "/v1/transactions", length)}[`);
      await until(() => answers.startsWith("HTTP/1.1 404 "));
      // It is let in with the turn in which the one before it is answered.
      expect((await http.query('"SELECT 1"')).status).toBe(200);
      await tokens('[[tokens]]\nname = "other"\nsecret = "secret-of-other-token"\n');
      const reloaded = await runPatina(["reload", "--json", "--socket", agent.socket]);
      expect(JSON.parse(reloaded.stdout).tokens.revoked).toEqual(["1"]);
      const beganMs = performance.now();
      await running.end();
      expect(running.lines.at(-1)).toBe('{"error":"the token of this stream is no longer valid"}');
      // Of its minute.
      expect(performance.now() - beganMs).toBeLessThan(30_000);
      slow.write(body.slice(1));
      await once(slow, "close");
      expect(answers.split("HTTP/1.1 ").map((one) => one.slice(0, 3))).toEqual(["", "404", "401"]);
      const { stdout } = await runPatina(["query", "SELECT id FROM t", "--socket", agent.socket]);
      expect(stdout).not.toContain("1");
    } finally {
      await agent.stop();
    }
  });

  test("warns of a token for a table that no schema file has, and is right when one has it", async () => {
    const { at, config } = await configured(
      '[api]\nlisten = ["127.0.0.1:0"]\ntokens_file = "tokens.toml"\n[schema]\npaths = ["schema.sql"]\n',
    );
    const tables = '["T", "patina_members", "sqlite_schema", "pragma_table_info", "Later"]';
    const text = `[[tokens]]\nname = "early"\nsecret = "${secret}"\ntables = ${tables}\n`;
    await writeFile(join(at, "tokens.toml"), text, { mode: 0o600 });
    const why = "token early: tables: no schema file has later; it is reached once one has it";
    const checked = await runPatina(["agent", "--check", "-c", config]);
    expect([checked.code, checked.stderr]).toEqual([0, `warning: ${why}\n`]);
    const agent = await startTestAgent({ folder: at, arguments: ["-c", config] });
    try {
      expect(agent.log().split(why).length).toBe(2);
      const http = new HttpClient({
        at: `http://${agent.listen[0]}`,
        isPatina: true,
        token: secret,
      });
      const reload = async (...more: string[]) =>
        JSON.parse(
          (await runPatina(["reload", "--json", ...more, "--socket", agent.socket])).stdout,
        );
      expect((await http.query('"SELECT id FROM later"')).text).toContain("no such table: later");
      expect((await reload("--dry-run")).warnings.at(-1)).toBe(why);
      expect((await reload()).warnings.at(-1)).toBe(why);
      const schema = join(at, "schema.sql");
      const view = "CREATE VIEW later AS SELECT id FROM t";
      await writeFile(schema, `${readFileSync(schema, "utf8")};\n${view};\n`);
      expect((await reload()).warnings).not.toContain(why);
      expect((await http.query('"SELECT id FROM later"')).text).toContain('{"columns":["id"]}');
    } finally {
      await agent.stop();
    }
  });

  test("shows no secret in its log, its arguments or its environment, nor by --check", async () => {
    const inline = "another-secret-in-the-configuration";
    const { at, config } = await configured(
      `[api]\nlisten = ["127.0.0.1:0"]\ntokens_file = "tokens.toml"\n[[api.tokens]]\nname = "inline"\nsecret = "${inline}"\ntables = ["t"]\n[log]\nlevel = "debug"\n`,
    );
    const agent = await startTestAgent({ folder: at, arguments: ["-c", config] });
    try {
      const target = { at: `http://${agent.listen[0]}`, isPatina: true };
      for (const token of [secret, inline, `${secret}x`]) {
        const { status } = await new HttpClient({ ...target, token }).query('"SELECT id FROM t"');
        expect(status).toBe(token.endsWith("x") ? 401 : 200);
      }
      const process = ["cmdline", "environ"]
        .map((name) => readFileSync(`/proc/${agent.pid}/${name}`, "utf8"))
        .join();
      const status = await new HttpClient({ ...target, token: secret }).ask("GET", "/v1/status");
      for (const text of [agent.log(), process, status.text]) {
        expect(text).not.toContain(secret);
        expect(text).not.toContain(inline);
      }
      expect(agent.log()).toContain("inline");
    } finally {
      await agent.stop();
    }
    for (const args of [["--check", "--json"], ["--check"]]) {
      const { code, stdout, stderr } = await runPatina(["agent", "-c", config, ...args]);
      expect(code).toBe(0);
      expect(stdout + stderr).not.toContain(inline);
    }
    const environment = { PATINA_API_TOKENS: secret };
    const refused = await runPatina(["agent", "-c", config, "--check"], { environment });
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining("tokens_file")]);
    expect(refused.stderr).not.toContain(secret);
  });

  test("serves loopback without a token if it is told so", async () => {
    const { at, config } = await configured('[api]\nlisten = ["127.0.0.1:0"]\ntoken = false\n');
    const agent = await startTestAgent({ folder: at, arguments: ["-c", config] });
    const http = new HttpClient({ at: `http://${agent.listen[0]}`, isPatina: true });
    expect((await http.transact('["INSERT INTO t VALUES (1, 2)"]')).status).toBe(200);
    // What acts on this host and its files is for those whom the socket's mode lets in.
    for (const [path, body] of [
      ["/v1/backup", JSON.stringify({ path: join(at, "copy.db") })],
      ["/v1/reload", '{"dry_run":true}'],
    ] as const) {
      const { status, text } = await http.ask("POST", path, body);
      expect([status, text]).toEqual([403, '{"error":"only over the Unix socket"}']);
    }
    // A page in a browser here whose name was made to lead to loopback.
    for (const host of ["page.example", "Page.Example.:80", "127.0.0.1.page.example"]) {
      const { status, text } = await http.ask("POST", "/v1/queries", '"SELECT 1"', {
        ...json,
        host,
      });
      expect([host, status, text]).toEqual([host, 421, expect.stringContaining("by its address")]);
    }
    const names = [
      "127.0.0.1",
      "[::1]:80",
      "localhost:80",
      "LOCALHOST.",
      "app.localhost",
      "patina",
    ];
    for (const host of names) {
      const { status } = await http.ask("POST", "/v1/queries", '"SELECT 1"', { ...json, host });
      expect([host, status]).toEqual([host, 200]);
    }
    expect(await agent.stop()).toBe(0);
  });

  test("ends with 5 when the address is taken", async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const { port } = taken.address() as { port: number };
    const { code, stderr } = await check(`[api]\nlisten = ["127.0.0.1:${port}"]\ntoken = false\n`);
    taken.close();
    expect([code, stderr]).toEqual([5, expect.stringContaining("another program listens there")]);
  });

  test("binds its socket so that nobody else can connect before its mode is set", async () => {
    const before = process.umask(0o077);
    const path = join(folder, "bound.sock");
    const front = new Front({ handle: agent.handle, room: new RouteRoom(), gate: undefined });
    const unix = serveUnix({ path, front, bodyBytesMax: 1024, onFault: () => {} });
    process.umask(before);
    expect(statSync(path).mode & 0o077).toBe(0);
    await unix.stop();
  });

  test("removes its socket when it stops, and not what another program has put in its place", async () => {
    const path = join(folder, "replaced.sock");
    const front = new Front({ handle: agent.handle, room: new RouteRoom(), gate: undefined });
    const serve = () => serveUnix({ path, front, bodyBytesMax: 1024, onFault: () => {} });
    await serve().stop();
    expect(existsSync(path)).toBe(false);
    const unix = serve();
    rmSync(path);
    writeFileSync(path, "another's");
    await unix.stop();
    expect(readFileSync(path, "utf8")).toBe("another's");
  });

  testIf(
    process.getuid?.() === 0 ? undefined : "only root gives a socket away",
    "gives its socket the mode, owner and group that it is told",
    async () => {
      const { at, config } = await configured(
        '[api]\nsocket_mode = "0660"\nsocket_owner = "65533"\nsocket_group = "daemon"\n',
      );
      const agent = await startTestAgent({ folder: at, arguments: ["-c", config] });
      const { mode, uid, gid } = statSync(agent.socket);
      await agent.stop();
      const daemon = /^daemon:[^:]*:(\d+)/m.exec(readFileSync("/etc/group", "utf8"))?.[1];
      expect([mode & 0o777, uid, gid]).toEqual([0o660, 65533, Number(daemon)]);
    },
  );
});

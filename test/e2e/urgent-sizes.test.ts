/**
 * Urgent commits of many megabytes and small ones in a chain A–B–C of executables: the small ones of B, which forwards the
 * large ones of A, don't wait for these, all arrive, and no connection is closed.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freeUdpPort } from "../../agent/swarm/free-port.ts";
import { runPatina, startTestAgent, type TestAgent } from "../agent-process.ts";
import { HttpClient, type LineStream } from "../contract/http-target.ts";
import { until } from "../until.ts";
import { builtBinary } from "./built-binary.ts";

const rowsOfLarge = 200;
const bytesOfRow = 40_000;

test("large urgent commits of one host close no connection, and small ones of another overtake them", async () => {
  const binary = builtBinary();
  const folder = mkdtempSync(join(tmpdir(), "patina-urgent-"));
  const agents: TestAgent[] = [];
  const streams: LineStream[] = [];
  const logs = () => agents.map((agent) => agent.log()).join("\n");
  try {
    expect((await runPatina(["cluster", "init", join(folder, "cluster.toml")])).code).toBe(0);
    const start = async (name: string, swarm: string): Promise<HttpClient> => {
      const of = join(folder, name);
      mkdirSync(of);
      const sql = "CREATE TABLE t (k TEXT NOT NULL PRIMARY KEY, status TEXT, body TEXT);";
      writeFileSync(join(of, "schema.sql"), sql);
      const cluster = `[cluster]\nfile = "${join(folder, "cluster.toml")}"\n`;
      const rule = "[tables.t]\nurgent = \"status <> 'up'\"\n";
      writeFileSync(join(of, "patina.toml"), `${cluster}${rule}[swarm]\n${swarm}`);
      const config = ["-c", join(of, "patina.toml"), "--name", name, "--host", "127.0.0.1"];
      // The writes are large, and the machine may have much else to do.
      const environment = { PATINA_STORE_STATEMENT_TIMEOUT_MS: "60000" };
      const agent = await startTestAgent({ folder: of, binary, environment, arguments: config });
      agents.push(agent);
      return new HttpClient({ at: agent.socket, isPatina: true });
    };
    const b = await start("b", `port = ${await freeUdpPort()}\n`);
    const [{ key, port }] = agents as [TestAgent];
    const toB = `only = ["${key}"]\npeers = ["${key}@127.0.0.1:${port}"]\n`;
    const [a, c] = await Promise.all([start("a", toB), start("c", toB)]);
    const alive = "\"SELECT count(*) FROM patina_members WHERE state = 'ALIVE'\"";
    await until(
      "the chain",
      async () =>
        (await Promise.all([a, b, c].map((one) => one.cells(alive)))).join() === "[2],[3],[2]",
      undefined,
      logs,
    );

    const [heardAtA, heardAtC] = (await Promise.all(
      [a, c].map(async (one) => {
        const stream = await one.subscribe('"SELECT k FROM t"');
        streams.push(stream);
        return () => stream.lines;
      }),
    )) as [() => string[], () => string[]];
    const has = (lines: () => string[], key: string) =>
      lines().some((line) => line.includes(`"${key}"`));
    const say = async (host: HttpClient, statement: unknown[]): Promise<void> => {
      const { status, text } = await host.transact(JSON.stringify([statement]));
      expect([status, text]).toEqual([200, expect.stringContaining('"rows_affected"')]);
    };
    const large = (name: string) =>
      say(a, [
        `WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ${rowsOfLarge - 1})
         INSERT INTO t SELECT '${name} ' || i, 'down', ? FROM n`,
        ["x".repeat(bytesOfRow)],
      ]);

    let isSaid = false;
    const both = large("first")
      .then(() => large("second"))
      .then(() => {
        isSaid = true;
      });
    const isThere = (name: string) => has(heardAtC, `${name} ${rowsOfLarge - 1}`);
    let [small, overtaking] = [0, 0];
    while (!isThere("second")) {
      const isUnderWay = isSaid;
      const key = `small ${small++}`;
      await say(b, ["INSERT INTO t VALUES (?, 'down', '')", [key]]);
      // Not at A, where no large one is before it: that host has its own long writes to do.
      await until(`${key} comes`, () => has(heardAtC, key), undefined, logs);
      if (isUnderWay && !isThere("second")) overtaking++;
    }
    await both;
    const keys = Array.from({ length: small }, (_, i) => `small ${i}`);
    await until("A hears of all", () => keys.every((key) => has(heardAtA, key)), undefined, logs);
    // If they waited for the large ones the first would have come when these were there.
    console.log(
      `${small} small ones, ${overtaking} of them while the second large one was on its way`,
    );
    expect(overtaking).toBeGreaterThanOrEqual(2);
    expect(isThere("first")).toBe(true);
    // But for what a machine does that keeps a process waiting for seconds.
    const others = /peer gone .*why="(?!its host answers|connection reset by peer)/;
    for (const agent of agents) expect(agent.log()).not.toMatch(others);
    const count = '"SELECT count(*), sum(length(body)) FROM t"';
    const all = `[${2 * rowsOfLarge + small},${2 * rowsOfLarge * bytesOfRow}]`;
    for (const one of [a, b, c]) expect(await one.cells(count)).toEqual([all]);
  } finally {
    for (const stream of streams) await stream[Symbol.asyncDispose]();
    await Promise.all(agents.map((agent) => agent.stop()));
    rmSync(folder, { recursive: true });
  }
}, 300_000);

/**
 * A host that has just joined and is written to before it has heard of anything.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freeUdpPort } from "../../agent/swarm/free-port.ts";
import { runPatina, startTestAgent, type TestAgent } from "../agent-process.ts";
import { until } from "../until.ts";

test("an upsert of a weight, on a host that hasn't heard yet of the row or of its down, waits and leaves it down", async () => {
  const folder = mkdtempSync(join(tmpdir(), "patina-unheard-"));
  const agents: TestAgent[] = [];
  try {
    expect((await runPatina(["cluster", "init", join(folder, "cluster.toml")])).code).toBe(0);
    const config = join(folder, "patina.toml");
    const rule = "[tables.t]\nurgent = \"status <> 'up'\"\n";
    writeFileSync(config, `[cluster]\nfile = "cluster.toml"\n${rule}`);
    const sql =
      "CREATE TABLE t (k TEXT NOT NULL PRIMARY KEY, status TEXT DEFAULT 'up', weight INTEGER);";
    const start = async (name: string, ...more: string[]): Promise<TestAgent> => {
      mkdirSync(join(folder, name));
      writeFileSync(join(folder, name, "schema.sql"), sql);
      const common = ["-c", config, "--name", name, "--host", "127.0.0.1"];
      const agent = await startTestAgent({
        folder: join(folder, name),
        arguments: [...common, ...more],
      });
      agents.push(agent);
      return agent;
    };
    // Without a process for each: after 10 s without any peer a host takes itself for alone.
    const ask = async (agent: TestAgent, path: string, body: unknown): Promise<string> => {
      const headers = { "content-type": "application/json" };
      const init = { method: "POST", headers, body: JSON.stringify(body), unix: agent.socket };
      return (await fetch(`http://patina${path}`, init)).text();
    };
    const exec = (agent: TestAgent, statement: string) =>
      ask(agent, "/v1/transactions", [statement]);
    const shown = async (agent: TestAgent): Promise<unknown[]> => {
      const lines = (await ask(agent, "/v1/queries", "SELECT * FROM t ORDER BY k")).split("\n");
      return lines.flatMap((line) => (line.startsWith('{"row"') ? [JSON.parse(line).row[1]] : []));
    };
    const a = await start("a", "--port", String(await freeUdpPort()));
    // It is alone for all that it can know, and waits for that; what it says to be down goes at once.
    expect(await exec(a, "INSERT INTO t VALUES ('x', 'down', 1)")).toContain('"rows_affected":1');
    process.kill(a.pid, "SIGSTOP");
    const b = await start("b", "--peers", `${a.key}@127.0.0.1:${a.port}`);
    let isAnswered = false;
    const upsert = "INSERT INTO t VALUES ('x', 'up', 2) ON CONFLICT DO UPDATE SET weight = 2";
    const upserted = exec(b, upsert).then((result) => {
      isAnswered = true;
      return result;
    });
    expect(await exec(b, "INSERT INTO t VALUES ('y', 'down', 1)")).toContain('"rows_affected":1');
    expect([await shown(b), isAnswered]).toEqual([[["y", "down", 1]], false]);
    process.kill(a.pid, "SIGCONT");
    expect(await upserted).toContain('"rows_affected":1');
    const all = [
      ["x", "down", 2],
      ["y", "down", 1],
    ];
    for (const agent of [a, b]) {
      await until("both have both", async () => Bun.deepEquals(await shown(agent), all));
    }
  } finally {
    await Promise.all(agents.map((agent) => agent.kill()));
    rmSync(folder, { recursive: true });
  }
}, 120_000);

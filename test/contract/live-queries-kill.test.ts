import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seededRandom } from "../../bench/seeded-random.ts";
import { runPatina, startTestAgent } from "../agent-process.ts";
import { until } from "../until.ts";
import { fresh, open, post, resume } from "./live-queries-reader.ts";

const schema = `
CREATE TABLE services (name TEXT NOT NULL PRIMARY KEY, owner TEXT);
CREATE TABLE instances (id TEXT NOT NULL PRIMARY KEY, service TEXT, status TEXT, n INTEGER);
CREATE INDEX instances_service ON instances (service);
`;
const queries = [
  "SELECT id, n FROM instances WHERE service = 'web'",
  "SELECT id, status, n FROM instances WHERE service = 'db' AND status = 'up'",
  "SELECT i.id, i.n, s.owner FROM instances i JOIN services s ON s.name = i.service",
  "SELECT i.id, s.owner FROM instances i LEFT JOIN services s ON s.name = i.service WHERE i.n > 1",
  "SELECT i.id, m.state FROM instances i JOIN patina_members m ON m.node <> i.id",
  "SELECT service, count(*), sum(n) FROM instances GROUP BY service",
  "SELECT count(*) FROM instances WHERE status = 'up'",
  "SELECT DISTINCT status FROM instances",
  "SELECT id FROM instances ORDER BY n DESC, id LIMIT 3",
];
const kills = Number(process.env.PATINA_TEST_LIVE_KILLS ?? 10);

function statement(random: () => number): string {
  const int = (end: number) => Math.floor(random() * end);
  const pick = (list: readonly string[]) => list[int(list.length)] as string;
  const id = `i${int(30)}`;
  const service = pick(["web", "db", "cache"]);
  switch (int(6)) {
    case 0:
    case 1:
      return `INSERT OR REPLACE INTO instances VALUES ('${id}', '${service}', '${pick(["up", "down"])}', ${int(5)})`;
    case 2:
      return `DELETE FROM instances WHERE id = '${id}'`;
    case 3:
      return `UPDATE instances SET n = n + 1 WHERE service = '${service}'`;
    case 4:
      return `INSERT OR REPLACE INTO services VALUES ('${service}', '${pick(["a", "b"])}')`;
    default:
      return pick([
        `DELETE FROM services WHERE name = '${service}'`,
        `UPDATE instances SET status = 'down' WHERE id = '${id}'`,
      ]);
  }
}

test(`a reader that comes back after ${kills} kills has what a fresh query has`, async () => {
  const folder = mkdtempSync(join(tmpdir(), "patina-live-kill-"));
  writeFileSync(join(folder, "schema.sql"), schema);
  const random = seededRandom(kills);
  let agent = await startTestAgent({ folder });
  let lost = 0;
  let resumed = 0;
  try {
    const readers = await Promise.all(queries.map((sql) => open(agent.socket, sql)));
    for (let round = 0; round <= kills; round++) {
      let isWriting = true;
      let acknowledged = 0;
      const writing = Promise.all(
        [1, 2].map(async () => {
          while (isWriting) {
            const list = Array.from({ length: 1 + Math.floor(random() * 3) }, () =>
              statement(random),
            );
            try {
              const answer = await post(agent.socket, "/v1/transactions", list);
              expect([list, answer.status]).toEqual([list, 200]);
              acknowledged++;
            } catch (error) {
              if (isWriting && !agent.log().includes("serving")) throw error;
              return;
            }
          }
        }),
      );
      await until("writes", async () => acknowledged > 10 + 40 * random());
      const isLast = round === kills;
      if (!isLast) await agent.kill();
      isWriting = false;
      await writing;
      if (!isLast) {
        await Promise.all(readers.map(({ reading }) => reading));
        agent = await startTestAgent({ folder });
        for (const [i, reader] of readers.entries()) {
          if (await resume(agent.socket, reader)) {
            resumed++;
            continue;
          }
          lost++;
          readers[i] = await open(agent.socket, reader.sql);
        }
      }
      for (const { sql, folded } of readers) {
        const want = await fresh(agent.socket, sql);
        await until(`${sql}: ${want} but ${folded.sorted()}`, async () =>
          Bun.deepEquals(folded.sorted(), want),
        );
        expect([sql, folded.errors]).toEqual([sql, []]);
      }
    }
    // Nothing but the agent wrote to the file, so nothing may be given up.
    expect({ lost, resumed }).toEqual({ lost: 0, resumed: kills * queries.length });
  } finally {
    await agent.kill();
    rmSync(folder, { recursive: true });
  }
}, 180_000);

test("a reader finds its subscription again after an orderly stop, before and after its first change", async () => {
  const folder = mkdtempSync(join(tmpdir(), "patina-live-stop-"));
  writeFileSync(join(folder, "schema.sql"), schema);
  let agent = await startTestAgent({ folder });
  try {
    await post(agent.socket, "/v1/transactions", [
      "INSERT INTO instances VALUES ('a', 'web', 'up', 1)",
    ]);
    const reader = await open(agent.socket, queries[0] as string);
    const never = await open(agent.socket, queries[6] as string);
    await until("rows", async () => reader.folded.rows.size === 1 && never.folded.rows.size === 1);
    const at = ["--json", "--socket", agent.socket];
    const shown = (await runPatina(["subs", ...at])).stdout.trim().split("\n");
    expect(shown.map((line) => JSON.parse(line))).toMatchObject([
      { id: reader.id, how: "keyed", found_by: "value", rows: 1, listeners: 1, looked: 0 },
      { id: never.id, how: "rerun", found_by: "value", rows: 1, listeners: 1, change_id: 0 },
    ]);
    const one = await runPatina(["subs", reader.id, ...at]);
    expect(JSON.parse(one.stdout)).toMatchObject({ sql: reader.sql, tables: ["instances"] });
    expect((await runPatina(["subs", "nobody", ...at])).code).toBe(1);
    expect(await agent.stop()).toBe(0);
    agent = await startTestAgent({ folder });
    expect([await resume(agent.socket, reader), await resume(agent.socket, never)]).toEqual([
      true,
      true,
    ]);
    await post(agent.socket, "/v1/transactions", ["UPDATE instances SET n = 2"]);
    await until("the change", async () => reader.folded.lastChange === 1);
    expect(await agent.stop()).toBe(0);
    // Somebody else writes to the file: what was told no longer leads to what is, unless it can be told.
    const { openDatabase } = await import("../../wasm/database.ts");
    const { FileVfs } = await import("../../wasm/vfs/file.ts");
    const database = openDatabase(join(folder, "data", "patina.db"), { vfs: new FileVfs() });
    database.exec("UPDATE instances SET n = 3");
    database.close();
    agent = await startTestAgent({ folder });
    expect(await resume(agent.socket, reader)).toBe(true);
    await until("the other's change", async () => reader.folded.lastChange === 2);
    expect(reader.folded.sorted()).toEqual(await fresh(agent.socket, reader.sql));
  } finally {
    await agent.kill();
    rmSync(folder, { recursive: true });
  }
}, 120_000);

import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runPatina, startTestAgent, type TestAgent } from "../agent-process.ts";
import { Folded } from "./live-queries-folded.ts";
import { seeded } from "./live-queries-world.ts";

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

interface Reader {
  readonly sql: string;
  id: string;
  hash: string;
  folded: Folded;
  reading: Promise<void>;
}

function post(agent: TestAgent, path: string, body: unknown): Promise<Response> {
  return fetch(`http://localhost${path}`, {
    unix: agent.socket,
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  } as RequestInit);
}

/** Folds up whole lines until the stream ends or breaks. */
async function read(response: Response, folded: Folded): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() as string;
      for (const line of lines) folded.takeLine(line.trim());
    }
  } catch (error) {
    // The agent was killed; what the last line lacks comes again.
    if ((error as { matcherResult?: unknown }).matcherResult !== undefined) throw error;
  }
}

async function open(agent: TestAgent, sql: string): Promise<Reader> {
  const response = await post(agent, "/v1/subscriptions", sql);
  expect([sql, response.status]).toEqual([sql, 200]);
  const folded = new Folded();
  const [id, hash] = ["corro-query-id", "corro-query-hash"].map((name) =>
    response.headers.get(name),
  ) as [string, string];
  return { sql, id, hash, folded, reading: read(response, folded) };
}

/** False when the agent doesn't know it any more. */
async function resume(agent: TestAgent, reader: Reader): Promise<boolean> {
  const { id, folded } = reader;
  // 0 asks for everything anew: what there was of it is put away.
  if (folded.lastChange === 0) folded.rows.clear();
  const response = await fetch(
    `http://localhost/v1/subscriptions/${id}?from=${folded.lastChange}`,
    { unix: agent.socket } as RequestInit,
  );
  if (response.status === 404) {
    expect(await response.text()).toContain("could not find subscription");
    return false;
  }
  expect(response.status).toBe(200);
  expect(response.headers.get("corro-query-id")).toBe(id);
  expect(response.headers.get("corro-query-hash")).toBe(reader.hash);
  reader.reading = read(response, folded);
  return true;
}

async function fresh(agent: TestAgent, sql: string): Promise<string[]> {
  const text = await (await post(agent, "/v1/queries", sql)).text();
  const rows = [...text.matchAll(/^\{"row":\[\d+,(.*)\]\}$/gm)];
  return rows.map((match) => match[1] as string).sort();
}

async function until(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + 20_000;
  while (!(await isTrue())) {
    if (performance.now() > deadlineMs) throw new Error(`not within 20 s: ${what}`);
    await Bun.sleep(5);
  }
}

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
  const random = seeded(kills);
  let agent = await startTestAgent({ folder });
  let lost = 0;
  let resumed = 0;
  try {
    const readers = await Promise.all(queries.map((sql) => open(agent, sql)));
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
              const answer = await post(agent, "/v1/transactions", list);
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
          if (await resume(agent, reader)) {
            resumed++;
            continue;
          }
          lost++;
          readers[i] = await open(agent, reader.sql);
        }
      }
      for (const { sql, folded } of readers) {
        const want = await fresh(agent, sql);
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
    await post(agent, "/v1/transactions", ["INSERT INTO instances VALUES ('a', 'web', 'up', 1)"]);
    const reader = await open(agent, queries[0] as string);
    const never = await open(agent, queries[6] as string);
    await until("rows", async () => reader.folded.rows.size === 1 && never.folded.rows.size === 1);
    const at = ["--json", "--socket", agent.socket];
    const shown = (await runPatina(["subs", ...at])).stdout.trim().split("\n");
    expect(shown.map((line) => JSON.parse(line))).toMatchObject([
      { id: reader.id, how: "keyed", found_by: "value", rows: 1, listeners: 1, looked: 0 },
      { id: never.id, how: "rerun", found_by: "column", rows: 1, listeners: 1, change_id: 0 },
    ]);
    const one = await runPatina(["subs", reader.id, ...at]);
    expect(JSON.parse(one.stdout)).toMatchObject({ sql: reader.sql, tables: ["instances"] });
    expect((await runPatina(["subs", "nobody", ...at])).code).toBe(1);
    expect(await agent.stop()).toBe(0);
    agent = await startTestAgent({ folder });
    expect([await resume(agent, reader), await resume(agent, never)]).toEqual([true, true]);
    await post(agent, "/v1/transactions", ["UPDATE instances SET n = 2"]);
    await until("the change", async () => reader.folded.lastChange === 1);
    expect(await agent.stop()).toBe(0);
    // Somebody else writes to the file: what was told no longer leads to what is, unless it can be told.
    const { openDatabase } = await import("../../wasm/database.ts");
    const { FileVfs } = await import("../../wasm/vfs/file.ts");
    const database = openDatabase(join(folder, "data", "patina.db"), { vfs: new FileVfs() });
    database.exec("UPDATE instances SET n = 3");
    database.close();
    agent = await startTestAgent({ folder });
    expect(await resume(agent, reader)).toBe(true);
    await until("the other's change", async () => reader.folded.lastChange === 2);
    expect(reader.folded.sorted()).toEqual(await fresh(agent, reader.sql));
  } finally {
    await agent.kill();
    rmSync(folder, { recursive: true });
  }
}, 60_000);

/**
 * The law of live queries where results and commits have thousands of rows: above all the numbers at which rows are
 * looked at in slices, told in parts, handed to readers in more than one turn, and saved as an image.
 */

import { describe, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seededRandom } from "../../bench/seeded-random.ts";
import { Follower, goRound, type Stage } from "./live-queries-follower.ts";
import type { Draw } from "./live-queries-odd.ts";
import { drawnLimits, fileDisk, inReaderThread, type Limits } from "./live-queries-thread.ts";
import { drawOf } from "./live-queries-world.ts";

/** `PATINA_TEST_LARGE_SEEDS=100` for a soak; `PATINA_TEST_LARGE_SEED=17` for one. */
const seedCount = Number(process.env.PATINA_TEST_LARGE_SEEDS ?? 2);
const firstSeed = Number(process.env.PATINA_TEST_LARGE_SEED ?? 0);

const schema = `CREATE TABLE t (k INTEGER NOT NULL PRIMARY KEY, n INTEGER, s TEXT);
CREATE TABLE u (k TEXT NOT NULL PRIMARY KEY, n INTEGER, s TEXT);
CREATE TABLE l (k INTEGER NOT NULL PRIMARY KEY, n INTEGER, s TEXT);
CREATE INDEX u_n ON u (n);
CREATE VIEW some AS SELECT k, n, s FROM t;
`;

/** What makes groups of a query, takes them from it, and gives rows other identities. */
const changes: readonly ((text: string) => string)[] = [
  (text) => `${text}CREATE INDEX t_s ON t (s);\n`,
  (text) => `${text}CREATE INDEX t_n ON t (n, s);\n`,
  (text) => text.replace("CREATE INDEX u_n ON u (n);\n", ""),
  (text) =>
    text.replace("AS SELECT k, n, s FROM t;", "AS SELECT max(k) AS k, n, s FROM t GROUP BY s, n;"),
  (text) => `${text}CREATE INDEX l_s ON l (s);\n`,
];

const queries = [
  "SELECT k, n, s FROM t",
  "SELECT s FROM t",
  "SELECT n, s FROM t WHERE s = 'a'",
  "SELECT k FROM t WHERE n IN (1, 2, 3)",
  "SELECT s, count(*), max(k) FROM t GROUP BY s",
  "SELECT count(*) FROM t GROUP BY n",
  "SELECT n, min(s) FROM u GROUP BY n",
  "SELECT DISTINCT n FROM t",
  "SELECT k, n FROM some",
  "SELECT n FROM some WHERE s = 'b'",
  "SELECT t.k, u.s FROM t JOIN u ON u.k = t.s",
  "SELECT t.k, u.k, u.n FROM t LEFT JOIN u ON u.k = t.s WHERE t.n > 1",
  "SELECT k, n FROM t ORDER BY n DESC, k LIMIT 1500",
  "SELECT k, rank() OVER (PARTITION BY s ORDER BY n, k) FROM t",
  "SELECT 'same' FROM t",
  "SELECT s, n FROM l",
  "SELECT s, count(*) FROM l GROUP BY s",
  "SELECT n FROM t UNION SELECT n FROM u",
  "SELECT count(*), sum(n) FROM u",
];

/** @param table with a key of integers, or of texts */
function largeWrite({ int, pick }: Draw, table: string): string {
  const rows = pick([1, 10, 300, 1500, 3500]);
  const first = int(5000);
  const groups = pick([3, 50, 2000]);
  const range = `k >= ${table === "u" ? `'${first}'` : first} AND k < ${table === "u" ? `'${first + rows}'` : first + rows}`;
  return pick([
    `INSERT OR REPLACE INTO ${table} (k, n, s) WITH RECURSIVE c(i) AS (SELECT ${first} UNION ALL SELECT i + 1 FROM c WHERE i < ${first + rows}) SELECT i, i % ${groups}, char(97 + i % 7) FROM c`,
    `INSERT OR IGNORE INTO ${table} (k, n, s) WITH RECURSIVE c(i) AS (SELECT ${first} UNION ALL SELECT i + 1 FROM c WHERE i < ${first + rows}) SELECT i, i / 100, i % ${groups} FROM c`,
    `UPDATE ${table} SET n = n + 1 WHERE ${range}`,
    `UPDATE ${table} SET s = char(97 + n % 5) WHERE n % ${1 + int(4)} = 0`,
    `UPDATE ${table} SET n = ${int(5)}`,
    `DELETE FROM ${table} WHERE ${range}`,
    `DELETE FROM ${table} WHERE n % ${2 + int(3)} = 0`,
  ]);
}

async function run(seed: number, folder: string, limits: Limits): Promise<void> {
  const draw = drawOf(seededRandom(seed));
  const { chance, int, pick } = draw;
  const stages: Stage[] = [{ text: schema, local: ["l"] }];
  const left = [...changes];
  while (left.length > 0) {
    const [change] = left.splice(int(left.length), 1);
    const last = stages.at(-1) as Stage;
    stages.push({ ...last, text: (change as (typeof changes)[number])(last.text) });
  }
  using agent = new Follower(stages, fileDisk(folder), limits);
  const told: string[] = [];
  const step = async (): Promise<void> => {
    const isPeers = chance(0.4);
    const tables = isPeers ? ["t", "u"] : ["t", "u", "l"];
    const statements = Array.from({ length: pick([1, 1, 2]) }, () =>
      largeWrite(draw, pick(tables)),
    );
    told.push(`${isPeers ? "peer: " : ""}${statements.join("; ")}`);
    await (isPeers ? agent.writeOfPeer(statements) : agent.write(statements));
  };
  const subscribe = () => agent.subscribe({ sql: pick(queries), parameters: undefined });
  for (let i = 0; i < 3; i++) await step();
  for (let i = 0; i < 8; i++) await subscribe();
  const reload = async () => {
    await agent.reload();
    if (chance(0.3)) await agent.reload();
  };
  for (let i = 0; i < 6; i++) {
    await goRound(agent, draw, told, { stepsEnd: 3, reloads: 0.6, step, subscribe, reload });
  }
}

describe("live queries equal a fresh run where results and commits have thousands of rows", () => {
  for (let seed = firstSeed; seed < firstSeed + seedCount; seed++) {
    const { name, limits } = drawnLimits(seed);
    test(name, async () => {
      const folder = mkdtempSync(join(tmpdir(), "patina-live-large-"));
      try {
        await run(seed, folder, seed % 2 === 0 ? inReaderThread(limits) : { liveLimits: limits });
      } finally {
        rmSync(folder, { recursive: true });
      }
    }, 300_000);
  }
});

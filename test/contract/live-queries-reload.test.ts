import { describe, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seededRandom } from "../../bench/seeded-random.ts";
import { Follower, goRound, type Stage } from "./live-queries-follower.ts";
import type { Draw } from "./live-queries-odd.ts";
import {
  type Disk,
  drawnLimits,
  fileDisk,
  inReaderThread,
  type Limits,
  memoryDisk,
} from "./live-queries-thread.ts";
import { type Asked, wideQuery, wideWrite } from "./live-queries-wide.ts";
import { createWorld, drawOf, type World } from "./live-queries-world.ts";

/** `PATINA_TEST_RELOAD_SEEDS=1000` for a soak; `PATINA_TEST_RELOAD_SEED=17` for one. */
const seedCount = Number(process.env.PATINA_TEST_RELOAD_SEEDS ?? 10);
const firstSeed = Number(process.env.PATINA_TEST_RELOAD_SEED ?? 0);
const seeds = Array.from({ length: seedCount }, (_, i) => firstSeed + i);

const changes: readonly ((stage: Stage) => Stage)[] = [
  ({ text, local }) => ({
    text: text.replace(/(CREATE TABLE t1 \(.*)(PRIMARY KEY)/, "$1late INTEGER, $2"),
    local,
  }),
  ({ text, local }) => ({
    text: `${text}CREATE TABLE later (k TEXT NOT NULL PRIMARY KEY, n INTEGER);\n`,
    local,
  }),
  ({ text, local }) => ({ text, local: local.filter((name) => name !== "l") }),
  ({ text, local }) => ({ text: text.replace("FROM t2 WHERE s = 'a'", "FROM t2"), local }),
  ({ text, local }) => ({ text: `${text}CREATE INDEX another ON t0 (r, n);\n`, local }),
];

function drawStages(world: World, { int }: Draw): Stage[] {
  const left = [...changes];
  const stages: Stage[] = [{ text: world.schema, local: world.local }];
  while (left.length > 0) {
    const [change] = left.splice(int(left.length), 1);
    stages.push((change as (typeof changes)[number])(stages.at(-1) as Stage));
  }
  return stages;
}

async function run(seed: number, disk: Disk, limits: Limits): Promise<void> {
  const random = seededRandom(seed);
  const draw = drawOf(random);
  const { chance, int, pick } = draw;
  const world = createWorld(random);
  const drawn = world.tables.slice(0, 3);
  using agent = new Follower(drawStages(world, draw), disk, limits);
  const told: string[] = [];
  const ownWrite = () => (chance(0.5) ? wideWrite(draw, drawn) : world.write(true));
  const peersWrite = () =>
    pick([
      () => wideWrite(draw, drawn),
      () => world.write(false),
      () => `UPDATE t1 SET late = ${int(3)} WHERE n = ${int(3)}`,
      () => `INSERT OR REPLACE INTO later VALUES ('${int(3)}', ${int(3)})`,
      () => `INSERT OR REPLACE INTO l VALUES ('${int(3)}', ${int(3)}, 'a')`,
      () => `DELETE FROM ${pick(["later", "l"])} WHERE k = '${int(3)}'`,
    ])();
  const step = async (): Promise<void> => {
    const isPeers = chance(0.4);
    const statements = Array.from({ length: 1 + int(3) }, isPeers ? peersWrite : ownWrite);
    told.push(`${isPeers ? "peer: " : ""}${statements.join("; ")}`);
    await (isPeers ? agent.writeOfPeer(statements) : agent.write(statements));
  };
  const question = (): Asked =>
    chance(0.6) ? wideQuery(draw, drawn) : { sql: world.query(), parameters: undefined };
  for (let i = 0; i < 4; i++) await step();
  const subscribe = () => agent.subscribe(question());
  const reload = () => agent.reload();
  for (let i = 0; i < 14; i++) await subscribe();
  for (let i = 0; i < 9; i++) {
    await goRound(agent, draw, told, { stepsEnd: 4, reloads: 0.5, step, subscribe, reload });
  }
}

describe("live queries equal a fresh run while schema files change, and a peer is ahead of them", () => {
  for (const seed of seeds) {
    const { name, limits } = drawnLimits(seed);
    test(name, async () => {
      if (seed % 3 > 0) return run(seed, memoryDisk(), { liveLimits: limits });
      const folder = mkdtempSync(join(tmpdir(), "patina-live-reload-"));
      try {
        await run(seed, fileDisk(folder), inReaderThread(limits));
      } finally {
        rmSync(folder, { recursive: true });
      }
    }, 120_000);
  }
});

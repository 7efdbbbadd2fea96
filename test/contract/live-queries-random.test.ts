import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { StreamEvent } from "../../agent/api/store-service.ts";
import type { StoreThread } from "../../agent/store/store-thread.ts";
import { seededRandom } from "../../bench/seeded-random.ts";
import type { MemberRow, PeerId, StoreReply } from "../../core/node/border.ts";
import { openDatabase } from "../../wasm/database.ts";
import { SqliteNode, schemaOf } from "../generators/sqlite-store.ts";
import { Folded } from "./live-queries-folded.ts";
import { mayEnd } from "./live-queries-odd.ts";
import {
  type Disk,
  drawnLimits,
  fileDisk,
  inReaderThread,
  type Limits,
  memoryDisk,
  openThread,
} from "./live-queries-thread.ts";
import { createWorld } from "./live-queries-world.ts";

/** `PATINA_TEST_LIVE_SEEDS=1000` for a soak; `PATINA_TEST_LIVE_SEED=17` for one. */
const seedCount = Number(process.env.PATINA_TEST_LIVE_SEEDS ?? 60);
const onlySeed = process.env.PATINA_TEST_LIVE_SEED;
const fileSeedCount = Number(process.env.PATINA_TEST_LIVE_FILE_SEEDS ?? 12);
const seedsOf = (count: number): number[] =>
  onlySeed === undefined ? Array.from({ length: count }, (_, i) => i) : [Number(onlySeed)];

/** How many changes back a client may come back from. */
const pastMax = 12;
const refused = "INSERT INTO nothing VALUES (1)";
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));
const peer = "ab".repeat(32) as PeerId;

interface Subscribed {
  readonly sql: string;
  readonly id: string;
  folded: Folded;
  subscriber: number;
}

async function run(seed: number, firstDisk: Disk, limits: Limits): Promise<void> {
  const random = seededRandom(seed);
  const world = createWorld(random);
  const rules = Object.fromEntries(world.local.map((name) => [name, { replicated: false }]));
  let schemaText = world.schema;
  let schema = schemaOf(schemaText, rules);
  let disk = firstDisk;
  let thread = openThread(() => schema, disk, limits);
  const crashed: StoreThread[] = [];
  using first = new SqliteNode(schema, { site: 7, nowMs: Date.now() });
  using second = new SqliteNode(schema, { site: 8, nowMs: Date.now() });
  const peers = [first, second];
  /** What they have written. */
  const sent: Uint8Array[] = [];
  const replies: StoreReply[] = [];
  thread.start({ post: (reply) => replies.push(reply) });
  let { service } = thread;

  /** @returns undefined where SQLite refuses it */
  const fresh = async (sql: string): Promise<string[] | undefined> => {
    const outcome = await service.query({ sql, parameters: undefined }, undefined);
    if (outcome.kind === "refused") return undefined;
    const text = Buffer.concat(await Array.fromAsync(outcome.chunks)).toString();
    if (text.includes('{"error":')) return undefined;
    const rows = [...text.matchAll(/^\{"row":\[\d+,(.*)\]\}$/gm)];
    return rows.map((match) => match[1] as string).sort();
  };
  let schemas = 0;
  /** Of one table, or of a view and so of all. */
  const changeSchema = (): void => {
    using database = openDatabase(disk.path, { vfs: disk.vfs });
    const name = `t${Math.floor(random() * 3)}`;
    const number = ++schemas;
    const known = database.all(
      "SELECT name FROM sqlite_schema WHERE name IN ('another_index', 'another_view')",
    );
    for (const [one] of known) {
      database.exec(one === "another_view" ? "DROP VIEW another_view" : "DROP INDEX another_index");
    }
    const changes = [
      `CREATE INDEX another_index ON ${name} (r, n)`,
      `CREATE INDEX another_index ON ${name} (s) WHERE n = 1`,
      `CREATE INDEX another_index ON ${name} (n DESC, s)`,
      `CREATE VIEW another_view AS SELECT n FROM ${name}`,
      `ALTER TABLE l ADD COLUMN another_${number} DEFAULT ${number}`,
      `DROP VIEW narrow; CREATE VIEW narrow AS SELECT n FROM ${name} WHERE s = 'b'`,
      `DROP VIEW best; CREATE VIEW best AS SELECT s, n FROM ${name} ORDER BY n, s, k LIMIT 3`,
    ];
    const change = changes[Math.floor(random() * changes.length)] as string;
    database.exec(change);
    const added = /ALTER TABLE l ADD COLUMN (.*)/.exec(change)?.[1];
    if (added !== undefined) {
      schemaText = schemaText.replace(/(TABLE l \(.*)\);/, `$1, ${added});`);
      schema = schemaOf(schemaText, rules);
    }
    service.schemaChanged();
  };
  const transact = (statements: readonly string[]) => {
    const list = statements.map((sql) => ({ sql, parameters: undefined }));
    return service.transact(list, undefined);
  };
  let ticket = 0;
  const step = async (): Promise<string> => {
    if (random() < 0.08) {
      const states = ["ALIVE", "SUSPECT", "DOWN"] as const;
      const node = ["a", "b", "A"][Math.floor(random() * 3)] as string;
      const state = states[Math.floor(random() * 3)] as MemberRow["state"];
      const row = { node, key: peer, region: "r", zone: "z", state, incarnation: 1 };
      thread.request({ kind: "members", rows: [{ ...row, sinceMs: 1, storeLag: "ok" }] });
      return `member ${node} ${state}`;
    }
    const count = 1 + Math.floor(random() * 3);
    if (random() < 0.4) {
      const statements = Array.from({ length: count }, () => world.write(false));
      const from = random() < 0.5 ? 0 : 1;
      const other = peers[from] as SqliteNode;
      other.nowMs = Date.now() - 1000;
      const { encoded } = other.write(...statements);
      if (encoded !== undefined) sent.push(encoded);
      // The last one may be late, and others come again.
      const isLast = (i: number): boolean => i === sent.length - 1;
      const bodies = sent.filter((_, i) => random() < (isLast(i) ? 0.85 : 0.08));
      if (bodies.length > 0) {
        const own = ++ticket;
        const lane = random() < 0.5 ? 0 : 1;
        thread.request({ kind: "apply", ticket: own, lane, peer, what: "changesets", bodies });
        while (!replies.some((one) => one.kind === "applied" && one.ticket === own)) {
          await nextTurn();
        }
      }
      return `peer ${from}, ${bodies.map((body) => sent.indexOf(body))}: ${statements.join("; ")}`;
    }
    if (random() < 0.15) {
      // At once they share a COMMIT; some are refused, and leave nothing.
      const lists = Array.from({ length: 2 + Math.floor(random() * 3) }, () => {
        const own = Array.from({ length: count }, () => world.write(true));
        return random() < 0.2 ? [...own, refused] : own;
      });
      const outcomes = await Promise.all(lists.map((list) => transact(list)));
      expect([lists, outcomes.map(({ kind }) => kind)]).toEqual([
        lists,
        lists.map((list) => (list.includes(refused) ? "refused" : "committed")),
      ]);
      return lists.map((list) => list.join("; ")).join(" | ");
    }
    const statements = Array.from({ length: count }, () => world.write(true));
    const outcome = await transact(statements);
    if (outcome.kind === "refused") throw new Error(`${statements.join("; ")}: ${outcome.why}`);
    return statements.join("; ");
  };

  try {
    const told: string[] = [];
    for (let i = 0; i < 6; i++) told.push(await step());
    const subscribed: Subscribed[] = [];
    // What an agent that has crashed still finds out reaches nobody.
    const gone = new Set<Folded>();
    const taking = (folded: Folded) => (event: StreamEvent) => {
      if (!gone.has(folded)) folded.take(event);
    };
    const subscribe = async (sql: string): Promise<void> => {
      const folded = new Folded(pastMax);
      const outcome = await service.subscribe(
        { sql, parameters: undefined },
        { from: undefined, skipRows: false },
        taking(folded),
      );
      if (outcome.kind === "refused") {
        if (mayEnd(sql)) return;
        // An ambiguous name, say: what can't be subscribed to can't be asked either.
        expect([sql, outcome.why, await fresh(sql)]).toEqual([sql, outcome.why, undefined]);
        return;
      }
      subscribed.push({ sql, id: outcome.id, folded, subscriber: outcome.subscriber });
    };
    const resume = async (one: Subscribed): Promise<void> => {
      const { sql, id, folded } = one;
      gone.add(folded);
      const next = new Folded(pastMax);
      // A client may come back to what it had a while ago, in the middle of a transaction too.
      const { past } = folded;
      const before = random() < 0.3 ? past[Math.floor(random() * past.length)] : undefined;
      const { lastChange, rows } = before ?? folded;
      next.lastChange = lastChange;
      // 0 asks for the rows anew.
      if (lastChange > 0) for (const [rowId, cells] of rows) next.rows.set(rowId, cells);
      one.folded = next;
      const attach = async (from: number): Promise<void> => {
        const outcome = await service.attach(id, { from, skipRows: false }, taking(one.folded));
        if (outcome.kind === "refused" && (told.at(-1) === "another schema" || mayEnd(sql))) {
          // It has other columns under this one.
          one.folded.isEnded = true;
          one.folded.errors.push('{"error":"the schema changed: subscribe again"}');
          return;
        }
        expect([sql, told, outcome.kind]).toEqual([sql, told, "subscribed"]);
        if (outcome.kind === "subscribed") one.subscriber = outcome.subscriber;
      };
      await attach(lastChange);
      // Of a log that was cut what it is told to begin with may be gone.
      if (!next.errors.some((line) => line.includes("already deleted older changes"))) return;
      const { changesMax = 0, logCharsMax = 0 } = limits.liveLimits ?? {};
      expect(Math.min(changesMax / 1000, logCharsMax / 1e6)).toBeLessThan(1);
      one.folded = new Folded(pastMax);
      await attach(0);
    };
    const singles = Array.from({ length: 12 }, () => world.query());
    const families = Array.from({ length: 3 }, () => world.family());
    for (const sql of [...singles, ...families.flat()]) await subscribe(sql);
    for (let i = 0; i < 14; i++) {
      if (i === 5 || i === 10 || i === 12) {
        // Some are forgotten.
        for (const one of subscribed.filter(() => random() < 0.2)) {
          gone.add(one.folded);
          service.unsubscribe(one.subscriber);
          subscribed.splice(subscribed.indexOf(one), 1);
        }
        service.live.sweep(Date.now() + 3_600_000);
        for (let turn = 0; turn < 3; turn++) await nextTurn();
        const isOrderly = i === 10 && seed % 4 < 2;
        told.push(isOrderly ? "a restart" : "a crash");
        // The first time something may wait to be found out.
        if (i === 5) told.push(await step());
        if (isOrderly) {
          service.endStreams();
          thread.stop();
        } else {
          // Nothing is closed. What it does from here on, it does to a file that nobody looks at, and tells nobody.
          crashed.push(thread);
          disk = disk.copy();
          for (const one of subscribed) gone.add(one.folded);
        }
        thread = openThread(() => schema, disk, limits);
        thread.start({ post: (reply) => replies.push(reply) });
        service = thread.service;
        for (const one of subscribed) await resume(one);
      }
      const away = subscribed.filter(() => random() < 0.1);
      for (const one of away) {
        gone.add(one.folded);
        service.unsubscribe(one.subscriber);
      }
      // Others ask while it goes on.
      const { sql: known } = subscribed[Math.floor(random() * subscribed.length)] as Subscribed;
      const asked = random() < 0.6 ? [] : [random() < 0.5 ? known : world.query()];
      if (random() < 0.2) asked.push(...world.family());
      const asking = Promise.all(asked.map(subscribe));
      // Several commits, of which nobody may have been told when the next one comes.
      for (let left = random() < 0.5 ? 1 : 3; left > 0; left--) told.push(await step());
      await asking;
      if (random() < 0.1) {
        told.push("another schema");
        changeSchema();
      }
      for (const one of away) await resume(one);
      const isStarting = () => service.live.describe().some((one) => one.runs_now);
      while (service.live.isBehind || isStarting()) await nextTurn();
      // Whose first rows were on their way when the schema became another one is told to ask again.
      for (const one of subscribed.filter(({ folded }) => folded.isEnded)) {
        if (!mayEnd(one.sql)) {
          expect([one.sql, told.at(-1), one.folded.errors]).toEqual([
            one.sql,
            "another schema",
            [expect.stringMatching(/^{"error":"the schema changed.*: subscribe again"}$/)],
          ]);
        }
        subscribed.splice(subscribed.indexOf(one), 1);
      }
      // Subscriptions are written down when nothing else waits.
      for (let turn = 0; turn < 3; turn++) await nextTurn();
      const wanted = new Map<string, string[] | undefined>();
      for (const { sql, folded } of subscribed) {
        const want = wanted.has(sql) ? wanted.get(sql) : await fresh(sql);
        wanted.set(sql, want);
        const context = [world.schema, told, sql];
        expect([...context, folded.sorted()]).toEqual([...context, want as string[]]);
      }
    }
  } finally {
    thread.stop();
    for (const one of crashed) one.stop();
  }
}

describe("live queries equal a fresh run: random schemas, queries and histories with peers", () => {
  for (const seed of seedsOf(seedCount)) {
    const { name, limits } = drawnLimits(seed);
    test(name, () => run(seed, memoryDisk(), { liveLimits: limits }), 60_000);
  }
});

describe("the same where whatever is run again runs in the reader thread", () => {
  for (const seed of seedsOf(fileSeedCount)) {
    const { name, limits } = drawnLimits(seed);
    test(name, async () => {
      const folder = mkdtempSync(join(tmpdir(), "patina-live-random-"));
      try {
        await run(seed, fileDisk(folder), inReaderThread(limits));
      } finally {
        rmSync(folder, { recursive: true });
      }
    }, 120_000);
  }
});

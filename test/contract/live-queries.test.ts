import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { StreamEvent } from "../../agent/api/store-service.ts";
import { seededRandom } from "../../bench/seeded-random.ts";
import { Folded } from "./live-queries-folded.ts";
import { createPlainAgent, type PlainAgent } from "./plain-agent.ts";
import { SlowReruns } from "./slow-reruns.ts";

const schema = `
CREATE TABLE a (id INTEGER NOT NULL PRIMARY KEY, name TEXT, n INTEGER NOT NULL DEFAULT 0);
CREATE TABLE b (k TEXT NOT NULL, part INTEGER NOT NULL, a_id INTEGER, v REAL, PRIMARY KEY (k, part)) WITHOUT ROWID;
CREATE INDEX b_a ON b (a_id);
CREATE VIEW both AS SELECT a.name, b.v FROM a LEFT JOIN b ON b.a_id = a.id;
CREATE VIEW ids AS SELECT a_id FROM b;
`;

const queries = [
  "SELECT * FROM a",
  "SELECT name FROM a WHERE n > 1",
  "SELECT n, n FROM a x WHERE x.name LIKE 'n%' ORDER BY n DESC, id",
  "SELECT v, k FROM b WHERE part = 1 OR v > 1.5",
  "SELECT DISTINCT name FROM a",
  "SELECT count(*), sum(n), max(name) FROM a",
  "SELECT name, count(*) FROM a GROUP BY name HAVING count(*) > 1",
  "SELECT k, count(*), count(DISTINCT a_id) FROM b GROUP BY k",
  "SELECT count(v), max(k) FROM b WHERE part > 0 GROUP BY k HAVING count(*) < 3 ORDER BY 1",
  "SELECT a.id, b.k, b.part, b.v FROM a JOIN b ON b.a_id = a.id",
  "SELECT a.name, b.v FROM a LEFT JOIN b ON b.a_id = a.id",
  "SELECT a.name, b.k FROM b, a WHERE b.a_id = a.id AND a.n > 0 ORDER BY b.v",
  "SELECT b.v, a.name FROM b LEFT JOIN a ON a.id = b.a_id AND a.n > 0 WHERE a.id IS NULL OR b.v > 1",
  "SELECT x.id, y.id FROM a x JOIN a y ON x.n = y.n AND x.id < y.id",
  "SELECT id FROM a WHERE EXISTS (SELECT 1 FROM b WHERE a_id = a.id AND v > 1)",
  "SELECT id FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE a_id = a.id)",
  "SELECT id, (SELECT max(v) FROM b WHERE a_id = a.id) FROM a",
  "SELECT name FROM a UNION SELECT k FROM b",
  "SELECT name FROM a UNION ALL SELECT k FROM b",
  "WITH big AS (SELECT id FROM a WHERE n > 0) SELECT b.k, b.part FROM b WHERE a_id IN (SELECT id FROM big)",
  "SELECT name, n FROM a ORDER BY n DESC, id LIMIT 2",
  "SELECT 'same' FROM a",
  "SELECT * FROM both",
  "SELECT id, row_number() OVER (ORDER BY n, id) FROM a",
  "SELECT name FROM a WHERE id IN ids",
];

/** Which of these a commit concerns is found by value, where there are enough that differ in it. */
const families = ["n1", "n2", "other", "", "nobody"].flatMap((name) => [
  `SELECT id, n FROM a WHERE name = '${name}'`,
  `SELECT a.id, b.v FROM a JOIN b ON b.a_id = a.id WHERE a.name = '${name}'`,
]);

async function fresh(agent: PlainAgent, sql: string): Promise<string[]> {
  const outcome = await agent.service.query({ sql, parameters: undefined }, undefined);
  if (outcome.kind === "refused") throw new Error(outcome.why);
  const text = Buffer.concat(await Array.fromAsync(outcome.chunks)).toString();
  return [...text.matchAll(/^\{"row":\[\d+,(.*)\]\}$/gm)].map((match) => match[1] as string).sort();
}

/** What takes long, on this machine and at this moment, is told in turns of its own. */
async function told(agent: PlainAgent): Promise<void> {
  while (agent.service.live.isBehind) await new Promise((resolve) => setImmediate(resolve));
}

/** Runs a transaction, and waits until everyone has heard of it. */
async function transact(agent: PlainAgent, ...statements: readonly string[]): Promise<void> {
  const list = statements.map((sql) => ({ sql, parameters: undefined }));
  expect(await agent.service.transact(list, undefined)).toMatchObject({ kind: "committed" });
  await told(agent);
}

const id = fc.integer({ min: 0, max: 4 });
const name = fc.constantFrom("'n1'", "'n2'", "'other'", "NULL", "''");
/** More than are looked up one by one. */
const many = fc
  .integer({ min: 1, max: 3 })
  .map(
    (n) =>
      `INSERT OR REPLACE INTO a WITH RECURSIVE c(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM c WHERE x < 11) SELECT x, 'n' || (x % ${n}), x % 4 FROM c`,
  );
const write = fc.oneof(
  fc
    .tuple(id, name, fc.integer({ min: 0, max: 3 }))
    .map(([a, b, c]) => `INSERT OR REPLACE INTO a VALUES (${a}, ${b}, ${c})`),
  fc.tuple(id, name).map(([a, b]) => `UPDATE a SET name = ${b} WHERE id = ${a}`),
  fc.tuple(id, id).map(([a, b]) => `UPDATE OR IGNORE a SET id = ${b}, n = n + 1 WHERE id = ${a}`),
  id.map((a) => `DELETE FROM a WHERE id = ${a}`),
  fc.constant("UPDATE a SET n = n + 1"),
  fc.constant("DELETE FROM a"),
  fc
    .tuple(
      fc.constantFrom("x", "y"),
      fc.integer({ min: 0, max: 2 }),
      id,
      fc.constantFrom("1.0", "2", "1.75", "NULL"),
    )
    .map(([k, part, a, v]) => `INSERT OR REPLACE INTO b VALUES ('${k}', ${part}, ${a}, ${v})`),
  fc.constantFrom("x", "y").map((k) => `DELETE FROM b WHERE k = '${k}'`),
  fc.constant("UPDATE b SET a_id = a_id + 1"),
  { weight: 2, arbitrary: many },
);
const history = fc.array(fc.array(write, { minLength: 1, maxLength: 3 }), { maxLength: 12 });

describe("live queries", () => {
  // The law: events folded up equal the query run again, after every transaction.
  test("always equal a fresh run, for every shape of query", async () => {
    await fc.assert(
      fc.asyncProperty(history, history, async (before, after) => {
        using agent = createPlainAgent(schema);
        for (const statements of before) await transact(agent, ...statements);
        const subscribed = await Promise.all(
          queries.map(async (sql) => {
            const folded = new Folded();
            const outcome = await agent.service.subscribe(
              { sql, parameters: undefined },
              { from: undefined, skipRows: false },
              folded.take,
            );
            expect([sql, outcome.kind]).toEqual([sql, "subscribed"]);
            return { sql, folded };
          }),
        );
        for (const statements of [[], ...after]) {
          if (statements.length > 0) await transact(agent, ...statements);
          for (const { sql, folded } of subscribed) {
            expect([sql, folded.sorted()]).toEqual([sql, await fresh(agent, sql)]);
          }
        }
      }),
      { numRuns: 60 },
    );
  }, 180_000);

  // The same, with commits while runs in another thread are under way: it is true whenever nothing is.
  test("equal a fresh run where another thread finds out everything, however late", async () => {
    const burst = fc.array(fc.tuple(write, fc.integer({ min: 0, max: 3 })), {
      minLength: 1,
      maxLength: 5,
    });
    let runs = 0;
    await fc.assert(
      fc.asyncProperty(history, fc.array(burst, { maxLength: 5 }), fc.nat(), async (...drawn) => {
        const [before, bursts, seed] = drawn;
        const random = seededRandom(seed);
        let source: SlowReruns | undefined;
        // What can be looked up is, between two runs: then runs find less.
        const lookUpMs = seed % 2 === 0 ? 0 : 1000;
        using agent = createPlainAgent(schema, {
          reruns: (runner) => {
            source = new SlowReruns(runner, random);
            return source;
          },
          lookBudget: { rerun: { ms: 0, bytes: 0 }, lookUpMs },
        });
        for (const statements of before) await transact(agent, ...statements);
        const foldings = new Map<string, Folded[]>();
        const subscribe = async (sql: string): Promise<void> => {
          const folded = new Folded();
          const outcome = await agent.service.subscribe(
            { sql, parameters: undefined },
            { from: undefined, skipRows: false },
            folded.take,
          );
          expect([sql, outcome.kind]).toEqual([sql, "subscribed"]);
          foldings.set(sql, [...(foldings.get(sql) ?? []), folded]);
        };
        for (const sql of [...queries, ...families]) await subscribe(sql);
        for (const writes of bursts) {
          // Others ask for the same meanwhile.
          const later = subscribe(queries[Math.floor(random() * queries.length)] as string);
          for (const [sql, turns] of writes) {
            await agent.service.transact([{ sql, parameters: undefined }], undefined);
            for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
          }
          await later;
          await told(agent);
          expect(source?.running).toBe(0);
          for (const [sql, all] of foldings) {
            const want = await fresh(agent, sql);
            for (const folded of all) expect([sql, folded.sorted()]).toEqual([sql, want]);
          }
        }
        runs += source?.runs ?? 0;
      }),
      { numRuns: 60 },
    );
    expect(runs).toBeGreaterThan(100);
  }, 180_000);

  test("an update keeps its row id, in queries by key and in joins that show the keys", async () => {
    using agent = createPlainAgent(schema);
    const run = (sql: string) => transact(agent, sql);
    await run("INSERT INTO a VALUES (1, 'x', 0)");
    await run("INSERT INTO b VALUES ('k', 1, 1, 1.0)");
    const lines: string[] = [];
    for (const sql of [
      "SELECT name FROM a",
      "SELECT a.id, b.k, b.part, a.name FROM a JOIN b ON b.a_id = a.id",
      "SELECT a.name FROM a LEFT JOIN b ON b.a_id = a.id",
      "SELECT max(name) FROM a",
    ]) {
      await agent.service.subscribe(
        { sql, parameters: undefined },
        { from: undefined, skipRows: true },
        (event) => {
          if (event.kind === "lines") lines.push(Buffer.from(event.bytes).toString());
        },
      );
    }
    const how = agent.service.live.describe().map((query) => query.how);
    expect(how).toEqual(["keyed", "keyed", "keyed", "rerun"]);
    await run("UPDATE a SET name = 'y'");
    expect(lines.sort()).toEqual([
      '{"change":["update",1,["y"],1]}\n',
      '{"change":["update",1,["y"],1]}\n',
      '{"change":["update",1,["y"],1]}\n',
      '{"change":["update",1,[1,"k",1,"y"],1]}\n',
    ]);
  });

  test("one that can no longer be told ends with an error, and the others go on", async () => {
    using agent = createPlainAgent(schema);
    const run = (sql: string) => transact(agent, sql);
    const subscribe = async (sql: string) => {
      const got: string[] = [];
      await agent.service.subscribe(
        { sql, parameters: undefined },
        { from: undefined, skipRows: true },
        (event) => got.push(event.kind === "end" ? "end" : Buffer.from(event.bytes).toString()),
      );
      return got;
    };
    const failing = await subscribe("SELECT json_extract(name, '$') FROM a");
    const sound = await subscribe("SELECT id FROM a");
    await run("INSERT INTO a (id, name) VALUES (1, 'no json')");
    expect(failing).toEqual(['{"error":"malformed JSON"}\n', "end"]);
    expect(sound).toEqual(['{"change":["insert",1,[1],1]}\n']);
    expect(agent.service.live.count).toBe(1);
  });

  test.each([
    ["each change where rows are looked up by key", "SELECT name, n FROM a", 3],
    ["the net difference of what is run again", "SELECT DISTINCT id, name, n FROM a", 2],
  ])("who comes back after everybody was gone gets %s", async (_what, sql, changes) => {
    using agent = createPlainAgent(schema);
    const run = (sql: string) => transact(agent, sql);
    const lines: string[] = [];
    const listen = (event: StreamEvent) => {
      if (event.kind === "lines") lines.push(Buffer.from(event.bytes).toString());
    };
    await run("INSERT INTO a VALUES (1, 'x', 0), (2, 'y', 0)");
    const outcome = await agent.service.subscribe(
      { sql, parameters: undefined },
      { from: undefined, skipRows: false },
      listen,
    );
    const folded = new Folded();
    for (const line of lines.splice(0).join("").split("\n")) folded.takeLine(line);
    if (outcome.kind === "refused") throw new Error(outcome.why);
    agent.service.unsubscribe(outcome.subscriber);
    await run("UPDATE a SET n = 1 WHERE id = 1");
    await run("UPDATE a SET n = 2 WHERE id = 1");
    await run("DELETE FROM a WHERE id = 2");
    const again = await agent.service.attach(outcome.id, { from: 0, skipRows: true }, listen);
    expect(again.kind).toBe("subscribed");
    expect(lines).toEqual([]);
    const resumed = await agent.service.attach(
      outcome.id,
      { from: folded.lastChange + 1, skipRows: false },
      listen,
    );
    expect(resumed.kind).toBe("subscribed");
    expect(lines.join("").split("\n")).toHaveLength(changes);
    lines.length = 0;
    // From its last change on, which was none.
    await agent.service.attach(outcome.id, { from: undefined, skipRows: false }, listen);
    expect(lines.join("")).toContain(`"x",2]]}`);
    expect(lines.join("")).toContain(`"change_id":${changes}}`);
  });

  test.each([
    [
      "a value of a selection",
      "SELECT id, n FROM a WHERE name = ?",
      "UPDATE a SET n = 7 WHERE id = 2",
    ],
    [
      "a value of a join",
      "SELECT a.id, a.n, b.v FROM a JOIN b ON b.a_id = a.id WHERE a.name = ?",
      "UPDATE b SET v = 7.5 WHERE a_id = 2",
    ],
    ["an integer", "SELECT id, n FROM a WHERE 10 * id = ?", "UPDATE a SET n = 7 WHERE id = 2"],
  ])("a commit looks at no subscription whose %s it doesn't touch", async (_what, sql, update) => {
    using agent = createPlainAgent(schema);
    const run = (text: string) => transact(agent, text);
    for (let i = 0; i < 10; i++) {
      await run(`INSERT INTO a VALUES (${i}, 'n${i}', 0)`);
      await run(`INSERT INTO b VALUES ('k', ${i}, ${i}, 0.5)`);
    }
    const isInteger = sql.includes("10 *");
    const told: number[] = [];
    for (let i = 0; i < 10; i++) {
      await agent.service.subscribe(
        { sql, parameters: [isInteger ? 10 * i : `n${i}`] },
        { from: undefined, skipRows: true },
        () => told.push(i),
      );
    }
    await run(update);
    expect(told).toEqual([2]);
    // Out of one's results and into another's: both, and nobody else.
    await run(
      isInteger
        ? "UPDATE a SET id = 33, n = 1 WHERE id = 2"
        : "UPDATE a SET name = 'n3' WHERE id = 2",
    );
    expect(told.slice(1).sort()).toEqual(isInteger ? [2] : [2, 3]);
    const looked = agent.service.live.describe().map((one) => one.looked);
    expect(looked.filter((count) => count > 0).length).toBe(isInteger ? 1 : 2);
    expect(agent.service.live.describe()[0]).toMatchObject({
      how: "keyed",
      found_by: "value",
      shares_statements_with: 9,
    });
  });

  test("a text column compares with a number as with its text, and so is it found", async () => {
    using agent = createPlainAgent(schema);
    const run = (text: string) => transact(agent, text);
    const told: number[] = [];
    for (let i = 0; i < 10; i++) {
      await agent.service.subscribe(
        { sql: "SELECT id FROM a WHERE name = ? AND n < ?", parameters: [i, 5] },
        { from: undefined, skipRows: true },
        () => told.push(i),
      );
    }
    await run("INSERT INTO a VALUES (1, '4', 0), (2, '5', 9)");
    expect(told).toEqual([4]);
  });

  test("what changes by itself can't be subscribed to, and can be asked", async () => {
    using agent = createPlainAgent(schema);
    const sql = "SELECT id FROM a WHERE n > unixepoch('now', '-1 minute')";
    const text = { sql, parameters: undefined };
    const outcome = await agent.service.subscribe(
      text,
      { from: undefined, skipRows: false },
      () => {},
    );
    expect(outcome).toEqual({
      kind: "refused",
      status: 400,
      why: "unixepoch() has another value at another time, and nothing tells when: it can't be subscribed to. Give the value as a parameter",
    });
    expect(await fresh(agent, sql)).toEqual([]);
  });

  test("where a date function is given 'now' that no text shows, the query is refused, or ends", async () => {
    using agent = createPlainAgent(schema);
    const run = async (sql: string): Promise<void> => {
      const done = await agent.service.transact([{ sql, parameters: undefined }], undefined);
      expect(done.kind).toBe("committed");
      while (agent.service.live.isBehind) await new Promise((resolve) => setImmediate(resolve));
    };
    const why =
      "a date function was given 'now', which has another value at another time, and nothing tells when: it can't be subscribed to. Give the value as a parameter";
    const subscribe = (sql: string, folded: Folded) => {
      const text = { sql, parameters: undefined };
      return agent.service.subscribe(text, { from: undefined, skipRows: false }, folded.take);
    };
    await run("INSERT INTO a VALUES (1, '2026-11-26', 1)");
    for (const sql of [
      "WITH w(x) AS (SELECT 'now') SELECT date(x), id FROM w LEFT JOIN a",
      "SELECT id FROM a WHERE name > datetime('n' || 'ow')",
    ]) {
      expect([sql, await subscribe(sql, new Folded())]).toEqual([
        sql,
        { kind: "refused", status: 400, why },
      ]);
    }
    const folded: Folded[] = [];
    for (const sql of [
      "SELECT id, date(name) FROM a",
      "SELECT count(DISTINCT time(name)) FROM a",
      "SELECT b.k FROM b LEFT JOIN a ON date(a.name) = b.k",
      // As many as share one look for whom a row concerns: none has it among its results.
      ...["x", "y", "z", "2026-11-26"].map((s) => `SELECT id FROM a WHERE date(name) = '${s}x'`),
    ]) {
      const one = new Folded();
      folded.push(one);
      expect((await subscribe(sql, one)).kind).toBe("subscribed");
    }
    await run("INSERT INTO a VALUES (3, '2026-11-25', 1)");
    expect(folded.map(({ isEnded }) => isEnded)).toEqual(folded.map(() => false));
    await run("INSERT INTO a VALUES (2, 'now', 1)");
    expect(folded.map(({ errors }) => errors)).toEqual(
      folded.map(() => [JSON.stringify({ error: why })]),
    );
    expect(agent.service.live.count).toBe(0);
  });

  test("of what is counted by groups a commit has those counted that its rows were in, and are in", async () => {
    using agent = createPlainAgent(schema);
    const lines: string[] = [];
    await transact(
      agent,
      "INSERT INTO b VALUES ('x', 1, 1, 1.0), ('x', 2, 1, 1.0), ('y', 1, 1, 1.0)",
    );
    await agent.service.subscribe(
      { sql: "SELECT k, count(*) FROM b GROUP BY k", parameters: undefined },
      { from: undefined, skipRows: true },
      (event) => {
        if (event.kind === "lines") lines.push(Buffer.from(event.bytes).toString());
      },
    );
    await transact(agent, "UPDATE b SET k = 'y' WHERE k = 'x' AND part = 2");
    await transact(agent, "DELETE FROM b WHERE k = 'x'", "INSERT INTO b VALUES ('z', 1, 1, 1.0)");
    expect(agent.service.live.describe()[0]?.how).toBe("grouped");
    expect(lines.join("").trim().split("\n")).toEqual([
      '{"change":["update",1,["x",1],1]}',
      '{"change":["update",2,["y",2],2]}',
      '{"change":["insert",3,["z",1],3]}',
      '{"change":["delete",1,["x",1],4]}',
    ]);
  });

  // Of both the constant is one table's alone, and the other is found by it.
  test.each([
    [
      "the right side of a LEFT JOIN that WHERE asks for",
      "SELECT a.n, b.v FROM a LEFT JOIN b ON b.a_id = a.id WHERE b.k = ?",
    ],
    [
      "a join that is summed up",
      "SELECT count(*) FROM b LEFT JOIN a ON a.name = b.k WHERE b.k = ?",
    ],
  ])("%s is found by value", async (_what, sql) => {
    using agent = createPlainAgent(schema);
    for (let i = 0; i < 10; i++) {
      await transact(agent, `INSERT INTO a VALUES (${i}, 'k${i}', 0)`);
      await transact(agent, `INSERT INTO b VALUES ('k${i}', 1, ${i}, 0.5)`);
    }
    for (let i = 0; i < 10; i++) {
      await agent.service.subscribe(
        { sql, parameters: [`k${i}`] },
        { from: undefined, skipRows: true },
        () => {},
      );
    }
    await transact(
      agent,
      "UPDATE b SET v = 1.5 WHERE k = 'k3'",
      "INSERT INTO b VALUES ('k3', 2, 3, 1.0)",
    );
    await transact(agent, "INSERT INTO a VALUES (77, 'k3', 1)");
    const reports = agent.service.live.describe();
    expect(reports.map((one) => one.found_by)).toEqual(reports.map(() => "value"));
    expect(reports.flatMap(({ looked }, i) => (looked > 0 ? [i] : []))).toEqual([3]);
  });

  test("a table that isn't concerned costs nothing: no event, no change id", async () => {
    using agent = createPlainAgent(schema);
    const run = (sql: string) => transact(agent, sql);
    const folded = new Folded();
    await agent.service.subscribe(
      { sql: "SELECT count(*) FROM a", parameters: undefined },
      { from: undefined, skipRows: false },
      folded.take,
    );
    await run("INSERT INTO b VALUES ('k', 1, 1, 1.0)");
    expect([folded.lastChange, folded.sorted()]).toEqual([0, ["[0]"]]);
  });
});

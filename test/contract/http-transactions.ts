/**
 * The part of the HTTP contract that is about transactions. {@link httpContract} runs it.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import type { ContractRun } from "./contract-run.ts";

export function transactionsContract(run: ContractRun): void {
  describe("transactions", () => {
    test("answer with the rows of each statement, a version and the actor", async () => {
      const id = run.keys();
      const { status, contentType, text } = await run.http.transact(
        `[["INSERT INTO tests (id,text) VALUES (?,?)",[${id},"a"]],
          ["INSERT INTO tests (id,text) VALUES (?,?),(?,?)",[${id + 1},"b",${id + 2},"c"]],
          "UPDATE tests SET text = 'B' WHERE id = ${id + 1}"]`,
      );
      expect([status, contentType]).toEqual([200, "application/json"]);
      const body = JSON.parse(text);
      expect(body.results.map((one: { rows_affected: number }) => one.rows_affected)).toEqual([
        1, 2, 1,
      ]);
      for (const one of body.results) expect(Object.keys(one)).toEqual(["rows_affected", "time"]);
      expect(Number.isInteger(body.version)).toBe(true);
      expect(body.actor_id).toMatch(/^[0-9a-f]{32}$/);
    });

    test("count versions by one, and give null for a change that changes nothing", async () => {
      const id = run.keys();
      const version = async (sql: string) =>
        JSON.parse((await run.http.transact(`["${sql}"]`)).text).version;
      const first = await version(`INSERT INTO tests VALUES (${id}, 'a')`);
      expect(await version(`UPDATE tests SET text = 'a' WHERE id = ${id}`)).toBeNull();
      expect(await version(`UPDATE tests SET text = 'b' WHERE id = ${id}`)).toBe(first + 1);
    });

    test("take every form of a statement", async () => {
      const id = run.keys();
      const { status } = await run.http.transact(
        `["INSERT INTO tests VALUES (${id}, 'plain')",
          ["INSERT INTO tests VALUES (?, ?)", [${id + 1}, "list"]],
          ["INSERT INTO tests VALUES (:id, :text)", {":id": ${id + 2}, ":text": "names"}],
          {"query": "INSERT INTO tests VALUES (?, ?)", "params": [${id + 3}, "verbose"], "named_params": null},
          {"query": "INSERT INTO tests VALUES ($id, 'verbose names')", "named_params": {"$id": ${id + 4}}},
          {"query": "INSERT INTO tests VALUES (${id + 5}, 'verbose alone')"},
          ["INSERT INTO tests VALUES (${id + 6}, 'no values')", []]]`,
      );
      expect(status).toBe(200);
      expect(
        await run.http.cells(`"SELECT text FROM tests WHERE id BETWEEN ${id} AND ${id + 99}"`),
      ).toEqual([
        '["plain"]',
        '["list"]',
        '["names"]',
        '["verbose"]',
        '["verbose names"]',
        '["verbose alone"]',
        '["no values"]',
      ]);
    });

    test("apply all or nothing", async () => {
      const id = run.keys();
      const error = await run.refusedTransaction(
        `["INSERT INTO tests VALUES (${id}, 'a')", "INSERT INTO tests VALUES (${id}, 'b')"]`,
      );
      expect(error).toBe(
        "rusqlite: UNIQUE constraint failed: tests.id (actor_id: None, version: None)",
      );
    });

    test("want at least one statement", async () => {
      const { status, text } = await run.http.transact("[]");
      expect(status).toBe(400);
      expect(text).toMatch(
        /^\{"results":\[\{"error":"at least 1 statement is required"\}\],"time":0\.0,"version":null,"actor_id":"[0-9a-f]{32}"\}$/,
      );
    });

    test.each([
      ["SELECT 1", "Execute returned results - did you mean to call query?"],
      ["DELETE FROM tests RETURNING id", "Execute returned results - did you mean to call query?"],
      [
        "INSERT INTO tests VALUES (?, ?)",
        "Wrong number of parameters passed to query. Got 0, needed 2",
      ],
      ["DELETE FROM tests; DELETE FROM tests2", "Multiple statements provided"],
      ["DELETE FROM nowhere", /no such table: nowhere/],
      ["UPDATE tests SET nil = 1", /no such column: nil/],
      ["SELEC 1", /near "SELEC": syntax error/],
    ])("refuse %s", async (sql, why) => {
      const error = await run.refusedTransaction(JSON.stringify([sql]));
      expect(error).toMatch(/^rusqlite: .* \(actor_id: None, version: None\)$/);
      const inner = error.slice("rusqlite: ".length, -" (actor_id: None, version: None)".length);
      if (typeof why === "string") expect(inner).toBe(why);
      else expect(inner).toMatch(why);
    });

    test("take values by position when both kinds are given", async () => {
      const id = run.keys();
      const both = `[{"query":"INSERT INTO tests VALUES (?, ?)","params":[${id},"by position"],"named_params":{":x":1}}]`;
      expect((await run.http.transact(both)).status).toBe(200);
      expect(await run.http.cells(`"SELECT text FROM tests WHERE id = ${id}"`)).toEqual([
        '["by position"]',
      ]);
    });

    test("are interrupted at their timeout, and apply nothing", async () => {
      const id = run.keys();
      const slow = `INSERT INTO tests WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT ${id} + max(x), '' FROM c`;
      const { status, text } = await run.http.transact(
        JSON.stringify([`INSERT INTO tests VALUES (${id}, 'a')`, slow]),
        "?timeout=1",
      );
      expect(status).toBe(500);
      expect(JSON.parse(text).results).toEqual([
        { error: "rusqlite: interrupted (actor_id: None, version: None)" },
      ]);
      expect(await run.http.cells(`"SELECT id FROM tests WHERE id = ${id}"`)).toEqual([]);
    });

    test("refuse a name that isn't in the statement", async () => {
      const error = await run.refusedTransaction(
        '[["DELETE FROM tests WHERE id = :id",{":id":-1,":x":1}]]',
      );
      expect(error).toContain("Invalid parameter name: :x");
    });

    test("may have a timeout of 0 for none of their own", async () => {
      const id = run.keys();
      const insert = `["INSERT INTO tests VALUES (${id}, 'a')"]`;
      expect((await run.http.transact(insert, "?timeout=0")).status).toBe(200);
      const query = await run.http.query(`"SELECT text FROM tests WHERE id = ${id}"`, "?timeout=0");
      expect(query.text).toContain('{"row":[1,["a"]]}');
    });

    test("that are too large are refused, and name what they are over", async () => {
      if (!run.target.isPatina) return;
      const count = await run.http.transact(`[${'"",'.repeat(100_000)}""]`);
      expect([count.status, JSON.parse(count.text).results]).toEqual([
        400,
        [{ error: "at most 100000 statements in one transaction, got 100001" }],
      ]);
      const values = `["DELETE FROM tests WHERE id = ?",[${new Array(100_000).fill("1.5")}]]`;
      for (const [path, body] of [
        ["/v1/transactions", `["DELETE FROM tests2",${values}]`],
        ["/v1/queries", values],
        ["/v1/subscriptions", values],
        ["/v1/table_stats", values],
      ] as const) {
        const { status, text } = await run.http.ask("POST", path, body);
        expect([path, status, text]).toEqual([
          path,
          400,
          expect.stringMatching(/: over 100000 values at line 1 column \d+$/),
        ]);
      }
      const many =
        "INSERT INTO testsvalues (id) WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 100001) SELECT 'many ' || x FROM c";
      expect(await run.refusedTransaction(JSON.stringify([many]))).toContain(
        "a transaction may change 100000 rows, this one changes 100001: split it",
      );
      const bytes =
        "INSERT INTO testsvalues (id, any) WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 10) SELECT 'large ' || x, zeroblob(7000000) FROM c";
      expect(await run.refusedTransaction(JSON.stringify([bytes]))).toMatch(
        /a transaction may change 67108864 bytes, this one changes \d+: split it/,
      );
      const value = "INSERT INTO testsvalues (id, any) VALUES ('v', zeroblob(9000000))";
      expect(await run.refusedTransaction(JSON.stringify([value]))).toContain(
        "testsvalues.any: a value may have 8388608 bytes, this one has 9000000",
      );
      const text = `UPDATE testsvalues SET any = '${"x".repeat(250_000)}'`;
      const why = `a statement's text may have 250000 characters, and has ${text.length}: give values as parameters`;
      expect(await run.refusedTransaction(JSON.stringify([text]))).toContain(why);
    });

    test("refuse too many values", async () => {
      const error = await run.refusedTransaction('[["DELETE FROM tests WHERE id = ?",[1,2]]]');
      expect(error).toContain("Wrong number of parameters passed to query. Got 2, needed 1");
    });

    // Corrosion applies the row and answers 500 (a bug), and takes DDL.
    test.each([
      "BEGIN",
      "BEGIN IMMEDIATE",
      "COMMIT",
      "END",
      "ROLLBACK",
      "SAVEPOINT s",
      "RELEASE s",
      "ROLLBACK TO s",
      "PRAGMA user_version = 7",
      "PRAGMA writable_schema = ON",
      "PRAGMA table_info(tests)",
      "INSERT INTO tests SELECT -1, name FROM pragma_table_list",
      "ATTACH ':memory:' AS other",
      "DETACH main",
      "VACUUM",
      "VACUUM INTO '/dev/shm/never'",
      "ANALYZE",
      "REINDEX",
      "CREATE TABLE fresh (id INTEGER PRIMARY KEY)",
      "CREATE TEMP TABLE fresh (id INTEGER PRIMARY KEY)",
      "CREATE VIEW fresh AS SELECT 1",
      "CREATE INDEX fresh ON tests (text)",
      "CREATE TRIGGER fresh AFTER INSERT ON tests BEGIN DELETE FROM tests; END",
      "CREATE VIRTUAL TABLE fresh USING fts5(a)",
      "DROP TABLE tests",
      "ALTER TABLE tests ADD COLUMN more TEXT",
      "ALTER TABLE tests RENAME TO other",
      "INSERT INTO sqlite_schema VALUES (1,2,3,4,5)",
      "DELETE FROM patina_state",
      "UPDATE patina_members SET state = 'DOWN'",
      "INSERT INTO patina_clock_tests VALUES (x'00', x'00', NULL)",
      "EXPLAIN DELETE FROM tests",
      "INSERT OR ROLLBACK INTO tests SELECT id, text FROM tests",
      "",
      "-- nothing",
    ])("apply nothing of a list with %j in it", async (sql) => {
      if (!run.target.isPatina) return;
      const id = run.keys();
      await run.http.transact(`["INSERT INTO tests VALUES (${id + 1}, 'is there')"]`);
      await run.refusedTransaction(
        JSON.stringify([
          `INSERT INTO tests VALUES (${id}, 'before')`,
          sql,
          `INSERT INTO tests VALUES (${id + 2}, 'after')`,
        ]),
      );
      // The next one works as always: nothing was left open.
      expect((await run.http.transact(`["DELETE FROM tests WHERE id = ${id + 1}"]`)).status).toBe(
        200,
      );
    });
  });
}

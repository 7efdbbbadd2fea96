/**
 * The HTTP contract as tests: what Corrosion's clients rely on, to the byte where they look at bytes. Any
 * server that speaks it can be put under them, at a URL or a Unix socket.
 *
 * The server must have {@link contractSchema}. Each test uses keys of its own, so that the tests may
 * run on a server that has been used before.
 *
 * @module
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { ContractRun, liveContract } from "./http-live.ts";
import { HttpClient, type HttpTarget } from "./http-target.ts";

export const contractSchema: string = `
CREATE TABLE tests (id INTEGER NOT NULL PRIMARY KEY, text TEXT NOT NULL DEFAULT "") WITHOUT ROWID;
CREATE TABLE tests2 (id INTEGER NOT NULL PRIMARY KEY, text TEXT NOT NULL DEFAULT "") WITHOUT ROWID;
CREATE TABLE tests3 (id INTEGER NOT NULL PRIMARY KEY, text TEXT NOT NULL DEFAULT "",
  text2 TEXT NOT NULL DEFAULT "", num INTEGER NOT NULL DEFAULT 0, num2 INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE testsblob (id BLOB NOT NULL PRIMARY KEY, text TEXT NOT NULL DEFAULT "");
CREATE TABLE testskeys (a TEXT NOT NULL, b INTEGER NOT NULL, c TEXT NOT NULL DEFAULT "", PRIMARY KEY (b, a));
CREATE TABLE testsvalues (id TEXT NOT NULL PRIMARY KEY, any BLOB, number REAL);
`;

/** What Patina must have besides. */
export const patinaSchema: string = `
CREATE VIEW private_addresses AS SELECT id, text FROM tests WHERE cidr_match('10.0.0.0/8', text);
CREATE VIEW last_writer AS SELECT key AS id, site, ms FROM patina_changes WHERE tbl = 'tests' AND col = 'text';
`;

const notJson = "Failed to parse the request body as JSON: ";
const wrongShape = "Failed to deserialize the JSON body into the target type: ";

/** @param open starts the server, or finds it */
export function httpContract(
  name: string,
  open: () => Promise<HttpTarget & { readonly close: () => Promise<void> }>,
): void {
  describe(`HTTP contract: ${name}`, () => {
    const run = new ContractRun();
    const keys = () => run.keys();
    let target: HttpTarget & { readonly close: () => Promise<void> };
    let http: HttpClient;

    beforeAll(async () => {
      target = await open();
      http = new HttpClient(target);
      await run.begin(target, http);
    });
    afterAll(() => {
      http.close();
      return target.close();
    });

    /** The one error of a refused transaction, which must have changed nothing. */
    const refusedTransaction = async (statements: string, status = 500): Promise<string> => {
      const state = '"SELECT count(*), sum(id), sum(length(text)) FROM tests"';
      const before = await http.cells(state);
      const answer = await http.transact(statements);
      expect(answer.status).toBe(status);
      expect(answer.contentType).toBe("application/json");
      const body = JSON.parse(answer.text);
      expect(Object.keys(body)).toEqual(["results", "time", "version", "actor_id"]);
      expect(body.version).toBeNull();
      expect(body.results).toHaveLength(1);
      expect(await http.cells(state)).toEqual(before);
      return body.results[0].error;
    };

    describe("transactions", () => {
      test("answer with the rows of each statement, a version and the actor", async () => {
        const id = keys();
        const { status, contentType, text } = await http.transact(
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
        const id = keys();
        const version = async (sql: string) =>
          JSON.parse((await http.transact(`["${sql}"]`)).text).version;
        const first = await version(`INSERT INTO tests VALUES (${id}, 'a')`);
        expect(await version(`UPDATE tests SET text = 'a' WHERE id = ${id}`)).toBeNull();
        expect(await version(`UPDATE tests SET text = 'b' WHERE id = ${id}`)).toBe(first + 1);
      });

      test("take every form of a statement", async () => {
        const id = keys();
        const { status } = await http.transact(
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
          await http.cells(`"SELECT text FROM tests WHERE id BETWEEN ${id} AND ${id + 99}"`),
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
        const id = keys();
        const error = await refusedTransaction(
          `["INSERT INTO tests VALUES (${id}, 'a')", "INSERT INTO tests VALUES (${id}, 'b')"]`,
        );
        expect(error).toBe(
          "rusqlite: UNIQUE constraint failed: tests.id (actor_id: None, version: None)",
        );
      });

      test("want at least one statement", async () => {
        const { status, text } = await http.transact("[]");
        expect(status).toBe(400);
        expect(text).toMatch(
          /^\{"results":\[\{"error":"at least 1 statement is required"\}\],"time":0\.0,"version":null,"actor_id":"[0-9a-f]{32}"\}$/,
        );
      });

      test.each([
        ["SELECT 1", "Execute returned results - did you mean to call query?"],
        [
          "DELETE FROM tests RETURNING id",
          "Execute returned results - did you mean to call query?",
        ],
        [
          "INSERT INTO tests VALUES (?, ?)",
          "Wrong number of parameters passed to query. Got 0, needed 2",
        ],
        ["DELETE FROM tests; DELETE FROM tests2", "Multiple statements provided"],
        ["DELETE FROM nowhere", /no such table: nowhere/],
        ["UPDATE tests SET nil = 1", /no such column: nil/],
        ["SELEC 1", /near "SELEC": syntax error/],
      ])("refuse %s", async (sql, why) => {
        const error = await refusedTransaction(JSON.stringify([sql]));
        expect(error).toMatch(/^rusqlite: .* \(actor_id: None, version: None\)$/);
        const inner = error.slice("rusqlite: ".length, -" (actor_id: None, version: None)".length);
        if (typeof why === "string") expect(inner).toBe(why);
        else expect(inner).toMatch(why);
      });

      test("take values by position when both kinds are given", async () => {
        const id = keys();
        const both = `[{"query":"INSERT INTO tests VALUES (?, ?)","params":[${id},"by position"],"named_params":{":x":1}}]`;
        expect((await http.transact(both)).status).toBe(200);
        expect(await http.cells(`"SELECT text FROM tests WHERE id = ${id}"`)).toEqual([
          '["by position"]',
        ]);
      });

      test("are interrupted at their timeout, and apply nothing", async () => {
        const id = keys();
        const slow = `INSERT INTO tests WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT ${id} + max(x), '' FROM c`;
        const { status, text } = await http.transact(
          JSON.stringify([`INSERT INTO tests VALUES (${id}, 'a')`, slow]),
          "?timeout=1",
        );
        expect(status).toBe(500);
        expect(JSON.parse(text).results).toEqual([
          { error: "rusqlite: interrupted (actor_id: None, version: None)" },
        ]);
        expect(await http.cells(`"SELECT id FROM tests WHERE id = ${id}"`)).toEqual([]);
      });

      test("refuse a name that isn't in the statement", async () => {
        const error = await refusedTransaction(
          '[["DELETE FROM tests WHERE id = :id",{":id":-1,":x":1}]]',
        );
        expect(error).toContain("Invalid parameter name: :x");
      });

      test("may have a timeout of 0 for none of their own", async () => {
        const id = keys();
        const insert = `["INSERT INTO tests VALUES (${id}, 'a')"]`;
        expect((await http.transact(insert, "?timeout=0")).status).toBe(200);
        const query = await http.query(`"SELECT text FROM tests WHERE id = ${id}"`, "?timeout=0");
        expect(query.text).toContain('{"row":[1,["a"]]}');
      });

      test("that are too large are refused, and name what they are over", async () => {
        if (!target.isPatina) return;
        const count = await http.transact(`[${'"",'.repeat(100_000)}""]`);
        expect([count.status, JSON.parse(count.text).results]).toEqual([
          400,
          [{ error: "at most 100000 statements in one transaction, got 100001" }],
        ]);
        const many =
          "INSERT INTO testsvalues (id) WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 100001) SELECT 'many ' || x FROM c";
        expect(await refusedTransaction(JSON.stringify([many]))).toContain(
          "a transaction may change 100000 rows, this one changes 100001: split it",
        );
        const bytes =
          "INSERT INTO testsvalues (id, any) WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 10) SELECT 'large ' || x, zeroblob(7000000) FROM c";
        expect(await refusedTransaction(JSON.stringify([bytes]))).toMatch(
          /a transaction may change 67108864 bytes, this one changes \d+: split it/,
        );
        const value = "INSERT INTO testsvalues (id, any) VALUES ('v', zeroblob(9000000))";
        expect(await refusedTransaction(JSON.stringify([value]))).toContain(
          "testsvalues.any: a value may have 8388608 bytes, this one has 9000000",
        );
        const text = `UPDATE testsvalues SET any = '${"x".repeat(250_000)}'`;
        const why = `a statement's text may have 250000 characters, and has ${text.length}: give values as parameters`;
        expect(await refusedTransaction(JSON.stringify([text]))).toContain(why);
      });

      test("refuse too many values", async () => {
        const error = await refusedTransaction('[["DELETE FROM tests WHERE id = ?",[1,2]]]');
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
        if (!target.isPatina) return;
        const id = keys();
        await http.transact(`["INSERT INTO tests VALUES (${id + 1}, 'is there')"]`);
        await refusedTransaction(
          JSON.stringify([
            `INSERT INTO tests VALUES (${id}, 'before')`,
            sql,
            `INSERT INTO tests VALUES (${id + 2}, 'after')`,
          ]),
        );
        // The next one works as always: nothing was left open.
        expect((await http.transact(`["DELETE FROM tests WHERE id = ${id + 1}"]`)).status).toBe(
          200,
        );
      });
    });

    describe("bodies", () => {
      test.each([
        ["/v1/transactions", "[", 400, `${notJson}EOF while parsing a list at line 1 column 1`],
        [
          "/v1/transactions",
          "{",
          422,
          `${wrongShape}invalid type: map, expected a sequence at line 1 column 0`,
        ],
        [
          "/v1/transactions",
          '[["SELECT ?",[1],null]]',
          422,
          `${wrongShape}[0]: data did not match any variant of untagged enum Statement at line 1 column 23`,
        ],
        ["/v1/queries", "{", 400, `${notJson}EOF while parsing an object at line 1 column 1`],
        [
          "/v1/queries",
          '["SELECT ?",[{}]]',
          422,
          `${wrongShape}data did not match any variant of untagged enum Statement`,
        ],
        [
          "/v1/queries",
          '["SELECT ?",[[256]]]',
          422,
          `${wrongShape}data did not match any variant of untagged enum Statement`,
        ],
        [
          "/v1/queries",
          '["SELECT 1"]',
          422,
          `${wrongShape}data did not match any variant of untagged enum Statement`,
        ],
      ])("%s %s", async (path, body, status, text) => {
        const answer = await http.ask("POST", path, body);
        expect(answer).toMatchObject({ status, text, contentType: "text/plain; charset=utf-8" });
      });

      test("need a JSON content type", async () => {
        for (const path of ["/v1/transactions", "/v1/queries", "/v1/subscriptions"]) {
          for (const type of ["text/plain", ""]) {
            const headers: Record<string, string> = type === "" ? {} : { "content-type": type };
            const answer = await http.ask("POST", path, '"SELECT 1"', headers);
            expect(answer.status).toBe(415);
            expect(answer.text).toBe("Expected request with `Content-Type: application/json`");
          }
        }
      });

      test("may have parameters in their content type", async () => {
        const headers = { "content-type": "application/json; charset=utf-8" };
        expect((await http.ask("POST", "/v1/queries", '"SELECT 1"', headers)).status).toBe(200);
      });

      test("that are too large are refused, whatever they say", async () => {
        if (!target.isPatina) return;
        const body = `["${"x".repeat(2 * 1024 * 1024)}"]`;
        const transaction = await http.transact(body);
        expect(transaction.status).toBe(413);
        expect(JSON.parse(transaction.text).results[0].error).toMatch(/larger than \d+ bytes/);
        const query = await http.query(body);
        expect([query.status, query.contentType]).toEqual([413, null]);
        expect(JSON.parse(query.text).error).toMatch(/larger than \d+ bytes/);
      });
    });

    describe("paths and query strings", () => {
      test("that are unknown: 404 without a body; of another method: 405", async () => {
        for (const path of ["/", "/v1", "/v1/nothing", "/v1/queries/", "/v1/subscriptions/a/b"]) {
          expect(await http.ask("GET", path)).toMatchObject({ status: 404, text: "" });
        }
        const wrong = await http.ask("GET", "/v1/queries");
        expect(wrong).toMatchObject({ status: 405, text: "" });
        expect(wrong.headers.get("allow")).toBe("POST");
        expect((await http.ask("POST", "/v1/health", "1")).status).toBe(405);
      });

      test.each([
        ["/v1/queries?timeout=x", "timeout: invalid digit found in string"],
        ["/v1/queries?timeout=", "timeout: cannot parse integer from empty string"],
        ["/v1/transactions?timeout=-1", "timeout: invalid digit found in string"],
        ["/v1/subscriptions?from=a", "from: invalid digit found in string"],
        ["/v1/subscriptions?skip_rows=1", "skip_rows: provided string was not `true` or `false`"],
        ["/v1/queries?timeout=1&timeout=2", "duplicate field `timeout`"],
        ["/v1/queries?timeout=1.5", "timeout: invalid digit found in string"],
      ])("%s", async (path, why) => {
        const answer = await http.ask("POST", path, '"SELECT 1"');
        expect(answer.status).toBe(400);
        expect(answer.text).toBe(`Failed to deserialize query string: ${why}`);
      });
    });

    describe("queries", () => {
      test("answer columns, rows and the end, without a content type", async () => {
        const id = keys();
        await http.transact(
          `["INSERT INTO tests VALUES (${id},'service-id')","INSERT INTO tests VALUES (${id + 1},'service-name')"]`,
        );
        const { status, contentType, text } = await http.query(
          `"SELECT id - ${id} AS n, text FROM tests WHERE id IN (${id},${id + 1}) ORDER BY id"`,
        );
        expect([status, contentType]).toEqual([200, null]);
        const lines = text.split("\n");
        expect(lines.slice(0, 3)).toEqual([
          '{"columns":["n","text"]}',
          '{"row":[1,[0,"service-id"]]}',
          '{"row":[2,[1,"service-name"]]}',
        ]);
        expect(lines[3]).toMatch(/^\{"eoq":\{"time":[0-9.e-]+\}\}$/);
        expect(lines.slice(4)).toEqual([""]);
      });

      test("name the columns when there are no rows", async () => {
        const { text } = await http.query('"SELECT id, text FROM tests WHERE false"');
        expect(text.split("\n")[0]).toBe('{"columns":["id","text"]}');
      });

      test.each([
        ["null", "null"],
        ["true", "1"],
        ["false", "0"],
        ["0", "0"],
        ["9007199254740993", "9007199254740993"],
        ["9223372036854775807", "9223372036854775807"],
        ["-9223372036854775808", "-9223372036854775808"],
        ["18446744073709551615", "1.8446744073709552e19"],
        ["1.0", "1.0"],
        ["-0.0", "-0.0"],
        ["1e16", "1e16"],
        ["1e15", "1000000000000000.0"],
        ["1.5e300", "1.5e300"],
        ["0.00001", "0.00001"],
        ["0.000001", "1e-6"],
        ["-2.5e-7", "-2.5e-7"],
        ['""', '""'],
        ['"\\u00e9\\ud83d\\ude00\\n\\u0001"', '"é😀\\n\\u0001"'],
        ["[]", "[]"],
        ["[0,222,173,255]", "[0,222,173,255]"],
      ])("give %s back as %s", async (given, got) => {
        expect(await http.cells(`["SELECT ?",[${given}]]`)).toEqual([`[${got}]`]);
        if (!target.isPatina) return;
        // The same through a column, and with a name.
        const id = `v${keys()}`;
        const insert = `[["INSERT INTO testsvalues (id, any) VALUES (:id, :any)",{":id":"${id}",":any":${given}}]]`;
        expect((await http.transact(insert)).status).toBe(200);
        const stored = await http.cells(`"SELECT any FROM testsvalues WHERE id = '${id}'"`);
        expect(stored).toEqual([`[${got}]`]);
      });

      test("give an integer that is too large for its column back as the REAL that it became", async () => {
        const id = keys();
        await http.transact(
          `[["INSERT INTO tests3 (id, num, num2) VALUES (?, ?, ?)",[${id},18446744073709551615,1.0]]]`,
        );
        expect(await http.cells(`"SELECT num, num2 FROM tests3 WHERE id = ${id}"`)).toEqual([
          "[1.8446744073709552e19,1]",
        ]);
      });

      test("give what JSON has no number for as null", async () => {
        expect(await http.cells('"SELECT 9e999, -9e999, 9e999 - 9e999"')).toEqual([
          "[null,null,null]",
        ]);
      });

      test("end with an error at text that is no UTF-8", async () => {
        const { status, text } = await http.query(
          "\"SELECT 1 AS n UNION ALL SELECT CAST(x'ff' AS TEXT)\"",
        );
        expect(status).toBe(200);
        const lines = text.split("\n");
        expect(lines.slice(0, 2)).toEqual(['{"columns":["n"]}', '{"row":[1,[1]]}']);
        expect(lines[2]).toMatch(/^\{"error":".*(utf-8|UTF-8).*"\}$/);
      });

      test("may end with a semicolon, blanks and a comment", async () => {
        expect(await http.cells('"SELECT 1;"')).toEqual(["[1]"]);
        expect(await http.cells('" SELECT 1 ; "')).toEqual(["[1]"]);
      });

      test("name columns as SQLite does, also when two are alike", async () => {
        const { text } = await http.query(
          '"SELECT id, t.text, 1 + 1, id AS text FROM tests t WHERE 0"',
        );
        expect(text).toStartWith('{"columns":["id","text","1 + 1","text"]}\n');
      });

      test.each([
        ["INSERT INTO tests VALUES (1, 'a')", 400, "statement is not readonly"],
        ["DELETE FROM tests", 400, "statement is not readonly"],
        [
          "WITH x AS (SELECT 1) INSERT INTO tests SELECT -5, 'a' FROM x",
          400,
          "statement is not readonly",
        ],
        ["SELECT ?", 500, "Wrong number of parameters passed to query. Got 0, needed 1"],
        ["SELECT 1; SELECT 2", 400, "Multiple statements provided"],
      ])("refuse %s", async (sql, status, error) => {
        const answer = await http.query(JSON.stringify(sql));
        expect(answer).toMatchObject({
          status,
          contentType: null,
          text: JSON.stringify({ error }),
        });
      });

      // Corrosion takes some of these, on a pooled connection.
      test.each([
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT s",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA query_only = OFF",
        "PRAGMA user_version = 1",
        "SELECT * FROM pragma_user_version(7)",
        "ATTACH ':memory:' AS other",
        "DETACH main",
        "VACUUM",
        "VACUUM INTO '/dev/shm/never'",
        "CREATE TEMP TABLE fresh (a)",
        "CREATE TABLE fresh (a)",
        "DROP TABLE tests",
        "ANALYZE",
        "REINDEX",
        "DELETE FROM tests RETURNING id",
        "UPDATE patina_members SET state = 'DOWN'",
      ])("refuse %s, and go on", async (sql) => {
        if (!target.isPatina) return;
        const answer = await http.query(JSON.stringify(sql));
        const isRefused = answer.status === 400 || answer.text.includes('{"error":');
        expect([answer.text, isRefused]).toEqual([answer.text, true]);
        expect(await http.cells('"SELECT 1"')).toEqual(["[1]"]);
      });

      test("have an empty statement fail in the stream", async () => {
        const { status, text } = await http.query('""');
        expect(status).toBe(200);
        expect(text).toBe('{"columns":[]}\n{"error":"bad parameter or other API misuse"}\n');
      });

      test("bind a missing name as NULL, and refuse an unknown one", async () => {
        expect(await http.cells('["SELECT :a",{}]')).toEqual(["[null]"]);
        expect((await http.query('["SELECT :a",{":b":1}]')).status).toBe(500);
      });

      test("are interrupted at their timeout", async () => {
        const endless =
          '"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) AS n FROM c"';
        const { status, text } = await http.query(endless, "?timeout=1");
        expect(status).toBe(200);
        expect(text).toBe('{"columns":["n"]}\n{"error":"interrupted"}\n');
      });

      test("that would need too much memory are refused by SQLite", async () => {
        if (!target.isPatina) return;
        for (const sql of ["SELECT zeroblob(900000000)", "SELECT hex(zeroblob(60000000))"]) {
          const { text } = await http.query(JSON.stringify(sql));
          expect(text).toMatch(/"error":"string or blob too big"/);
        }
      });

      test("tell of a runtime error after the rows before it", async () => {
        const { status, text } = await http.query(
          `"SELECT json_extract(value, '$') FROM (SELECT '1' AS value UNION ALL SELECT 'no json')"`,
        );
        expect(status).toBe(200);
        expect(text).toMatch(/\{"row":\[1,\[1\]\]\}\n\{"error":"malformed JSON[^\n]*"\}\n$/);
      });
    });

    liveContract(run);

    test("SQL tells who changed a cell, and when: in queries, joins, views and writes", async () => {
      if (!target.isPatina) return;
      const id = keys();
      const insert = `["INSERT INTO tests VALUES (${id}, 'a')"]`;
      const { actor_id: site } = JSON.parse((await http.transact(insert)).text);
      const who = `SELECT col, state, site, abs(ms - hlc_time()) < 60000 FROM patina_changes WHERE tbl = 'tests' AND key = ${id}`;
      expect(await http.cells(JSON.stringify(who))).toEqual([
        `[null,"live","${site}",1]`,
        `["text","shown","${site}",1]`,
      ]);
      const joined = `SELECT t.text, w.site FROM tests AS t JOIN last_writer AS w USING (id) WHERE t.id = ${id}`;
      expect(await http.cells(JSON.stringify(joined))).toEqual([`["a","${site}"]`]);
      const copy = `INSERT OR REPLACE INTO tests3 (id, text) SELECT key, site FROM patina_changes WHERE tbl = 'tests' AND key = ${id} AND col IS NULL`;
      expect((await http.transact(JSON.stringify([copy]))).status).toBe(200);
      await http.transact(`["DELETE FROM tests WHERE id = ${id}"]`);
      expect(await http.cells(JSON.stringify(who))).toEqual([`[null,"deleted","${site}",1]`]);
      // It is computed when it is asked for.
      const live = await http.ask("POST", "/v1/subscriptions", JSON.stringify(joined));
      expect([live.status, live.text]).toEqual([
        400,
        '{"error":"patina_changes changes unseen: it can\'t be subscribed to"}',
      ]);
      const write = await refusedTransaction('["DELETE FROM patina_changes"]');
      expect(write).toContain("table patina_changes may not be modified");
    });

    test("SQL has functions of its own, in queries, writes, subscriptions and views", async () => {
      if (!target.isPatina) return;
      const id = keys();
      const answer = await http.transact(
        `["INSERT INTO tests (id, text) VALUES (${id}, uuid7())","INSERT INTO tests (id, text) VALUES (${id + 1}, '10.0.0.7')","INSERT INTO tests3 (id, num) VALUES (${id}, hlc_time())"]`,
      );
      expect(answer.status).toBe(200);
      const [uuid] = await http.cells(`"SELECT text FROM tests WHERE id = ${id}"`);
      expect(uuid).toMatch(/^\["[0-9a-f]{8}-[0-9a-f]{4}-7/);
      // Read later, it is later.
      const [times] = await http.cells(
        `"SELECT num, hlc_time() - num FROM tests3 WHERE id = ${id}"`,
      );
      const [ms, since] = JSON.parse(times as string);
      expect(Math.abs(Date.now() - ms)).toBeLessThan(60_000);
      expect(since).toBeGreaterThanOrEqual(0);
      expect(
        await http.cells(`"SELECT id - ${id} FROM private_addresses WHERE id = ${id + 1}"`),
      ).toEqual(["[1]"]);
      const inRange = `"SELECT id - ${id} AS n FROM tests WHERE cidr_match('10.0.0.0/8', text) AND id BETWEEN ${id} AND ${id + 9}"`;
      await using stream = await http.subscribe(inRange);
      expect((await stream.take(2))[1]).toBe('{"row":[1,[1]]}');
      await http.transact(
        `["INSERT INTO tests (id, text) VALUES (${id + 2}, '10.9.9.9'), (${id + 3}, '8.8.8.8')"]`,
      );
      await stream.next();
      expect(await stream.next()).toBe('{"change":["insert",2,[2],1]}');
    });

    test("table_stats counts rows and names what is no table", async () => {
      const body = '{"tables":["testsblob","nowhere","tests3"]}';
      const { status, contentType, text } = await http.ask("POST", "/v1/table_stats", body);
      expect([status, contentType]).toEqual([200, "application/json"]);
      expect(text).toMatch(/^\{"total_row_count":\d+,"invalid_tables":\["nowhere"\]\}$/);
    });

    test("an agent that is alone says that it was never identical with another", async () => {
      if (!target.isPatina) return;
      const id = keys();
      await using stream = await http.subscribe(`"SELECT id FROM tests WHERE id = ${id}"`);
      const answers = [
        stream,
        await http.query('"SELECT 1"'),
        await http.ask("GET", "/v1/health"),
        await http.ask("GET", `/v1/health?failure_status=599&max_queue=0`),
      ];
      for (const { headers } of answers) expect(headers.get("patina-agreed-ms")).toBe("none");
    });

    test("table_stats counts exactly, also more than one table", async () => {
      const count = async (body: string) => http.ask("POST", "/v1/table_stats", body);
      const rows = '"SELECT (SELECT count(*) FROM tests) + (SELECT count(*) FROM tests3)"';
      const [wanted] = await http.cells(rows);
      expect((await count('{"tables":["tests","tests3"]}')).text).toBe(
        `{"total_row_count":${JSON.parse(wanted as string)[0]},"invalid_tables":[]}`,
      );
      expect((await count('{"tables":[]}')).text).toBe('{"total_row_count":0,"invalid_tables":[]}');
      for (const body of ["{}", "[]", '{"tables":"tests"}', '{"tables":[1]}']) {
        expect([body, (await count(body)).status]).toEqual([body, 422]);
      }
      expect((await count("{")).status).toBe(400);
    });

    test("migrations are accepted when they change nothing", async () => {
      // Today's Corrosion answers 404; its first version changed its schema.
      if (!target.isPatina) return;
      const migrate = (body: string) => http.ask("POST", "/v1/migrations", body);
      const same = contractSchema
        .split(";")
        .map((statement) => statement.trim())
        .filter((statement) => statement !== "");
      const { status, text } = await migrate(JSON.stringify(same));
      expect(status).toBe(200);
      expect(text).toMatch(
        /^\{"results":\[\],"time":[0-9.e-]+,"version":null,"actor_id":"[0-9a-f]{32}"\}$/,
      );
      expect((await migrate(JSON.stringify([`${same[0]};`]))).status).toBe(200);
      for (const [sql, why] of [
        [
          "CREATE TABLE fresh (id INTEGER NOT NULL PRIMARY KEY)",
          "would change it: CREATE TABLE fresh",
        ],
        [
          `${same[1]?.slice(0, -") WITHOUT ROWID".length)}, more TEXT) WITHOUT ROWID`,
          "would change it: ALTER TABLE",
        ],
        ["CREATE TABLE tests (id INTEGER NOT NULL PRIMARY KEY) WITHOUT ROWID", "tests"],
        ["CREATE TABLE tests (id TEXT NOT NULL PRIMARY KEY, text) WITHOUT ROWID", "tests"],
        ["DROP TABLE tests", "a schema file holds"],
        ["INSERT INTO tests VALUES (1, '')", "a schema file holds"],
      ] as const) {
        const refused = await migrate(JSON.stringify([sql]));
        expect([sql, refused.status]).toEqual([sql, 400]);
        expect(JSON.parse(refused.text)).toMatchObject({
          results: [{ error: expect.stringContaining(why) }],
          version: null,
        });
      }
      expect(await migrate("[]")).toMatchObject({ status: 400 });
      expect(await migrate('{"a":1}')).toMatchObject({ status: 422 });
      expect(
        await http.cells("\"SELECT count(*) FROM sqlite_schema WHERE name = 'fresh'\""),
      ).toEqual(["[0]"]);
    });

    test("health answers in its shape, with the status that was asked for", async () => {
      const { status, contentType, text } = await http.ask("GET", "/v1/health?failure_status=599");
      expect(contentType).toBe("application/json");
      if (status === 200) {
        expect(text).toMatch(
          /^\{"response":\{"gaps":0,"members":\d+,"p99_lag":[0-9.e-]+,"queue_size":\d+\}\}$/,
        );
      } else {
        expect(status).toBe(599);
        expect(text).toBe('{"error":"no p99 lag information available"}');
      }
    });
  });
}

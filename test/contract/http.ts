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
import { HttpClient, type HttpTarget } from "./http-target.ts";

export const contractSchema: string = `
CREATE TABLE tests (id INTEGER NOT NULL PRIMARY KEY, text TEXT NOT NULL DEFAULT "") WITHOUT ROWID;
CREATE TABLE tests2 (id INTEGER NOT NULL PRIMARY KEY, text TEXT NOT NULL DEFAULT "") WITHOUT ROWID;
CREATE TABLE tests3 (id INTEGER NOT NULL PRIMARY KEY, text TEXT NOT NULL DEFAULT "",
  text2 TEXT NOT NULL DEFAULT "", num INTEGER NOT NULL DEFAULT 0, num2 INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE testsblob (id BLOB NOT NULL PRIMARY KEY, text TEXT NOT NULL DEFAULT "");
CREATE TABLE testsvalues (id TEXT NOT NULL PRIMARY KEY, any BLOB, number REAL);
`;

/** What Patina must have besides. */
export const patinaSchema: string = `
CREATE VIEW private_addresses AS SELECT id, text FROM tests WHERE cidr_match('10.0.0.0/8', text);
`;

const notJson = "Failed to parse the request body as JSON: ";
const wrongShape = "Failed to deserialize the JSON body into the target type: ";

/** @param open starts the server, or finds it */
export function httpContract(
  name: string,
  open: () => Promise<HttpTarget & { readonly close: () => Promise<void> }>,
): void {
  describe(`HTTP contract: ${name}`, () => {
    let target: HttpTarget & { readonly close: () => Promise<void> };
    let http: HttpClient;
    /** Every test has a thousand keys. */
    let lastKey = 0;
    const keys = () => {
      lastKey += 1000;
      return lastKey;
    };

    beforeAll(async () => {
      target = await open();
      http = new HttpClient(target);
      const [max] = await http.cells('"SELECT coalesce(max(id), 0) FROM tests"');
      lastKey = Math.ceil((JSON.parse(max as string)[0] as number) / 1000) * 1000;
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

    describe("subscriptions", () => {
      const headersOf = (headers: Headers) => ({
        id: headers.get("corro-query-id"),
        hash: headers.get("corro-query-hash"),
      });

      test("begin with columns and rows, and go on with changes", async () => {
        const id = keys();
        const sql = `"SELECT id - ${id} AS n, text FROM tests WHERE id BETWEEN ${id} AND ${id + 9}"`;
        await http.transact(`["INSERT INTO tests VALUES (${id}, 'a')"]`);
        await using stream = await http.subscribe(sql);
        expect(stream.status).toBe(200);
        expect(headersOf(stream.headers)).toEqual({
          id: expect.stringMatching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/),
          hash: expect.stringMatching(/^[0-9a-f]{16}$/),
        });
        expect(await stream.take(2)).toEqual(['{"columns":["n","text"]}', '{"row":[1,[0,"a"]]}']);
        expect(await stream.next()).toMatch(/^\{"eoq":\{"time":[0-9.e-]+,"change_id":0\}\}$/);

        await http.transact(`["INSERT INTO tests VALUES (${id + 1}, 'b')"]`);
        expect(await stream.next()).toBe('{"change":["insert",2,[1,"b"],1]}');
        await http.transact(`["UPDATE tests SET text = 'B' WHERE id = ${id + 1}"]`);
        expect(await stream.next()).toBe('{"change":["update",2,[1,"B"],2]}');
        await http.transact(`["DELETE FROM tests WHERE id = ${id}"]`);
        expect(await stream.next()).toBe('{"change":["delete",1,[0,"a"],3]}');
      });

      test("tell nothing of what doesn't concern them", async () => {
        const id = keys();
        await using stream = await http.subscribe(`"SELECT text FROM tests WHERE id = ${id}"`);
        await stream.take(2);
        await http.transact(
          `["INSERT INTO tests VALUES (${id + 1}, 'other')","INSERT INTO tests2 VALUES (${id}, 'other table')"]`,
        );
        await http.transact(`["INSERT INTO tests VALUES (${id}, 'own')"]`);
        expect(await stream.next()).toBe('{"change":["insert",1,["own"],1]}');
        // Set to the value that it has.
        await http.transact(`["UPDATE tests SET text = 'own' WHERE id = ${id}"]`);
        await http.transact(`["UPDATE tests SET text = 'new' WHERE id = ${id}"]`);
        expect(await stream.next()).toBe('{"change":["update",1,["new"],2]}');
      });

      test("share one for the same text, and have another for any other", async () => {
        const id = keys();
        const text = `SELECT text FROM tests WHERE id = ${id}`;
        await using first = await http.subscribe(JSON.stringify(text));
        await using same = await http.subscribe(JSON.stringify(text), "?skip_rows=true");
        await using bound = await http.subscribe(`["SELECT text FROM tests WHERE id = ?",[${id}]]`);
        await using other = await http.subscribe(JSON.stringify(`${text} `));
        await using other2 = await http.subscribe(JSON.stringify(text.replace("SELECT", "select")));
        expect(headersOf(same.headers)).toEqual(headersOf(first.headers));
        expect(headersOf(bound.headers)).toEqual(headersOf(first.headers));
        expect(headersOf(other.headers).id).not.toBe(headersOf(first.headers).id);
        expect(headersOf(other2.headers).hash).not.toBe(headersOf(first.headers).hash);
        await Promise.all([first.take(2), bound.take(2)]);

        await http.transact(`["INSERT INTO tests VALUES (${id}, 'x')"]`);
        const event = '{"change":["insert",1,["x"],1]}';
        expect(await Promise.all([first, same, bound].map((one) => one.next()))).toEqual([
          event,
          event,
          event,
        ]);
      });

      test("can be taken up again, by text and by id, from any change that is kept", async () => {
        const id = keys();
        const sql = `"SELECT id - ${id} AS n, text FROM tests WHERE id BETWEEN ${id} AND ${id + 9}"`;
        await using first = await http.subscribe(sql);
        await first.take(2);
        for (let n = 0; n < 3; n++)
          await http.transact(`["INSERT INTO tests VALUES (${id + n}, 'x')"]`);
        const changes = await first.take(3);
        const path = `/v1/subscriptions/${first.headers.get("corro-query-id")}`;

        await using again = await http.subscribe(sql);
        const [columns, ...rest] = await again.take(5);
        expect(columns).toBe('{"columns":["n","text"]}');
        expect(rest.slice(0, 3)).toEqual([
          '{"row":[1,[0,"x"]]}',
          '{"row":[2,[1,"x"]]}',
          '{"row":[3,[2,"x"]]}',
        ]);
        expect(rest[3]).toMatch(/"change_id":3\}\}$/);

        await using from1 = await http.stream("GET", `${path}?from=1`);
        await using from1Post = await http.subscribe(sql, "?from=1&skip_rows=false");
        await using fromFuture = await http.stream("GET", `${path}?from=1000`);
        await using skip = await http.stream("GET", `${path}?skip_rows=true`);
        await using from0 = await http.stream(
          "GET",
          `${path.replaceAll("-", "").toUpperCase().replace("/V1/SUBSCRIPTIONS", "/v1/subscriptions")}?from=0`,
        );
        expect(headersOf(from1.headers)).toEqual(headersOf(first.headers));
        expect(await from1.take(2)).toEqual(changes.slice(1));
        expect(await from1Post.take(2)).toEqual(changes.slice(1));
        expect((await from0.take(5)).slice(0, 4)).toEqual([columns as string, ...rest.slice(0, 3)]);

        await http.transact(`["DELETE FROM tests WHERE id = ${id}"]`);
        const event = '{"change":["delete",1,[0,"x"],4]}';
        for (const stream of [first, again, from1, from1Post, fromFuture, skip, from0]) {
          expect(await stream.next()).toBe(event);
        }
      });

      test("refuse `from` for a query that nobody has asked", async () => {
        const id = keys();
        for (const query of ["?from=0", "?from=10", "?from=0&skip_rows=true"]) {
          const answer = await http.ask(
            "POST",
            `/v1/subscriptions${query}`,
            `"SELECT text FROM tests WHERE id = ${id}"`,
          );
          expect(answer).toMatchObject({
            status: 400,
            contentType: null,
            text: '{"error":"a `from` query param was supplied, but no existing subscription found"}',
          });
        }
      });

      test("answer 404 for an unknown id, 400 for what is none", async () => {
        const id = "11111111-2222-4333-8444-555566667777";
        const unknown = await http.ask("GET", `/v1/subscriptions/${id}`);
        expect([unknown.status, unknown.contentType]).toEqual([404, "application/json"]);
        expect(unknown.text.trimEnd()).toBe(
          `{"error":"could not find subscription with id ${id}"}`,
        );
        // Its client cuts the last byte of a line that has no end.
        if (target.isPatina) expect(unknown.text).toEndWith("\n");
        const none = await http.ask("GET", "/v1/subscriptions/nope");
        expect(none.status).toBe(400);
        expect(none.text).toStartWith("Invalid URL: Cannot parse `id` with value `nope`: ");
      });

      test.each([
        ['"SELECT 1"', 400, "at least 1 table is required in FROM / JOIN clause"],
        ['"INSERT INTO tests VALUES (1,2)"', 400, "unsupported statement"],
        ['"DELETE FROM tests"', 400, "unsupported statement"],
        ['""', 500, "could not expand sql statement"],
        ['["SELECT * FROM tests WHERE id = ?",[1,2]]', 400, "column index out of range"],
        ['"SELECT id FROM tests; SELECT id FROM tests2"', 400, "Multiple statements provided"],
      ])("refuse %s", async (statement, status, error) => {
        const answer = await http.ask("POST", "/v1/subscriptions", statement);
        expect(answer).toMatchObject({
          status,
          contentType: null,
          text: JSON.stringify({ error }),
        });
      });

      test("end with an error line when the history no longer reaches", async () => {
        if (!target.isPatina) return;
        const id = keys();
        const sql = `"SELECT id FROM tests WHERE id BETWEEN ${id} AND ${id + 999}"`;
        await using first = await http.subscribe(sql);
        await first.take(2);
        const all = `INSERT INTO tests WITH RECURSIVE c(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM c WHERE x < 999) SELECT x + ${id}, '' FROM c`;
        const none = `DELETE FROM tests WHERE id BETWEEN ${id} AND ${id + 999}`;
        for (let round = 0; round < 6; round++) {
          await http.transact(JSON.stringify([all]));
          await http.transact(JSON.stringify([none]));
        }
        await first.take(12_000);
        const path = `/v1/subscriptions/${first.headers.get("corro-query-id")}`;
        await using late = await http.stream("GET", `${path}?from=1`);
        expect(late.status).toBe(200);
        expect(await late.next()).toMatch(
          /^\{"error":"subscription already deleted older changes, min change id: \d+"\}$/,
        );
        await late.end();
        await using near = await http.stream("GET", `${path}?from=11990`);
        expect(await near.take(10)).toEqual(first.lines.slice(-10));
      });

      test("bind what is missing as NULL, and pass over unknown names", async () => {
        for (const body of [
          '"SELECT id FROM tests WHERE text IS ?"',
          '["SELECT id FROM tests WHERE text IS :a",{":b":1}]',
        ]) {
          await using stream = await http.subscribe(body);
          expect(await stream.next()).toBe('{"columns":["id"]}');
          expect(await stream.next()).toContain("eoq");
        }
      });

      test("tell of transactions only when they are asked to", async () => {
        if (!target.isPatina) return;
        const id = keys();
        const sql = `"SELECT id - ${id} AS n FROM tests WHERE id BETWEEN ${id} AND ${id + 9}"`;
        await using plain = await http.subscribe(sql);
        await using telling = await http.subscribe(sql, "?tx=1");
        expect(telling.headers.get("corro-query-id")).toBe(plain.headers.get("corro-query-id"));
        await Promise.all([plain.take(2), telling.take(2)]);
        const insert = `["INSERT INTO tests VALUES (${id}, ''), (${id + 1}, '')","INSERT INTO tests2 VALUES (${id}, '')"]`;
        const { actor_id: site } = JSON.parse((await http.transact(insert)).text);
        await http.transact(`["DELETE FROM tests WHERE id = ${id}"]`);
        const changes = await plain.take(3);
        const told = await telling.take(5);
        expect([told[0], told[1], told[3]] as string[]).toEqual(changes);
        const [first, second] = [told[2], told[4]].map((line) => JSON.parse(line as string).tx);
        expect(first).toEqual({
          changes: 2,
          change_id: 2,
          origins: [{ site, hlc: expect.stringMatching(/^\d{13}\.\d+$/) }],
        });
        expect(second).toMatchObject({ changes: 1, change_id: 3, origins: [{ site }] });
        expect(plain.waiting).toBe(0);
        // Taken up again, by id: from now on, as it says.
        const path = `/v1/subscriptions/${plain.headers.get("corro-query-id")}`;
        await using again = await http.stream("GET", `${path}?from=2&tx=true`);
        expect(await again.next()).toBe(changes[2] as string);
        await http.transact(`["INSERT INTO tests VALUES (${id + 2}, '')"]`);
        expect((await again.take(2))[1]).toContain('{"tx":{"changes":1,"change_id":4,');
        const wrong = await http.ask("GET", `${path}?tx=yes`);
        expect([wrong.status, wrong.text]).toEqual([
          400,
          "Failed to deserialize query string: tx: provided string was not `1` or `0`",
        ]);
      });

      test("keep the events of one transaction together and legal", async () => {
        const id = keys();
        await using stream = await http.subscribe(
          `"SELECT id - ${id} AS n, text FROM tests WHERE id BETWEEN ${id} AND ${id + 99}"`,
        );
        await stream.take(2);
        await http.transact(`["INSERT INTO tests VALUES (${id}, 'a'), (${id + 1}, 'b')"]`);
        await http.transact(
          `["DELETE FROM tests WHERE id = ${id}","INSERT INTO tests VALUES (${id + 2}, 'c')","UPDATE tests SET text = 'B' WHERE id = ${id + 1}"]`,
        );
        const events = (await stream.take(5)).map((line) => JSON.parse(line).change);
        expect(events.map(([, , , changeId]) => changeId)).toEqual([1, 2, 3, 4, 5]);
        expect(
          events
            .slice(2)
            .map(([type, , [n]]) => `${type} ${n}`)
            .sort(),
        ).toEqual(["delete 0", "insert 2", "update 1"]);
      });
    });

    describe("updates", () => {
      test("tell the keys of changed rows", async () => {
        const id = keys();
        await using stream = await http.stream("POST", "/v1/updates/tests2");
        expect(stream.status).toBe(200);
        expect(stream.headers.get("corro-query-id")).toMatch(/^[0-9a-f-]{36}$/);
        expect(stream.headers.get("corro-query-hash")).toBeNull();
        await http.transact(`["INSERT INTO tests2 VALUES (${id}, 'a')"]`);
        expect(await stream.next()).toBe(`{"notify":["update",[${id}]]}`);
        if (!target.isPatina) return;
        await http.transact(`["DELETE FROM tests2 WHERE id = ${id}"]`);
        expect(await stream.next()).toBe(`{"notify":["delete",[${id}]]}`);
      });

      test("share one id for each table, and need neither a body nor a content type", async () => {
        const ids: (string | null)[] = [];
        for (const [table, body] of [
          ["tests2", undefined],
          ["tests2", ""],
          ["tests3", "{}"],
        ]) {
          const response = await http.open("POST", `/v1/updates/${table}`, body, {});
          expect([response.status, response.headers.get("content-type")]).toEqual([200, null]);
          ids.push(response.headers.get("corro-query-id"));
          await response.body?.cancel();
        }
        expect(ids[0]).toBe(ids[1] as string);
        expect(ids[0]).not.toBe(ids[2] as string);
      });

      test("tell the last that became of a key in one transaction", async () => {
        if (!target.isPatina) return;
        const id = keys();
        await using stream = await http.stream("POST", "/v1/updates/tests2");
        await http.transact(
          `["INSERT INTO tests2 VALUES (${id}, 'a')","DELETE FROM tests2 WHERE id = ${id}","INSERT INTO tests2 VALUES (${id + 1}, 'b')"]`,
        );
        // Corrosion tells a delete of a key that nobody has ever seen; there is nothing to tell.
        expect(await stream.next()).toBe(`{"notify":["update",[${id + 1}]]}`);
        await http.transact(
          `["DELETE FROM tests2 WHERE id = ${id + 1}","INSERT INTO tests2 VALUES (${id + 1}, 'c')","DELETE FROM tests2 WHERE id = ${id + 1}"]`,
        );
        expect(await stream.next()).toBe(`{"notify":["delete",[${id + 1}]]}`);
        // In the order of commits: an update after a delete means that it is back.
        await http.transact(`["INSERT INTO tests2 VALUES (${id}, 'again')"]`);
        await http.transact(`["DELETE FROM tests2 WHERE id = ${id}"]`);
        expect(await stream.take(2)).toEqual([
          `{"notify":["update",[${id}]]}`,
          `{"notify":["delete",[${id}]]}`,
        ]);
      });

      test("have keys of any kind", async () => {
        if (!target.isPatina) return;
        await using stream = await http.stream("POST", "/v1/updates/testsblob");
        await http.transact('[["INSERT OR REPLACE INTO testsblob (id) VALUES (?)",[[0,255]]]]');
        expect(await stream.next()).toBe('{"notify":["update",[[0,255]]]}');
        await http.transact("[\"DELETE FROM testsblob WHERE id = x'00ff'\"]");
        expect(await stream.next()).toBe('{"notify":["delete",[[0,255]]]}');
      });

      test("refuse an unknown table", async () => {
        const answer = await http.ask("POST", "/v1/updates/nowhere", "");
        expect(answer).toMatchObject({
          status: 400,
          text: '{"error":"table not found in schema: nowhere"}',
          contentType: null,
        });
      });
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

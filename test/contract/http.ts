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
import { ContractRun } from "./contract-run.ts";
import { liveContract } from "./http-live.ts";
import { queriesContract } from "./http-queries.ts";
import { HttpClient, type HttpTarget } from "./http-target.ts";
import { transactionsContract } from "./http-transactions.ts";

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

    let close = async (): Promise<void> => {};

    beforeAll(async () => {
      const target = await open();
      close = target.close;
      await run.begin(target, new HttpClient(target));
    });
    afterAll(() => {
      run.http.close();
      return close();
    });

    transactionsContract(run);
    queriesContract(run);

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
        const answer = await run.http.ask("POST", path, body);
        expect(answer).toMatchObject({ status, text, contentType: "text/plain; charset=utf-8" });
      });

      test("need a JSON content type", async () => {
        for (const path of ["/v1/transactions", "/v1/queries", "/v1/subscriptions"]) {
          for (const type of ["text/plain", ""]) {
            const headers: Record<string, string> = type === "" ? {} : { "content-type": type };
            const answer = await run.http.ask("POST", path, '"SELECT 1"', headers);
            expect(answer.status).toBe(415);
            expect(answer.text).toBe("Expected request with `Content-Type: application/json`");
          }
        }
      });

      test("may have parameters in their content type", async () => {
        const headers = { "content-type": "application/json; charset=utf-8" };
        expect((await run.http.ask("POST", "/v1/queries", '"SELECT 1"', headers)).status).toBe(200);
      });

      test("that are too large are refused, whatever they say", async () => {
        if (!run.target.isPatina) return;
        const body = `["${"x".repeat(2 * 1024 * 1024)}"]`;
        const transaction = await run.http.transact(body);
        expect(transaction.status).toBe(413);
        expect(JSON.parse(transaction.text).results[0].error).toMatch(/larger than \d+ bytes/);
        const query = await run.http.query(body);
        expect([query.status, query.contentType]).toEqual([413, null]);
        expect(JSON.parse(query.text).error).toMatch(/larger than \d+ bytes/);
      });
    });

    describe("paths and query strings", () => {
      test("that are unknown: 404 without a body; of another method: 405", async () => {
        for (const path of ["/", "/v1", "/v1/nothing", "/v1/queries/", "/v1/subscriptions/a/b"]) {
          expect(await run.http.ask("GET", path)).toMatchObject({ status: 404, text: "" });
        }
        const wrong = await run.http.ask("GET", "/v1/queries");
        expect(wrong).toMatchObject({ status: 405, text: "" });
        expect(wrong.headers.get("allow")).toBe("POST");
        expect((await run.http.ask("POST", "/v1/health", "1")).status).toBe(405);
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
        const answer = await run.http.ask("POST", path, '"SELECT 1"');
        expect(answer.status).toBe(400);
        expect(answer.text).toBe(`Failed to deserialize query string: ${why}`);
      });
    });

    liveContract(run);

    test("SQL tells who changed a cell, and when: in queries, joins, views and writes", async () => {
      if (!run.target.isPatina) return;
      const id = run.keys();
      const insert = `["INSERT INTO tests VALUES (${id}, 'a')"]`;
      const { actor_id: site } = JSON.parse((await run.http.transact(insert)).text);
      const who = `SELECT col, state, site, abs(ms - hlc_time()) < 60000 FROM patina_changes WHERE tbl = 'tests' AND key = ${id}`;
      expect(await run.http.cells(JSON.stringify(who))).toEqual([
        `[null,"live","${site}",1]`,
        `["text","shown","${site}",1]`,
      ]);
      const joined = `SELECT t.text, w.site FROM tests AS t JOIN last_writer AS w USING (id) WHERE t.id = ${id}`;
      expect(await run.http.cells(JSON.stringify(joined))).toEqual([`["a","${site}"]`]);
      const copy = `INSERT OR REPLACE INTO tests3 (id, text) SELECT key, site FROM patina_changes WHERE tbl = 'tests' AND key = ${id} AND col IS NULL`;
      expect((await run.http.transact(JSON.stringify([copy]))).status).toBe(200);
      await run.http.transact(`["DELETE FROM tests WHERE id = ${id}"]`);
      expect(await run.http.cells(JSON.stringify(who))).toEqual([`[null,"deleted","${site}",1]`]);
      // It is computed when it is asked for.
      const live = await run.http.ask("POST", "/v1/subscriptions", JSON.stringify(joined));
      expect([live.status, live.text]).toEqual([
        400,
        '{"error":"patina_changes changes unseen: it can\'t be subscribed to"}',
      ]);
      const write = await run.refusedTransaction('["DELETE FROM patina_changes"]');
      expect(write).toContain("table patina_changes may not be modified");
    });

    test("SQL has functions of its own, in queries, writes, subscriptions and views", async () => {
      if (!run.target.isPatina) return;
      const id = run.keys();
      const answer = await run.http.transact(
        `["INSERT INTO tests (id, text) VALUES (${id}, uuid7())","INSERT INTO tests (id, text) VALUES (${id + 1}, '10.0.0.7')","INSERT INTO tests3 (id, num) VALUES (${id}, hlc_time())"]`,
      );
      expect(answer.status).toBe(200);
      const [uuid] = await run.http.cells(`"SELECT text FROM tests WHERE id = ${id}"`);
      expect(uuid).toMatch(/^\["[0-9a-f]{8}-[0-9a-f]{4}-7/);
      // Read later, it is later.
      const [times] = await run.http.cells(
        `"SELECT num, hlc_time() - num FROM tests3 WHERE id = ${id}"`,
      );
      const [ms, since] = JSON.parse(times as string);
      expect(Math.abs(Date.now() - ms)).toBeLessThan(60_000);
      expect(since).toBeGreaterThanOrEqual(0);
      expect(
        await run.http.cells(`"SELECT id - ${id} FROM private_addresses WHERE id = ${id + 1}"`),
      ).toEqual(["[1]"]);
      const inRange = `"SELECT id - ${id} AS n FROM tests WHERE cidr_match('10.0.0.0/8', text) AND id BETWEEN ${id} AND ${id + 9}"`;
      await using stream = await run.http.subscribe(inRange);
      expect((await stream.take(2))[1]).toBe('{"row":[1,[1]]}');
      await run.http.transact(
        `["INSERT INTO tests (id, text) VALUES (${id + 2}, '10.9.9.9'), (${id + 3}, '8.8.8.8')"]`,
      );
      await stream.next();
      expect(await stream.next()).toBe('{"change":["insert",2,[2],1]}');
    });

    test("table_stats counts rows and names what is no table", async () => {
      const body = '{"tables":["testsblob","nowhere","tests3"]}';
      const { status, contentType, text } = await run.http.ask("POST", "/v1/table_stats", body);
      expect([status, contentType]).toEqual([200, "application/json"]);
      expect(text).toMatch(/^\{"total_row_count":\d+,"invalid_tables":\["nowhere"\]\}$/);
    });

    test("an agent that is alone says that it was never identical with another", async () => {
      if (!run.target.isPatina) return;
      const id = run.keys();
      await using stream = await run.http.subscribe(`"SELECT id FROM tests WHERE id = ${id}"`);
      const answers = [
        stream,
        await run.http.query('"SELECT 1"'),
        await run.http.ask("GET", "/v1/health"),
        await run.http.ask("GET", `/v1/health?failure_status=599&max_queue=0`),
      ];
      for (const { headers } of answers) expect(headers.get("patina-agreed-ms")).toBe("none");
    });

    test("table_stats counts exactly, also more than one table", async () => {
      const count = async (body: string) => run.http.ask("POST", "/v1/table_stats", body);
      const rows = '"SELECT (SELECT count(*) FROM tests) + (SELECT count(*) FROM tests3)"';
      const [wanted] = await run.http.cells(rows);
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
      if (!run.target.isPatina) return;
      const migrate = (body: string) => run.http.ask("POST", "/v1/migrations", body);
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
        // Compiling it would use up the stack, and end the agent.
        [
          `CREATE VIEW v AS SELECT 1 FROM tests JOIN tests t USING (${"id,".repeat(60_000)}id)`,
          "more than SQLite's compiler should be given",
        ],
        [
          `CREATE TABLE v (id INTEGER NOT NULL PRIMARY KEY, n CHECK (n <> '${"x".repeat(250_000)}'))`,
          "more than SQLite's compiler should be given",
        ],
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
        await run.http.cells("\"SELECT count(*) FROM sqlite_schema WHERE name = 'fresh'\""),
      ).toEqual(["[0]"]);
    });

    test("health answers in its shape, with the status that was asked for", async () => {
      const { status, contentType, text } = await run.http.ask(
        "GET",
        "/v1/health?failure_status=599",
      );
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

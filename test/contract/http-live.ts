/**
 * The part of the HTTP contract that is about streams: subscriptions and updates. {@link httpContract} runs it.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import type { ContractRun } from "./contract-run.ts";

export function liveContract(run: ContractRun): void {
  describe("subscriptions", () => {
    const headersOf = (headers: Headers) => ({
      id: headers.get("corro-query-id"),
      hash: headers.get("corro-query-hash"),
    });

    test("are refused over 250,000 characters with their values", async () => {
      if (!run.target.isPatina) return;
      const half = "x".repeat(130_000);
      const body = JSON.stringify(["SELECT id FROM tests WHERE text IN (?, ?)", [half, half]]);
      const answer = await run.http.ask("POST", "/v1/subscriptions", body);
      expect(answer.status).toBe(400);
      expect(JSON.parse(answer.text).error).toBe(
        "a subscription may have 250000 characters with its values, and has 260043",
      );
    });

    test("begin with columns and rows, and go on with changes", async () => {
      const id = run.keys();
      const sql = `"SELECT id - ${id} AS n, text FROM tests WHERE id BETWEEN ${id} AND ${id + 9}"`;
      await run.http.transact(`["INSERT INTO tests VALUES (${id}, 'a')"]`);
      await using stream = await run.http.subscribe(sql);
      expect(stream.status).toBe(200);
      expect(headersOf(stream.headers)).toEqual({
        id: expect.stringMatching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/),
        hash: expect.stringMatching(/^[0-9a-f]{16}$/),
      });
      expect(await stream.take(2)).toEqual(['{"columns":["n","text"]}', '{"row":[1,[0,"a"]]}']);
      expect(await stream.next()).toMatch(/^\{"eoq":\{"time":[0-9.e-]+,"change_id":0\}\}$/);

      await run.http.transact(`["INSERT INTO tests VALUES (${id + 1}, 'b')"]`);
      expect(await stream.next()).toBe('{"change":["insert",2,[1,"b"],1]}');
      await run.http.transact(`["UPDATE tests SET text = 'B' WHERE id = ${id + 1}"]`);
      expect(await stream.next()).toBe('{"change":["update",2,[1,"B"],2]}');
      await run.http.transact(`["DELETE FROM tests WHERE id = ${id}"]`);
      expect(await stream.next()).toBe('{"change":["delete",1,[0,"a"],3]}');
    });

    test("have neither a content type nor a length, and nothing after their lines", async () => {
      const id = run.keys();
      await using stream = await run.http.subscribe(`"SELECT id FROM tests WHERE id = ${id}"`);
      expect(stream.headers.get("content-type")).toBeNull();
      expect(stream.headers.get("content-length")).toBeNull();
      await stream.take(2);
      expect(stream.waiting).toBe(0);
    });

    test("count their rows and changes each by itself, from 1", async () => {
      const id = run.keys();
      await run.http.transact(`["INSERT INTO tests VALUES (${id}, 'a'), (${id + 1}, 'b')"]`);
      const all = `"SELECT id - ${id} AS n, text FROM tests WHERE id BETWEEN ${id} AND ${id + 9}"`;
      await using first = await run.http.subscribe(all);
      await first.take(4);
      await run.http.transact(`["INSERT INTO tests VALUES (${id + 2}, 'c')"]`);
      expect(await first.next()).toBe('{"change":["insert",3,[2,"c"],1]}');
      await using second = await run.http.subscribe(
        `"SELECT id - ${id} AS n, text FROM tests WHERE id BETWEEN ${id + 2} AND ${id + 9}"`,
      );
      expect((await second.take(3))[1]).toBe('{"row":[1,[2,"c"]]}');
      await run.http.transact(`["INSERT INTO tests VALUES (${id + 3}, 'd')"]`);
      expect(await first.next()).toBe('{"change":["insert",4,[3,"d"],2]}');
      expect(await second.next()).toBe('{"change":["insert",2,[3,"d"],1]}');
    });

    test("go on when all who listened have left", async () => {
      const id = run.keys();
      const sql = `"SELECT id - ${id} AS n, text FROM tests WHERE id BETWEEN ${id} AND ${id + 9}"`;
      let path = "";
      {
        await using stream = await run.http.subscribe(sql);
        await stream.take(2);
        path = `/v1/subscriptions/${stream.headers.get("corro-query-id")}`;
        await run.http.transact(`["INSERT INTO tests VALUES (${id}, '')"]`);
        await stream.take(1);
      }
      await run.http.transact(`["INSERT INTO tests VALUES (${id + 1}, '')"]`);
      await run.http.transact(`["DELETE FROM tests WHERE id = ${id}"]`);
      await using again = await run.http.stream("GET", `${path}?from=1`);
      expect(await again.take(2)).toEqual([
        '{"change":["insert",2,[1,""],2]}',
        '{"change":["delete",1,[0,""],3]}',
      ]);
      await using fresh = await run.http.subscribe(sql);
      const rows = await fresh.take(3);
      expect(rows[1]).toBe('{"row":[2,[1,""]]}');
      expect(rows[2]).toContain('"change_id":3}}');
    });

    test.each([
      ["?skip_rows=true", []],
      ["?from=0&skip_rows=true", []],
      ["?from=1&skip_rows=true", [2, 3]],
      ["?from=2", [3]],
      ["?from=3&skip_rows=false", []],
    ])("taken up again with %s begin with %j", async (query, first) => {
      const id = run.keys();
      const sql = `"SELECT id, text FROM tests WHERE id BETWEEN ${id} AND ${id + 9}"`;
      await using stream = await run.http.subscribe(sql);
      await stream.take(2);
      for (let n = 0; n < 3; n++) {
        await run.http.transact(`["INSERT INTO tests VALUES (${id + n}, '')"]`);
      }
      await stream.take(3);
      const path = `/v1/subscriptions/${stream.headers.get("corro-query-id")}`;
      await using byId = await run.http.stream("GET", `${path}${query}`);
      await using byText = await run.http.subscribe(sql, query);
      // The next change is where both have arrived.
      await run.http.transact(`["INSERT INTO tests VALUES (${id + 3}, '')"]`);
      for (const again of [byId, byText]) {
        const lines = await again.take(first.length + 1);
        expect(lines.map((line) => JSON.parse(line).change[3])).toEqual([...first, 4]);
      }
    });

    test("tell of inserts where only key columns are asked for", async () => {
      // Corrosion doesn't: an insert writes clocks of the other columns only.
      if (!run.target.isPatina) return;
      const id = run.keys();
      await using stream = await run.http.subscribe(
        `"SELECT id - ${id} AS n FROM tests WHERE id BETWEEN ${id} AND ${id + 9}"`,
      );
      await stream.take(2);
      await run.http.transact(`["INSERT INTO tests VALUES (${id}, 'a')"]`);
      expect(await stream.next()).toBe('{"change":["insert",1,[0],1]}');
    });

    test("tell nothing of what doesn't concern them", async () => {
      const id = run.keys();
      await using stream = await run.http.subscribe(`"SELECT text FROM tests WHERE id = ${id}"`);
      await stream.take(2);
      await run.http.transact(
        `["INSERT INTO tests VALUES (${id + 1}, 'other')","INSERT INTO tests2 VALUES (${id}, 'other table')"]`,
      );
      await run.http.transact(`["INSERT INTO tests VALUES (${id}, 'own')"]`);
      expect(await stream.next()).toBe('{"change":["insert",1,["own"],1]}');
      // Set to the value that it has.
      await run.http.transact(`["UPDATE tests SET text = 'own' WHERE id = ${id}"]`);
      await run.http.transact(`["UPDATE tests SET text = 'new' WHERE id = ${id}"]`);
      expect(await stream.next()).toBe('{"change":["update",1,["new"],2]}');
    });

    test("share one for the same text, and have another for any other", async () => {
      const id = run.keys();
      const text = `SELECT text FROM tests WHERE id = ${id}`;
      await using first = await run.http.subscribe(JSON.stringify(text));
      await using same = await run.http.subscribe(JSON.stringify(text), "?skip_rows=true");
      await using bound = await run.http.subscribe(
        `["SELECT text FROM tests WHERE id = ?",[${id}]]`,
      );
      await using other = await run.http.subscribe(JSON.stringify(`${text} `));
      await using other2 = await run.http.subscribe(
        JSON.stringify(text.replace("SELECT", "select")),
      );
      expect(headersOf(same.headers)).toEqual(headersOf(first.headers));
      expect(headersOf(bound.headers)).toEqual(headersOf(first.headers));
      expect(headersOf(other.headers).id).not.toBe(headersOf(first.headers).id);
      expect(headersOf(other2.headers).hash).not.toBe(headersOf(first.headers).hash);
      await Promise.all([first.take(2), bound.take(2)]);

      await run.http.transact(`["INSERT INTO tests VALUES (${id}, 'x')"]`);
      const event = '{"change":["insert",1,["x"],1]}';
      expect(await Promise.all([first, same, bound].map((one) => one.next()))).toEqual([
        event,
        event,
        event,
      ]);
    });

    test("can be taken up again, by text and by id, from any change that is kept", async () => {
      const id = run.keys();
      const sql = `"SELECT id - ${id} AS n, text FROM tests WHERE id BETWEEN ${id} AND ${id + 9}"`;
      await using first = await run.http.subscribe(sql);
      await first.take(2);
      for (let n = 0; n < 3; n++)
        await run.http.transact(`["INSERT INTO tests VALUES (${id + n}, 'x')"]`);
      const changes = await first.take(3);
      const path = `/v1/subscriptions/${first.headers.get("corro-query-id")}`;

      await using again = await run.http.subscribe(sql);
      const [columns, ...rest] = await again.take(5);
      expect(columns).toBe('{"columns":["n","text"]}');
      expect(rest.slice(0, 3)).toEqual([
        '{"row":[1,[0,"x"]]}',
        '{"row":[2,[1,"x"]]}',
        '{"row":[3,[2,"x"]]}',
      ]);
      expect(rest[3]).toMatch(/"change_id":3\}\}$/);

      await using from1 = await run.http.stream("GET", `${path}?from=1`);
      await using from1Post = await run.http.subscribe(sql, "?from=1&skip_rows=false");
      await using fromFuture = await run.http.stream("GET", `${path}?from=1000`);
      await using skip = await run.http.stream("GET", `${path}?skip_rows=true`);
      await using from0 = await run.http.stream(
        "GET",
        `${path.replaceAll("-", "").toUpperCase().replace("/V1/SUBSCRIPTIONS", "/v1/subscriptions")}?from=0`,
      );
      expect(headersOf(from1.headers)).toEqual(headersOf(first.headers));
      expect(await from1.take(2)).toEqual(changes.slice(1));
      expect(await from1Post.take(2)).toEqual(changes.slice(1));
      expect((await from0.take(5)).slice(0, 4)).toEqual([columns as string, ...rest.slice(0, 3)]);

      await run.http.transact(`["DELETE FROM tests WHERE id = ${id}"]`);
      const event = '{"change":["delete",1,[0,"x"],4]}';
      for (const stream of [first, again, from1, from1Post, fromFuture, skip, from0]) {
        expect(await stream.next()).toBe(event);
      }
    });

    test("refuse `from` for a query that nobody has asked", async () => {
      const id = run.keys();
      for (const query of ["?from=0", "?from=10", "?from=0&skip_rows=true"]) {
        const answer = await run.http.ask(
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
      const unknown = await run.http.ask("GET", `/v1/subscriptions/${id}`);
      expect([unknown.status, unknown.contentType]).toEqual([404, "application/json"]);
      expect(unknown.text.trimEnd()).toBe(`{"error":"could not find subscription with id ${id}"}`);
      // Its client cuts the last byte of a line that has no end.
      if (run.target.isPatina) expect(unknown.text).toEndWith("\n");
      const none = await run.http.ask("GET", "/v1/subscriptions/nope");
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
      const answer = await run.http.ask("POST", "/v1/subscriptions", statement);
      expect(answer).toMatchObject({
        status,
        contentType: null,
        text: JSON.stringify({ error }),
      });
    });

    test("end with an error line when the history no longer reaches", async () => {
      if (!run.target.isPatina) return;
      const id = run.keys();
      const sql = `"SELECT id FROM tests WHERE id BETWEEN ${id} AND ${id + 999}"`;
      await using first = await run.http.subscribe(sql);
      await first.take(2);
      const all = `INSERT INTO tests WITH RECURSIVE c(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM c WHERE x < 999) SELECT x + ${id}, '' FROM c`;
      const none = `DELETE FROM tests WHERE id BETWEEN ${id} AND ${id + 999}`;
      const ids: number[] = [];
      for (let round = 0; round < 12; round++) {
        await run.http.transact(JSON.stringify([round % 2 === 0 ? all : none]));
        // Before the next: two that come together may be told as one, which here would be nothing.
        for (const line of await first.take(1000)) ids.push(JSON.parse(line).change[3]);
      }
      expect(ids).toEqual(Array.from(ids, (_, index) => (ids[0] as number) + index));
      const path = `/v1/subscriptions/${first.headers.get("corro-query-id")}`;
      await using late = await run.http.stream("GET", `${path}?from=1`);
      expect(late.status).toBe(200);
      expect(await late.next()).toMatch(
        /^\{"error":"subscription already deleted older changes, min change id: \d+"\}$/,
      );
      await late.end();
      expect([late, first].map(({ headers }) => headers.get("patina-ended"))).toEqual([
        "true",
        null,
      ]);
      await using near = await run.http.stream("GET", `${path}?from=11990`);
      expect(await near.take(10)).toEqual(first.lines.slice(-10));
    });

    test("bind what is missing as NULL, and pass over unknown names", async () => {
      for (const body of [
        '"SELECT id FROM tests WHERE text IS ?"',
        '["SELECT id FROM tests WHERE text IS :a",{":b":1}]',
      ]) {
        await using stream = await run.http.subscribe(body);
        expect(await stream.next()).toBe('{"columns":["id"]}');
        expect(await stream.next()).toContain("eoq");
      }
    });

    test("tell of transactions only when they are asked to", async () => {
      if (!run.target.isPatina) return;
      const id = run.keys();
      const sql = `"SELECT id - ${id} AS n FROM tests WHERE id BETWEEN ${id} AND ${id + 9}"`;
      await using plain = await run.http.subscribe(sql);
      await using telling = await run.http.subscribe(sql, "?tx=1");
      expect(telling.headers.get("corro-query-id")).toBe(plain.headers.get("corro-query-id"));
      await Promise.all([plain.take(2), telling.take(2)]);
      const insert = `["INSERT INTO tests VALUES (${id}, ''), (${id + 1}, '')","INSERT INTO tests2 VALUES (${id}, '')"]`;
      const { actor_id: site } = JSON.parse((await run.http.transact(insert)).text);
      // Two commits that are looked at together are told as one, so the second waits for the news of the first.
      const changes = await plain.take(2);
      const told = await telling.take(3);
      await run.http.transact(`["DELETE FROM tests WHERE id = ${id}"]`);
      changes.push(await plain.next());
      told.push(...(await telling.take(2)));
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
      await using again = await run.http.stream("GET", `${path}?from=2&tx=true`);
      expect(await again.next()).toBe(changes[2] as string);
      await run.http.transact(`["INSERT INTO tests VALUES (${id + 2}, '')"]`);
      expect((await again.take(2))[1]).toContain('{"tx":{"changes":1,"change_id":4,');
      const wrong = await run.http.ask("GET", `${path}?tx=yes`);
      expect([wrong.status, wrong.text]).toEqual([
        400,
        "Failed to deserialize query string: tx: provided string was not `1` or `0`",
      ]);
    });

    test("keep the events of one transaction together and legal", async () => {
      const id = run.keys();
      await using stream = await run.http.subscribe(
        `"SELECT id - ${id} AS n, text FROM tests WHERE id BETWEEN ${id} AND ${id + 99}"`,
      );
      await stream.take(2);
      await run.http.transact(`["INSERT INTO tests VALUES (${id}, 'a'), (${id + 1}, 'b')"]`);
      // Corrosion would tell two transactions within 600 ms as one.
      const first = await stream.take(2);
      await run.http.transact(
        `["DELETE FROM tests WHERE id = ${id}","INSERT INTO tests VALUES (${id + 2}, 'c')","UPDATE tests SET text = 'B' WHERE id = ${id + 1}"]`,
      );
      const later = await stream.take(3);
      const events = [...first, ...later].map((line) => JSON.parse(line).change);
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
      const id = run.keys();
      await using stream = await run.http.stream("POST", "/v1/updates/tests2");
      expect(stream.status).toBe(200);
      expect(stream.headers.get("corro-query-id")).toMatch(/^[0-9a-f-]{36}$/);
      expect(stream.headers.get("corro-query-hash")).toBeNull();
      await run.http.transact(`["INSERT INTO tests2 VALUES (${id}, 'a')"]`);
      expect(await stream.next()).toBe(`{"notify":["update",[${id}]]}`);
      if (!run.target.isPatina) return;
      await run.http.transact(`["DELETE FROM tests2 WHERE id = ${id}"]`);
      expect(await stream.next()).toBe(`{"notify":["delete",[${id}]]}`);
    });

    test("share one id for each table, and need neither a body nor a content type", async () => {
      const ids: (string | null)[] = [];
      for (const [table, body] of [
        ["tests2", undefined],
        ["tests2", ""],
        ["tests3", "{}"],
      ]) {
        const response = await run.http.open("POST", `/v1/updates/${table}`, body, {});
        expect([response.status, response.headers.get("content-type")]).toEqual([200, null]);
        ids.push(response.headers.get("corro-query-id"));
        await response.body?.cancel();
      }
      expect(ids[0]).toBe(ids[1] as string);
      expect(ids[0]).not.toBe(ids[2] as string);
    });

    test("tell the last that became of a key in one transaction", async () => {
      if (!run.target.isPatina) return;
      const id = run.keys();
      await using stream = await run.http.stream("POST", "/v1/updates/tests2");
      await run.http.transact(
        `["INSERT INTO tests2 VALUES (${id}, 'a')","DELETE FROM tests2 WHERE id = ${id}","INSERT INTO tests2 VALUES (${id + 1}, 'b')"]`,
      );
      // Corrosion tells a delete of a key that nobody has ever seen; there is nothing to tell.
      expect(await stream.next()).toBe(`{"notify":["update",[${id + 1}]]}`);
      await run.http.transact(
        `["DELETE FROM tests2 WHERE id = ${id + 1}","INSERT INTO tests2 VALUES (${id + 1}, 'c')","DELETE FROM tests2 WHERE id = ${id + 1}"]`,
      );
      expect(await stream.next()).toBe(`{"notify":["delete",[${id + 1}]]}`);
      // In the order of commits: an update after a delete means that it is back.
      await run.http.transact(`["INSERT INTO tests2 VALUES (${id}, 'again')"]`);
      await run.http.transact(`["DELETE FROM tests2 WHERE id = ${id}"]`);
      expect(await stream.take(2)).toEqual([
        `{"notify":["update",[${id}]]}`,
        `{"notify":["delete",[${id}]]}`,
      ]);
    });

    test("have keys of any kind", async () => {
      if (!run.target.isPatina) return;
      await using stream = await run.http.stream("POST", "/v1/updates/testsblob");
      await run.http.transact('[["INSERT OR REPLACE INTO testsblob (id) VALUES (?)",[[0,255]]]]');
      expect(await stream.next()).toBe('{"notify":["update",[[0,255]]]}');
      await run.http.transact("[\"DELETE FROM testsblob WHERE id = x'00ff'\"]");
      expect(await stream.next()).toBe('{"notify":["delete",[[0,255]]]}');
    });

    test("have the columns of a key in the key's order", async () => {
      const id = run.keys();
      await using stream = await run.http.stream("POST", "/v1/updates/testskeys");
      await run.http.transact(`["INSERT INTO testskeys (a, b) VALUES ('x', ${id})"]`);
      expect(await stream.next()).toBe(`{"notify":["update",[${id},"x"]]}`);
    });

    test("refuse an unknown table", async () => {
      const answer = await run.http.ask("POST", "/v1/updates/nowhere", "");
      expect(answer).toMatchObject({
        status: 400,
        text: '{"error":"table not found in schema: nowhere"}',
        contentType: null,
      });
    });
  });
}

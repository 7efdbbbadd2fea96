/**
 * The part of the HTTP contract that is about queries. {@link httpContract} runs it.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import type { ContractRun } from "./contract-run.ts";

export function queriesContract(run: ContractRun): void {
  describe("queries", () => {
    test("answer columns, rows and the end, without a content type", async () => {
      const id = run.keys();
      await run.http.transact(
        `["INSERT INTO tests VALUES (${id},'service-id')","INSERT INTO tests VALUES (${id + 1},'service-name')"]`,
      );
      const { status, contentType, text } = await run.http.query(
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
      const { text } = await run.http.query('"SELECT id, text FROM tests WHERE false"');
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
      expect(await run.http.cells(`["SELECT ?",[${given}]]`)).toEqual([`[${got}]`]);
      if (!run.target.isPatina) return;
      // The same through a column, and with a name.
      const id = `v${run.keys()}`;
      const insert = `[["INSERT INTO testsvalues (id, any) VALUES (:id, :any)",{":id":"${id}",":any":${given}}]]`;
      expect((await run.http.transact(insert)).status).toBe(200);
      const stored = await run.http.cells(`"SELECT any FROM testsvalues WHERE id = '${id}'"`);
      expect(stored).toEqual([`[${got}]`]);
    });

    test("give an integer that is too large for its column back as the REAL that it became", async () => {
      const id = run.keys();
      await run.http.transact(
        `[["INSERT INTO tests3 (id, num, num2) VALUES (?, ?, ?)",[${id},18446744073709551615,1.0]]]`,
      );
      expect(await run.http.cells(`"SELECT num, num2 FROM tests3 WHERE id = ${id}"`)).toEqual([
        "[1.8446744073709552e19,1]",
      ]);
    });

    test("give what JSON has no number for as null", async () => {
      expect(await run.http.cells('"SELECT 9e999, -9e999, 9e999 - 9e999"')).toEqual([
        "[null,null,null]",
      ]);
    });

    test("end with an error at text that is no UTF-8", async () => {
      const { status, text } = await run.http.query(
        "\"SELECT 1 AS n UNION ALL SELECT CAST(x'ff' AS TEXT)\"",
      );
      expect(status).toBe(200);
      const lines = text.split("\n");
      expect(lines.slice(0, 2)).toEqual(['{"columns":["n"]}', '{"row":[1,[1]]}']);
      expect(lines[2]).toMatch(/^\{"error":".*(utf-8|UTF-8).*"\}$/);
    });

    test("may end with a semicolon, blanks and a comment", async () => {
      expect(await run.http.cells('"SELECT 1;"')).toEqual(["[1]"]);
      expect(await run.http.cells('" SELECT 1 ; "')).toEqual(["[1]"]);
    });

    test("name columns as SQLite does, also when two are alike", async () => {
      const { text } = await run.http.query(
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
      const answer = await run.http.query(JSON.stringify(sql));
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
      if (!run.target.isPatina) return;
      const answer = await run.http.query(JSON.stringify(sql));
      const isRefused = answer.status === 400 || answer.text.includes('{"error":');
      expect([answer.text, isRefused]).toEqual([answer.text, true]);
      expect(await run.http.cells('"SELECT 1"')).toEqual(["[1]"]);
    });

    test("have an empty statement fail in the stream", async () => {
      const { status, text } = await run.http.query('""');
      expect(status).toBe(200);
      expect(text).toBe('{"columns":[]}\n{"error":"bad parameter or other API misuse"}\n');
    });

    test("take a long list of small integers for parameters, or for a BLOB", async () => {
      const numbers = Array.from({ length: 20 }, (_, i) => i * 13);
      const sum = numbers.map((_, i) => `${i + 1} * ?`).join(" + ");
      const expected = numbers.reduce((total, number, i) => total + (i + 1) * number, 0);
      for (const body of [
        `["SELECT ${sum}", [${numbers}]]`,
        `{"query":"SELECT ${sum}","params":[${numbers.join(" , ")}]}`,
      ]) {
        expect(await run.http.cells(body)).toEqual([`[${expected}]`]);
      }
      const blob = `["SELECT typeof(:b), :b", {":b":[ ${numbers.join(",\n")} ]}]`;
      expect(await run.http.cells(blob)).toEqual([`["blob",[${numbers}]]`]);
    });

    test("bind a missing name as NULL, and refuse an unknown one", async () => {
      expect(await run.http.cells('["SELECT :a",{}]')).toEqual(["[null]"]);
      expect((await run.http.query('["SELECT :a",{":b":1}]')).status).toBe(500);
    });

    test("are interrupted at their timeout", async () => {
      const endless =
        '"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) AS n FROM c"';
      const { status, text } = await run.http.query(endless, "?timeout=1");
      expect(status).toBe(200);
      expect(text).toBe('{"columns":["n"]}\n{"error":"interrupted"}\n');
    });

    test("that would need too much memory are refused by SQLite", async () => {
      if (!run.target.isPatina) return;
      for (const sql of ["SELECT zeroblob(900000000)", "SELECT hex(zeroblob(60000000))"]) {
        const { text } = await run.http.query(JSON.stringify(sql));
        expect(text).toMatch(/"error":"string or blob too big"/);
      }
    });

    test("tell of a runtime error after the rows before it", async () => {
      const { status, text } = await run.http.query(
        `"SELECT json_extract(value, '$') FROM (SELECT '1' AS value UNION ALL SELECT 'no json')"`,
      );
      expect(status).toBe(200);
      expect(text).toMatch(/\{"row":\[1,\[1\]\]\}\n\{"error":"malformed JSON[^\n]*"\}\n$/);
    });
  });
}

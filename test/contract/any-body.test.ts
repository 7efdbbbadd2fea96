import { expect, test } from "bun:test";
import fc from "fast-check";
import type { ApiRequest } from "../../agent/api/http.ts";
import { createPlainAgent } from "./plain-agent.ts";

const sql = fc.oneof(
  fc.string(),
  fc
    .array(
      fc.constantFrom(
        ..."SELECT INSERT INTO DELETE FROM UPDATE SET t VALUES ( ) , ; ? ?1 :a 1 'x' * WHERE id = v BEGIN COMMIT PRAGMA WITH AS RETURNING -- /* \u0000".split(
          " ",
        ),
      ),
      { maxLength: 12 },
    )
    .map((words) => words.join(" ")),
);
const value = fc.oneof(
  fc.jsonValue(),
  fc.constantFrom([], [0, 255], [256], null, 2 ** 63, 1.5, {}),
);
const statement = fc.oneof(
  sql,
  fc.tuple(sql, fc.array(value)),
  fc.tuple(sql, fc.dictionary(fc.string(), value)),
  fc.record({ query: sql, params: fc.option(fc.array(value)) }, { requiredKeys: [] }),
);
const body = fc.oneof(
  fc.uint8Array(),
  fc
    .oneof(statement, fc.array(statement), fc.jsonValue())
    .map((json): Uint8Array => Buffer.from(JSON.stringify(json))),
);
const path = fc.constantFrom(
  "/v1/transactions",
  "/v1/queries",
  "/v1/subscriptions",
  "/v1/updates/t",
  "/v1/updates/%",
  "/v1/table_stats",
);
const query = fc.oneof(
  fc.constantFrom("", "timeout=1", "from=1&skip_rows=true", "from=0", "%", "timeout=%ff"),
  fc.string(),
);

// Whatever comes: an answer of the contract, never a fault of ours; and the next request is served.
test("any body, on any path, has an answer", async () => {
  using agent = createPlainAgent("CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v)", {
    queryTimeoutMs: 50,
  });
  const ask = (request: Partial<ApiRequest> & { path: string; body: Uint8Array }) => {
    const ended = new AbortController();
    const answer = agent.handle({
      method: "POST",
      query: "",
      header: () => "application/json",
      signal: ended.signal,
      ...request,
    });
    return { answer, ended };
  };
  await fc.assert(
    fc.asyncProperty(path, query, body, async (path, query, body) => {
      const { answer, ended } = ask({ path, query, body });
      const { status } = await answer;
      ended.abort();
      expect([200, 400, 404, 422, 500]).toContain(status);
      const next = ask({ path: "/v1/queries", body: Buffer.from('"SELECT count(*) FROM t"') });
      expect((await next.answer).status).toBe(200);
    }),
    { numRuns: 2000 },
  );
  expect(agent.service.live.listenerCount).toBe(0);
}, 120_000);

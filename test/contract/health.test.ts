/**
 * The thresholds of `/v1/health`, and how many may ask at once.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { Front, RouteRoom } from "../../agent/api/front.ts";
import type { ApiRequest } from "../../agent/api/http.ts";
import type { HealthReport } from "../../agent/api/store-service.ts";
import { createPlainAgent } from "./plain-agent.ts";

let health: HealthReport = { members: 3, queueSize: 20, p99LagSeconds: 0.5, ready: true };

async function ask(query: string): Promise<[number, string]> {
  using agent = createPlainAgent("", { health: () => health });
  const request: ApiRequest = {
    method: "GET",
    path: "/v1/health",
    query,
    header: () => undefined,
    body: new Uint8Array(0),
    signal: new AbortController().signal,
  };
  const { status, body } = await agent.handle(request);
  return [status, Buffer.from(body as Uint8Array).toString()];
}

const report = '{"response":{"gaps":0,"members":3,"p99_lag":0.5,"queue_size":20}}';

test.each([
  ["", 200],
  ["gaps=0", 200],
  ["max_queue=20", 200],
  ["max_queue=19", 503],
  ["max_queue=19&failure_status=500", 500],
  ["max_queue=19&failure_status=299", 299],
  ["max_queue=19&failure_status=0", 503],
  ["max_queue=19&failure_status=204", 503],
  ["max_queue=19&failure_status=205", 503],
  ["max_queue=19&failure_status=304", 503],
  ["p99_lag=0.5", 200],
  ["p99_lag=0.4", 503],
  ["p99_lag=0.4&queue_size=20", 200],
  ["p99_lag=0.4&queue_size=19", 503],
  ["p99_lag=0.4&queue_size=20&max_queue=10", 503],
  ["gaps=0&p99_lag=1&max_queue=100&queue_size=5", 200],
  ["unknown=1", 200],
])("health?%s is %i", async (query, status) => {
  expect(await ask(query)).toEqual([status, report]);
});

test("without a lag sample, and while it catches up, it isn't healthy", async () => {
  const before = health;
  health = { ...before, p99LagSeconds: undefined };
  expect(await ask("")).toEqual([503, '{"error":"no p99 lag information available"}']);
  expect((await ask("failure_status=418"))[0]).toBe(418);
  health = { ...before, ready: false };
  expect(await ask("")).toEqual([503, '{"error":"not ready: still catching up with the others"}']);
  health = before;
});

test.each([
  ["gaps=-1", "gaps: invalid digit found in string"],
  ["p99_lag=x", "p99_lag: invalid float literal"],
  ["failure_status=", "failure_status: cannot parse integer from empty string"],
])("health?%s is a bad request", async (query, why) => {
  expect(await ask(query)).toEqual([400, `Failed to deserialize query string: ${why}`]);
});

test("four may ask for health at once, a fifth is refused; other routes have room", async () => {
  let answer: (report: HealthReport) => void = () => {};
  const waiting = new Promise<HealthReport>((resolve) => {
    answer = resolve;
  });
  using agent = createPlainAgent("");
  const handle: typeof agent.handle = async (request) => {
    if (request.path === "/v1/health") await waiting;
    return agent.handle(request);
  };
  const front = new Front({ handle, room: new RouteRoom(), gate: undefined });
  const go = async (path: string, method = "GET") => {
    const request = {
      method,
      path,
      query: "",
      header: () => "application/json",
      signal: new AbortController().signal,
      body: Buffer.from('"SELECT 1"'),
    };
    const entry = front.enter(request);
    if (entry.kind === "refused") return entry.response;
    const answer = await front.handle(request, entry);
    front.leave(entry);
    return answer;
  };
  const asked = Array.from({ length: 4 }, () => go("/v1/health"));
  const fifth = await go("/v1/health");
  expect([fifth.status, Buffer.from(fifth.body as Uint8Array).toString()]).toEqual([
    503,
    "max concurrency limit reached",
  ]);
  expect((await go("/v1/queries", "POST")).status).toBe(200);
  answer(health);
  for (const one of asked) expect((await one).status).toBe(200);
  expect((await go("/v1/health")).status).toBe(200);
});

/**
 * The description is held against real answers: every path of it is asked, well and badly, and what
 * comes back must be one of the answers that it names, of the schema that it gives.
 *
 * @module
 */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startTestAgent, type TestAgent } from "../agent-process.ts";
import { contractSchema } from "./http.ts";
import { HttpClient } from "./http-target.ts";

type Json = Record<string, unknown>;

let folder: string;
let agent: TestAgent;
let http: HttpClient;
let description: Json;

const secret = "secret-of-one-token";

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "patina-openapi-"));
  await writeFile(join(folder, "schema.sql"), contractSchema);
  const tokens = `[[tokens]]\nsecret = "${secret}"\nread_only = true\ntables = ["tests"]\n`;
  await writeFile(join(folder, "tokens.toml"), tokens, { mode: 0o600 });
  agent = await startTestAgent({
    folder,
    arguments: ["--listen", "127.0.0.1:0"],
    environment: { PATINA_API_TOKENS_FILE: join(folder, "tokens.toml") },
  });
  http = new HttpClient({ at: agent.socket, isPatina: true });
  const { status, contentType, text } = await http.ask("GET", "/v1/openapi.json");
  expect([status, contentType]).toEqual([200, "application/json"]);
  description = JSON.parse(text);
});
afterAll(async () => {
  await agent.stop();
  await rm(folder, { recursive: true });
});

/** Why `value` isn't of `schema`; undefined when it is. Knows the words that the description uses, and no others. */
function problem(schema: Json | boolean, value: unknown, at = "$"): string | undefined {
  if (typeof schema === "boolean") return schema ? undefined : `${at}: nothing may be here`;
  for (const [word, rule] of Object.entries(schema)) {
    const found = problemOf(word, rule, schema, value, at);
    if (found !== undefined) return found;
  }
  return undefined;
}

function problemOf(word: string, rule: unknown, schema: Json, value: unknown, at: string) {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  switch (word) {
    case "$ref": {
      const steps = (rule as string).slice(2).split("/");
      const target = steps.reduce((json, step) => json[step] as Json, description);
      return problem(target, value, at);
    }
    case "type":
      return [rule].flat().some((type) => isOfType(String(type), value))
        ? undefined
        : `${at}: ${rule} wanted, got ${JSON.stringify(value)}`;
    case "enum":
      return (rule as unknown[]).includes(value)
        ? undefined
        : `${at}: one of ${rule}, got ${value}`;
    case "pattern":
      return typeof value !== "string" || new RegExp(rule as string).test(value)
        ? undefined
        : `${at}: ${rule}, got ${value}`;
    case "minimum":
      return typeof value !== "number" || value >= (rule as number)
        ? undefined
        : `${at}: too small`;
    case "maximum":
      return typeof value !== "number" || value <= (rule as number)
        ? undefined
        : `${at}: too large`;
    case "minItems":
      return !Array.isArray(value) || value.length >= (rule as number)
        ? undefined
        : `${at}: too short`;
    case "required": {
      const missing = isObject && (rule as string[]).find((name) => !(name in (value as Json)));
      return missing ? `${at}: ${missing} is missing` : undefined;
    }
    case "properties":
      return isObject
        ? first(Object.entries(value as Json), ([name, item]) => {
            const own = (rule as Json)[name] as Json | undefined;
            return own === undefined ? undefined : problem(own, item, `${at}.${name}`);
          })
        : undefined;
    case "additionalProperties":
      return isObject
        ? first(Object.entries(value as Json), ([name, item]) =>
            name in ((schema.properties ?? {}) as Json)
              ? undefined
              : problem(rule as Json | boolean, item, `${at}.${name}`),
          )
        : undefined;
    case "prefixItems":
      return Array.isArray(value)
        ? first((rule as Json[]).entries(), ([i, own]) => problem(own, value[i], `${at}[${i}]`))
        : undefined;
    case "items": {
      const from = ((schema.prefixItems ?? []) as unknown[]).length;
      return Array.isArray(value)
        ? first(value.slice(from), (item) => problem(rule as Json, item, `${at}[]`))
        : undefined;
    }
    case "anyOf":
    case "oneOf": {
      const problems = (rule as Json[]).map((one) => problem(one, value, at));
      const fits = problems.filter((one) => one === undefined).length;
      if (word === "anyOf" ? fits > 0 : fits === 1) return undefined;
      return `${at}: fits ${fits} of ${problems.length}: ${JSON.stringify(value)} ${problems.join("; ")}`;
    }
    case "description":
      return undefined;
    default:
      throw new Error(`the test doesn't know ${word}`);
  }
}

function first<T>(items: Iterable<T>, look: (item: T) => string | undefined): string | undefined {
  for (const item of items) {
    const found = look(item);
    if (found !== undefined) return found;
  }
  return undefined;
}

function isOfType(type: string, value: unknown): boolean {
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  if (type === "integer") return Number.isInteger(value);
  if (type === "object")
    return typeof value === "object" && value !== null && !Array.isArray(value);
  // The others are JavaScript's names too.
  return typeof value === type;
}

const asked = new Set<string>();

/** Why an answer isn't as described. */
async function wrong(
  method: string,
  path: string,
  body?: string,
  { client = http, headers }: { client?: HttpClient; headers?: Record<string, string> } = {},
): Promise<string | undefined> {
  const [route] = path.split("?") as [string];
  const named = route
    .replace(/^\/v1\/subscriptions\/.+/, "/v1/subscriptions/{id}")
    .replace(/^\/v1\/updates\/.+/, "/v1/updates/{table}");
  const operation = ((description.paths as Json)[named] as Json)?.[method.toLowerCase()] as Json;
  if (operation === undefined) return `${method} ${named} isn't described`;
  const ended = new AbortController();
  const response = await client.open(method, path, body, headers, ended.signal);
  const responses = operation.responses as Json;
  const described = (responses[response.status] ?? responses.default) as Json | undefined;
  const what = `${method} ${path} ${response.status}`;
  if (described === undefined) return `${what} isn't described`;
  asked.add(`${method} ${named} ${response.status}`);
  for (const [name, { schema, required }] of Object.entries(
    (described.headers ?? {}) as Record<string, { schema: Json; required?: boolean }>,
  )) {
    const { format: _, ...checked } = schema;
    const value = response.headers.get(name);
    // All others are always there.
    if (value === null && required === false) continue;
    const found = problem(checked, value, `${what} ${name}`);
    if (found !== undefined) return found;
  }
  const content = (described.content ?? {}) as Record<string, Json>;
  const type = response.headers.get("content-type");
  const isStream = content["application/x-ndjson"] !== undefined;
  let text = "";
  const decoder = new TextDecoder();
  try {
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      text += decoder.decode(chunk, { stream: true });
      const isLive = /subscriptions|updates/.test(path) && response.status === 200;
      if (isLive && /"eoq"|"notify"|"change"|"error"/.test(text)) ended.abort();
    }
  } catch {
    // Ended here.
  }
  if (isStream) {
    const schema = content["application/x-ndjson"]?.itemSchema as Json;
    const lines = text.split("\n").filter((line) => line.trim() !== "");
    return first(lines, (line) => problem(schema, JSON.parse(line), `${what}`));
  }
  if (text === "") return Object.keys(content).length === 0 ? undefined : `${what}: no body`;
  if (type?.startsWith("text/plain;")) {
    return content[type] === undefined ? `${what}: text isn't described` : undefined;
  }
  const schema = content["application/json"]?.schema as Json | undefined;
  return schema === undefined
    ? `${what}: ${type} isn't described`
    : problem(schema, JSON.parse(text), what);
}

test.each([
  ["POST", "/v1/transactions", `["INSERT INTO tests VALUES (1, 'a')", "DELETE FROM tests2"]`],
  ["POST", "/v1/transactions", '["DELETE FROM tests2"]'],
  ["POST", "/v1/transactions", '["SELEC"]'],
  ["POST", "/v1/transactions", "[]"],
  ["POST", "/v1/transactions", "["],
  ["POST", "/v1/transactions", "{}"],
  ["POST", "/v1/transactions?timeout=x", "[]"],
  ["POST", "/v1/queries", `["SELECT id, 1.5, 'text', x'00ff', NULL FROM tests WHERE id > ?", [0]]`],
  ["POST", "/v1/queries", `"SELECT json('no json')"`],
  ["POST", "/v1/queries", '"DELETE FROM tests"'],
  ["POST", "/v1/queries", '"SELECT ?"'],
  ["POST", "/v1/queries", "7"],
  ["POST", "/v1/subscriptions", '"SELECT * FROM tests"'],
  ["POST", "/v1/subscriptions", '"SELECT 1"'],
  ["POST", "/v1/subscriptions", '""'],
  ["POST", "/v1/subscriptions?from=9", '"SELECT text FROM tests"'],
  ["GET", "/v1/subscriptions/11111111222243334444555566667777", undefined],
  ["GET", "/v1/subscriptions/nope", undefined],
  ["POST", "/v1/updates/nowhere", ""],
  ["POST", "/v1/migrations", '["CREATE TABLE fresh (id INTEGER NOT NULL PRIMARY KEY)"]'],
  ["POST", "/v1/migrations", "[]"],
  ["POST", "/v1/table_stats", '{"tables":["tests","nowhere"]}'],
  ["POST", "/v1/table_stats", "{}"],
  ["GET", "/v1/health", undefined],
  ["GET", "/v1/health?failure_status=418", undefined],
  ["GET", "/v1/health?gaps=x", undefined],
  ["GET", "/v1/status", undefined],
  ["GET", "/v1/swarm", undefined],
  ["GET", "/v1/subs", undefined],
  ["GET", "/v1/openapi.json", undefined],
  ["GET", "/metrics", undefined],
  ["POST", "/v1/reload", '{"dry_run":true}'],
  ["POST", "/v1/backup", "{}"],
  ["POST", "/v1/backup", '{"path":"/dev/null/backup.db"}'],
])("%s %s %s is answered as described", async (method, path, body) => {
  expect(await wrong(method, path, body)).toBeUndefined();
});

test("changes, resumed streams and updates are as described", async () => {
  await using live = await http.subscribe('"SELECT * FROM tests"', "?tx=1");
  await live.next();
  const id = live.headers.get("corro-query-id");
  await using updates = await http.stream("POST", "/v1/updates/tests");
  await http.transact(
    `["INSERT OR REPLACE INTO tests VALUES (7, 'b')","DELETE FROM tests WHERE id = 1"]`,
  );
  // Two commits that are looked at together are told as one.
  while (!live.lines.at(-1)?.includes('"change_id":2')) await live.next();
  await http.transact(`["DELETE FROM tests WHERE id = 7"]`);
  while (!live.lines.at(-1)?.includes('"change_id":3')) await live.next();
  await updates.next();
  const schemas = (description.components as Json).schemas as Record<string, Json>;
  for (const line of live.lines) {
    expect(problem(schemas.SubscriptionLine as Json, JSON.parse(line))).toBeUndefined();
  }
  for (const line of updates.lines) {
    expect(problem(schemas.UpdateLine as Json, JSON.parse(line))).toBeUndefined();
  }
  expect(await wrong("GET", `/v1/subscriptions/${id}?from=1`)).toBeUndefined();
});

test("refusals by a request's head are as described, on every path", async () => {
  const client = new HttpClient({ at: `http://${agent.listen[0]}`, isPatina: true });
  const json = { "content-type": "application/json" };
  for (const [path, item] of Object.entries(description.paths as Json)) {
    const method = (Object.keys(item as Json)[0] as string).toUpperCase();
    const route = path.replace("{id}", "1".repeat(32)).replace("{table}", "tests2");
    for (const headers of [
      json,
      { ...json, authorization: "Basic c2VjcmV0" },
      { ...json, authorization: `Bearer ${secret}` },
      { ...json, authorization: `Bearer ${secret}`, "x-much": "x".repeat(20_000) },
    ]) {
      const body = method === "POST" ? '"SELECT * FROM tests2"' : undefined;
      expect(await wrong(method, route, body, { client, headers })).toBeUndefined();
    }
    for (const status of [400, 401, 431]) expect(asked).toContain(`${method} ${path} ${status}`);
  }
  for (const path of ["/v1/queries", "/v1/transactions", "/v1/status", "/v1/reload"]) {
    expect([...asked].some((one) => one.endsWith(`${path} 403`))).toBe(true);
  }
});

test("the description has the API's paths and methods, and no others", async () => {
  for (const [path, item] of Object.entries(description.paths as Json)) {
    const [method] = Object.keys(item as Json) as [string];
    const other = method === "get" ? "POST" : "GET";
    const route = path.replace("{id}", "1".repeat(32)).replace("{table}", "tests");
    const { status, headers } = await http.ask(other, route);
    expect([path, status]).toEqual([path, 405]);
    expect(headers.get("allow")).toStartWith(method.toUpperCase());
    expect([...asked].some((one) => one.startsWith(`${method.toUpperCase()} ${path} `))).toBe(true);
  }
});

test("every path of the handlers is described", async () => {
  const source = await Bun.file(join(import.meta.dir, "../../agent/api/handlers.ts")).text();
  const paths = [...source.matchAll(/case "(\/[^"]+)"/g)].map(([, path]) => path as string);
  expect(paths.length).toBeGreaterThan(8);
  const described = Object.keys(description.paths as Json);
  expect(paths.filter((path) => !described.includes(path))).toEqual([]);
});

test("the check itself can fail", () => {
  const schemas = (description.components as Json).schemas as Record<string, Json>;
  const line = schemas.SubscriptionLine as Json;
  for (const value of [
    { change: ["insert", 1, ["a"], 2, 3] },
    { change: ["replace", 1, ["a"], 2] },
    { change: ["insert", 1, ["a"]] },
    { change: ["insert", 1, [[256]], 2] },
    { eoq: { time: 1 } },
    { columns: ["a"], more: 1 },
    {},
  ]) {
    expect([value, problem(line, value) !== undefined]).toEqual([value, true]);
  }
});

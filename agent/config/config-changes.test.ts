import { expect, test } from "bun:test";
import { type Config, readConfig } from "./config.ts";
import { changedKeys } from "./config-changes.ts";

function configOf(text: string): Config {
  const read = readConfig({ file: "/etc/patina/patina.toml", text, environment: {}, flags: {} });
  if (read.kind === "refused") throw new Error(read.problems.join("\n"));
  return read.config;
}

test("what a reload doesn't reach is told by its key; schema, tables and tokens are reached", () => {
  const before = configOf(`
    [node]
    name = "a"
    [tables.t]
    replicated = false
  `);
  expect(changedKeys(before, before)).toEqual([]);
  const now = configOf(`
    [node]
    name = "b"
    [schema]
    paths = ["x.sql"]
    [api]
    listen = ["127.0.0.1:8080"]
    tokens_file = "tokens.toml"
    [store]
    query_timeout_ms = 5
  `);
  expect(changedKeys(before, now)).toEqual(["node.name", "api.listen", "store.query_timeout_ms"]);
});

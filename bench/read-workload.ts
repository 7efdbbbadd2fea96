/**
 * What the parts of `bench read` ask, and of which rows.
 *
 * @module
 */

import { type BenchAgent, startBenchAgent } from "./bench-agent.ts";
import type { BenchCase } from "./harness.ts";

export const schemaSql = `
CREATE TABLE instances (id TEXT NOT NULL PRIMARY KEY, service TEXT NOT NULL DEFAULT '',
  node TEXT NOT NULL DEFAULT '', address TEXT NOT NULL DEFAULT '', status TEXT NOT NULL DEFAULT 'up',
  weight INTEGER NOT NULL DEFAULT 0);
CREATE INDEX instances_service ON instances (service);
`;

export const bodies = {
  point: JSON.stringify([
    "SELECT id, service, node, address, status, weight FROM instances WHERE id = ?",
    ["i4711"],
  ]),
  hundred: JSON.stringify([
    "SELECT id, service, node, address, status, weight FROM instances WHERE service = ?",
    ["s17"],
  ]),
  write: JSON.stringify([["UPDATE instances SET weight = weight + 1 WHERE id = ?", ["i42"]]]),
  stream: JSON.stringify(["SELECT id, weight FROM instances WHERE service = ?", ["s0"]]),
  all: JSON.stringify("SELECT id, service, node, address, status, weight FROM instances"),
  long: JSON.stringify(
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 50000) SELECT count(*) FROM c",
  ),
  endless: JSON.stringify(
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c",
  ),
} as const;

/** Of an agent that is read from, also when all is small: the point read's row is among them. */
export const agentRows = 10_000;

/** A server that has them already gets them anew. */
export function rowsSql(rows: number): string {
  const numbers = `WITH RECURSIVE c(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM c WHERE x < ${rows - 1})`;
  const services = Math.max(1, Math.floor(rows / 100));
  return `INSERT OR REPLACE INTO instances (id, service, node, address) ${numbers} SELECT 'i' || x, 's' || (x % ${services}), 'n' || (x % 50), '10.0.' || (x % 256) || '.' || (x / 256 % 256) || ':8080' FROM c`;
}

export interface ReadAgentOptions {
  readonly binary: string | undefined;
  readonly rows: number;
  /** Default: 10 s, which nothing here takes. */
  readonly queryTimeoutMs?: number;
}

/** An agent that has the rows, and an API on TCP too. */
export function startReadAgent(options: ReadAgentOptions): Promise<BenchAgent> {
  const { binary, rows, queryTimeoutMs = 10_000 } = options;
  const config = `[api]\nlisten = ["127.0.0.1:0"]\ntoken = false\n[store]\nquery_timeout_ms = ${queryTimeoutMs}\n`;
  return startBenchAgent({ schemaSql, config, binary, fill: [rowsSql(rows)] });
}

/** What a part of the benchmark adds to. */
export interface ReadReport {
  readonly cases: BenchCase[];
  readonly summary: Record<string, number | string | null>;
  readonly notes: string[];
}

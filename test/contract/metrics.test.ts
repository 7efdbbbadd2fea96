/**
 * What Prometheus would scrape of real agents, read by the parser of Prometheus's own Python client.
 *
 * @module
 */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startTestAgent, type TestAgent } from "../agent-process.ts";
import { testIf } from "../real.ts";
import { until } from "../until.ts";
import { contractSchema } from "./http.ts";
import { HttpClient } from "./http-target.ts";

let folder: string;
let agent: TestAgent;
let http: HttpClient;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "patina-metrics-"));
  await writeFile(join(folder, "schema.sql"), contractSchema);
  agent = await startTestAgent({
    folder,
    arguments: ["--zone", "rack-3", "--listen", "127.0.0.1:0"],
    environment: { PATINA_API_TOKEN: "false" },
  });
  http = new HttpClient({ at: agent.socket, isPatina: true });
});
afterAll(async () => {
  await agent.stop();
  await rm(folder, { recursive: true });
});

async function scrape(): Promise<string> {
  const { status, contentType, text } = await http.ask("GET", "/metrics");
  expect([status, contentType]).toEqual([200, "text/plain; version=0.0.4; charset=utf-8"]);
  return text;
}

/** Prints `[name, type, [[sample, labels, value]…]]` for each family. */
const parser = `
import json, sys
from prometheus_client.parser import text_string_to_metric_families
print(json.dumps([[f.name, f.type, [[s.name, s.labels, s.value] for s in f.samples]]
                  for f in text_string_to_metric_families(sys.stdin.read())]))
`;
/** Debian's Python has Debian's package. */
const python = "/usr/bin/python3";

function missingParser(): string | undefined {
  const { success } = Bun.spawnSync([python, "-c", "import prometheus_client"]);
  return success ? undefined : "python3-prometheus-client is not installed";
}

type Family = [name: string, type: string, samples: [string, Record<string, string>, number][]];

function parsed(text: string): Map<string, Family> {
  const { stdout, stderr } = Bun.spawnSync([python, "-c", parser], { stdin: Buffer.from(text) });
  if (stdout.length === 0) throw new Error(stderr.toString());
  const families: Family[] = JSON.parse(stdout.toString());
  return new Map(families.map((family) => [family[0], family]));
}

testIf(missingParser(), "Prometheus's own parser reads every family", async () => {
  await http.transact(`["INSERT INTO tests VALUES (1, 'a')", "INSERT INTO tests VALUES (2, 'b')"]`);
  await using live = await http.subscribe('"SELECT * FROM tests"');
  await live.next();
  const text = await scrape();
  const families = parsed(text);
  expect(families.size).toBe(text.match(/^# TYPE /gm)?.length as number);
  const value = (name: string, labels: Record<string, string> = {}): number | undefined =>
    families
      .get(name)?.[2]
      .find(([, own]) => Object.entries(labels).every(([label, text]) => own[label] === text))?.[2];
  expect(value("patina_info", { zone: "rack-3", site: agent.site })).toBe(1);
  expect(value("patina_ready")).toBe(1);
  expect(value("patina_store_failing")).toBe(0);
  expect(value("patina_rows")).toBe(2);
  expect(value("patina_live_queries")).toBe(1);
  expect(value("patina_subscribers")).toBe(1);
  expect(value("patina_requests", { route: "/v1/transactions" })).toBe(1);
  expect(value("patina_requests", { route: "/v1/subscriptions" })).toBe(1);
  expect(value("process_resident_memory_bytes")).toBeGreaterThan(1e6);
  const now = Date.now() / 1000;
  expect(value("process_start_time_seconds")).toBeWithin(now - 120, now + 1);
});

test("counters say so in their names, and grow; gauges don't", async () => {
  const text = await scrape();
  const types = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)];
  expect(types.length).toBeGreaterThan(20);
  for (const [, name, type] of types) {
    expect([name, (name as string).endsWith("_total")]).toEqual([name, type === "counter"]);
    expect(name).toMatch(/^(patina|process)_[a-z0-9_]+$/);
  }
  const asked = (of: string): number =>
    Number(/^patina_requests_total\{route="\/metrics"\} (\d+)$/m.exec(of)?.[1]);
  expect(asked(await scrape())).toBe(asked(text) + 1);
});

test("open connections are counted by listener", async () => {
  const of = async (listener: string): Promise<number[]> => {
    const text = await scrape();
    return ["", "_refused_total", "_closed_for_others_total"].map((end) => {
      const line = `patina_http_connections${end}{listener="${listener}"} `;
      return Number(
        text
          .split("\n")
          .find((one) => one.startsWith(line))
          ?.slice(line.length),
      );
    });
  };
  const address = agent.listen[0] as string;
  const [before = 0] = await of("unix");
  expect(before).toBeGreaterThan(0);
  expect(await of(address)).toEqual([0, 0, 0]);
  const { hostname, port } = new URL(`http://${address}`);
  const clients = [connect(agent.socket), connect(Number(port), hostname)];
  await until(async () => (await of("unix"))[0] === before + 1 && (await of(address))[0] === 1);
  for (const client of clients) client.destroy();
  await until(async () => (await of("unix"))[0] === before && (await of(address))[0] === 0);
  expect((await of("unix")).slice(1)).toEqual([0, 0]);
});

test("what stands alone has no metrics of the network", async () => {
  expect(await scrape()).not.toContain("patina_net_up");
});

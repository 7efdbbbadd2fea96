/**
 * One of two agents is killed in the middle of writes and started again at once. There is no DHT: they know
 * each other by addresses in the configuration, or only one knows the other. The survivor still holds a
 * stream to the process that was killed, and its transport needs 13 s to find out.
 *
 * @module
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freeUdpPort } from "../../agent/swarm/free-port.ts";
import { ClusterNode, until as untilWithin } from "../../examples/cluster.ts";
import { runPatina } from "../agent-process.ts";
import { builtBinary } from "./built-binary.ts";

/** Where the killed one is back as soon as this, the survivor finds out long before its transport. */
const backMsMax = 5000;
const until = (what: string, isTrue: () => Promise<boolean>) => untilWithin(what, 60_000, isTrue);

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "patina-rejoin-"));
  expect((await runPatina(["cluster", "init", join(folder, "cluster.toml")])).code).toBe(0);
  writeFileSync(join(folder, "schema.sql"), "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY);");
});
afterAll(() => rmSync(folder, { recursive: true }));

interface Place {
  readonly key: string;
  readonly address: string;
}

async function place(at: string): Promise<Place> {
  mkdirSync(at, { recursive: true, mode: 0o700 });
  const made = await runPatina(["keygen", join(at, "node.key"), "--json"]);
  return { key: JSON.parse(made.stdout).key, address: `127.0.0.1:${await freeUdpPort()}` };
}

function agent(name: string, at: string, { address }: Place, peers: readonly Place[]): ClusterNode {
  return new ClusterNode({
    name,
    folder: at,
    binary: builtBinary(),
    env: {},
    config: [
      `[node]\nname = "${name}"\ndata_dir = "${join(at, name)}"`,
      `[cluster]\nfile = "${join(folder, "cluster.toml")}"`,
      `[api]\nsocket = "${join(at, `${name}.sock`)}"`,
      `[schema]\npaths = ["${join(folder, "schema.sql")}"]`,
      `[swarm]\nhost = "127.0.0.1"\nport = ${address.split(":")[1]}`,
      `peers = ${JSON.stringify(peers.map((peer) => `${peer.key}@${peer.address}`))}`,
    ].join("\n"),
  });
}

async function insert(node: ClusterNode, id: string): Promise<string> {
  await node.client.transact({ sql: "INSERT INTO t VALUES (?)", parameters: [id] });
  return id;
}

async function hasAll(node: ClusterNode, ids: readonly string[]): Promise<boolean> {
  const { rows } = await node.client.query("SELECT id FROM t");
  const held = new Set(rows.map(([id]) => id));
  return ids.every((id) => held.has(id));
}

describe("an agent that is killed and started again at once joins again where", () => {
  test.each([
    { what: "both have the other's address", survivor: true, killed: true, remembers: true },
    { what: "only the killed one has", survivor: false, killed: true, remembers: true },
    { what: "only the survivor has", survivor: true, killed: false, remembers: true },
    {
      what: "only the survivor has, and the killed one has lost its memory of it",
      survivor: true,
      killed: false,
      remembers: false,
    },
  ])(
    "$what",
    async ({ what, survivor, killed, remembers }) => {
      const at = join(folder, what.length.toString());
      const [placeA, placeB] = [await place(join(at, "a")), await place(join(at, "b"))];
      const a = agent("a", at, placeA, survivor ? [placeB] : []);
      const b = agent("b", at, placeB, killed ? [placeA] : []);
      try {
        for (const node of [a, b]) node.spawn();
        for (const node of [a, b]) await node.answers();
        const ids = [await insert(a, "a-first"), await insert(b, "b-first")];
        for (const node of [a, b]) await until("they met", () => hasAll(node, ids));

        for (let i = 0; i < 50; i++) ids.push(await insert(b, `b-${i}`));
        await b.kill();
        const killedMs = performance.now();
        for (let i = 0; i < 50; i++) ids.push(await insert(a, `a-${i}`));
        if (!remembers) rmSync(join(b.dataDirectory, "neighbours"));
        b.spawn();
        ids.push(await insert(a, "a-last"));
        await b.answers();
        const backMs = performance.now() - killedMs;
        for (const node of [a, b]) await until(`${node.name} has all`, () => hasAll(node, ids));
        if (backMs < backMsMax) expect(a.log()).not.toContain("timed out");
        // And the stream between them carries what comes next.
        ids.push(await insert(a, "a-next"), await insert(b, "b-next"));
        for (const node of [a, b]) await until(`${node.name} goes on`, () => hasAll(node, ids));
      } finally {
        for (const node of [a, b]) await node.kill();
      }
    },
    120_000,
  );
});

/**
 * Hostile members against a real agent: `bun test/long/hostile.ts --seconds 60`.
 *
 * Two compiled agents and some members that have the cluster's secret and misbehave over real connections:
 * bytes at random, the agent's own frames bent, and well-formed frames of nonsense (tables, columns and keys of
 * any name, stamps of any time, questions about everything, answers to nothing, transfers without an end).
 * Meanwhile clients read and write. The agent must live on as one process, answer, keep what clients wrote, pass it
 * on, stay within its memory, and afterwards be as its peer; its file must be sound, and it must start on it.
 *
 * @module
 */

import { Database } from "bun:sqlite";
import { randomBytes } from "node:crypto";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { sha256 } from "../../agent/host/sha256.ts";
import { zstd } from "../../agent/host/zstd.ts";
import { readClusterFile, topicOf } from "../../agent/secrets/cluster-file.ts";
import { type Swarm, startSwarm } from "../../agent/swarm/swarm.ts";
import { seededRandom } from "../../bench/seeded-random.ts";
import { decodeChangeset, encodeChangeset } from "../../core/change/changeset.ts";
import { decodeFrame, encodeFrame, type Frame, frameKind } from "../../core/change/frame.ts";
import { encodeHello } from "../../core/change/hello.ts";
import { decodeRowBlock, encodeRowBlock } from "../../core/change/row-block.ts";
import { compareStamps, hlcZero, type Stamp, siteOfHex } from "../../core/clock/stamp.ts";
import type { PeerId } from "../../core/node/border.ts";
import type { RowId } from "../../core/row/digest.ts";
import { decodeKey, encodeKey } from "../../core/row/key.ts";
import type { RowState } from "../../core/row/row-state.ts";
import { RawText, Real, type SqlValue } from "../../core/row/value.ts";
import { Cluster, type ClusterNode, until } from "../../examples/cluster.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    seed: { type: "string", default: "1" },
    /** A new folder for what both hosts were, if it fails: status, logs, data. */
    keep: { type: "string" },
  },
});
const random = seededRandom(Number(values.seed));
const int = (end: number) => Math.floor(random() * end);
const pick = <T>(list: readonly T[]): T => list[int(list.length)] as T;
const chance = (fraction: number) => random() < fraction;
const root = join(import.meta.dir, "..", "..");
const hostiles = 6;
const rssBytesMax = 900e6;

await using cluster = await Cluster.start({
  binary: join(root, "dist", "patina"),
  nodes: 2,
  schema: [join(root, "examples", "schema.sql")],
});
await cluster.connected(60_000);
const [agent, peer] = cluster.nodes as [ClusterNode, ClusterNode];
const read = readClusterFile(join(cluster.folder, "cluster.toml"));
if (read.kind === "refused") throw new Error(read.why);
const { key } = JSON.parse(await agent.client.get("/v1/status"));
const log = readFileSync(join(cluster.folder, `${agent.name}.log.err`), "utf8");
const port = Number(/network .*port=(\d+)/.exec(log)?.[1]);
const { pid } = agent;

// ---- Frames ---------------------------------------------------------------------------------------

const names = [
  ...["instances", "services", "checks", "patina_state", "sqlite_master", "sqlite_sequence"],
  ...[
    "",
    " ",
    '"; DROP TABLE instances; --',
    "a\0b",
    "\u{1F600}",
    "x".repeat(1024),
    "select",
    "t'",
  ],
];
const strange: readonly SqlValue[] = [
  ...[null, 0, -1, 2n ** 63n - 1n, -(2n ** 63n), new Real(-0), new Real(Number.POSITIVE_INFINITY)],
  ...["", "up", "a\0b", new RawText(new Uint8Array([0xff, 0xfe])), new Uint8Array(0)],
];
const large = ["x".repeat(70_000), new Uint8Array(100_000)];
const sites = Array.from({ length: 5 }, () => siteOfHex(randomBytes(16).toString("hex")));

/** Mostly one that is accepted, so that what comes with it is. */
function stamp(isSound = chance(0.97)): Stamp {
  const sound = [0, 1, Date.now(), Date.now() - int(1e9), Date.now() + int(3000)];
  const ms = pick(isSound ? sound : [Date.now() + 120_000, Date.now() + 1e12, 2 ** 48 - 1]);
  return { ms, count: int(65_536), site: pick(sites) };
}

/** Never of the ids that the good clients use. */
function hostileRow(): RowState {
  const clock = {
    ...stamp(),
    cl: chance(0.98) ? 1 + int(4) : pick([2 ** 31, Number.MAX_SAFE_INTEGER]),
  };
  const columns = new Set(
    Array.from({ length: int(6) }, () =>
      pick([...names, "status", "service", "weight", `made-up-${int(5000)}`]).toLowerCase(),
    ),
  );
  if (chance(0.99)) columns.delete("");
  const table = chance(0.2) ? `made-up-${int(3000)}` : pick(names).toLowerCase();
  const parts = Array.from(
    { length: 1 + int(3) },
    () => pick([`evil-${int(500)}`, ...strange]) ?? 1,
  );
  return {
    table: table || "instances",
    clock,
    key: (chance(0.99) ? encodeKey(parts) : undefined) ?? new Uint8Array([9, 9]),
    cells: [...columns].sort().map((column) => ({
      column,
      stamp: { ...clock, ms: Math.min(2 ** 48 - 1, clock.ms + int(3)) },
      value: pick(chance(0.01) ? large : strange),
    })),
  };
}

/** With the stamp of its latest row. */
function changeset(lane: 0 | 1, rows: readonly RowState[]): Uint8Array {
  const stamps = rows.flatMap((row) => [row.clock, ...row.cells.map((cell) => cell.stamp)]);
  const [latest] = stamps.sort((a, b) => compareStamps(b, a)) as [Stamp];
  const { ms, count, site } = latest;
  return encodeChangeset({ stamp: { ms, count, site }, lane, rows });
}

/** Most lie about everything but their clock: most peers are believed on it. */
const now = (isLiar: boolean) => ({ ms: isLiar ? stamp().ms : Date.now() + int(200), count: 0 });

const bytes = (length: number) => Uint8Array.from({ length }, () => int(256));
const hex = (length: number) => Buffer.from(bytes(length)).toString("hex");

function nonsense(isLiar: boolean): Frame {
  const level = 1 + int(4);
  const nodes = Array.from({ length: pick([0, 1, 16, 300]) }, () => int(16 ** (level - 1)));
  const head = {
    exchange: int(50),
    answer: chance(0.5),
    live: chance(0.5),
    horizon: hlcZero,
  } as const;
  const at = { ...head, cut: pick([0, Math.floor(Date.now() / 1000) - int(9), 2 ** 32 - 1]) };
  const entries = Array.from({ length: int(20) }, () => ({
    id: hex(16) as RowId,
    stamp: stamp(),
    digest: hex(8),
  }));
  const rows = Array.from({ length: 1 + int(8) }, hostileRow);
  const { exchange, horizon } = head;
  return pick<() => Frame>([
    () => ({ kind: "push", lane: 1, changeset: changeset(1, rows) }),
    () => ({ kind: "push", lane: 0, changeset: changeset(0, rows) }),
    () => ({ kind: "rows", exchange, last: chance(0.5), horizon, block: encodeRowBlock(rows) }),
    () => ({ kind: "rows", exchange, last: chance(0.5), horizon, block: bytes(int(300)) }),
    () => ({ kind: "root", ...at, rows: int(2 ** 31), fingerprint: hex(16) }),
    () => ({
      kind: "walk",
      ...at,
      level,
      nodes,
      fingerprints: at.answer ? Array.from({ length: nodes.length * 16 }, () => hex(8)) : [],
    }),
    () => ({
      kind: "list",
      ...at,
      recentOnly: chance(0.5),
      more: chance(0.5),
      level,
      nodes,
      entries: at.answer ? entries : [],
    }),
    () => ({
      kind: "fetch",
      exchange,
      horizon,
      what: { by: "id", ids: entries.map(({ id }) => id) },
    }),
    () => ({ kind: "fetch", exchange, horizon, what: { by: "range", level, nodes } }),
    () => ({ kind: "recent", horizon, more: chance(0.3), entries }),
    () => ({ kind: "busy", exchange }),
    () => ({ kind: "behind", exchange, cut: int(2 ** 32) }),
    () => ({
      kind: "stream",
      exchange,
      horizon,
      level: 0,
      nodes: [0],
      credit: pick([0, 1, 2 ** 40]),
      cursor: bytes(int(40)),
    }),
    () => {
      const block = chance(0.98) ? encodeRowBlock(rows) : bytes(int(60));
      return {
        kind: "streamed",
        exchange,
        paused: chance(0.5),
        last: chance(0.5),
        horizon,
        block,
        compressed: chance(0.02),
        cursor: bytes(int(20)),
        blockBytes: chance(0.98) ? block.length : pick([0, 10, 64 * 2 ** 20]),
      };
    },
    () => ({
      kind: "heartbeat",
      sequence: int(1e6),
      incarnation: int(9),
      storeLag: pick([0, 1, 2, 3]),
      hlc: now(isLiar),
    }),
  ] as readonly (() => Frame)[])();
}

// ---- Members --------------------------------------------------------------------------------------

const sent = { connections: 0, frames: 0, forged: 0 };
const heard: Uint8Array[] = [];
const swarms: Swarm[] = [];

async function hostile(isLiar: boolean): Promise<void> {
  let swarm: Swarm | undefined;
  let connected = false;
  const started = await startSwarm(
    {
      sha256,
      nodeSeed: randomBytes(32),
      topic: topicOf(read.kind === "cluster" ? read.cluster.id : ""),
      admissionSecret: read.kind === "cluster" ? read.cluster.admissionSecret : new Uint8Array(0),
      host: "127.0.0.1",
      port: 0,
      bootstrap: [],
      firewalled: false,
      only: undefined,
      peers: [`${key}@127.0.0.1:${port}`],
      peersMax: 12,
      region: "hostile",
    },
    {
      knownMembers: () => [],
      onConnected: (to) => {
        connected = true;
        sent.connections++;
        void misbehave(swarm as Swarm, to, isLiar, () => connected);
      },
      onFrame: (_from, frame) => {
        if (heard.length < 500) heard.push(frame.slice());
        else heard[int(500)] = frame.slice();
      },
      onDrained: () => {},
      onParting: () => {},
      onDisconnected: () => {
        connected = false;
      },
      onRefused: () => {},
    },
  );
  if (started.kind === "failed") throw new Error(started.why);
  swarm = started.swarm;
  swarms.push(swarm);
}

async function misbehave(
  swarm: Swarm,
  to: PeerId,
  isLiar: boolean,
  isConnected: () => boolean,
): Promise<void> {
  const say = (frame: Uint8Array) => {
    sent.frames++;
    swarm.send(to, frame);
  };
  if (chance(0.9)) {
    const shapes = Array.from({ length: pick([0, 1, 400]) }, (_, i) => ({
      table: `${pick(names).slice(0, 20)}${i}`,
      columns: [{ name: "a", type: "TEXT", default: null, key: 1 }],
    }));
    const hello = encodeHello({
      protocol: [1, 1],
      digests: [1],
      features: ["stream", "zstd"],
      scopes: [0],
      name: pick(["evil", agent.name, peer.name, "x".repeat(200), "\x1b[2J"]),
      region: "",
      zone: "",
      site: pick(sites),
      incarnation: int(2 ** 31),
      horizon: hlcZero,
      now: now(isLiar),
      schema: shapes,
      starting: chance(0.3),
    });
    say(encodeFrame({ kind: "hello", body: hello }));
  }
  const style = int(4);
  for (let i = 0; isConnected() && i < 3000; i++) {
    // Most connections stay well-formed for long: what is malformed ends them.
    if (style === 0 && i > 20) say(bytes(int(80)));
    else if (style === 1 && i > 50 && heard.length > 0 && chance(0.05)) {
      const frame = pick(heard);
      const changed = bent(frame);
      // A member may write every row: what is well-formed is no attack but a write, and the clients' rows are theirs.
      if (forges(changed, frame)) sent.forged++;
      else say(changed);
    } else if (style === 2 && i % 50 === 49) say(endlessPart(i));
    else say(encodeFrame(nonsense(isLiar)));
    if (i % 20 === 0) await Bun.sleep(int(30));
  }
}

/** A frame of the agent's own with some of it changed, cut or longer. */
function bent(frame: Uint8Array): Uint8Array {
  const copy = new Uint8Array(Math.max(1, frame.length + pick([0, 0, -int(9), int(9)])));
  copy.set(frame.subarray(0, copy.length));
  for (let i = 0; i < 1 + int(3); i++)
    copy[pick([int(12), int(copy.length)]) % copy.length] = int(256);
  return copy;
}

/** Whether a frame that was changed says something of the clients' rows that the agent didn't. */
function forges(changed: Uint8Array, original: Uint8Array): boolean {
  const said = rowsIn(changed).filter(isOfClients);
  if (said.length === 0) return false;
  const known = new Set(rowsIn(original).map((row) => encodeRowBlock([row]).toHex()));
  return said.some((row) => !known.has(encodeRowBlock([row]).toHex()));
}

function rowsIn(bytes: Uint8Array): readonly RowState[] {
  const decoded = decodeFrame(bytes);
  if (decoded.kind !== "frame") return [];
  const { frame } = decoded;
  if (frame.kind === "push") {
    const read = decodeChangeset(frame.changeset);
    return read.kind === "changeset" ? read.changeset.rows : [];
  }
  if (frame.kind !== "rows" && frame.kind !== "streamed") return [];
  const isPacked = frame.kind === "streamed" && frame.compressed;
  const block = isPacked ? zstd.decompress(frame.block, frame.blockBytes) : frame.block;
  const read = decodeRowBlock(block ?? new Uint8Array(0));
  return read.kind === "rows" ? read.rows : [];
}

function isOfClients({ table, key, cells }: RowState): boolean {
  if (table !== "instances") return false;
  const [id] = decodeKey(key) ?? [];
  const isOfService = cells.some(({ column, value }) => column === "service" && value === "good");
  return isOfService || (typeof id === "string" && id.startsWith("good-"));
}

/** The beginning of a frame of 60 MB that never goes on. */
function endlessPart(transfer: number): Uint8Array {
  const head = Buffer.alloc(3 + 4);
  head.set([frameKind.part, 2, 0]);
  head.writeUInt32BE(transfer, 3);
  return Buffer.concat([head, Buffer.from([0x80, 0x90, 0xce, 0x1c]), bytes(50)]);
}

// ---- Clients --------------------------------------------------------------------------------------

for (let i = 0; i < hostiles; i++) await hostile(i === 0);
let isOver = false;
const wrote = new Map<string, string>();
let [slowestMs, rssMax] = [0, 0];
const clients = (async () => {
  for (let i = 0; !isOver; i++) {
    const id = `good-${i % 300}`;
    const address = `10.0.0.${i}`;
    const began = performance.now();
    await agent.client.transact({
      sql: `INSERT INTO instances (id, service, address, status) VALUES (?, 'good', ?, 'up')
            ON CONFLICT (id) DO UPDATE SET address = excluded.address`,
      parameters: [id, address],
    });
    wrote.set(id, address);
    const { rows } = await agent.client.query("SELECT address FROM instances WHERE id = ?", id);
    if (rows[0]?.[0] !== address) throw new Error(`${id}: wrote ${address}, read ${rows[0]?.[0]}`);
    slowestMs = Math.max(slowestMs, performance.now() - began);
    rssMax = Math.max(rssMax, agent.rssBytes());
    if (agent.pid !== pid) throw new Error("the agent was restarted");
    await Bun.sleep(10);
  }
})();
await Promise.race([clients, Bun.sleep(1000 * Number(values.seconds))]);
isOver = true;
await clients;
for (const swarm of swarms) await swarm.destroy();
const status = JSON.parse(await agent.client.get("/v1/status"));
console.log(JSON.stringify({ ...sent, slowestMs: Math.round(slowestMs), rssMax }));
console.log(
  JSON.stringify({ refused: status.refused, clock: status.clock, rows: status.rows_held }),
);
if (sent.connections < hostiles || sent.frames < 1000) throw new Error("it was no attack");
if (rssMax > rssBytesMax) throw new Error(`the agent took ${rssMax} bytes of memory`);

const good = "SELECT id, address FROM instances WHERE service = 'good'";
const bothAlike = async () => {
  for (const node of cluster.nodes) {
    const { rows } = await node.client.query(good);
    const has = new Map(rows.map(([id, address]) => [String(id), address]));
    const other = [...new Set([...has.keys(), ...wrote.keys()])].filter(
      (id) => has.get(id) !== wrote.get(id),
    );
    if (other.length === 0) continue;
    const told = other.slice(0, 5).map((id) => `${id}: ${has.get(id)}, not ${wrote.get(id)}`);
    throw new Error(`${node.name}: ${other.length} rows of ${wrote.size} (${told.join("; ")})`);
  }
  const [a, b] = await Promise.all(cluster.nodes.map((node) => node.client.get("/v1/status")));
  const [mine, theirs] = [JSON.parse(a as string), JSON.parse(b as string)];
  if (mine.root === theirs.root && mine.cut === theirs.cut) return true;
  const told = [mine, theirs].map(({ root, cut, rows_held, ready }) => ({
    root,
    cut,
    rows_held,
    ready,
  }));
  throw new Error(`not alike: ${JSON.stringify(told)}`);
};
await until("both have what clients wrote, and all else alike", 120_000, bothAlike).catch(
  async (error: unknown) => {
    await keepAll();
    throw error;
  },
);
await agent.kill("SIGTERM");
{
  using database = new Database(join(agent.dataDirectory, "patina.db"));
  const [check] = database.query("PRAGMA integrity_check").values();
  if (check?.[0] !== "ok") throw new Error(`integrity_check says ${check}`);
}
agent.spawn();
await agent.answers(60_000);
const { rows: again } = await agent.client.query(good);
if (again.length !== wrote.size) throw new Error("rows are missing after a restart");
console.log(`${sent.frames} hostile frames over ${sent.connections} connections survived`);
// Streams to hosts that are gone would keep this process for a while.
await cluster[Symbol.asyncDispose]();
process.exit(0);

/** Both hosts as they are, and their status some seconds later: which counters still move. */
async function keepAll(): Promise<void> {
  const { keep } = values;
  if (keep === undefined) return;
  mkdirSync(keep, { recursive: true });
  for (const when of ["first", "later"]) {
    for (const node of cluster.nodes) {
      const status = await node.client.get("/v1/status").catch(String);
      writeFileSync(join(keep, `${node.name}.${when}.json`), status);
    }
    await Bun.sleep(10_000);
  }
  for (const node of cluster.nodes) await node.kill("SIGTERM");
  cpSync(cluster.folder, keep, { recursive: true, filter: (path) => !path.endsWith(".sock") });
}

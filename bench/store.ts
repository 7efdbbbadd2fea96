/**
 * What rows cost when there are many: the same table at several sizes, in a real agent that stands alone.
 *
 * For each size: bytes on disk (the agent stopped, so without a WAL) against plain SQLite with the same rows;
 * from the spawn of the process until its first answer, and until its index is built; resident memory then, and
 * once more with as many tombstones as rows, when all is settled; a write in commits of 1,000 rows and a point read over the Unix
 * socket. Then, from inside (`store-inside.ts`): the rebuild of the index alone, a merge, a listing of one range,
 * and a column more. Ten times the rows should cost the same or a little more: the last column says which.
 *
 * 1,000,000 rows take minutes: only with `--million`. `--chart FILE.svg` draws what it measured.
 *
 * @module
 */

import { Database } from "bun:sqlite";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClusterNode, until } from "../examples/cluster.ts";
import { binaryOf, optionValue } from "./arguments.ts";
import { type Bench, type BenchCase, type BenchResult, median } from "./harness.ts";
import { digestKey } from "./own-store.ts";
import { seededRandom } from "./seeded-random.ts";
import { insertServiceSql, servicesSql } from "./services-table.ts";
import { type Inside, measureInside } from "./store-inside.ts";

/** Rows of one commit. */
const batch = 1000;
/** How often an agent is started for its median. */
const starts = 3;
const reads = 2000;
/** Twice what the settled image looks back. */
const settledAfterMs = 18_000;

const columnSql = servicesSql.replace("\n);", ",\n  note TEXT NOT NULL DEFAULT 'x'\n);");

type Row = readonly (string | number)[];

interface Measured {
  readonly rows: number;
  readonly diskBytes: number;
  readonly plainBytes: number;
  readonly rssBytes: number;
  readonly startMs: number;
  readonly builtMs: number;
  readonly writeMicroseconds: number;
  readonly readMicroseconds: number;
  /** With as many tombstones as rows. */
  readonly tombstonesRssBytes: number;
  readonly inside: Inside;
}

export const store: Bench = {
  name: "store",
  what: "disk, memory, start, index, writes and reads at 10,000 and 100,000 rows (1 million: --million)",
  options: [
    { name: "--binary", value: "PATH", what: "the executable; dist/patina" },
    { name: "--million", what: "1,000,000 rows too: minutes" },
    { name: "--chart", value: "FILE", what: "draws what it measured, as SVG" },
  ],
  async run({ small, args }): Promise<BenchResult> {
    const binary = binaryOf(args);
    const sizes = small ? [1000] : [10_000, 100_000];
    if (!small && args.includes("--million")) sizes.push(1_000_000);
    const measured: Measured[] = [];
    for (const rows of sizes) measured.push(await measure(binary, rows, small));
    const chart = optionValue(args, "--chart");
    if (chart !== undefined) await Bun.write(chart, chartOf(measured));
    const last = measured.at(-1) as Measured;
    return {
      cases: measured.flatMap(casesOf),
      summary: {
        rows_max: last.rows,
        disk_ratio: rounded(last.diskBytes / last.plainBytes),
        rss_mb: rounded(last.rssBytes / 1e6),
        rss_with_tombstones_mb: rounded(last.tombstonesRssBytes / 1e6),
        first_answer_ms: rounded(last.startMs),
        index_built_ms: rounded(last.builtMs),
        rebuild_ms: rounded(last.inside.rebuildMs),
        list_s: rounded(last.inside.listMs / 1000),
        list_share: rounded(last.inside.listShare),
        column_ms: rounded(last.inside.columnMs),
        ...Object.fromEntries(figures.map(({ field, of }) => [field, growthOf(measured, of)])),
      },
      notes: [
        `growth, from ${measured[0]?.rows} to ${last.rows} rows: flat is less than 1.3 times as much, logarithmic at most as much again for each tenfold, linear is more`,
        "writes are the agent's own commits over the socket; merge is 1,000 newer rows in a transaction, with the index",
        "resident: right after the index was built, rows written seconds before; with tombstones: 18 s later, when all is settled",
        "list: one of 65,536 ranges in full, by a scan that rests 9 ms after each slice; the longest slice is what a read may wait",
      ],
    };
  },
};

/** What should stay as it is however many rows there are: figures of a row or of a request. */
const figures: readonly { readonly field: string; readonly of: (at: Measured) => number }[] = [
  { field: "growth_disk_per_row", of: (at) => at.diskBytes / at.rows },
  { field: "growth_resident", of: (at) => at.rssBytes },
  { field: "growth_first_answer", of: (at) => at.startMs },
  { field: "growth_write", of: (at) => at.writeMicroseconds },
  { field: "growth_read", of: (at) => at.readMicroseconds },
  { field: "growth_merge", of: (at) => at.inside.mergeMicroseconds },
  { field: "growth_column", of: (at) => at.inside.columnMs },
];

function growthOf(measured: readonly Measured[], of: (at: Measured) => number): string {
  const [first, last] = [measured[0] as Measured, measured.at(-1) as Measured];
  const growth = of(last) / of(first);
  const tenfolds = Math.log10(last.rows / first.rows);
  const word = growth < 1.3 ? "flat" : growth <= 1 + tenfolds ? "logarithmic" : "linear";
  return `${word} (${growth.toFixed(2)} ×)`;
}

function rounded(value: number): number {
  return Number(value.toPrecision(3));
}

async function measure(binary: string, rows: number, small: boolean): Promise<Measured> {
  const folder = mkdtempSync(join(tmpdir(), "patina-bench-store-"));
  const schema = join(folder, "schema.sql");
  await Bun.write(schema, servicesSql);
  const node = new ClusterNode({
    name: "alone",
    folder,
    binary,
    env: {},
    config: [
      `[node]\nname = "alone"\ndata_dir = "${join(folder, "alone")}"`,
      `[api]\nsocket = "${join(folder, "alone.sock")}"`,
      `[schema]\npaths = ${JSON.stringify([schema])}`,
      "",
    ].join("\n"),
  });
  // As `OwnStore` has it, which is to read this file.
  writeFileSync(join(node.dataDirectory, "secrets"), Buffer.from(digestKey).toString("hex"), {
    mode: 0o600,
  });
  try {
    node.spawn();
    await node.answers();
    const startedMs = performance.now();
    for (const part of parts(rows)) {
      await node.client.transact(
        ...part.map((row) => ({ sql: insertServiceSql, parameters: [...row] })),
      );
    }
    const writeMicroseconds = ((performance.now() - startedMs) * 1000) / rows;
    await node.kill("SIGTERM");
    const diskBytes = statSync(join(node.dataDirectory, "patina.db")).size;
    const [startMs, builtMs] = [[] as number[], [] as number[]];
    for (let i = 0; i < (small ? 1 : starts); i++) {
      if (i > 0) await node.kill("SIGTERM");
      const spawnedMs = performance.now();
      node.spawn();
      await polled(async () => (await node.client.query("SELECT 1")).rows.length === 1);
      startMs.push(performance.now() - spawnedMs);
      await polled(async () => JSON.parse(await node.client.get("/v1/status")).ready === true);
      builtMs.push(performance.now() - spawnedMs);
    }
    const rssBytes = node.rssBytes();
    const counted = await node.client.query("SELECT count(*) FROM services");
    if (Number(counted.rows[0]?.[0]) !== rows) throw new Error(`${rows} rows were written`);
    const keys = [...parts(Math.min(rows, reads))].flat().map((row) => row[0] as string);
    const readAtMs = performance.now();
    for (const key of keys) await node.client.query("SELECT * FROM services WHERE id = ?", key);
    const readMicroseconds = ((performance.now() - readAtMs) * 1000) / keys.length;
    await leaveTombstones(node, rows);
    await node.kill("SIGTERM");
    node.spawn();
    await polled(async () => JSON.parse(await node.client.get("/v1/status")).ready === true);
    const held = JSON.parse(await node.client.get("/v1/status")).rows_held;
    if (held !== 2 * rows) throw new Error(`${rows} rows and as many tombstones, not ${held}`);
    // What was written seconds ago is in memory until it is settled, and the engine gives back what is free.
    if (!small) await Bun.sleep(settledAfterMs);
    const tombstonesRssBytes = node.rssBytes();
    await node.kill("SIGTERM");
    const database = join(node.dataDirectory, "patina.db");
    const inside = await measureInside(database, servicesSql, columnSql, keys);
    return {
      tombstonesRssBytes,
      inside,
      rows,
      diskBytes,
      plainBytes: plainBytes(join(folder, "plain.db"), rows),
      rssBytes,
      startMs: median(startMs),
      builtMs: median(builtMs),
      writeMicroseconds,
      readMicroseconds,
    };
  } finally {
    await node.kill();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Inserts so many rows more, and deletes them. */
async function leaveTombstones(node: ClusterNode, count: number): Promise<void> {
  const idOf = (i: number) => `x-${String(i).padStart(8, "0")}`;
  const partRows = 5000;
  for (let at = 0; at < count; at += partRows) {
    const ids = Array.from({ length: Math.min(partRows, count - at) }, (_, i) => idOf(at + i));
    const sql = "INSERT INTO services (id) SELECT value FROM json_each(CAST(? AS TEXT))";
    await node.client.transact({ sql, parameters: [JSON.stringify(ids)] });
  }
  for (let at = 0; at < count; at += partRows) {
    const sql = "DELETE FROM services WHERE id >= ? AND id < ?";
    await node.client.transact({ sql, parameters: [idOf(at), idOf(at + partRows)] });
  }
}

async function polled(condition: () => Promise<boolean>): Promise<void> {
  await until("the agent is up", 120_000, condition);
}

/** The same rows at every call, in commits. */
function* parts(rows: number): Generator<Row[]> {
  const random = seededRandom(rows);
  const byte = () => Math.floor(random() * 256);
  for (let at = 0; at < rows; at += batch) {
    yield Array.from({ length: Math.min(batch, rows - at) }, (_, i): Row => {
      const id = Array.from({ length: 12 }, () => byte().toString(16).padStart(2, "0")).join("");
      const app = `app-${Math.floor(random() * 5000)}`;
      const address = `10.${byte()}.${byte()}.${byte()}`;
      return [id, app, address, 1024 + Math.floor(random() * 60_000), "up", 1.7e12 + at + i];
    });
  }
}

/** The file of plain SQLite with the same rows, as it stands after the same commits. */
function plainBytes(path: string, rows: number): number {
  const plain = new Database(path, { create: true });
  plain.exec(servicesSql);
  const insert = plain.prepare(insertServiceSql);
  for (const part of parts(rows)) {
    plain.transaction(() => {
      for (const row of part) insert.run(...row);
    })();
  }
  plain.close();
  return statSync(path).size;
}

function casesOf(at: Measured): BenchCase[] {
  const size = at.rows.toLocaleString("en");
  const item = (
    name: string,
    unit: string,
    ours: number,
    peer: number | null = null,
  ): BenchCase => ({
    case: `${size} rows: ${name}`,
    unit,
    ours,
    peer,
    peer_name: peer === null ? null : "plain SQLite",
    peer_version: peer === null ? null : "bun:sqlite",
    ratio: peer === null ? null : peer / ours,
    checksum: String(at.rows),
  });
  const { inside } = at;
  return [
    item("on disk", "B", at.diskBytes, at.plainBytes),
    item("resident", "B", at.rssBytes),
    item("resident, as many tombstones", "B", at.tombstonesRssBytes),
    item("start to first answer", "ms", at.startMs),
    item("start to a built index", "ms", at.builtMs),
    item("rebuild of the index alone", "ms", inside.rebuildMs),
    item("write, 1,000 a commit", "µs/row", at.writeMicroseconds),
    item("merge, 1,000 a batch", "µs/row", inside.mergeMicroseconds),
    item("point read", "µs", at.readMicroseconds),
    item("listing one range", "ms", inside.listMs),
    item("listing: share of the thread", "%", inside.listShare * 100),
    item("listing: longest slice", "ms", inside.listSliceMs),
    item("one column more", "ms", inside.columnMs),
  ];
}

/** One small panel of bars for each figure. */
function chartOf(measured: readonly Measured[]): string {
  const panels: [title: string, of: (at: Measured) => number, digits: number][] = [
    ["disk ÷ plain SQLite", (at) => at.diskBytes / at.plainBytes, 2],
    ["resident, MB", (at) => at.rssBytes / 1e6, 0],
    ["first answer, ms", (at) => at.startMs, 0],
    ["write, µs a row", (at) => at.writeMicroseconds, 1],
    ["merge, µs a row", (at) => at.inside.mergeMicroseconds, 1],
    ["point read, µs", (at) => at.readMicroseconds, 0],
  ];
  const [width, height, bar] = [200, 170, 36];
  const drawn = panels.map(([title, of, digits], panel) => {
    const x = (panel % 3) * width;
    const y = Math.floor(panel / 3) * height;
    const most = Math.max(...measured.map(of));
    const bars = measured.map((at, i) => {
      const tall = Math.max(1, (of(at) / most) * 90);
      const left = x + 24 + i * (bar + 16);
      const middle = left + bar / 2;
      return [
        `<rect x="${left}" y="${y + 135 - tall}" width="${bar}" height="${tall}" fill="#3793a3"/>`,
        `<text x="${middle}" y="${y + 130 - tall}">${of(at).toFixed(digits)}</text>`,
        `<text x="${middle}" y="${y + 150}">${at.rows.toExponential(0).replace("e+", "e")}</text>`,
      ].join("");
    });
    const heading = `<text x="${x + width / 2}" y="${y + 20}" font-weight="bold">${title}</text>`;
    return heading + bars.join("");
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${3 * width} ${2 * height}"`,
    ` font-family="sans-serif" font-size="11" text-anchor="middle">`,
    "<title>What rows cost at several sizes</title>",
    // Readable on light and on dark.
    "<style>text{fill:#1f2328}@media(prefers-color-scheme:dark){text{fill:#e6edf3}}</style>",
    ...drawn,
    "</svg>\n",
  ].join("");
}

/**
 * Capture: local writes through the store, against the same SQL on a plain database.
 *
 * Both on a file (WAL, NORMAL, checkpoint at 1,000 frames) with the same cache and the same SQLite, in the same
 * transactions. *Ours* is `begin`, the statements with the preupdate hook noting what they touch, and
 * `commit`: the net diff, value hashes, clock blobs, the encoded changeset. `… + index` adds what the
 * replica does with the commit: fingerprints, settled image, recent rows. Rows are updated in random
 * order, two columns each.
 *
 * Clocks that are late (`core/store/clocks/late-clocks.ts`) are brought home inside what is measured: during the workload as
 * the store does it, and the rest at its end.
 *
 * `plain + blob` is what a layout that writes clocks at once beside the rows can't go below: plain SQLite that also writes, in the same
 * transactions, as many bytes as the clocks have to a second table, by rowid, in a file that gives pages back as ours
 * does (`auto_vacuum`). It is printed beside ours, as `…_floor_factor` and in a note, and enters no budget.
 *
 * The budgets are on how many times as long the captured write takes, `…_factor` in the
 * summary: insert ≤ 1.5, update 100 a transaction ≤ 2, 1 a transaction ≤ 3.
 *
 * `--rows N` (20,000), `--rounds N` (5).
 *
 * @module
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cutAt } from "../core/index/settled-image.ts";
import type { SqlValue } from "../core/row/value.ts";
import type { Database } from "../wasm/database.ts";
import { optionValue } from "./arguments.ts";
import { type Bench, type BenchCase, type BenchResult, median } from "./harness.ts";
import { OwnStore, openPlain } from "./own-store.ts";
import { seededRandom } from "./seeded-random.ts";

const tableSql = `CREATE TABLE instances (
  id TEXT PRIMARY KEY NOT NULL, address TEXT, host TEXT, port INTEGER, status TEXT, updated INTEGER
)`;
const insertSql =
  "INSERT INTO instances (id, address, host, port, status, updated) VALUES (?, ?, ?, ?, ?, ?)";
const updateSql = "UPDATE instances SET status = ?, updated = ? WHERE id = ?";
const dumpSql = "SELECT * FROM instances ORDER BY id";
const startMs = 1_764_000_000_000;

interface Workload {
  readonly name: string;
  readonly sql: string;
  /** Parameters of each statement, by transaction. */
  readonly transactions: readonly (readonly (readonly SqlValue[])[])[];
}

/** @returns rows a second */
type Runner = (workload: Workload) => number;

/** Bytes of a clock blob of this table's rows: all cells of one stamp, and two next to each other of a second. */
const clockBytes = { inserted: 62, updated: 71 };
const clocksSql = "CREATE TABLE clocks (id INTEGER PRIMARY KEY, clock BLOB NOT NULL, held BLOB)";

export const capture: Bench = {
  name: "capture",
  what: "local writes through the store, against the same SQL on a plain database",
  options: [
    { name: "--rows", value: "N", what: "rows of the table; 20,000" },
    { name: "--rounds", value: "N", what: "how often; 5" },
  ],
  async run({ small, args }): Promise<BenchResult> {
    const option = (name: string) => optionValue(args, name);
    const rows = Number(option("--rows") ?? (small ? 300 : 20_000));
    const rounds = Number(option("--rounds") ?? (small ? 1 : 5));
    const workloads = createWorkloads(rows, 7);
    const kinds = ["plain", "blob", "captured", "indexed"] as const;
    const rates = new Map(kinds.map((kind) => [kind, new Map<string, number[]>()]));
    let checksum = "";
    const folder = mkdtempSync(join(tmpdir(), "patina-capture-"));
    try {
      for (let round = 0; round < rounds; round++) {
        using plain = openPlain(join(folder, `plain-${round}.db`));
        plain.exec(tableSql);
        using withBlob = openPlain(join(folder, `blob-${round}.db`), "incremental");
        withBlob.exec(`${tableSql}; ${clocksSql}`);
        using captured = new OwnStore(join(folder, `captured-${round}.db`), tableSql, startMs);
        using indexed = new OwnStore(join(folder, `indexed-${round}.db`), tableSql, startMs);
        const sides: [(typeof kinds)[number], Runner][] = [
          ["plain", plainRunner(plain)],
          ["blob", blobRunner(withBlob)],
          ["captured", capturedRunner(captured, false)],
          ["indexed", capturedRunner(indexed, true)],
        ];
        if (round % 2 === 1) sides.reverse();
        for (const workload of workloads) {
          for (const [kind, run] of sides) {
            Bun.gc(true);
            const byName = rates.get(kind) as Map<string, number[]>;
            const found = byName.get(workload.name) ?? [];
            byName.set(workload.name, found);
            found.push(run(workload));
          }
        }
        const sums = [plain, withBlob, captured.db, indexed.db].map(checksumOf);
        if (new Set(sums).size !== 1) throw new Error(`rows differ: ${sums.join(", ")}`);
        checksum = sums[0] as string;
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
    const rateOf = (kind: (typeof kinds)[number], name: string) =>
      median(rates.get(kind)?.get(name) as number[]);
    const cases: BenchCase[] = [];
    const summary: Record<string, number> = {};
    const floors: string[] = [];
    for (const { name } of workloads) {
      const peer = rateOf("plain", name);
      for (const kind of ["captured", "indexed"] as const) {
        const ours = rateOf(kind, name);
        cases.push({
          case: kind === "captured" ? name : `${name} + index`,
          unit: "rows/s",
          ours,
          peer,
          peer_name: "plain SQLite",
          peer_version: "the same",
          ratio: ours / peer,
          checksum,
        });
        if (kind === "captured") summary[`${name.replace(" × ", "_")}_factor`] = peer / ours;
      }
      const floor = peer / rateOf("blob", name);
      summary[`${name.replace(" × ", "_")}_floor_factor`] = floor;
      floors.push(`${name} ${floor.toFixed(2)}`);
    }
    return {
      cases,
      summary: { ...summary, rows, rounds },
      notes: [
        `${rows} rows, medians of ${rounds} alternating rounds; a factor is plain / captured.`,
        `Plain SQLite with auto_vacuum that also writes a blob of the clocks' size to a second table: ${floors.join(", ")}.`,
      ],
    };
  },
};

function plainRunner(db: Database): Runner {
  const begin = db.prepare("BEGIN IMMEDIATE");
  const commit = db.prepare("COMMIT");
  return ({ sql, transactions }) => {
    using statement = db.prepare(sql);
    let rows = 0;
    const began = performance.now();
    for (const parameters of transactions) {
      begin.step();
      for (const values of parameters) {
        bindAll(statement, values);
        statement.step();
      }
      commit.step();
      rows += parameters.length;
    }
    return rows / ((performance.now() - began) / 1000);
  };
}

/** The same SQL, and for each row a blob by rowid. */
function blobRunner(db: Database): Runner {
  const begin = db.prepare("BEGIN IMMEDIATE");
  const commit = db.prepare("COMMIT");
  const insertBlob = db.prepare("INSERT INTO clocks (clock, id) VALUES (?, ?)");
  const updateBlob = db.prepare("UPDATE clocks SET clock = ? WHERE id = ?");
  const rowids = new Map<SqlValue, SqlValue>();
  let written = 0;
  return ({ sql, transactions }) => {
    const isInsert = sql === insertSql;
    const keyAt = isInsert ? 0 : 2;
    const blob = new Uint8Array(isInsert ? clockBytes.inserted : clockBytes.updated);
    const writeBlob = isInsert ? insertBlob : updateBlob;
    using statement = db.prepare(sql);
    let rows = 0;
    const began = performance.now();
    for (const parameters of transactions) {
      begin.step();
      for (const values of parameters) {
        bindAll(statement, values);
        statement.step();
      }
      for (const values of parameters) {
        const key = values[keyAt] as SqlValue;
        if (isInsert) rowids.set(key, rowids.size + 1);
        // SQLite doesn't write what is there already.
        blob[written % blob.length] = ++written;
        writeBlob.bind(1, blob);
        writeBlob.bind(2, rowids.get(key) as SqlValue);
        writeBlob.step();
      }
      commit.step();
      rows += parameters.length;
    }
    return rows / ((performance.now() - began) / 1000);
  };
}

function capturedRunner({ db, store, index }: OwnStore, withIndex: boolean): Runner {
  let nowMs = startMs;
  return ({ sql, transactions }) => {
    using statement = db.prepare(sql);
    let rows = 0;
    const began = performance.now();
    for (const parameters of transactions) {
      nowMs += 1;
      store.begin();
      for (const values of parameters) {
        bindAll(statement, values);
        statement.step();
      }
      const result = store.commit(nowMs);
      if (result.kind === "refused") throw new Error(result.why);
      rows += parameters.length;
      if (!withIndex) continue;
      for (const row of result.merged) index.merged(row, false, false, nowMs);
      index.image.advance(cutAt(nowMs));
    }
    store.bringClocksHome();
    return rows / ((performance.now() - began) / 1000);
  };
}

function bindAll(
  statement: { bind(index: number, value: SqlValue): unknown },
  values: readonly SqlValue[],
): void {
  for (let i = 0; i < values.length; i++) statement.bind(i + 1, values[i] as SqlValue);
}

function createWorkloads(rows: number, seed: number): Workload[] {
  const random = seededRandom(seed);
  const word = () =>
    Math.floor(random() * 36 ** 8)
      .toString(36)
      .padStart(8, "0");
  const ids = Array.from({ length: rows }, () => `i-${word()}${word().slice(1)}`);
  const shuffled = () => {
    const order = [...ids];
    for (let i = order.length - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [order[i], order[j]] = [order[j] as string, order[i] as string];
    }
    return order;
  };
  const insert = (id: string) => [id, word(), word(), Math.floor(random() * 65_536), "up", 1];
  const update = (id: string) => [word(), Math.floor(random() * 1e9), id];
  const inTransactions = (parameters: SqlValue[][], of: number) =>
    Array.from({ length: Math.ceil(parameters.length / of) }, (_, i) =>
      parameters.slice(i * of, (i + 1) * of),
    );
  return [
    {
      name: "insert × 100",
      sql: insertSql,
      transactions: inTransactions(ids.map(insert), 100),
    },
    {
      name: "update × 100",
      sql: updateSql,
      transactions: inTransactions(shuffled().map(update), 100),
    },
    { name: "update × 1", sql: updateSql, transactions: inTransactions(shuffled().map(update), 1) },
  ];
}

function checksumOf(db: Database): string {
  const hasher = new Bun.CryptoHasher("sha256");
  for (const row of db.all(dumpSql)) hasher.update(`${row.join()}\n`);
  return hasher.digest("hex").slice(0, 16);
}

/**
 * Merge: changes of other sites into a replica, against cr-sqlite, which is given the same changes.
 *
 * A *change* is one cell of one row. Six phases follow each other on one database:
 *
 * | phase  | changes                                                                      |
 * | ------ | ---------------------------------------------------------------------------- |
 * | new    | every row comes for the first time                                            |
 * | win    | every cell of every row is overwritten by a later one                        |
 * | narrow | one cell of every row is overwritten                                         |
 * | tie    | every cell again, at the time it has, of a larger site with a larger value   |
 * | stale  | every cell, older than what is held                                          |
 * | dup    | every cell exactly as it is held                                              |
 *
 * Each in transactions of 1, 100, 1,000 and 10,000 changes, with the rows in another random order. At
 * a batch of 1 a transaction brings one cell; else all the phase's cells of a row come together.
 *
 * *Measured, ours*: what a replica does with decoded rows: hashing ids and values, `SqliteStore.merge`,
 * the clock, and the index (fingerprints, settled image, recent rows), also the cuts that are made over
 * the phase once it is old enough. *Measured, peer*: binding and running one INSERT into `crsql_changes` a
 * change, in the same transactions. *Not measured*: making the input, and the codecs of both.
 *
 * Both on a file (WAL, NORMAL) or both in memory, with pages of 4 KB, the same cache, and checkpoints at the same
 * length of the WAL: 1,000 frames, SQLite's default, or `--checkpoint-frames N`. Each side's run in its own way, with
 * their syncs, and one more of both at the end of each phase is inside what is measured. (The agent lets its WAL grow
 * to 16,000 frames and syncs on another thread; none of that is used here.) After each phase the tables must be
 * equal, or the bench fails.
 *
 * Clocks that are late (`core/store/clocks/late-clocks.ts`) are brought home inside what is measured: during the phase as the
 * store does it, and the rest at its end.
 *
 * *Index upkeep* is the part of ours that comes after COMMIT, and the cuts, by row.
 *
 * `--crsqlite PATH` is a native extension; without one the peer is the WASM build, in memory.
 * `--rows N` (20,000; 200,000 wants `--batch` and `--rounds 1`), `--rounds N` (5), `--batch N` and
 * `--phase NAME` for one only (earlier phases run unmeasured), `--memory` with a native extension too.
 *
 * @module
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Site, type Stamp, siteOfHex } from "../core/clock/stamp.ts";
import { cutAt } from "../core/index/settled-image.ts";
import { siteToBytes } from "../core/row/digest.ts";
import { encodeKey } from "../core/row/key.ts";
import { type Cell, type RowState, stampOfRow } from "../core/row/row-state.ts";
import type { SqlValue } from "../core/row/value.ts";
import { optionValue } from "./arguments.ts";
import {
  type ChangeRecord,
  type CrsqlitePeer,
  openCrsqliteNative,
  openCrsqliteWasm,
  packKey,
} from "./crsqlite.ts";
import { type Bench, type BenchCase, type BenchResult, median } from "./harness.ts";
import { cacheKb, checkpointFrames, OwnStore } from "./own-store.ts";
import { seededRandom } from "./seeded-random.ts";

const table = "instances";
const columns = ["address", "host", "port", "status", "updated"];
const tableSql = `CREATE TABLE ${table} (
  id TEXT PRIMARY KEY NOT NULL, address TEXT, host TEXT, port INTEGER, status TEXT, updated INTEGER
)`;
const dumpSql = `SELECT ${["id", ...columns].map((name) => `quote(${name})`).join(" || ',' || ")}
  FROM ${table} ORDER BY id`;

const phases = ["new", "win", "narrow", "tie", "stale", "dup"] as const;
type Phase = (typeof phases)[number];
const batches = [1, 100, 1000, 10_000];

const startMs = 1_764_000_000_000;
/** Between two phases: what the one before stamped is older than every cut that can still be asked for. */
const phaseMs = 20_000;

/** One transaction, as each side takes it. */
interface Batch {
  readonly rows: readonly RowState[];
  readonly records: readonly ChangeRecord[];
}

interface PhaseInput {
  readonly phase: Phase;
  readonly batches: readonly Batch[];
  readonly changes: number;
  /** Row states: of a row's cells, all together or one by one. */
  readonly states: number;
  /** Wall clock while it runs. */
  readonly nowMs: number;
}

interface Side extends Disposable {
  /** @returns seconds */
  run(input: PhaseInput): number;
  /** Of the table. */
  checksum(): string;
}

interface MergeCase extends BenchCase {
  readonly ours_min: number;
  readonly ours_max: number;
  readonly peer_min: number | null;
  readonly peer_max: number | null;
  /** Of ours: what the index took, µs a row. */
  readonly index_us_per_row: number;
}

export const merge: Bench = {
  name: "merge",
  what: "changes of other sites into a replica, against cr-sqlite (--crsqlite PATH for a native one)",
  options: [
    { name: "--rows", value: "N", what: "rows of the table; 20,000" },
    { name: "--rounds", value: "N", what: "how often; 5" },
    { name: "--batch", value: "N", what: "row states of one batch; several" },
    { name: "--phase", value: phases.join("|"), what: "this phase only" },
    {
      name: "--crsqlite",
      value: "PATH",
      what: "cr-sqlite's loadable extension, with both on files",
    },
    { name: "--memory", what: "in memory, also with --crsqlite" },
    { name: "--checkpoint-frames", value: "N", what: "WAL frames after which both checkpoint" },
  ],
  async run({ small, args }): Promise<BenchResult> {
    const option = (name: string) => optionValue(args, name);
    const rows = Number(option("--rows") ?? (small ? 200 : 20_000));
    const rounds = Number(option("--rounds") ?? (small ? 1 : 5));
    const only = option("--phase") as Phase | undefined;
    const extension = option("--crsqlite");
    const inMemory = extension === undefined || args.includes("--memory");
    const frames = Number(option("--checkpoint-frames") ?? checkpointFrames);
    let batchSizes = small ? batches.slice(0, 2) : batches;
    if (option("--batch") !== undefined) batchSizes = [Number(option("--batch"))];
    using folder = temporaryFolder();
    let files = 0;
    const path = () => (inMemory ? ":memory:" : join(folder.path, `${files++}.db`));
    const framesKept = inMemory ? undefined : frames;
    const setting: Setting = {
      rows,
      rounds,
      only,
      openOwn: () => new OurSide(path(), framesKept),
      openPeer: async () =>
        new PeerSide(
          extension === undefined
            ? await openCrsqliteWasm()
            : openCrsqliteNative(extension, path()),
          framesKept,
        ),
    };
    const cases: MergeCase[] = [];
    for (const batch of batchSizes) cases.push(...(await measureBatch(batch, setting)));
    // In larger ones: a transaction of one change has more of a timer's than of an index.
    const largest = batchSizes.at(-1) as number;
    const indexed = cases.filter((one) => one.case.endsWith(` × ${largest}`));
    const ratios = cases.map(({ ratio }) => ratio as number);
    const geomean = Math.exp(
      ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length,
    );
    const spread = median(
      cases.map(({ ours, ours_min, ours_max }) => (ours_max - ours_min) / ours),
    );
    return {
      cases,
      summary: {
        geomean,
        worst: Math.min(...ratios),
        index_us_per_row: Math.max(...indexed.map(({ index_us_per_row }) => index_us_per_row)),
        rows,
        rounds,
        storage: inMemory ? "memory" : `file, WAL, NORMAL, checkpoint at ${frames} frames`,
        spread,
      },
      notes: [
        ...(extension === undefined
          ? [
              "No native extension was given (--crsqlite PATH): both sides ran as WASM in memory, and nothing is claimed about native cr-sqlite.",
            ]
          : []),
        `Index upkeep, µs a row at ${largest} changes a transaction: ${indexed
          .map((one) => `${one.case.split(" ")[0]} ${one.index_us_per_row.toFixed(2)}`)
          .join(", ")}.`,
        `${rows} rows × ${columns.length} columns, medians of ${rounds} alternating rounds; value hashes and index in ours, codecs in neither. spread is the median of (max - min) / median.`,
      ],
    };
  },
};

interface Setting {
  readonly rows: number;
  readonly rounds: number;
  /** This phase only; those before it run, too, for it needs what they leave. */
  readonly only: Phase | undefined;
  readonly openOwn: () => OurSide;
  readonly openPeer: () => Promise<PeerSide>;
}

/** What was measured of one phase, an item a round. */
interface PhaseRates {
  readonly phase: Phase;
  readonly ours: number[];
  readonly peer: number[];
  readonly indexMicroseconds: number[];
  checksum: string;
}

/** All phases in transactions of `batch` changes. @throws Error if the sides don't come to the same rows */
async function measureBatch(batch: number, setting: Setting): Promise<MergeCase[]> {
  const { rows, rounds, only } = setting;
  const rates = new Map<Phase, PhaseRates>();
  const ratesOf = (phase: Phase): PhaseRates => {
    const known = rates.get(phase);
    if (known !== undefined) return known;
    const fresh = { phase, ours: [], peer: [], indexMicroseconds: [], checksum: "" };
    rates.set(phase, fresh);
    return fresh;
  };
  let peerIs: Pick<PeerSide, "name" | "version"> = { name: "", version: "" };
  for (let round = 0; round < rounds; round++) {
    using peer = await setting.openPeer();
    using own = setting.openOwn();
    peerIs = { name: peer.name, version: peer.version };
    for (const input of createInputs(rows, batch, 42)) {
      const measured = ratesOf(input.phase);
      const sides: [Side, number[]][] = [
        [own, measured.ours],
        [peer, measured.peer],
      ];
      if (round % 2 === 1) sides.reverse();
      for (const [side, list] of sides) {
        Bun.gc(true);
        list.push(input.changes / side.run(input));
      }
      measured.indexMicroseconds.push((own.indexSeconds * 1e6) / input.states);
      measured.checksum = own.checksum();
      const other = peer.checksum();
      if (measured.checksum !== other) {
        throw new Error(
          `batch ${batch}, ${input.phase}: rows differ, ${measured.checksum} and ${other}`,
        );
      }
      if (input.phase === only) break;
    }
  }
  return [...rates.values()]
    .filter(({ phase }) => only === undefined || phase === only)
    .map(({ phase, ours, peer, indexMicroseconds, checksum }) => ({
      case: `${phase} × ${batch}`,
      unit: "changes/s",
      ours: median(ours),
      peer: median(peer),
      peer_name: peerIs.name,
      peer_version: peerIs.version,
      ratio: median(ours) / median(peer),
      checksum,
      ours_min: Math.min(...ours),
      ours_max: Math.max(...ours),
      peer_min: Math.min(...peer),
      peer_max: Math.max(...peer),
      index_us_per_row: median(indexMicroseconds),
    }));
}

/** The index is built. */
const isNotScanned = () => false;

class OurSide implements Side {
  readonly #own: OwnStore;
  readonly #isFile: boolean;
  /** Of the last run: what came after COMMIT, and the cuts. */
  indexSeconds = 0;

  /** @param frames Of the WAL, until a checkpoint; undefined: there is no file. */
  constructor(path: string, frames: number | undefined) {
    this.#own = new OwnStore(path, tableSql, startMs);
    this.#isFile = frames !== undefined;
    if (frames !== undefined) this.#own.db.pragma("wal_autocheckpoint", frames);
  }

  /** As `Replica` does with what it has decoded. */
  run({ batches, nowMs }: PhaseInput): number {
    const { store, clock, index, db } = this.#own;
    let indexMs = 0;
    const began = performance.now();
    for (const { rows } of batches) {
      const merged = store.merge(rows);
      for (const row of rows) clock.observe(stampOfRow(row));
      const indexBegan = performance.now();
      index.mergedAll(merged, 0, merged.length, false, isNotScanned, nowMs);
      index.recent.expire(nowMs);
      index.image.advance(cutAt(nowMs));
      indexMs += performance.now() - indexBegan;
    }
    const cutsBegan = performance.now();
    index.image.advance(cutAt(nowMs + phaseMs - 1));
    indexMs += performance.now() - cutsBegan;
    this.indexSeconds = indexMs / 1000;
    store.bringClocksHome();
    if (this.#isFile) db.checkpoint("PASSIVE");
    return (performance.now() - began) / 1000;
  }

  checksum(): string {
    return checksumOf(this.#own.db.all(dumpSql).map(([text]) => String(text)));
  }

  [Symbol.dispose](): void {
    this.#own[Symbol.dispose]();
  }
}

class PeerSide implements Side {
  readonly #peer: CrsqlitePeer;
  readonly #isFile: boolean;

  /** @param frames As ours. */
  constructor(peer: CrsqlitePeer, frames: number | undefined) {
    this.#peer = peer;
    this.#isFile = frames !== undefined;
    peer.exec("PRAGMA page_size = 4096");
    peer.exec(`PRAGMA cache_size = -${cacheKb}`);
    if (frames !== undefined) {
      peer.exec("PRAGMA journal_mode = WAL");
      peer.exec("PRAGMA synchronous = NORMAL");
      peer.exec(`PRAGMA wal_autocheckpoint = ${frames}`);
    }
    peer.exec(tableSql);
    peer.exec(`SELECT crsql_as_crr('${table}')`);
  }

  get name(): string {
    return this.#peer.name;
  }

  get version(): string {
    return this.#peer.version;
  }

  run({ batches }: PhaseInput): number {
    const began = performance.now();
    for (const { records } of batches) this.#peer.merge(records);
    if (this.#isFile) this.#peer.exec("PRAGMA wal_checkpoint(PASSIVE)");
    return (performance.now() - began) / 1000;
  }

  checksum(): string {
    return checksumOf(this.#peer.texts(dumpSql));
  }

  [Symbol.dispose](): void {
    this.#peer[Symbol.dispose]();
  }
}

/** When each phase runs, in phases since the start. */
const timeByPhase: Readonly<Record<Phase, number>> = {
  new: 1,
  win: 3,
  narrow: 4,
  tie: 5,
  stale: 6,
  dup: 7,
};
/** When its cells were stamped: also the version that cr-sqlite is given. `stale` lies before `win`. */
const rankByPhase = { new: 1, stale: 2, win: 3, narrow: 4 } as const;

/**
 * All phases of one batch size. The values of a later time are larger, and those of a tie are larger still:
 * cr-sqlite, which is told of equal versions, decides by value.
 */
function* createInputs(
  rows: number,
  batch: number,
  seed: number,
): IterableIterator<PhaseInput, void> {
  const random = seededRandom(seed);
  const keys = Array.from({ length: rows }, () => {
    const id = `i-${Math.floor(random() * 2 ** 48)
      .toString(36)
      .padStart(10, "0")}${Math.floor(random() * 36 ** 5)
      .toString(36)
      .padStart(5, "0")}`;
    return { key: encodeKey([id]) as Uint8Array, packed: packKey([id]) };
  });
  const sites = ["1", "2", "3", "4", "5"].map((digit) => siteOfHex(digit.repeat(32)));
  const siteBytes = new Map(sites.map((site) => [site, siteToBytes(site)]));
  const value = (column: string, age: number): SqlValue => {
    const noise = Math.floor(random() * 1e6);
    return column === "port" || column === "updated"
      ? age * 1_000_000 + noise
      : `${age}-${noise.toString(36).padStart(10, "0")}`;
  };
  const stamp = (rank: number, row: number, site: number): Stamp => ({
    ms: startMs + rank * phaseMs,
    count: row % 65_536,
    site: sites[site] as Site,
  });
  /** What each row holds, by column. */
  const held: Map<string, Cell>[] = keys.map(() => new Map());
  const clocks = keys.map((_, row) => ({ ...stamp(rankByPhase.new, row, 0), cl: 1 }));

  const cellsOf = (phase: Phase, row: number): Cell[] => {
    const now = held[row] as Map<string, Cell>;
    const cells: Cell[] = [];
    const only = phase === "narrow" ? columns[row % columns.length] : undefined;
    for (const column of columns) {
      if (only !== undefined && column !== only) continue;
      const before = now.get(column);
      let cell: Cell;
      if (phase === "dup") {
        // Not the same objects: a copy that came another way.
        const { stamp: at, value: text } = before as Cell;
        cell = { column, stamp: { ...at }, value: text };
      } else if (phase === "tie") {
        const at: Stamp = { ...(before as Cell).stamp, site: sites[4] as Site };
        cell = { column, stamp: at, value: value(column, 7) };
      } else {
        const rank = rankByPhase[phase];
        cell = { column, stamp: stamp(rank, row, rank - 1), value: value(column, rank) };
      }
      cells.push(cell);
      if (phase !== "stale") now.set(column, cell);
    }
    return cells;
  };

  for (const phase of phases) {
    const order = shuffled(rows, random);
    const cellsMax = batch === 1 ? 1 : Number.POSITIVE_INFINITY;
    const states: RowState[] = [];
    for (const row of order) {
      const cells = cellsOf(phase, row);
      for (let from = 0; from < cells.length; from += cellsMax) {
        states.push({
          table,
          key: (keys[row] as (typeof keys)[number]).key,
          clock: { ...(clocks[row] as RowState["clock"]) },
          cells: cells.slice(from, from + cellsMax),
        });
      }
    }
    const packedByKey = new Map(keys.map(({ key, packed }) => [key, packed]));
    const recordsOf = (state: RowState): ChangeRecord[] =>
      state.cells.map((cell) => ({
        table,
        key: packedByKey.get(state.key) as Uint8Array,
        column: cell.column,
        value: cell.value,
        columnVersion: (cell.stamp.ms - startMs) / phaseMs,
        site: siteBytes.get(cell.stamp.site) as Uint8Array,
        causalLength: 1,
      }));
    const transactions: Batch[] = [];
    let waiting: RowState[] = [];
    let waitingCells = 0;
    for (const state of states) {
      waiting.push(state);
      waitingCells += state.cells.length;
      if (waitingCells < batch) continue;
      transactions.push({ rows: waiting, records: waiting.flatMap(recordsOf) });
      waiting = [];
      waitingCells = 0;
    }
    if (waiting.length > 0) {
      transactions.push({ rows: waiting, records: waiting.flatMap(recordsOf) });
    }
    const changes = states.reduce((sum, { cells }) => sum + cells.length, 0);
    const nowMs = startMs + phaseMs * timeByPhase[phase];
    yield { phase, batches: transactions, changes, states: states.length, nowMs };
  }
}

function shuffled(count: number, random: () => number): number[] {
  const order = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j] as number, order[i] as number];
  }
  return order;
}

function checksumOf(lines: readonly string[]): string {
  const hasher = new Bun.CryptoHasher("sha256");
  for (const line of lines) hasher.update(line).update("\n");
  return hasher.digest("hex").slice(0, 16);
}

function temporaryFolder(): { readonly path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), "patina-merge-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/**
 * Index: what a changed row costs the fingerprint index where rows change again and again, as those of a registry
 * do whose services say every second that they are well.
 *
 * Few rows, of which one drawn at random changes at a time: its status and the time of that, in whole rows, as they come
 * from a peer. Time is virtual, 30 s of it, and what was stamped is taken in at once, but for the case `late`: there
 * one in a hundred changes comes up to two seconds later than it should, often when a newer one has overtaken it.
 *
 * *Measured*: `RowIndex.mergedAll` after each transaction, and the cuts, which are made each second of that time.
 * *Not measured*: the merge before it, in memory; it is shown beside, for it may be the one who meets the collector of
 * what the index left behind. At the end the index has to be equal to one that is built from what is held then, or the
 * bench fails.
 *
 * `--rows N` (3,000), `--seconds N` (30, of virtual time), `--rounds N` (3).
 *
 * @module
 */

import { sha256 } from "../agent/host/sha256.ts";
import { type Site, siteOfHex } from "../core/clock/stamp.ts";
import { RowIndex } from "../core/index/row-index.ts";
import { cutAt } from "../core/index/settled-image.ts";
import { Digester } from "../core/row/digest.ts";
import { encodeKey } from "../core/row/key.ts";
import type { RowState } from "../core/row/row-state.ts";
import { optionValue } from "./arguments.ts";
import { type Bench, type BenchCase, type BenchResult, median, plainCase } from "./harness.ts";
import { digestKey, OwnStore } from "./own-store.ts";
import { seededRandom } from "./seeded-random.ts";
import { servicesSql } from "./services-table.ts";

/** Changes of a transaction: what a store takes in one go under such a load. */
const batch = 50;
const startMs = 1_764_000_000_000;
/** Of the case `late`: how many changes, and by how much. */
const lateShare = 0.01;
const lateMsMax = 2000;
/** After which all that was stamped is older than every cut that can be asked for. */
const settledMs = 20_000;

interface Load {
  readonly name: string;
  /** Changes a second. */
  readonly rate: number;
  readonly hasLate: boolean;
}

const loads: readonly Load[] = [
  { name: "1,000 a second", rate: 1000, hasLate: false },
  { name: "5,000 a second", rate: 5000, hasLate: false },
  { name: "20,000 a second", rate: 20_000, hasLate: false },
  { name: "5,000 a second, some late", rate: 5000, hasLate: true },
];

interface Run {
  readonly indexMicroseconds: number;
  readonly mergeMicroseconds: number;
  readonly checksum: string;
}

export const index: Bench = {
  name: "index",
  what: "upkeep of the fingerprint index where rows change again and again",
  options: [
    { name: "--rows", value: "N", what: "rows of the table; 3,000" },
    { name: "--seconds", value: "N", what: "of virtual time; 30" },
    { name: "--rounds", value: "N", what: "how often; 3" },
  ],
  run({ small, args }): Promise<BenchResult> {
    const option = (name: string) => optionValue(args, name);
    const rows = Number(option("--rows") ?? (small ? 100 : 3000));
    const seconds = Number(option("--seconds") ?? (small ? 1 : 30));
    const rounds = Number(option("--rounds") ?? (small ? 1 : 3));
    const cases: BenchCase[] = [];
    for (const load of loads) {
      const runs = Array.from({ length: rounds }, () => measure(load, rows, seconds));
      const { checksum } = runs[0] as Run;
      const of = (pick: (run: Run) => number) => median(runs.map(pick));
      cases.push(
        plainCase(
          `${load.name}: index`,
          "µs/row",
          of((run) => run.indexMicroseconds),
          checksum,
        ),
        plainCase(
          `${load.name}: merge`,
          "µs/row",
          of((run) => run.mergeMicroseconds),
          checksum,
        ),
      );
    }
    return Promise.resolve({ cases, summary: { rows, seconds, rounds } });
  },
};

/** @throws Error if the index isn't equal to a new one. */
function measure(load: Load, rows: number, seconds: number): Run {
  using own = new OwnStore(":memory:", servicesSql, startMs);
  let indexMs = 0;
  let mergeMs = 0;
  let states = 0;
  let nowMs = startMs;
  const take = (changed: readonly RowState[], isMeasured: boolean) => {
    const beganMs = performance.now();
    const merged = own.store.merge(changed);
    const mergedMs = performance.now();
    own.index.mergedAll(merged, 0, merged.length, false, isNotScanned, nowMs);
    own.index.recent.expire(nowMs);
    own.index.image.advance(cutAt(nowMs));
    if (!isMeasured) return;
    indexMs += performance.now() - mergedMs;
    mergeMs += mergedMs - beganMs;
    states += changed.length;
  };
  const services = new Services(rows);
  take(services.all, false);
  nowMs += settledMs;
  Bun.gc(true);
  for (const transaction of services.changes(load, nowMs, seconds)) {
    nowMs = transaction.nowMs;
    take(transaction.rows, true);
  }
  own.index.image.advance(cutAt(nowMs + settledMs));
  return {
    indexMicroseconds: (indexMs * 1000) / states,
    mergeMicroseconds: (mergeMs * 1000) / states,
    checksum: checksumOf(own, nowMs + settledMs),
  };
}

const isNotScanned = () => false;

/** Of both trees, which are one once all has settled. */
function checksumOf({ store, index: kept }: OwnStore, nowMs: number): string {
  const built = new RowIndex(new Digester(sha256, digestKey), cutAt(nowMs));
  let next: ReturnType<typeof store.scan>["next"];
  do {
    const scanned = store.scan(next, 1000);
    for (const row of scanned.rows) built.scanned(row);
    next = scanned.next;
  } while (next !== undefined);
  built.finishRebuild();
  const wanted = built.live.fingerprint(0, 0);
  const got = [kept.live.fingerprint(0, 0), ...kept.image.roots().map((root) => root.fingerprint)];
  for (const fingerprint of got) {
    if (fingerprint !== wanted) throw new Error(`index: wanted ${wanted}, got ${got.join(", ")}`);
  }
  return wanted.slice(0, 16);
}

/** What the peers of a store say of their services, as whole rows. */
class Services {
  readonly #states: RowState[];
  readonly #random = seededRandom(11);
  readonly #sites: readonly Site[] = ["1", "2", "3"].map((digit) => siteOfHex(digit.repeat(32)));

  constructor(rows: number) {
    this.#states = Array.from({ length: rows }, (_, i) => {
      const stamp = this.#stampAt(startMs, i);
      const values = { address: `10.0.0.${i % 250}`, app: `app-${i % 40}`, port: 1024 + i };
      const cells = Object.entries({ ...values, status: "up", updated_ms: startMs });
      return {
        table: "services",
        key: encodeKey([`service-${i}`]) as Uint8Array,
        clock: { ...stamp, cl: 1 },
        cells: cells.map(([column, value]) => ({ column, stamp, value })),
      };
    });
  }

  get all(): readonly RowState[] {
    return this.#states;
  }

  /** Transactions, in the order in which they come. */
  *changes(
    { rate, hasLate }: Load,
    fromMs: number,
    seconds: number,
  ): Generator<{ readonly nowMs: number; readonly rows: readonly RowState[] }> {
    let late: { readonly atMs: number; readonly row: RowState }[] = [];
    for (let i = 0; i < rate * seconds; i += batch) {
      const nowMs = fromMs + Math.floor((i * 1000) / rate);
      const rows = Array.from({ length: batch }, (_, k) => this.#change(nowMs, i + k));
      const inTime: RowState[] = [];
      for (const row of rows) {
        if (!hasLate || this.#random() >= lateShare) inTime.push(row);
        else late.push({ atMs: nowMs + this.#random() * lateMsMax, row });
      }
      inTime.push(...late.filter(({ atMs }) => atMs <= nowMs).map(({ row }) => row));
      late = late.filter(({ atMs }) => atMs > nowMs);
      yield { nowMs, rows: inTime };
    }
    yield { nowMs: fromMs + seconds * 1000 + lateMsMax, rows: late.map(({ row }) => row) };
  }

  /** A row says again how it is. */
  #change(nowMs: number, i: number): RowState {
    const at = Math.floor(this.#random() * this.#states.length);
    const before = this.#states[at] as RowState;
    const stamp = this.#stampAt(nowMs, at, i % 65_536);
    const status = this.#random() < 0.9 ? "up" : "down";
    const cells = before.cells.map((cell) => {
      if (cell.column === "status") return { ...cell, stamp, value: status };
      return cell.column === "updated_ms" ? { ...cell, stamp, value: nowMs } : cell;
    });
    const row = { ...before, cells };
    this.#states[at] = row;
    return row;
  }

  /** Each row is one site's. */
  #stampAt(ms: number, row: number, count = 0) {
    return { ms, count, site: this.#sites[row % this.#sites.length] as Site };
  }
}

/**
 * The real `SqliteStore` on a disk that fails: one history drawn from a seed, checked against a model.
 *
 * The store commits local transactions and merges what two peers and passers-by wrote, with readers
 * beside it, while calls to the disk fail, the disk runs full, the process dies and the power goes.
 * The model is a `MapStore` that is told only of what was *acknowledged*, copied after each commit:
 * a state of the history is one of these copies.
 *
 * | after                          | the database is at                                              |
 * | ------------------------------ | --------------------------------------------------------------- |
 * | a call that failed             | the last state, in the same process, without being opened anew  |
 * | the process's death            | the last state                                                  |
 * | a power cut, FULL              | the last state                                                  |
 * | a power cut, NORMAL            | a state not before the last complete checkpoint                 |
 * | a failed sync that took back   | as after a power cut: what it had not synced is gone            |
 * | pages, and the process's death |                                                                 |
 *
 * In the last four, instead of the last state also that with the one transaction on top that had been
 * begun and not acknowledged: whole or not at all. And always: `integrity_check`, no clock without its
 * row and no row without its clocks, tables that show exactly what is held.
 *
 * @module
 */

import { openReader, openWriter, settleWriter } from "../../agent/data/database-files.ts";
import { StartFailure } from "../../agent/start-failure.ts";
import { seededRandom } from "../../bench/seeded-random.ts";
import { bytesToHex } from "../../core/bytes/hex.ts";
import { HlcClock } from "../../core/clock/hlc-clock.ts";
import { hlcZero } from "../../core/clock/stamp.ts";
import type { Digester } from "../../core/row/digest.ts";
import { decodeKey } from "../../core/row/key.ts";
import { type RowState, stampOfRow } from "../../core/row/row-state.ts";
import type { SqlValue } from "../../core/row/value.ts";
import type { MergedRow, RowRef } from "../../core/row-store.ts";
import type { LateLimits } from "../../core/store/clocks/late-clocks.ts";
import { readState, writeState } from "../../core/store/file/file-header.ts";
import { versionsReserved } from "../../core/store/file/kept-clock.ts";
import { SqliteStore } from "../../core/store/sqlite-store.ts";
import { SQLITE_CANTOPEN, SQLITE_FULL, SQLITE_IOERR } from "../../wasm/constants.ts";
import type { Database } from "../../wasm/database.ts";
import { SqliteError } from "../../wasm/error.ts";
import { VfsError } from "../../wasm/vfs/vfs-error.ts";
import { type DiskCall, type DiskCounts, FaultyDisk } from "../disk/faulty-disk.ts";
import { FaultyVfs } from "../disk/faulty-vfs.ts";
import { createDigester, siteOf } from "../model/history.ts";
import { type LocalWrite, MapStore } from "../model/map-store.ts";
import { createCounts, type HistoryCounts } from "./faulty-store-counts.ts";
import { Draws, schema, type TableModel, tables } from "./faulty-store-draws.ts";
import { FaultyHistory } from "./faulty-store-history.ts";
import { SteppedRound } from "./faulty-store-round.ts";
import {
  checkTables,
  type State,
  same,
  scanStates,
  textOf,
  textOfRows,
  textOfState,
} from "./faulty-store-states.ts";

export interface HistoryOptions {
  readonly seed: number;
  /** Default: 60. */
  readonly steps?: number;
  /** Told of every step, for a failing seed. */
  readonly log?: (line: string) => void;
}

export interface HistoryReport {
  readonly durability: "normal" | "full";
  readonly counts: HistoryCounts;
  readonly disk: DiskCounts;
}

const path = "/data/patina.db";

/** Runs one history. Throws on the first thing that isn't as promised; the message names the seed. */
export async function runFaultyHistory(options: HistoryOptions): Promise<HistoryReport> {
  const world = new World(options);
  try {
    return await world.run(options.steps ?? 60);
  } catch (thrown) {
    const why = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
    throw new Error(`seed ${options.seed}, after ${world.lastLines()}\n${why}`);
  }
}

class World {
  readonly #draws: Draws;
  readonly #late: LateLimits;
  readonly #log: (line: string) => void;
  readonly #lines: string[] = [];
  readonly #disk: FaultyDisk;
  readonly #vfs: FaultyVfs;
  readonly #durability: "normal" | "full";
  readonly #failedPages: "kept" | "reverted";
  readonly #cachePages: number;
  readonly #walBytesKept: number;
  readonly #digester: Digester = createDigester();
  readonly #counts: HistoryCounts = createCounts();
  #nowMs = 1_764_000_000_000;
  readonly #history: FaultyHistory;
  /** A sync of the WAL failed in the request at hand, which may not have needed it. */
  #hasSyncFailed = false;
  /** One failed: until a restart nothing may be acknowledged any more. */
  #isDistrusted = false;
  #clock!: HlcClock;
  #round: SteppedRound | undefined;
  #writer: Database | undefined;
  #reader: Database | undefined;
  #store!: SqliteStore;

  constructor({ seed, log }: HistoryOptions) {
    this.#draws = new Draws(seededRandom(seed), this.#digester);
    const transactionRowsMax = seed % 3 === 0 ? 1 : 256;
    const transactionRowsMin = 1 + (seed % 2);
    this.#late = { rowsMax: 6, transactionRowsMin, transactionRowsMax, restRowsMin: 2 };
    this.#log = log ?? (() => {});
    this.#durability = this.#draws.pick(["normal", "full"]);
    this.#failedPages = this.#draws.pick(["kept", "reverted"]);
    this.#cachePages = this.#draws.pick([2000, 10, 5]);
    this.#walBytesKept = this.#draws.pick([64 * 1024 * 1024, 0, 20_000]);
    this.#disk = new FaultyDisk({
      random: seededRandom(seed ^ 0x5eed),
      failedPages: this.#failedPages,
      shortShare: this.#draws.pick([0, 0, 0.1]),
    });
    const bytes = seededRandom(seed ^ 0xb17e5);
    this.#vfs = new FaultyVfs(this.#disk, {
      random: (into) => {
        for (let at = 0; at < into.length; at++) into[at] = Math.floor(bytes() * 256);
      },
      nowMs: () => this.#nowMs,
      onSyncFailed: () => {
        this.#hasSyncFailed = true;
      },
    });
    this.#history = new FaultyHistory({
      rows: new MapStore(this.#digester),
      version: 0,
      probe: 0,
    });
    this.#say(`${this.#durability}, failed pages ${this.#failedPages}, cache ${this.#cachePages}`);
  }

  lastLines(): string {
    return this.#lines.slice(-25).join("\n  ");
  }

  async run(steps: number): Promise<HistoryReport> {
    try {
      this.#start(this.#draws.below(2) === 0);
      for (let step = 0; step < steps; step++) await this.#step();
      // In the end the disk is a good one again, and the store as new.
      this.#restart("process", false);
      this.#commitForSure();
      this.#check();
    } finally {
      this.#disk.stop();
      this.#close();
    }
    return { durability: this.#durability, counts: this.#counts, disk: this.#disk.counts };
  }

  async #step(): Promise<void> {
    this.#nowMs += 1 + this.#draws.below(800);
    if (this.#isDistrusted) this.#leaveDistrust();
    if (this.#disk.bytesMax < Number.POSITIVE_INFINITY && this.#draws.below(4) === 0)
      this.#commitForSure();
    if (this.#draws.below(4) === 0) this.#armFault();
    const draw = this.#draws.below(100);
    if (draw < 38) this.#commit();
    else if (draw < 62) this.#merge();
    else if (draw < 66) this.#writeProbe();
    else if (draw < 69) this.#rollback();
    else if (draw < 72) this.#read();
    else if (draw < 82) await this.#roundSteps(1 + this.#draws.below(4));
    else if (draw < 86) this.#checkpoint("PASSIVE");
    else if (draw < 88) this.#checkpoint("TRUNCATE");
    else if (draw < 91) this.#vacuum();
    else if (draw < 93) this.#stopInOrder();
    else if (draw < 96) this.#restart("process");
    else this.#restart("power");
  }

  /** The newest state that was acknowledged. */
  get #state(): State {
    return this.#history.newest;
  }

  get #connection(): Database {
    return this.#writer as Database;
  }

  // What the store is asked for. Each request is acknowledged and joins the history, or fails.

  #commit(): boolean {
    const { rows, version, probe } = this.#state;
    const writes = this.#draws.writes(rows, 1 + this.#draws.below(6));
    const lastBefore = this.#clock.last;
    const done = this.#attempt(
      `commit of ${writes.length} rows`,
      () => {
        this.#execute(writes);
        const result = this.#store.commit(this.#nowMs);
        if (result.kind === "refused") throw new Error(`refused: ${result.why}`);
        const next = rows.copy();
        const stamp = result.changeset?.stamp ?? { ...this.#clock.last, site: this.#clock.site };
        const expected = next.commit(writes, stamp).changeset?.rows ?? [];
        same("changeset", textOfRows(result.changeset?.rows ?? []), textOfRows(expected));
        const isChange = expected.length > 0;
        same("version", result.version, isChange ? version + 1 : null);
        this.#acknowledge({ rows: next, version: isChange ? version + 1 : version, probe });
      },
      () => {
        // Not stamped: it failed before there was anything to write.
        if (this.#clock.last === lastBefore) return undefined;
        const next = rows.copy();
        next.commit(writes, { ...this.#clock.last, site: this.#clock.site });
        return { rows: next, version: version + 1, probe };
      },
    );
    if (done) this.#counts.commits += 1;
    return done;
  }

  /** Begins a transaction and runs its statements. */
  #execute(writes: readonly LocalWrite[]): void {
    this.#store.begin();
    try {
      for (const write of writes) this.#executeOne(write);
    } catch (thrown) {
      this.#store.rollback();
      throw thrown;
    }
  }

  #executeOne(write: LocalWrite): void {
    const { keys } = tables[write.table] as TableModel;
    const key = decodeKey(write.key) as SqlValue[];
    if (write.kind === "delete") {
      const where = keys.map((column) => `${column} = ?`).join(" AND ");
      this.#connection.run(`DELETE FROM ${write.table} WHERE ${where}`, ...key);
      return;
    }
    const columns = [...write.values.keys()];
    const all = [...keys, ...columns];
    const set = columns.map((column) => `${column} = excluded.${column}`).join(", ");
    this.#connection.run(
      `INSERT INTO ${write.table} (${all}) VALUES (${all.map(() => "?")})
       ON CONFLICT (${keys}) DO UPDATE SET ${set}`,
      ...key,
      ...write.values.values(),
    );
  }

  #merge(): void {
    const { rows: before, version, probe } = this.#state;
    const rows = this.#draws.remoteRows(before, this.#nowMs);
    const next = before.copy();
    const changed = next.merge(rows).map((row) => row.changed);
    const state = { rows: next, version, probe };
    const done = this.#attempt(
      `merge of ${rows.length} rows`,
      () => {
        const merged = this.#mergeSomehow(rows);
        same("changed", merged.map((row) => row.changed).join(), changed.join());
        for (const row of rows) this.#clock.observe(stampOfRow(row));
        this.#acknowledge(state);
      },
      () => state,
    );
    if (done) this.#counts.merges += 1;
  }

  /** As one merge, or as one that was prepared and that somebody else rolled back. */
  #mergeSomehow(rows: readonly RowState[]): readonly MergedRow[] {
    if (this.#draws.below(3) > 0) return this.#store.merge(rows);
    const prepared = this.#store.prepareMerge();
    try {
      prepared.add(rows);
      prepared.finish();
      for (let rest = this.#draws.below(3); rest > 0; rest--) {
        const vain = this.#store.beginMerge();
        vain.addPrepared(prepared, 0, Math.ceil(prepared.length / rest));
        vain.rollback();
      }
      const open = this.#store.beginMerge();
      open.addPrepared(prepared, 0, prepared.length);
      // In another order, but those of one row.
      const merged = Map.groupBy(open.commit(), nameOf);
      return rows.map((row) => merged.get(nameOf(row))?.shift() as MergedRow);
    } finally {
      prepared.end();
    }
  }

  /** What the agent writes beside the rows, outside of their transactions. */
  #writeProbe(): void {
    const { rows, version, probe } = this.#state;
    const state = { rows, version, probe: probe + 1 };
    this.#attempt(
      "probe",
      () => {
        writeState(this.#connection, "probe", probe + 1);
        this.#acknowledge(state);
      },
      () => state,
    );
  }

  #rollback(): void {
    const writes = this.#draws.writes(this.#state.rows, 1 + this.#draws.below(6));
    const done = this.#attempt("rollback", () => {
      this.#execute(writes);
      this.#store.rollback();
    });
    if (done) this.#check();
  }

  #read(): void {
    this.#attempt("read", () => checkTables(this.#state.rows, this.#reader as Database));
  }

  async #roundSteps(count: number): Promise<void> {
    for (let step = 0; step < count && !this.#isDistrusted; step++) {
      const goesOn = await (this.#round as SteppedRound).step();
      // Where the process has died of the step it is another one.
      if (!goesOn) this.#round?.end();
    }
  }

  async #attemptSync(what: string, request: () => Promise<void>): Promise<boolean> {
    const { failedSyncs } = this.#disk.counts;
    let failed: unknown;
    try {
      await request();
    } catch (thrown) {
      failed = thrown;
    }
    // An attempt that is made in the same turn in which it is known how it went.
    const isDone = this.#attempt(what, () => {
      if (failed === undefined) return;
      if (this.#disk.counts.failedSyncs > failedSyncs) this.#hasSyncFailed = true;
      const why = (failed as Error).message;
      throw new SqliteError(SQLITE_IOERR, why);
    });
    if (this.#isDistrusted && this.#failedPages === "reverted") this.#history.mayHaveLost = true;
    return isDone;
  }

  #checkpoint(mode: "PASSIVE" | "TRUNCATE"): void {
    if (this.#round?.isBegun) this.#round.end();
    this.#attempt(`checkpoint ${mode}`, () => {
      const { busy, walFrames, checkpointedFrames } = this.#connection.checkpoint(mode);
      same("busy", busy, false);
      same("frames left", walFrames - checkpointedFrames, 0);
      this.#counts.checkpoints += 1;
      this.#history.synced();
    });
  }

  #vacuum(): void {
    this.#attempt("vacuum", () => this.#connection.exec("PRAGMA incremental_vacuum(20)"));
  }

  #acknowledge(state: State): void {
    const isChange = textOfState(state) !== textOfState(this.#state);
    if (isChange && this.#isDistrusted) {
      throw new Error("acknowledged between a failed sync and a restart");
    }
    this.#history.acknowledge(state);
    // What changed nothing synced nothing: the agent does that before it answers (`agent/wal/group-commit.ts`).
    if (isChange && this.#durability === "full") this.#history.synced();
  }

  /**
   * Makes a request. False: a fault made it fail; the store is then as it was, or was restarted.
   *
   * @param unanswered the state if it had been acknowledged
   */
  #attempt(what: string, request: () => void, unanswered?: () => State | undefined): boolean {
    const { failedSyncs } = this.#disk.counts;
    try {
      request();
      this.#say(what);
      this.#noteFailedSync(failedSyncs);
    } catch (thrown) {
      if (!(thrown instanceof SqliteError)) throw thrown;
      this.#say(`${what} failed: ${thrown.message}`);
      const state = unanswered?.();
      if (state !== undefined) this.#history.noteUnanswered(state);
      this.#noteFailedSync(failedSyncs);
      if (this.#disk.isStopped) this.#restart(this.#draws.pick(["process", "power"]));
      else this.#goOnAfter(thrown);
      return false;
    }
    // In a call that SQLite can do without, such as cutting the WAL to a size.
    if (this.#disk.isStopped) this.#restart(this.#draws.pick(["process", "power"]));
    return true;
  }

  /** @param before How many syncs had failed before the request. */
  #noteFailedSync(before: number): void {
    if (this.#hasSyncFailed) this.#isDistrusted = true;
    const isReverted = this.#failedPages === "reverted";
    if (isReverted && this.#disk.counts.failedSyncs > before) this.#history.mayHaveLost = true;
  }

  /** A call failed and the process lives: what was acknowledged is read, and nothing else. */
  #goOnAfter(error: SqliteError): void {
    // Of a value that couldn't be read while a change was captured.
    if (error.cause instanceof SqliteError) {
      this.#goOnAfter(error.cause);
      return;
    }
    const isKnown = [SQLITE_FULL, SQLITE_IOERR, SQLITE_CANTOPEN].includes(error.code);
    same("kind of error", isKnown ? "known" : error.codeName, "known");
    this.#counts.undone += 1;
    if (error.code === SQLITE_FULL) {
      this.#counts.refusedFull += 1;
      same("message", /database or disk is full/.test(error.message), true);
    }
    // What a file system took back under the WAL can't be read any more. The agent is to restart.
    if (this.#isDistrusted && this.#failedPages === "reverted") return;
    this.#check();
    if (!this.#isDistrusted && this.#draws.below(2) === 0) this.#commitForSure();
  }

  /** There is room and no fault: no restart is needed for the next commit. */
  #commitForSure(): void {
    this.#disk.calm();
    this.#disk.bytesMax = Number.POSITIVE_INFINITY;
    same("commit on a good disk", this.#commit(), true);
  }

  /** Nothing is acknowledged before a restart, though syncs would succeed again. */
  #leaveDistrust(): void {
    this.#disk.calm();
    this.#counts.distrusted += 1;
    if (this.#failedPages === "kept") {
      this.#commit();
      // It may have nothing to do. What it does can't be relied on: the floor stays.
      this.#attempt("checkpoint after a failed sync", () => this.#connection.checkpoint("PASSIVE"));
    }
    this.#restart(this.#draws.pick(["process", "process", "power"]));
  }

  #armFault(): void {
    const draw = this.#draws.below(10);
    if (draw < 4) this.#disk.inject({ kind: "stop", after: this.#draws.below(40) });
    else if (draw < 5) this.#disk.bytesMax = this.#disk.bytesUsed + this.#draws.below(6) * 4096;
    else {
      const call = this.#draws.pick(faultyCalls);
      const code = call === "pwrite" || call === "fdatasync" ? this.#draws.pick(codes) : "EIO";
      const [after, times] = [this.#draws.below(12), 1 + this.#draws.below(3)];
      this.#disk.inject({ kind: "error", call, after, times, code });
      this.#say(`armed: ${call} fails with ${code} after ${after}, ${times} times`);
      return;
    }
    this.#say(draw < 4 ? "armed: stop" : "armed: disk full");
  }

  // Ends and starts.

  /** As the agent stops. */
  #stopInOrder(): void {
    this.#disk.calm();
    this.#disk.bytesMax = Number.POSITIVE_INFINITY;
    this.#checkpoint("TRUNCATE");
    this.#say("stop in order");
    this.#close();
    this.#disk.restart("process");
    this.#start(this.#draws.below(3) === 0);
  }

  #restart(after: "process" | "power", withFaults: boolean = this.#draws.below(3) === 0): void {
    this.#die(after);
    this.#start(withFaults);
  }

  #die(by: "process" | "power"): void {
    this.#say(by === "power" ? "power cut" : "process killed");
    // The dead process does nothing more to the disk, whatever its connections try when they close.
    this.#disk.stop();
    this.#close();
    this.#disk.restart(by);
    this.#disk.bytesMax = Number.POSITIVE_INFINITY;
    if (by === "process") this.#counts.deaths += 1;
    else {
      this.#counts.powerCuts += 1;
      this.#history.mayHaveLost = true;
    }
  }

  #close(): void {
    this.#round?.close();
    this.#round = undefined;
    this.#reader?.close();
    this.#writer?.close();
    this.#reader = undefined;
    this.#writer = undefined;
  }

  #start(withFaults: boolean): void {
    for (let tries = 0; ; tries++) {
      if (withFaults && tries < 3) this.#armFault();
      const { failedSyncs } = this.#disk.counts;
      try {
        this.#open();
        break;
      } catch (thrown) {
        const isKnown = [SqliteError, StartFailure, VfsError].some(
          (kind) => thrown instanceof kind,
        );
        if (!isKnown || !(thrown instanceof Error)) throw thrown;
        if (tries >= 3) throw thrown;
        this.#say(`start failed: ${thrown.message}`);
        this.#counts.failedStarts += 1;
        if (this.#disk.counts.failedSyncs > failedSyncs && this.#failedPages === "reverted") {
          this.#history.mayHaveLost = true;
        }
        this.#die(this.#draws.pick(["process", "power"]));
      }
    }
    this.#disk.calm();
    this.#disk.bytesMax = Number.POSITIVE_INFINITY;
    this.#isDistrusted = false;
    this.#hasSyncFailed = false;
    this.#recognize();
  }

  /** As the agent opens it. */
  #open(): void {
    const { writer, header } = openWriter(path, this.#vfs);
    this.#writer = writer;
    this.#clock = new HlcClock(siteOf(0), header.kind === "patina" ? header.hlc : hlcZero);
    const opened = SqliteStore.open({
      writer,
      schema,
      digester: this.#digester,
      clock: this.#clock,
      late: this.#late,
    });
    if (opened.kind === "refused") throw new Error(`refused: ${opened.why}`);
    this.#store = opened.store;
    settleWriter(writer, path, this.#durability);
    writer.pragma("cache_size", this.#cachePages);
    writer.pragma("journal_size_limit", this.#walBytesKept);
    this.#reader = openReader(path, this.#vfs);
    this.#round = new SteppedRound(path, this.#vfs, {
      attempt: (what, request) => this.#attempt(what, request),
      attemptSync: (what, request) => this.#attemptSync(what, request),
      newestState: () => this.#history.newestIndex,
      synced: (state) => this.#history.synced(state),
      ended: () => {
        this.#counts.rounds += 1;
      },
      blanked: () => {
        this.#counts.blanked += 1;
      },
    });
    this.#say(`mode ${writer.pragma("journal_mode")}`);
    const { clocksWithoutRows, rowsWithoutClocks } = opened.report;
    same("rows and clocks apart", [clocksWithoutRows, rowsWithoutClocks].join(), "0,0");
  }

  /** Finds which state of the history the database is at after a start, and goes on from there. */
  #recognize(): void {
    same(
      "integrity_check",
      textOf(this.#connection.all("PRAGMA integrity_check")),
      textOf([["ok"]]),
    );
    const { index, last, first, ...unanswered } = this.#history.recognize(this.#found());
    if (unanswered.keptUnanswered) this.#counts.unansweredKept += 1;
    if (unanswered.lostUnanswered) this.#counts.unansweredGone += 1;
    if (index < last) {
      this.#counts.cutsBack += 1;
      this.#counts.commitsLost += last - index;
    }
    this.#say(`at state ${index} of ${last}, at least ${first}`);
    this.#goOnCounting();
    checkTables(this.#state.rows, this.#reader as Database);
  }

  /** After a crash the count goes on above all that were given, with a gap that is bounded. */
  #goOnCounting(): void {
    const { version } = this.#store;
    const gap = version - this.#state.version;
    if (gap < 0 || gap > versionsReserved) throw new Error(`version ${version}, gap ${gap}`);
    this.#history.goOnCounting(version);
  }

  // What is there, against the model.

  #check(): void {
    this.#disk.calm();
    same("rows held", this.#found(), textOfState(this.#state));
    same("version", this.#store.version, this.#state.version);
    checkTables(this.#state.rows, this.#reader as Database);
  }

  #found(): string {
    return textOfState({
      rows: scanStates(this.#store),
      probe: Number(readState(this.#connection, "probe") ?? 0),
    });
  }

  #say(line: string): void {
    const text = `${this.#history?.length ?? 0}: ${line}`;
    this.#lines.push(text);
    this.#log(text);
  }
}

const faultyCalls: readonly DiskCall[] = [
  "pread",
  "pwrite",
  "pwrite",
  "fdatasync",
  "fdatasync",
  "ftruncate",
  "open",
  "unlink",
  "fsync",
  "size",
  "access",
];
const codes = ["EIO", "ENOSPC"] as const;

function nameOf({ table, key }: RowRef): string {
  return `${table} ${bytesToHex(key)}`;
}

/**
 * The store thread: owns the database, the commit clock and the index, and joins them to the HTTP
 * handlers on one side and to the net thread on the other.
 *
 * Here its parts are made, in the order in which what is read from the disk becomes what is served; each is a
 * module of its own:
 *
 * 1. `opened-store.ts`: the database, and the site that this start writes as;
 * 2. `wal-upkeep.ts` and the replica (`core/replica/replica.ts`);
 * 3. `members-table.ts`, `readiness.ts`, and the chores, for when nobody waits;
 * 4. `store-turns.ts`: requests of the net thread, and whose turn it is;
 * 5. `store-operations.ts`, `store-status.ts` and the service, for those who ask.
 *
 * Live queries hear of a commit in the turn that committed it.
 *
 * @module
 */

import { edenGC } from "bun:jsc";
import type { Lane } from "../../core/change/changeset.ts";
import type { Site } from "../../core/clock/stamp.ts";
import type { StoreRequest } from "../../core/node/border.ts";
import { Replica } from "../../core/replica/replica.ts";
import type { CommitResult, OpenReport } from "../../core/store/store-outcomes.ts";
import { FileVfs } from "../../wasm/vfs/file.ts";
import { AdoptionChore } from "../chores/adoption-chore.ts";
import { Chores } from "../chores/chores.ts";
import { RetryChore } from "../chores/retry-chore.ts";
import { ScrubChore } from "../chores/scrub-chore.ts";
import { VacuumChore } from "../chores/vacuum-chore.ts";
import { recordStop } from "../data/site-identity.ts";
import { WallClock } from "../host/wall-clock.ts";
import { netMetrics } from "../metrics/net-metrics.ts";
import type { OperationLine } from "../operations/operations.ts";
import { ReaderPool } from "../readers/reader-pool.ts";
import { SnapshotLender } from "../readers/snapshot-lender.ts";
import { QueryRunner } from "../sql/query-runner.ts";
import { TransactionRunner } from "../sql/transaction-runner.ts";
import { clockFloorMs } from "../version.ts";
import { GroupCommit } from "../wal/group-commit.ts";
import { WalUpkeep } from "../wal/wal-upkeep.ts";
import { ClockWatch } from "./clock-watch.ts";
import { LocalService } from "./local-service.ts";
import { MembersTable } from "./members-table.ts";
import { migrationProblem } from "./migrations.ts";
import { type OpenedStore, openStore } from "./opened-store.ts";
import { Readiness } from "./readiness.ts";
import { SchemaNames } from "./schema-names.ts";
import { StoreOperations } from "./store-operations.ts";
import { StoreStatus } from "./store-status.ts";
import type { StoreThreadOptions } from "./store-thread-options.ts";
import { type StoreLink, StoreTurns } from "./store-turns.ts";
import { TurnMeter } from "./turn-meter.ts";
import { TurnPace } from "./turn-pace.ts";
import { WriteFailures } from "./write-failures.ts";

/** Of subscriptions that can't be taken up; the others are counted. */
const lostLoggedMax = 10;

type Committed = CommitResult & { kind: "committed" };

export class StoreThread {
  readonly site: Site;
  /** Which start of this database it is, from 1. */
  readonly incarnation: number;
  readonly service: LocalService<CommitResult>;
  readonly #options: StoreThreadOptions;
  readonly #startedMs = Date.now();
  readonly #clock = new WallClock();
  readonly #pace = new TurnPace({
    isReady: () => this.#readiness.isReady(),
    isHeard: () => this.service.hasSubscribers,
  });
  readonly #meter = new TurnMeter();
  readonly #opened: OpenedStore;
  readonly #wal: WalUpkeep;
  readonly #replica: Replica;
  readonly #members: MembersTable;
  readonly #readiness: Readiness;
  readonly #names: SchemaNames;
  readonly #adoption: AdoptionChore;
  readonly #scrub: ScrubChore;
  readonly #vacuum: VacuumChore;
  readonly #turns: StoreTurns;
  /** Snapshots of the database that another thread reads; undefined without a file. */
  readonly #lender: SnapshotLender | undefined;
  readonly #readers: ReaderPool | undefined;
  readonly #operations: StoreOperations;
  readonly #status: StoreStatus;
  readonly #group: GroupCommit | undefined;
  readonly #clockWatch: ClockWatch;
  readonly #writeFailures = new WriteFailures();
  #isTakingLeave = false;

  /** Opens and checks everything; nothing is served yet. @throws StartFailure */
  constructor(options: StoreThreadOptions) {
    this.#options = options;
    this.#clockWatch = new ClockWatch(options.log);
    const opened = openStore(options, this.#clock);
    const { reader, store } = opened;
    this.#opened = opened;
    this.site = opened.site;
    this.incarnation = opened.incarnation;
    try {
      this.#wal = this.#createWalUpkeep();
      this.#replica = this.#createReplica();
    } catch (error) {
      opened.writer.close();
      throw error;
    }

    this.#members = this.#createMembers();
    this.#readiness = this.#createReadiness();
    this.#names = new SchemaNames(options.schema);
    this.#adoption = this.#createAdoption();
    this.#scrub = this.#createScrub();
    this.#vacuum = new VacuumChore(opened.writer, () => this.#wal.noteWork());
    this.#turns = this.#createTurns();

    const { queryTimeoutMs: timeoutMs, resultBytesMax } = options;
    const runner = new QueryRunner(reader, { timeoutMs, resultBytesMax });
    if (options.vfs instanceof FileVfs) {
      this.#lender = new SnapshotLender(options.databasePath, options.vfs);
      this.#readers = this.#createReaders(runner, this.#lender);
    }
    this.#operations = this.#createOperations();
    this.#status = this.#createStatus();
    this.#group = this.#createGroup();
    this.service = this.#createService(runner);

    store.watch(this.service);
    this.#replica.onMerged((_rows, lane, origin) => {
      if (origin !== "local") this.service.tell(lane === 0);
    });
    this.#restoreLive();
    this.#members.forget();
    if (options.standsAlone) {
      this.#members.writeSelf(options.node, this.incarnation, this.#startedMs);
    }
  }

  get report(): OpenReport {
    return this.#opened.report;
  }

  /** What the reader thread does; undefined where there is none. */
  readersReport(): ReturnType<ReaderPool["describe"]> | undefined {
    return this.#readers?.describe();
  }

  /** The index is being built, or rows come in bulk. */
  get isCatchingUp(): boolean {
    return this.#turns.isCatchingUp;
  }

  /** How far this host's clock is behind the newest stamp that was given or taken here; below 0 when it is ahead. */
  get clockBehindMs(): number {
    return this.#opened.clock.last.ms - this.#clock.nowMs();
  }

  /** Caught up with the others since the start. */
  get isReady(): boolean {
    return this.#readiness.isReady();
  }

  /** Begins to rebuild the index. Requests are taken by {@link request}, replies go to `link`. */
  start(link: StoreLink | undefined): void {
    this.#turns.start(link);
  }

  /** From the net thread. Never throws. */
  request(request: StoreRequest): void {
    this.#turns.request(request);
    // They are heeded at once. Of a clock that was never set the start has told.
    const nowMs = this.#clock.nowMs();
    if (request.kind === "peers" && nowMs >= clockFloorMs) {
      this.#clockWatch.look(this.#replica.localWrites(nowMs), performance.now());
    }
  }

  /** Reads the schema files again and does what they say. Nothing happens before the first line is asked for. */
  reload(dryRun = false): AsyncGenerator<OperationLine> {
    return this.#operations.reload(dryRun);
  }

  /** The net side is about to be stopped: what was committed from here on nobody else would hear of. */
  refuseWrites(): void {
    this.#isTakingLeave = true;
  }

  /** Ends subscriptions, copies the WAL and closes. The net side has been stopped. */
  stop(): void {
    if (this.#turns.isStopped) return;
    const { log } = this.#options;
    const { writer, reader, store } = this.#opened;
    this.#turns.stop();
    this.#readers?.stop();
    this.service.endStreams();
    this.#operations.stop();
    this.#replica.abandon();
    try {
      store.bringClocksHome();
      store.keepClock();
      recordStop(writer);
    } catch (error) {
      log.warn("the stop was not recorded", { why: (error as Error).message });
    }
    try {
      this.service.live.close();
    } catch (error) {
      log.warn("subscriptions were not written down", { why: (error as Error).message });
    }
    reader.close();
    this.#lender?.close();
    this.#wal.close();
    try {
      writer.checkpoint("TRUNCATE");
    } catch (error) {
      // It will be copied at the next start.
      log.warn("the last checkpoint failed", { why: (error as Error).message });
    }
    writer.close();
    void this.#group?.close();
  }

  #createWalUpkeep(): WalUpkeep {
    const { databasePath, vfs, log } = this.#options;
    const { writer, store } = this.#opened;
    return new WalUpkeep({
      path: databasePath,
      vfs,
      writer,
      store,
      clock: this.#clock,
      log,
      isMerging: () => this.#replica.isBusy,
      isServed: () => this.#readiness.isReady(),
      oldestLoan: () => this.#lender?.oldest,
      framesMax: this.#options.walFramesMax,
      onSize: (bytes, isLong) => this.#readers?.walChanged(bytes, isLong),
      measured: (work) => this.#pace.during(() => this.#meter.measure("checkpoint", work)),
      pace: this.#pace,
      onEnd: () => this.#turns.roundEnded(),
    });
  }

  #createReplica(): Replica {
    const { store, clock, digester, ownSites } = this.#opened;
    return new Replica({
      store,
      clock,
      digester,
      schema: this.#options.schema.shapes,
      isOwnSite: (site) => ownSites.has(site),
      onPush: () => this.#turns.postReplies(),
      onMembers: (rows, parted) => this.#members.write(rows, parted),
      isTelling: () => this.service.live.isBehind,
      pace: this.#pace,
      options: { clockFloorMs, standsAlone: this.#options.standsAlone },
    });
  }

  #createAdoption(): AdoptionChore {
    const { writer, store } = this.#opened;
    return new AdoptionChore(writer, store, {
      mayWrite: () => this.#replica.localWrites(this.#clock.nowMs()).kind === "allowed",
      // In bulk: there may be very many, and none of them is news.
      onCommitted: (commit) => this.#committed(commit, 2),
      onDone: ({ table, rows, skipped }) =>
        this.#options.log.info("rows taken in", { table, rows, skipped }),
    });
  }

  /** Of what a full disk has left undone: by a start that wasn't written down, and of what is told of members. */
  #createRetries(isStartWaiting: boolean): RetryChore[] {
    const { start } = this.#opened;
    const members = new RetryChore(
      "patina_members",
      () => this.#members.isBehind,
      () => {
        if (this.#members.writeWaiting() !== undefined) return false;
        this.#wal.noteWork();
        return true;
      },
    );
    if (!isStartWaiting) return [members];
    let isWaiting = true;
    const writeStart = (): boolean => {
      try {
        start.ensureWritten();
      } catch {
        return false;
      }
      isWaiting = false;
      this.#options.log.info("there is room on the disk again");
      this.#wal.noteWork();
      return true;
    };
    return [new RetryChore("the start", () => isWaiting, writeStart), members];
  }

  #createScrub(): ScrubChore {
    const { log, scrubRowsPerSecond = 0 } = this.#options;
    return new ScrubChore(this.#opened.store, this.#replica, scrubRowsPerSecond, {
      onDamaged: (merged, cells) => {
        const rows = merged.map(({ table, id }) => `${table} ${id}`).slice(0, 10);
        log.error("damaged values: a copy is wanted from the others", {
          cells,
          rows: rows.join(", "),
        });
        this.#turns.run((replies, nowMs) => this.#replica.scrubbed(merged, nowMs, replies));
      },
    });
  }

  #createMembers(): MembersTable {
    return new MembersTable({
      writer: this.#opened.writer,
      publicKey: this.#options.publicKey,
      site: this.site,
      writeLocalTable: (table, keys, write) => this.service.writeLocalTable(table, keys, write),
    });
  }

  #createReadiness(): Readiness {
    const { standsAlone, agreements } = this.#options;
    return new Readiness({
      awayMs: this.#opened.awayMs,
      standsAlone,
      agreements,
      isBuilt: () => this.#replica.isBuilt,
      hasOthers: () => this.#members.hasOthers(),
    });
  }

  #createTurns(): StoreTurns {
    const retries = this.#createRetries(this.#opened.start.why !== undefined);
    const chores = new Chores(
      [...retries, this.#adoption, this.#vacuum, this.#scrub],
      (name, { message: why }) =>
        this.#options.log.error(`${name} failed, and is tried again`, { why }),
    );
    return new StoreTurns({
      replica: this.#replica,
      clock: this.#clock,
      meter: this.#meter,
      pace: this.#pace,
      collect: edenGC,
      wal: this.#wal,
      chores,
      sweep: () => this.service.live.sweep(performance.now()),
    });
  }

  #createReaders(runner: QueryRunner, lender: SnapshotLender): ReaderPool {
    const { databasePath, log, readerLimits } = this.#options;
    return new ReaderPool(runner, {
      databasePath,
      lender,
      hlcMs: this.#opened.hlcMs,
      onLoanEnded: () => {
        if (!this.#turns.isStopped) this.#turns.loanEnded();
      },
      log,
      ...(readerLimits === undefined ? {} : { limits: readerLimits }),
    });
  }

  #createOperations(): StoreOperations {
    const { writer, store } = this.#opened;
    return new StoreOperations({
      options: this.#options,
      writer,
      store,
      replica: this.#replica,
      clock: this.#clock,
      turns: this.#turns,
      adoption: this.#adoption,
      onSchemaChanged: (changed) => {
        this.#names.use(changed);
        this.#adoption.schemaChanged();
        this.#scrub.schemaChanged();
        this.service.schemaChanged();
      },
    });
  }

  #createStatus(): StoreStatus {
    const { start, reader, store } = this.#opened;
    return new StoreStatus({
      options: this.#options,
      site: this.site,
      incarnation: this.incarnation,
      start,
      startedMs: this.#startedMs,
      reader,
      store,
      replica: this.#replica,
      members: this.#members,
      readiness: this.#readiness,
      writeFailures: this.#writeFailures,
      turns: this.#turns,
      meter: this.#meter,
      wal: this.#wal,
      adoption: this.#adoption,
      scrub: this.#scrub,
      vacuum: this.#vacuum,
      readers: this.#readers,
      subscriptions: () => this.service.live.summary(),
    });
  }

  /** Undefined where a commit alone is what an answer promises. */
  #createGroup(): GroupCommit | undefined {
    const { vfs, databasePath, durability } = this.#options;
    if (durability === "normal" || vfs.openWalSync === undefined) return undefined;
    const open = vfs.openWalSync.bind(vfs);
    const { writer, store } = this.#opened;
    return new GroupCommit(writer, store, () => open(databasePath));
  }

  #createService(reader: QueryRunner): LocalService<CommitResult> {
    const { statementTimeoutMs, liveLimits, agreements, swarm } = this.#options;
    const { store, liveStore, report } = this.#opened;
    const group = this.#group;
    const readers = this.#readers;
    const writer = new TransactionRunner<CommitResult>(this.#opened.writer, group ?? store, {
      timeoutMs: statementTimeoutMs,
      onFailed: (error) => this.#writeFailures.failed(error, performance.now()),
      unsureColumns: (table) =>
        this.#readiness.isUnsure() ? this.#names.urgentColumnsOf(table) : undefined,
    });
    return new LocalService<CommitResult>(reader, writer, {
      actorId: this.site,
      nowMs: () => this.#clock.nowMs(),
      keyColumnsOf: this.#names.keyColumnsOf,
      isReplicated: this.#names.isReplicated,
      mayBeUnheard: (table) => report.rowsWithoutClocks > 0 || store.adopting.has(table),
      liveStore,
      ...(readers === undefined ? {} : { readers, initialRows: readers, reruns: readers }),
      ...(liveLimits === undefined ? {} : { liveLimits }),
      writesRefused: () => {
        if (this.#isTakingLeave) return "the agent is stopping";
        const allowed = this.#replica.localWrites(this.#clock.nowMs());
        return allowed.kind === "refused" ? allowed.why : undefined;
      },
      heard: () => this.#readiness.sure(),
      onCommitted: (commit) => this.#committed(commit as Committed),
      durable: group === undefined ? undefined : () => group.durable(),
      whenFree: () => this.#turns.whenFree(),
      served: () => this.#pace.served(),
      took: (kind, begunMs) => this.#meter.took(kind, begunMs),
      agreedMs: () => agreements?.agoMs(),
      health: () => this.#status.health(),
      status: () => this.#status.describe(),
      swarm,
      metrics: async () => {
        const answer = await swarm();
        const net = "kind" in answer && answer.kind === "stands-alone" ? undefined : answer;
        return [...this.#status.metrics(), ...netMetrics(net)];
      },
      migrationProblem: (statements) =>
        migrationProblem(statements, store.schema, (schema) => store.planSchema(schema)),
      operate: async (operation) => this.#operations.operate(operation),
    });
  }

  #restoreLive(): void {
    const { log } = this.#options;
    let lost = 0;
    const { restored, later } = this.service.live.restore(performance.now(), (why) => {
      if (++lost <= lostLoggedMax) log.warn("a subscription can't be taken up", { why });
    });
    if (restored > 0) log.info("subscriptions taken up", { count: restored });
    if (later > 0) log.info("subscriptions that are taken up while we serve", { count: later });
    if (lost > lostLoggedMax) log.warn("subscriptions can't be taken up", { count: lost });
  }

  #committed(commit: Committed, lane?: Lane): void {
    this.#writeFailures.committed();
    const told = lane === undefined ? commit : { ...commit, lane };
    this.#turns.run((replies, nowMs) => this.#replica.committed(told, nowMs, replies));
  }
}

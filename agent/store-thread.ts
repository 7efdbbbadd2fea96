/**
 * The store thread: owns the database, the commit clock and the index, and joins them to the HTTP
 * handlers on one side and to the net thread on the other.
 *
 * Everything here is synchronous and ends within its turn of the event loop, but for one thing: a changeset
 * too large for one turn is a transaction that stays open over some (`core/store/apply-work.ts`). Nobody
 * else may use the connection that writes meanwhile: see {@link StoreThread.whenFree}.
 * What comes from the net side is done in this order:
 *
 * 1. urgent changesets at once, in the turn in which they arrive;
 * 2. everything else one request, or one slice of it, a turn, so that HTTP and urgent ones come between;
 * 3. checkpoints, a slice of the rebuild or of a scan, when nothing else waits.
 *
 * Live queries hear of a commit in the turn that committed it.
 *
 * @module
 */

import type { Lane } from "../core/change/changeset.ts";
import { HlcClock } from "../core/clock/hlc-clock.ts";
import type { Site } from "../core/clock/stamp.ts";
import { hlcToText, hlcZero } from "../core/clock/stamp.ts";
import type { MemberRow, PeerId, StoreReply, StoreRequest } from "../core/node/border.ts";
import { Digester, siteToBytes } from "../core/row/digest.ts";
import type { PlannedSchema } from "../core/schema/schema.ts";
import { problemToText } from "../core/schema/schema.ts";
import { Replica } from "../core/store/replica.ts";
import {
  type CommitResult,
  type OpenReport,
  type SchemaChanged,
  SqliteStore,
} from "../core/store/sqlite-store.ts";
import type { Database } from "../wasm/database.ts";
import type { Statement } from "../wasm/statement.ts";
import { FileVfs } from "../wasm/vfs/file.ts";
import type { Vfs } from "../wasm/vfs/vfs.ts";
import { AdoptionChore } from "./adoption-chore.ts";
import type { Agreements } from "./agreements.ts";
import type { HealthReport, Operation, OperationOutcome } from "./api/store-service.ts";
import type { TokensChange } from "./api/token-set.ts";
import { Backup, backupEvents } from "./backup.ts";
import { Checkpointer, type WalState } from "./checkpointer.ts";
import { Chores } from "./chores.ts";
import { guarded, openReader, openWriter, settleWriter } from "./database-files.ts";
import { GroupCommit } from "./group-commit.ts";
import type { LiveLimits } from "./live/live-queries.ts";
import { LiveStore } from "./live/live-store.ts";
import { LocalService } from "./local-service.ts";
import type { Log } from "./log.ts";
import { migrationProblem } from "./migrations.ts";
import { backupLines, type OperationLine, toLines } from "./operations.ts";
import { recordOwnSite } from "./own-sites.ts";
import { type ReaderLimits, ReaderPool } from "./readers/reader-pool.ts";
import { SnapshotLender } from "./readers/snapshot-lender.ts";
import { type ReloadHost, reload } from "./reload.ts";
import { SchemaNames } from "./schema-names.ts";
import { ScrubChore } from "./scrub-chore.ts";
import { sha256 } from "./sha256.ts";
import {
  circumstancesOf,
  type FileCircumstances,
  newSite,
  previousSite,
  recordStart,
  recordStop,
} from "./site-identity.ts";
import { addClockFunctions } from "./sql/functions.ts";
import { QueryRunner } from "./sql/query-runner.ts";
import { TransactionRunner } from "./sql/transaction-runner.ts";
import { exitCodes, StartFailure } from "./start-failure.ts";
import { type TurnKind, TurnMeter } from "./turn-meter.ts";
import { TurnPace } from "./turn-pace.ts";
import { VacuumChore } from "./vacuum-chore.ts";
import { WallClock } from "./wall-clock.ts";

/** What the store thread needs of the link to the net thread. */
export interface StoreLink {
  post(reply: StoreReply): void;
}

export interface StoreThreadOptions {
  readonly vfs: Vfs;
  readonly databasePath: string;
  /** Of the node, 64 hex digits. */
  readonly publicKey: string;
  readonly node: { readonly name: string; readonly region: string; readonly zone: string };
  readonly digestKey: Uint8Array;
  readonly schema: PlannedSchema;
  /** Reads configuration and schema files again, for a reload. @throws StartFailure */
  readonly readSchema?: () => PlannedSchema;
  /** Reads the API's tokens for a reload; what it returns makes them valid. @throws StartFailure */
  readonly readTokens?: (() => () => TokensChange) | undefined;
  readonly durability: "normal" | "full";
  readonly queryTimeoutMs: number;
  readonly statementTimeoutMs: number;
  readonly resultBytesMax: number;
  /** Of what runs in the reader thread. For tests. */
  readonly readerLimits?: ReaderLimits;
  /** How much of live queries' past is kept. */
  readonly liveLimits?: LiveLimits;
  /** Default 0: none. */
  readonly scrubRowsPerSecond?: number;
  /** The data directory's nonce before this start, and what renews it. */
  readonly nonce: string;
  readonly renewNonce: () => string;
  /** Without a net thread this node is alone, and says so in `patina_members` itself. */
  readonly standsAlone: boolean;
  /** When this node was last identical with its peers. */
  readonly agreements?: Agreements;
  readonly log: Log;
  /** For tests without a file. */
  readonly circumstances?: FileCircumstances;
  /** Peers, for `patina swarm`. */
  readonly swarm: () => Promise<unknown>;
  /** What waits in the net thread to be handed over. */
  readonly bodiesWaiting: () => Promise<number>;
}

/** Bulk that doesn't go on for so long has ended. */
const bulkPauseMs = 200;
/** Without a verdict and without any other member alive for so long, this node is on its own. */
const aloneMs = 10_000;
/** All of them are copied once nothing has happened for so long. */
const idleMs = 500;
/** A page and the header of its frame. */
const walFrameBytes = 4096 + 24;
/** setTimeout fires at once above this. */
const timeoutMsMax = 2 ** 31 - 1;

type Committed = CommitResult & { kind: "committed" };

export class StoreThread {
  readonly site: Site;
  /** Which start of this database it is, from 1. */
  readonly incarnation: number;
  readonly service: LocalService<CommitResult>;
  /** Snapshots of the database that another thread reads; undefined without a file. */
  readonly #lender: SnapshotLender | undefined;
  readonly #readers: ReaderPool | undefined;
  readonly #options: StoreThreadOptions;
  readonly #writer: Database;
  readonly #reader: Database;
  readonly #store: SqliteStore;
  readonly #replica: Replica;
  readonly #clock = new WallClock();
  readonly #pace = new TurnPace();
  readonly #meter = new TurnMeter();
  readonly #startedMs = Date.now();
  readonly #walFrames: Statement;
  readonly #liveStore: LiveStore;
  readonly #hlcMs: () => number;
  readonly #report: OpenReport;
  #link: StoreLink | undefined;
  readonly #waiting: StoreRequest[] = [];
  readonly #replies: StoreReply[] = [];
  #isTurnAsked = false;
  #bulkAtMs = Number.NEGATIVE_INFINITY;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerMs = Number.POSITIVE_INFINITY;
  #lastWorkMs = 0;
  #hasUncheckpointed = true;
  readonly #checkpointer: Checkpointer;
  #lastWalState: WalState = { frames: 0, waiting: 0 };
  #isStopped = false;
  /** Those who wait for the connection that writes. */
  #waitingForStore: (() => void)[] = [];
  #hasBeenReady = false;
  #backup: Backup | undefined;
  #group: GroupCommit | undefined;
  readonly #names: SchemaNames;
  readonly #adoption: AdoptionChore;
  readonly #scrub: ScrubChore;
  readonly #vacuum: VacuumChore;
  readonly #chores: Chores;

  /** Opens and checks everything; nothing is served yet. @throws StartFailure */
  constructor(options: StoreThreadOptions) {
    this.#options = options;
    const { databasePath, vfs, schema, log } = options;
    const { writer, header, site } = openWriter(databasePath, vfs);
    this.#writer = writer;
    try {
      const circumstances = () =>
        options.circumstances ?? circumstancesOf(databasePath, options.nonce);
      const previous = guarded(databasePath, () => previousSite(writer, site, circumstances()));
      this.site = "site" in previous ? previous.site : newSite(options.publicKey);
      if ("newBecause" in previous) {
        log.info("new site", { site: this.site, because: previous.newBecause });
      }
      const clock = new HlcClock(this.site, header.kind === "patina" ? header.hlc : hlcZero);
      const digester = new Digester(sha256, options.digestKey);
      const opened = guarded(databasePath, () =>
        SqliteStore.open({ writer, schema, digester, clock, nowMs: this.#clock.nowMs() }),
      );
      if (opened.kind === "refused") {
        const isSchema = opened.problems.length > 0;
        const lines = isSchema ? opened.problems.map(problemToText).join("\n") : opened.why;
        throw isSchema
          ? new StartFailure(exitCodes.usage, `the schema is refused:\n${lines}`)
          : new StartFailure(exitCodes.data, `database ${databasePath}: ${lines}`);
      }
      this.#store = opened.store;
      this.#report = opened.report;
      settleWriter(writer, databasePath, options.durability);
      // The file first: if only that is written, the next start takes a new site, which is harmless.
      const nonce = options.renewNonce();
      let ownSites: ReadonlySet<Site> = new Set([this.site]);
      this.incarnation = guarded(databasePath, () => {
        writer.exec("BEGIN IMMEDIATE");
        const incarnation = recordStart(writer, circumstances(), nonce);
        ownSites = recordOwnSite(writer, options.publicKey, this.site);
        writer.exec("COMMIT");
        return incarnation;
      });
      this.#liveStore = guarded(databasePath, () => new LiveStore(writer));
      // What readers were told may be ahead of another file, and of one that lost its last commits.
      if ("newBecause" in previous) this.#liveStore.clear();
      this.#reader = openReader(databasePath, vfs);
      this.#hlcMs = () => clock.read(this.#clock.nowMs()).ms;
      for (const database of [writer, this.#reader]) addClockFunctions(database, this.#hlcMs);
      this.#walFrames = writer.prepare("PRAGMA wal_checkpoint(NOOP)");
      this.#checkpointer = this.#createCheckpointer();
      this.#replica = new Replica({
        store: this.#store,
        clock,
        digester,
        schema: schema.shapes,
        isOwnSite: (site) => ownSites.has(site),
        onPush: () => this.#postReplies(),
        onMembers: (rows, parted) => this.#writeMembers(rows, parted),
        pace: this.#pace,
      });
    } catch (error) {
      writer.close();
      throw error;
    }
    this.#names = new SchemaNames(schema);
    this.#adoption = new AdoptionChore(writer, this.#store, {
      mayWrite: () => this.#replica.localWrites().kind === "allowed",
      // In bulk: there may be very many, and none of them is news.
      onCommitted: (commit) => this.#committed(commit, 2),
      onDone: ({ table, rows, skipped }) => log.info("rows taken in", { table, rows, skipped }),
    });
    this.#scrub = new ScrubChore(this.#store, this.#replica, options.scrubRowsPerSecond ?? 0, {
      onDamaged: (merged, cells) => {
        const rows = merged.map(({ table, id }) => `${table} ${id}`).slice(0, 10);
        log.error("damaged values: a copy is wanted from the others", {
          cells,
          rows: rows.join(", "),
        });
        this.#replica.scrubbed(merged, this.#clock.nowMs(), this.#replies);
        this.#afterWork();
      },
    });
    this.#vacuum = new VacuumChore(writer, () => this.#noteWork());
    this.#chores = new Chores([this.#adoption, this.#vacuum, this.#scrub], (name, error) =>
      log.error(`${name} failed, and is tried again`, { why: error.message }),
    );
    const { queryTimeoutMs, resultBytesMax } = options;
    const runner = new QueryRunner(this.#reader, { timeoutMs: queryTimeoutMs, resultBytesMax });
    if (vfs instanceof FileVfs) {
      this.#lender = new SnapshotLender(databasePath, vfs);
      this.#readers = new ReaderPool(runner, {
        databasePath,
        lender: this.#lender,
        hlcMs: this.#hlcMs,
        onLoanEnded: () => {
          if (!this.#isStopped) this.#afterWork();
        },
        log,
        ...(options.readerLimits === undefined ? {} : { limits: options.readerLimits }),
      });
    }
    this.service = this.#createService(runner);
    this.#store.watch(this.service);
    this.#replica.onMerged((_rows, lane, origin) => {
      if (origin !== "local") this.service.tell(lane === 0);
    });
    this.#restoreLive();
    this.#forgetMembers();
    if (options.standsAlone) this.#writeMembers([this.#selfRow()]);
  }

  #restoreLive(): void {
    const { restored, lost } = this.service.live.restore(this.#clock.nowMs());
    const { log } = this.#options;
    if (restored > 0) log.info("subscriptions taken up", { count: restored });
    for (const why of lost.slice(0, 10)) log.warn("a subscription can't be taken up", { why });
    if (lost.length > 10) log.warn("subscriptions can't be taken up", { count: lost.length });
  }

  /** Those of the last run: whoever is there will be seen. */
  #forgetMembers(): void {
    const nodes = this.#writer.all("SELECT node FROM patina_members");
    if (nodes.length === 0) return;
    this.service.writeLocalTable("patina_members", nodes, () =>
      this.#writer.run("DELETE FROM patina_members"),
    );
  }

  get report(): OpenReport {
    return this.#report;
  }

  /** What the reader thread does; undefined where there is none. */
  readersReport(): ReturnType<ReaderPool["describe"]> | undefined {
    return this.#readers?.describe();
  }

  /** Begins to rebuild the index. Requests are taken by {@link request}, replies go to `link`. */
  start(link: StoreLink | undefined): void {
    this.#link = link;
    this.#replica.start(this.#clock.nowMs(), this.#replies);
    this.#afterWork();
  }

  /** From the net thread. Never throws. */
  request(request: StoreRequest): void {
    if (this.#isStopped) return;
    const isUrgent = request.kind === "apply" && request.lane === 0;
    if (isUrgent || request.kind === "members" || request.kind === "peers") {
      this.#handle(request);
    } else {
      if (request.kind === "apply" && request.lane === 2) this.#bulkAtMs = performance.now();
      this.#waiting.push(request);
      this.#askTurn();
    }
  }

  /** The index is being built, or rows come in bulk. */
  get isCatchingUp(): boolean {
    return !this.#replica.isBuilt || performance.now() - this.#bulkAtMs < bulkPauseMs;
  }

  /** Ends subscriptions, copies the WAL and closes. The net side has been stopped. */
  stop(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    clearTimeout(this.#timer);
    this.#readers?.stop();
    this.service.endStreams();
    this.#backup?.abort("the agent is stopping");
    this.#replica.abandon();
    try {
      this.#store.keepClock();
      recordStop(this.#writer);
    } catch (error) {
      this.#options.log.warn("the stop was not recorded", { why: (error as Error).message });
    }
    try {
      this.service.live.close();
    } catch (error) {
      this.#options.log.warn("subscriptions were not written down", {
        why: (error as Error).message,
      });
    }
    this.#reader.close();
    this.#lender?.close();
    this.#checkpointer.close();
    try {
      this.#writer.checkpoint("TRUNCATE");
    } catch (error) {
      // It will be copied at the next start.
      this.#options.log.warn("the last checkpoint failed", { why: (error as Error).message });
    }
    this.#writer.close();
    void this.#group?.close();
  }

  #createService(reader: QueryRunner): LocalService<CommitResult> {
    const { statementTimeoutMs } = this.#options;
    const group = this.#createGroup();
    this.#group = group;
    const writer = new TransactionRunner<CommitResult>(this.#writer, group ?? this.#store, {
      timeoutMs: statementTimeoutMs,
    });
    return new LocalService<CommitResult>(reader, writer, {
      actorId: this.site,
      nowMs: () => this.#clock.nowMs(),
      keyColumnsOf: this.#names.keyColumnsOf,
      isReplicated: this.#names.isReplicated,
      isAdopting: (table) => this.#store.adopting.has(table),
      liveStore: this.#liveStore,
      ...(this.#readers === undefined
        ? {}
        : { readers: this.#readers, initialRows: this.#readers }),
      ...(this.#options.liveLimits === undefined ? {} : { liveLimits: this.#options.liveLimits }),
      writesRefused: () => {
        const allowed = this.#replica.localWrites();
        return allowed.kind === "refused" ? allowed.why : undefined;
      },
      onCommitted: (commit) => this.#committed(commit as Committed),
      durable: group === undefined ? undefined : () => group.durable(),
      whenFree: () => this.whenFree(),
      served: () => this.#pace.served(),
      measured: (kind, work) => this.#meter.measure(kind, work),
      agreedMs: () => this.#options.agreements?.agoMs(),
      health: () => this.#health(),
      status: () => this.#status(),
      swarm: this.#options.swarm,
      migrationProblem: (statements) =>
        migrationProblem(statements, this.#store.schema, (schema) =>
          this.#store.planSchema(schema),
        ),
      operate: async (operation) => this.#operate(operation),
    });
  }

  /** Undefined where a commit alone is what an answer promises. */
  #createGroup(): GroupCommit | undefined {
    const { vfs, databasePath, durability } = this.#options;
    if (durability === "normal" || vfs.openWalSync === undefined) return undefined;
    const open = vfs.openWalSync.bind(vfs);
    return new GroupCommit(this.#writer, this.#store, () => open(databasePath));
  }

  #operate(operation: Operation): OperationOutcome {
    if (this.#isStopped) return { kind: "refused", status: 500, why: "the agent is stopping" };
    switch (operation.kind) {
      case "backup": {
        if (this.#backup?.isEnded === false) {
          return { kind: "refused", status: 500, why: "another backup is under way" };
        }
        this.#backup = new Backup(this.#writer, this.#options.vfs, operation.path);
        this.#options.log.info("backup", { path: operation.path });
        const events = backupEvents(this.#backup, () => this.#whenNotBusy());
        return { kind: "started", lines: toLines(backupLines(events)) };
      }
      case "reload":
        return { kind: "started", lines: toLines(this.reload(operation.dryRun)) };
      default:
        return operation satisfies never;
    }
  }

  /** Reads the schema files again and does what they say. Nothing happens before the first line is asked for. */
  reload(dryRun = false): AsyncGenerator<OperationLine> {
    const { readSchema = () => this.#options.schema, readTokens } = this.#options;
    const host: ReloadHost = {
      read: readSchema,
      readTokens,
      plan: (schema) => this.#store.planSchema(schema),
      change: (schema) => this.#changeSchema(schema),
      adoption: () => {
        const [table] = this.#isStopped ? [] : this.#adoption.tables;
        return table === undefined
          ? undefined
          : (this.#adoption.progress ?? { table, rows: 0, of: 0, skipped: 0 });
      },
    };
    return reload(host, dryRun);
  }

  #changeSchema(schema: PlannedSchema): SchemaChanged {
    if (this.#isStopped) throw new Error("the agent is stopping");
    this.#replica.abandon();
    const nowMs = this.#clock.nowMs();
    const changed = this.#store.changeSchema(schema, nowMs);
    if (changed.kind === "refused") return changed;
    for (const statement of changed.statements) {
      this.#options.log.info("schema applied", { statement });
    }
    this.#names.use(schema);
    this.#adoption.schemaChanged();
    this.#scrub.schemaChanged();
    this.service.schemaChanged();
    this.#replica.changeSchema(schema.shapes, changed.adoptedRows > 0, nowMs, this.#replies);
    this.#afterWork();
    return changed;
  }

  #committed(commit: Committed, lane?: Lane): void {
    const told = lane === undefined ? commit : { ...commit, lane };
    this.#replica.committed(told, this.#clock.nowMs(), this.#replies);
    this.#afterWork();
  }

  #handle(request: StoreRequest): void {
    this.#meter.measure(turnKind(request), () =>
      this.#replica.handle(request, this.#clock.nowMs(), this.#replies),
    );
    // Peers' clocks come several times a second, and write nothing.
    if (request.kind !== "peers") this.#noteWork();
    this.#postReplies();
    this.#tellFree();
    this.#arm(this.#clock.nowMs());
  }

  /**
   * Undefined when the connection that writes is free, now and until the end of this turn; otherwise to be
   * asked again once the promise is kept. Whoever asks may make a merge begin again.
   */
  whenFree(): Promise<void> | undefined {
    return this.#replica.claim() ? undefined : this.#whenNotBusy();
  }

  /** The same without disturbing a merge. */
  #whenNotBusy(): Promise<void> | undefined {
    if (!this.#replica.isBusy) return undefined;
    return new Promise((resolve) => this.#waitingForStore.push(resolve));
  }

  #tellFree(): void {
    if (this.#waitingForStore.length === 0 || this.#replica.isBusy) return;
    const waiting = this.#waitingForStore;
    this.#waitingForStore = [];
    for (const resolve of waiting) resolve();
  }

  /** Posts what there is to post, and sees to it that what is due gets a turn. */
  #afterWork(): void {
    this.#noteWork();
    this.#postReplies();
    this.#arm(this.#clock.nowMs());
  }

  /** The WAL may have grown, and soon more may come. */
  #noteWork(): void {
    this.#lastWorkMs = this.#clock.nowMs();
    this.#hasUncheckpointed = true;
  }

  #postReplies(): void {
    if (this.#link !== undefined) for (const reply of this.#replies) this.#link.post(reply);
    this.#replies.length = 0;
  }

  #askTurn(): void {
    if (this.#isTurnAsked || this.#isStopped) return;
    this.#isTurnAsked = true;
    setImmediate(() => {
      this.#isTurnAsked = false;
      if (!this.#isStopped) this.#turn();
    });
  }

  /** One slice of whatever is due. */
  #turn(): void {
    // The end of the round asks for a turn.
    if (this.#checkpointer.holdsBack) return;
    if (this.#replica.isBusy) {
      this.#tick();
      this.#checkpointWhenDue();
      this.#arm(this.#clock.nowMs());
      return;
    }
    const request = this.#waiting.shift();
    if (request !== undefined) this.#handle(request);
    // A flood of changes doesn't keep the index from being built: without it nobody hears what is here.
    if (request === undefined || !this.#replica.isBuilt) this.#tickOrChore();
    this.#checkpointWhenDue();
    this.#arm(this.#clock.nowMs());
  }

  #tickOrChore(): void {
    const nowMs = this.#clock.nowMs();
    if (this.#replica.pollTimeout() > nowMs) {
      this.#meter.measure("chore", () => this.#chores.run(nowMs));
      return;
    }
    this.#tick();
    if (!this.#replica.isBusy) this.service.live.sweep(this.#clock.nowMs());
  }

  #tick(): void {
    this.#meter.measure("tick", () => this.#replica.tick(this.#clock.nowMs(), this.#replies));
    this.#postReplies();
    this.#tellFree();
  }

  #arm(nowMs: number): void {
    if (this.#isStopped || this.#checkpointer.holdsBack) return;
    const dueMs = Math.min(this.#replica.pollTimeout(), this.#chores.dueMs);
    if (this.#waiting.length > 0 || dueMs <= nowMs) {
      this.#askTurn();
      return;
    }
    const idleAtMs = this.#hasUncheckpointed ? this.#lastWorkMs + idleMs : Number.POSITIVE_INFINITY;
    const atMs = Math.min(dueMs, idleAtMs);
    if (this.#timer !== undefined && this.#timerMs <= atMs) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (atMs === Number.POSITIVE_INFINITY) return;
    this.#timerMs = atMs;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        if (!this.#isStopped) this.#turn();
      },
      Math.min(timeoutMsMax, Math.max(1, Math.ceil(atMs - nowMs))),
    );
  }

  #checkpointWhenDue(): void {
    if (!this.#hasUncheckpointed) return;
    const isIdle = this.#clock.nowMs() - this.#lastWorkMs >= idleMs && !this.#replica.isBusy;
    const wal = this.#walState();
    this.#readers?.walGrew(wal.frames * walFrameBytes);
    const isDone = this.#checkpointer.work(wal, isIdle, this.#isReady());
    if (isIdle && isDone) this.#hasUncheckpointed = false;
  }

  #createCheckpointer(): Checkpointer {
    const { vfs, databasePath, log } = this.#options;
    return new Checkpointer({
      path: databasePath,
      vfs,
      checkpoint: (mode) => {
        this.#writer.checkpoint(mode);
        // The first commit into a WAL that begins anew syncs the disk: it shan't be one that somebody waits for.
        this.#store.keepClock();
      },
      isBusy: () => !this.#writer.autocommit,
      isPinned: () => this.#lender?.isPinned === true,
      measured: (work) => this.#meter.measure("checkpoint", work),
      onFailure: (why) => log.error("checkpoint failed", { why }),
      onEnd: () => this.#askTurn(),
    });
  }

  /** Frames in the WAL, and those of them that aren't in the database yet. */
  #walState(): WalState {
    const state = this.#checkpointer.state;
    if (state !== undefined) return state;
    // The connection that writes can't say it inside a transaction.
    if (!this.#writer.autocommit) return this.#lastWalState;
    const statement = this.#walFrames;
    statement.step();
    const frames = statement.columnNumber(1);
    const waiting = frames - statement.columnNumber(2);
    statement.reset();
    this.#lastWalState = { frames, waiting };
    return this.#lastWalState;
  }

  #fileBytes(): number {
    return Number(this.#reader.pragma("page_count")) * Number(this.#reader.pragma("page_size"));
  }

  #writeMembers(rows: readonly MemberRow[], parted: readonly PeerId[] = []): void {
    if (rows.length + parted.length === 0) return;
    const goneNodes = parted.flatMap((key) =>
      this.#writer.all("SELECT node FROM patina_members WHERE key = ?", key),
    );
    const keys = [...goneNodes, ...rows.map(({ node }) => [node])];
    this.service.writeLocalTable("patina_members", keys, () => {
      for (const key of parted) this.#writer.run("DELETE FROM patina_members WHERE key = ?", key);
      for (const row of rows) {
        this.#writer.run(
          "INSERT OR REPLACE INTO patina_members (node, key, region, zone, state, incarnation, since_ms, store_lag) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
          row.node,
          row.key,
          row.region,
          row.zone,
          row.state,
          row.incarnation,
          Math.round(row.sinceMs),
          row.storeLag,
        );
        const site = row.key === this.#options.publicKey ? this.site : row.site;
        if (site === undefined) continue;
        this.#writer.run(
          "INSERT OR REPLACE INTO patina_node_site (site, node) VALUES (?, ?)",
          siteToBytes(site),
          row.node,
        );
      }
    });
  }

  #selfRow(): MemberRow {
    const { name, region, zone } = this.#options.node;
    const key = this.#options.publicKey as MemberRow["key"];
    const { incarnation } = this;
    const sinceMs = this.#startedMs;
    return { node: name, key, region, zone, state: "ALIVE", incarnation, sinceMs, storeLag: "ok" };
  }

  /** By peer, the latest first. */
  #agreed(): { node: string | null; key: string; ms: number; cut: number }[] {
    const rows = this.#reader.all("SELECT key, node FROM patina_members");
    const nodes = new Map(rows.map(([key, node]) => [key, String(node)]));
    const agreements = this.#options.agreements?.byPeer() ?? [];
    return agreements.map(({ peer, cut, agoMs }) => {
      return { node: nodes.get(peer) ?? null, key: peer, ms: agoMs, cut };
    });
  }

  #membersAlive(): number {
    const [row] = this.#reader.all("SELECT count(*) FROM patina_members WHERE state = 'ALIVE'");
    return Number(row?.[0] ?? 0);
  }

  /**
   * Whether what is read here can be relied on: once this node has been found identical with a peer, or stands
   * alone, by configuration or because nobody else lives. It stays so: how old the last verdict is says
   * `agreed_ms`.
   */
  #isReady(): boolean {
    if (this.#hasBeenReady) return true;
    if (!this.#replica.isBuilt) return false;
    const { standsAlone, agreements } = this.#options;
    this.#hasBeenReady =
      standsAlone ||
      agreements?.agoMs() !== undefined ||
      (Date.now() - this.#startedMs > aloneMs && this.#membersAlive() <= 1);
    return this.#hasBeenReady;
  }

  async #health(): Promise<HealthReport> {
    const bodiesElsewhere = await this.#options.bodiesWaiting();
    const status = this.#replica.status();
    return {
      members: this.#membersAlive(),
      queueSize: this.#bodiesWaiting() + bodiesElsewhere,
      p99LagSeconds: status.lagMs.samples === 0 ? undefined : status.lagMs.p99 / 1000,
      ready: this.#isReady(),
    };
  }

  #bodiesWaiting(): number {
    let count = 0;
    for (const request of this.#waiting)
      if (request.kind === "apply") count += request.bodies.length;
    return count;
  }

  #status() {
    const status = this.#replica.status();
    const { node, publicKey, durability, standsAlone } = this.#options;
    const tables = [...this.#store.schema.tables.values()];
    return {
      node: node.name,
      region: node.region,
      zone: node.zone,
      key: publicKey,
      site: this.site,
      incarnation: this.incarnation,
      version: this.#store.version,
      uptime_ms: Date.now() - this.#startedMs,
      stands_alone: standsAlone,
      ready: this.#isReady(),
      members_alive: this.#membersAlive(),
      agreed_ms: this.#options.agreements?.agoMs() ?? null,
      agreed: this.#agreed(),
      rows_held: status.rows,
      root: status.roots[0]?.fingerprint ?? null,
      cut: status.cut,
      hlc: hlcToText(status.hlc),
      lag_ms: status.lagMs,
      refused: status.refused,
      clock: status.clock,
      drift_warnings: status.driftWarnings,
      conflicts: status.conflicts,
      store_error: status.storeError ?? null,
      tables: {
        replicated: tables.filter((table) => table.replicated).map((table) => table.name),
        local: tables.filter((table) => !table.replicated).map((table) => table.name),
      },
      not_shown: this.#store.unshown(),
      taking_in: this.#adoption.tables,
      scrub: this.#scrub.describe(),
      subscriptions: this.service.live.summary(),
      reader_thread: this.#readers?.describe() ?? null,
      queue: this.#bodiesWaiting(),
      durability,
      database: this.#options.databasePath,
      wal_frames_waiting: this.#walState().waiting,
      file_bytes: this.#fileBytes(),
      pages_freed: this.#vacuum.pagesFreed,
      rss_bytes: process.memoryUsage.rss(),
      longest_turns_ms: this.#meter.longest(),
    };
  }
}

function turnKind(request: StoreRequest): TurnKind {
  if (request.kind === "members" || request.kind === "peers") return "urgent";
  if (request.kind !== "apply") return "question";
  return request.lane === 0 ? "urgent" : "apply";
}

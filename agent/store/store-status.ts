/**
 * What the store thread says of itself: to load balancers (`health`) and to people (`patina status`).
 *
 * @module
 */

import type { Site } from "../../core/clock/stamp.ts";
import { hlcToText } from "../../core/clock/stamp.ts";
import type { Replica } from "../../core/replica/replica.ts";
import type { ReplicaStatus } from "../../core/replica/replica-status.ts";
import type { SqliteStore } from "../../core/store/sqlite-store.ts";
import type { Database } from "../../wasm/database.ts";
import type { Metric } from "../api/exposition.ts";
import { type HealthReport, healthProblem, noLagText } from "../api/store-service.ts";
import type { AdoptionChore } from "../chores/adoption-chore.ts";
import type { ScrubChore } from "../chores/scrub-chore.ts";
import type { VacuumChore } from "../chores/vacuum-chore.ts";
import { snakeCased } from "../config/snake-case.ts";
import { storeMetrics } from "../metrics/store-metrics.ts";
import type { ReaderPool } from "../readers/reader-pool.ts";
import { version } from "../version.ts";
import type { WalUpkeep } from "../wal/wal-upkeep.ts";
import type { MembersTable } from "./members-table.ts";
import type { Readiness } from "./readiness.ts";
import type { StartRecord } from "./start-record.ts";
import type { StoreThreadOptions } from "./store-thread-options.ts";
import type { StoreTurns } from "./store-turns.ts";
import type { TurnMeter } from "./turn-meter.ts";
import type { WriteFailures } from "./write-failures.ts";

export interface StoreStatusParts {
  readonly options: StoreThreadOptions;
  readonly site: Site;
  readonly incarnation: number;
  readonly start: StartRecord;
  /** Ms since 1970. */
  readonly startedMs: number;
  readonly reader: Database;
  readonly store: SqliteStore;
  readonly replica: Replica;
  readonly members: MembersTable;
  readonly readiness: Readiness;
  readonly writeFailures: WriteFailures;
  readonly turns: StoreTurns;
  readonly meter: TurnMeter;
  readonly wal: WalUpkeep;
  readonly adoption: AdoptionChore;
  readonly scrub: ScrubChore;
  readonly vacuum: VacuumChore;
  readonly readers: ReaderPool | undefined;
  readonly subscriptions: () => { readonly count: number; readonly listeners: number };
}

export class StoreStatus {
  /** The clock of the host may be set meanwhile. */
  readonly #madeMs = performance.now();
  readonly #parts: StoreStatusParts;

  constructor(parts: StoreStatusParts) {
    this.#parts = parts;
  }

  async health(): Promise<HealthReport> {
    const bodiesElsewhere = await this.#parts.options.bodiesWaiting();
    return this.#health(this.#parts.replica.status(), bodiesElsewhere);
  }

  #health(status: ReplicaStatus, bodiesElsewhere: number): HealthReport {
    const { members, turns, readiness, replica } = this.#parts;
    const writes = replica.localWrites();
    return {
      members: members.countAlive(),
      queueSize: turns.bodiesWaiting + bodiesElsewhere,
      p99LagSeconds: status.lagMs.samples === 0 ? undefined : status.lagMs.p99 / 1000,
      ready: readiness.isReady(),
      refusedWhy: this.#storeError(status) ?? (writes.kind === "refused" ? writes.why : undefined),
    };
  }

  /** One object, for JSON. Its names are the API's. */
  describe(): Readonly<Record<string, unknown>> {
    const { store, members, readiness, turns, wal, readers } = this.#parts;
    const { node, publicKey, durability, standsAlone, agreements, databasePath } =
      this.#parts.options;
    const status = this.#parts.replica.status();
    const tables = [...store.schema.tables.values()];
    return {
      node: node.name,
      region: node.region,
      zone: node.zone,
      key: publicKey,
      site: this.#parts.site,
      incarnation: this.#parts.incarnation,
      version: store.version,
      uptime_ms: Math.round(performance.now() - this.#madeMs),
      stands_alone: standsAlone,
      ready: readiness.isReady(),
      health: this.#healthText(status),
      members_alive: members.countAlive(),
      agreed_ms: agreements?.agoMs() ?? null,
      agreed: this.#agreed(),
      rows_held: status.rows,
      root: status.roots[0]?.fingerprint ?? null,
      cut: status.cut,
      hlc: hlcToText(status.hlc),
      lag_ms: status.lagMs,
      refused: snakeCased(status.refused),
      clock: snakeCased(status.clock),
      drift_warnings: status.driftWarnings,
      conflicts: status.conflicts,
      store_error: this.#storeError(status) ?? null,
      tables: {
        replicated: tables.filter((table) => table.replicated).map((table) => table.name),
        local: tables.filter((table) => !table.replicated).map((table) => table.name),
      },
      not_shown: store.unshown(),
      taking_in: this.#parts.adoption.tables,
      scrub: this.#parts.scrub.describe(),
      subscriptions: this.#parts.subscriptions(),
      reader_thread: readers?.describe() ?? null,
      queue: turns.bodiesWaiting,
      durability,
      database: databasePath,
      wal_frames_waiting: wal.framesWaiting,
      file_bytes: this.#fileBytes(),
      pages_freed: this.#parts.vacuum.pagesFreed,
      rss_bytes: process.memoryUsage.rss(),
      longest_turns_ms: this.#parts.meter.longest(),
    };
  }

  metrics(): Metric[] {
    const { store, members, readiness, turns, wal, readers, options } = this.#parts;
    const { name, region, zone } = options.node;
    const scrub = this.#parts.scrub.describe();
    const live = this.#parts.subscriptions();
    const replica = this.#parts.replica.status();
    const sum = (counts: readonly { readonly cells: number }[]): number =>
      counts.reduce((total, { cells }) => total + cells, 0);
    return storeMetrics({
      replica,
      version,
      node: { name, region, zone },
      site: this.#parts.site,
      startedMs: this.#parts.startedMs,
      ready: readiness.isReady(),
      failing: this.#storeError(replica) !== undefined,
      membersAlive: members.countAlive(),
      agreedMs: options.agreements?.agoMs(),
      notShown: sum(store.unshown()),
      tablesTakenIn: this.#parts.adoption.tables.length,
      scrubPasses: scrub.passes,
      cellsFoundDamaged: scrub.cells_found_damaged,
      cellsDamaged: sum(scrub.damaged_now),
      liveQueries: live.count,
      subscribers: live.listeners,
      readers: readers?.describe(),
      bodiesWaiting: turns.bodiesWaiting,
      walFramesWaiting: wal.framesWaiting,
      fileBytes: this.#fileBytes(),
      longestTurnsMs: this.#parts.meter.longest(),
    });
  }

  #storeError(status: ReplicaStatus): string | undefined {
    const { start, writeFailures } = this.#parts;
    return start.why ?? status.storeError ?? writeFailures.why(performance.now());
  }

  /** What `/v1/health` says without thresholds, and what it means where nobody else writes. */
  #healthText(status: ReplicaStatus): string {
    const problem = healthProblem(this.#health(status, 0));
    if (problem !== noLagText) return problem ?? "ok";
    return `${problem}: no change of another host has come since the start; go by "ready"`;
  }

  /** By peer, the latest first. */
  #agreed(): { node: string | null; key: string; ms: number; cut: number }[] {
    const nodes = this.#parts.members.nodeByKey();
    const agreements = this.#parts.options.agreements?.byPeer() ?? [];
    return agreements.map(({ peer, cut, agoMs }) => {
      return { node: nodes.get(peer) ?? null, key: peer, ms: agoMs, cut };
    });
  }

  #fileBytes(): number {
    const { reader } = this.#parts;
    return Number(reader.pragma("page_count")) * Number(reader.pragma("page_size"));
  }
}

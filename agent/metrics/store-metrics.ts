/**
 * What the store thread counts, as metrics. The same facts as in `patina status`, under names and units that
 * Prometheus expects.
 *
 * @module
 */

import type { ReplicaStatus } from "../../core/replica/replica-status.ts";
import { counter, counters, gauge, gauges, type Metric } from "../api/exposition.ts";

export interface StoreFacts {
  readonly replica: ReplicaStatus;
  readonly version: string;
  readonly node: { readonly name: string; readonly region: string; readonly zone: string };
  readonly site: string;
  /** Ms since 1970. */
  readonly startedMs: number;
  readonly ready: boolean;
  /** The store is failing. */
  readonly failing: boolean;
  readonly membersAlive: number;
  readonly agreedMs: number | undefined;
  /** Cells and rows that are held and not shown. */
  readonly notShown: number;
  readonly tablesTakenIn: number;
  readonly scrubPasses: number;
  readonly cellsFoundDamaged: number;
  readonly cellsDamaged: number;
  readonly liveQueries: number;
  readonly subscribers: number;
  /** Undefined where there is no reader thread. */
  readonly readers:
    | { readonly running: number; readonly waiting: number; readonly paused: boolean }
    | undefined;
  readonly bodiesWaiting: number;
  readonly walFramesWaiting: number;
  readonly fileBytes: number;
  readonly longestTurnsMs: Readonly<Record<string, number>>;
}

export function storeMetrics(facts: StoreFacts): Metric[] {
  const { replica, node, readers } = facts;
  const { lagMs, refused, clock } = replica;
  const hasLag = lagMs.samples > 0;
  const info = { version: facts.version, ...node, site: facts.site };
  return [
    {
      name: "patina_info",
      type: "gauge",
      help: "1; the labels say which agent this is.",
      samples: [{ labels: info, value: 1 }],
    },
    ...processMetrics(facts.startedMs),
    gauge("patina_ready", "1 once this host has caught up with the others.", facts.ready),
    gauge("patina_store_failing", "1 while the store can't write.", facts.failing),
    gauge(
      "patina_members_alive",
      "Hosts that this one holds for ALIVE, itself too.",
      facts.membersAlive,
    ),
    gauge(
      "patina_agreed_seconds",
      "Since this host was last found identical with a peer; absent if it never was.",
      seconds(facts.agreedMs),
    ),
    gauge("patina_rows", "Rows held, tombstones too.", replica.rows),
    gauge(
      "patina_lag_p50_seconds",
      "From the stamp of others' last 1,000 changesets to here, median.",
      hasLag ? seconds(lagMs.p50) : undefined,
    ),
    gauge(
      "patina_lag_p99_seconds",
      "From the stamp of others' last 1,000 changesets to here, p99.",
      hasLag ? seconds(lagMs.p99) : undefined,
    ),
    gauge(
      "patina_merge_queue",
      "Changesets and row blocks that the store thread is still to merge.",
      facts.bodiesWaiting,
    ),
    counters(
      "patina_merge_refused_total",
      "Changesets and rows of others that weren't taken.",
      "why",
      {
        malformed: refused.malformed,
        ahead: refused.ahead,
        store_failed: refused.storeFailed,
      },
    ),
    gauge(
      "patina_clock_outlier",
      "1 while this host's clock is off, and its writes are refused.",
      clock.outlier,
    ),
    gauge("patina_clock_unset", "1 while this host's clock shows a time before 2024.", clock.unset),
    gauge(
      "patina_clock_held_back_seconds",
      "How far the clock is behind what is held, so that what is written here is sent to nobody; 0 while it isn't.",
      seconds(clock.heldBackMs),
    ),
    gauge(
      "patina_clock_offset_seconds",
      "The fleet's time less this host's; absent with too few peers.",
      seconds(clock.medianOffsetMs),
    ),
    counter(
      "patina_drift_warnings_total",
      "Changesets that were stamped more than 0.5 s ahead.",
      replica.driftWarnings,
    ),
    counter(
      "patina_conflicts_total",
      "Rows in which two writers under one identity were seen.",
      replica.conflicts,
    ),
    gauge(
      "patina_not_shown",
      "Cells and rows that are held, and that this schema doesn't show.",
      facts.notShown,
    ),
    gauge(
      "patina_tables_taken_in",
      "Filled tables whose rows are still being taken in.",
      facts.tablesTakenIn,
    ),
    counter(
      "patina_scrub_passes_total",
      "Times that all values were held against their hashes.",
      facts.scrubPasses,
    ),
    counter(
      "patina_cells_found_damaged_total",
      "Values found changed behind the agent's back.",
      facts.cellsFoundDamaged,
    ),
    gauge(
      "patina_cells_damaged",
      "Of these, those that no peer has replaced yet.",
      facts.cellsDamaged,
    ),
    gauge("patina_live_queries", "Queries with subscribers, or kept for them.", facts.liveQueries),
    gauge("patina_subscribers", "Open streams of live queries.", facts.subscribers),
    ...(readers === undefined
      ? []
      : [
          gauges("patina_long_queries", "In the reader thread.", "state", {
            running: readers.running,
            waiting: readers.waiting,
          }),
          gauge(
            "patina_long_queries_paused",
            "1 while none may begin: the WAL is too long.",
            readers.paused,
          ),
        ]),
    gauge(
      "patina_wal_frames_waiting",
      "Pages of the WAL that aren't in the database yet.",
      facts.walFramesWaiting,
    ),
    gauge("patina_database_bytes", "The database without its WAL.", facts.fileBytes),
    gauges(
      "patina_longest_turn_seconds",
      "What held the store thread longest in the last 5 to 10 s, by kind.",
      "turn",
      inSeconds(facts.longestTurnsMs),
    ),
  ];
}

/** Under the names that all Prometheus clients give them. */
function processMetrics(startedMs: number): Metric[] {
  const { user, system } = process.cpuUsage();
  return [
    gauge("process_start_time_seconds", "Since 1970.", startedMs / 1000),
    counter("process_cpu_seconds_total", "All threads, user and system.", (user + system) / 1e6),
    gauge("process_resident_memory_bytes", "Resident memory.", process.memoryUsage.rss()),
  ];
}

function seconds(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : ms / 1000;
}

function inSeconds(byName: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(byName).map(([name, ms]) => [name, ms / 1000]));
}

/**
 * Opens the store at a start of the agent: the database, the site that this start writes as, and the schema;
 * or a reason that people can act on. Nothing is served yet, and the index isn't built.
 *
 * @module
 */

import { HlcClock } from "../../core/clock/hlc-clock.ts";
import type { Site } from "../../core/clock/stamp.ts";
import { hlcZero } from "../../core/clock/stamp.ts";
import { Digester } from "../../core/row/digest.ts";
import { problemToText } from "../../core/schema/schema.ts";
import {
  SqliteStore,
  type SqliteStoreOptions,
  type StoreOpened,
} from "../../core/store/sqlite-store.ts";
import type { OpenReport } from "../../core/store/store-outcomes.ts";
import type { Database } from "../../wasm/database.ts";
import { guarded, openReader, openWriter, settleWriter } from "../data/database-files.ts";
import { ownSitesOf, recordOwnSites } from "../data/own-sites.ts";
import {
  circumstancesOf,
  newSite,
  nextIncarnation,
  previousSite,
  recordStart,
  wasCutOff,
} from "../data/site-identity.ts";
import { sha256 } from "../host/sha256.ts";
import type { WallClock } from "../host/wall-clock.ts";
import { LiveStore } from "../live/live-store.ts";
import { addClockFunctions } from "../sql/functions.ts";
import { exitCodes, StartFailure } from "../start-failure.ts";
import { isFull, StartRecord } from "./start-record.ts";
import type { StoreThreadOptions } from "./store-thread-options.ts";

export interface OpenedStore {
  /** The connection that writes. Whoever opened the store closes both. */
  readonly writer: Database;
  /** The connection that clients' short queries are run on. */
  readonly reader: Database;
  readonly store: SqliteStore;
  readonly report: OpenReport;
  readonly clock: HlcClock;
  readonly digester: Digester;
  readonly site: Site;
  /** All that this node has written as in this database, `site` among them. */
  readonly ownSites: ReadonlySet<Site>;
  /** Which start of this database it is, from 1. */
  readonly incarnation: number;
  readonly start: StartRecord;
  readonly liveStore: LiveStore;
  /** The time that the clock functions of SQL tell, ms since 1970. */
  readonly hlcMs: () => number;
  /** Since the last thing that was heard or said in this file; infinite for a new one, a copy and a backup. */
  readonly awayMs: number;
}

/** The connection that writes is closed again when it fails. @throws StartFailure */
export function openStore(options: StoreThreadOptions, wallClock: WallClock): OpenedStore {
  const { databasePath, vfs, schema, log } = options;
  const { writer, header, site: siteBefore } = openWriter(databasePath, vfs);
  try {
    const circumstances = () =>
      options.circumstances ?? circumstancesOf(databasePath, options.nonce);
    const previous = guarded(databasePath, () => previousSite(writer, siteBefore, circumstances()));
    if ("site" in previous && guarded(databasePath, () => wasCutOff(writer))) {
      log.warn(
        "the last run didn't stop in order: it was killed, it crashed, or a watchdog ended it",
      );
    }
    const site = "site" in previous ? previous.site : newSite(options.publicKey);
    if ("newBecause" in previous) log.info("new site", { site, because: previous.newBecause });
    const clock = new HlcClock(site, header.kind === "patina" ? header.hlc : hlcZero);
    const heardMs = "site" in previous ? clock.last.ms : Number.NEGATIVE_INFINITY;
    const awayMs = wallClock.nowMs() - heardMs;
    const digester = new Digester(sha256, options.digestKey());
    const parts = { writer, schema, digester, clock };
    const opened = guarded(databasePath, () => openWithRoomThereIs(parts));
    if (opened.kind === "refused") throw refusal(opened, databasePath);
    settleWriter(writer, databasePath, options.durability);
    const liveStore = guarded(databasePath, () => new LiveStore(writer));
    const incarnation = nextIncarnation(writer);
    const ownSites = ownSitesOf(writer, options.publicKey, site);
    // What readers were told may be ahead of another file, and of one that lost its last commits.
    const isOtherFile = "newBecause" in previous;
    const start = guarded(
      databasePath,
      () =>
        new StartRecord({
          store: opened.store,
          nonce: options.nonce,
          renewNonce: options.renewNonce,
          putNonceBack: (nonce) => options.putNonceBack?.(nonce),
          write: (nonce) => {
            recordStart(writer, circumstances(), nonce);
            recordOwnSites(writer, options.publicKey, ownSites);
            if (isOtherFile) liveStore.clear();
          },
        }),
    );
    if (start.why !== undefined) {
      log.error("the disk is full: what is here is served, and nothing can be written");
      liveStore.before = () => start.ensureWritten();
      if (isOtherFile) liveStore.disown();
    }
    const reader = openReader(databasePath, vfs);
    const hlcMs = () => clock.read(wallClock.nowMs()).ms;
    for (const database of [writer, reader]) addClockFunctions(database, hlcMs);
    const { store, report } = opened;
    return {
      writer,
      reader,
      store,
      report,
      clock,
      digester,
      site,
      ownSites,
      incarnation,
      start,
      liveStore,
      hlcMs,
      awayMs,
    };
  } catch (error) {
    writer.close();
    throw error;
  }
}

/** On a full disk nothing is written, once what is in the WAL was copied in vain to make room there. */
function openWithRoomThereIs(parts: SqliteStoreOptions): StoreOpened {
  try {
    return SqliteStore.open(parts);
  } catch (error) {
    if (!isFull(error)) throw error;
  }
  try {
    parts.writer.exec("PRAGMA wal_checkpoint(RESTART)");
    return SqliteStore.open(parts);
  } catch (error) {
    if (!isFull(error)) throw error;
    return SqliteStore.openUnwritten(parts);
  }
}

function refusal(refused: StoreOpened & { kind: "refused" }, databasePath: string): StartFailure {
  if (refused.problems.length === 0) {
    return new StartFailure(exitCodes.data, `database ${databasePath}: ${refused.why}`);
  }
  const lines = refused.problems.map(problemToText).join("\n");
  return new StartFailure(exitCodes.usage, `the schema is refused:\n${lines}`);
}

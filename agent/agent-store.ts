/**
 * An agent's store thread: what the configuration says of it, and what its start has to tell.
 *
 * @module
 */

import { restampMs } from "../core/replica/restamp.ts";
import { loadSqlite } from "../wasm/module.ts";
import type { FileVfs } from "../wasm/vfs/file.ts";
import type { TokenSet } from "./api/token-set.ts";
import type { Config } from "./config/config.ts";
import { changedKeys } from "./config/config-changes.ts";
import { readSchemaFiles } from "./config/schema-files.ts";
import { KeptFile, type KeptState, lookAgain } from "./host/kept-file.ts";
import { liveLimits } from "./live/live-queries.ts";
import type { Log } from "./log.ts";
import { readTokens, tokenWarnings } from "./secrets/agent-secrets.ts";
import { exitCodes, StartFailure } from "./start-failure.ts";
import type { StoreThread } from "./store/store-thread.ts";
import type { StoreThreadOptions } from "./store/store-thread-options.ts";

const lookEveryMs = 1000;

type ConfiguredOptions = Pick<
  StoreThreadOptions,
  | "node"
  | "durability"
  | "queryTimeoutMs"
  | "statementTimeoutMs"
  | "resultBytesMax"
  | "scrubRowsPerSecond"
  | "liveLimits"
>;

export function storeOptionsOf({ node, store }: Config): ConfiguredOptions {
  return {
    node,
    durability: store.durability,
    queryTimeoutMs: store.queryTimeoutMs,
    statementTimeoutMs: store.statementTimeoutMs,
    resultBytesMax: store.resultBytesMax,
    scrubRowsPerSecond: store.scrubRowsPerSecond,
    liveLimits: {
      ...liveLimits,
      changesMax: store.historyChanges,
      // One subscription may have a quarter of what all have together.
      charsMax: store.historyBytes / 4,
      logCharsMax: store.historyBytes,
      heldBytesMax: store.subscribedBytes,
    },
  };
}

/** What a reload reads: the schema files and the tokens, as the configuration names them now. */
export function reloadOptionsOf(
  config: Config,
  tokens: TokenSet | undefined,
  readConfig: () => Config,
): Pick<StoreThreadOptions, "readSchema" | "readTokens"> {
  return {
    readSchema: () => {
      const now = readConfig();
      const read = readSchemaFiles(now.schema.paths, now.tables);
      const changed = changedKeys(config, now);
      if (changed.length === 0) return read;
      const why = `${changed.join(", ")}: changed, and taken up at the next start`;
      return { ...read, warnings: [...read.warnings, { file: "", line: 0, why }] };
    },
    readTokens:
      tokens &&
      ((schema) => {
        const list = readTokens(readConfig());
        return { warnings: tokenWarnings(list, schema), take: () => tokens.replace(list) };
      }),
  };
}

/**
 * Resolves when the store can't go on in this process: a sync of the WAL failed, so that nobody knows
 * what is on the disk until it is read anew, or SQLite broke off. The agent ends, in order and with a
 * code, and whoever watches it starts it again.
 */
export function onlyARestartHelps(vfs: FileVfs, databasePath: string): Promise<StartFailure> {
  return new Promise((resolve) => {
    const fail = (why: string) =>
      resolve(new StartFailure(exitCodes.data, `database ${databasePath}: ${why}`));
    vfs.onSyncFailed = (path, why) => fail(`${path} could not be synced (${why}): start again`);
    loadSqlite().onTrap = (trap) => fail(trap.message);
  });
}

export interface DatabaseWatch {
  readonly lost: Promise<StartFailure>;
  stop(): void;
}

/**
 * Resolves when the database's files aren't at their paths any more. Everything would go on as before: commits would be acknowledged
 * that nobody finds after the end of this process, and the reader thread would read pages of the file that is there
 * now. So the agent ends; whoever starts it again starts with what is there, and with nothing the others bring the rows.
 */
export function watchDatabase(databasePath: string): DatabaseWatch {
  const files = [new KeptFile(databasePath), new KeptFile(`${databasePath}-wal`)];
  const look = async (): Promise<string | undefined> => {
    for (const file of files) {
      const state = await file.look();
      if (state !== "kept") return `database ${file.path}: ${lostTexts[state]}`;
    }
    return undefined;
  };
  let stop = (): void => {};
  const lost = new Promise<StartFailure>((resolve) => {
    const onFound = (why: string | undefined): void => {
      if (why !== undefined) resolve(new StartFailure(exitCodes.data, why));
    };
    stop = lookAgain(look, onFound, lookEveryMs);
  });
  return { lost, stop };
}

const lostTexts: Readonly<Record<Exclude<KeptState, "kept">, string>> = {
  deleted:
    "it was deleted or moved while the agent ran: put it back if you have it, and start again",
  replaced: "another file was put in its place while the agent ran: start again if it is to stay",
};

/** What the start found in the database, and did with it. */
export function logReport(store: StoreThread, log: Log): void {
  const { report, clockBehindMs } = store;
  if (clockBehindMs > restampMs) {
    const seconds = Math.round(clockBehindMs / 1000);
    log.warn("clock-behind", {
      why: `this host's clock is ${seconds} s behind what the database holds, so one of them is wrong; what is written here is sent to nobody until it is set, or peers say that it is right`,
    });
  }
  for (const statement of report.statements) log.info("schema applied", { statement });
  for (const { file, line, why } of report.warnings) log.warn("schema", { file, line, why });
  if (report.adoptedRows > 0) log.info("rows taken in", { rows: report.adoptedRows });
  if (report.rehashedRows > 0) {
    log.info("the database was another cluster's: hashes are made anew", {
      rows: report.rehashedRows,
    });
  }
  if (report.surfacedRows > 0) log.info("held rows are shown", { rows: report.surfacedRows });
  if (report.rowsWithoutClocks > 0) {
    log.warn(
      "rows were written without Patina: nobody else hears of them until they are written again",
      {
        rows: report.rowsWithoutClocks,
      },
    );
  }
  if (report.lateClocksLost > 0) {
    log.warn(
      "the clock log was damaged: scrubs will find values without clocks, and peers bring them",
      { log_rows: report.lateClocksLost },
    );
  }
  if (report.clocksWithoutRows > 0) {
    log.warn("rows were deleted without Patina: a merge may bring them back", {
      rows: report.clocksWithoutRows,
    });
  }
}

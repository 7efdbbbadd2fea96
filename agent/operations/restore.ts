/**
 * Puts a backup in the place of an agent's database, while no agent runs.
 *
 * The backup is copied, checked and marked first; the database that was there is kept beside it. At its
 * next start the agent takes a new site, because the backup may not have the last stamps of the old one,
 * and gets from its peers what the backup doesn't have.
 *
 * Both files are locked from before the exchange until after it, so that no agent can start in the
 * middle. The old database gets its second name first, then its WAL goes, which was copied into it, and the new
 * one takes its place in one step: a crash in between leaves one of the two, never one with another's WAL.
 *
 * @module
 */

import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  fsyncSync,
  linkSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { dirname } from "node:path";
import { Digester } from "../../core/row/digest.ts";
import { type PlannedSchema, problemToText } from "../../core/schema/schema.ts";
import { planSchema } from "../../core/schema/schema-plan.ts";
import { readFileHeader, readState, writeState } from "../../core/store/file/file-header.ts";
import { digestKeyName } from "../../core/store/scrub/scrubber.ts";
import { type Database, openDatabase } from "../../wasm/database.ts";
import type { Vfs } from "../../wasm/vfs/vfs.ts";
import { guarded, removeRestoring, restoringPath } from "../data/database-files.ts";
import { sha256 } from "../host/sha256.ts";
import { exitCodes, StartFailure } from "../start-failure.ts";

export interface Restored {
  /** Of the database file. */
  readonly bytes: number;
  /** Where the database is that was there before; undefined when there was none. */
  readonly kept: string | undefined;
}

/** What the backup has to fit, beside being sound. */
export interface RestoreChecks {
  /** Of the agent's cluster: a backup of another one is refused, for its rows would go to all hosts. Undefined: any. */
  readonly digestKey?: Uint8Array | undefined;
  /** Of the agent's schema files: with a backup that has more than these the next start would be refused. Undefined: any. */
  readonly schema?: PlannedSchema | undefined;
}

/**
 * @param databasePath Of an agent that doesn't run.
 * @throws StartFailure; all is then as it was
 */
export function restore(
  backupPath: string,
  databasePath: string,
  vfs: Vfs,
  nowMs: number,
  { digestKey, schema }: RestoreChecks = {},
): Restored {
  const found = statSync(backupPath, { throwIfNoEntry: false });
  if (found?.isFile() !== true) {
    const why = found === undefined ? "there is no such file" : "it is no file";
    throw new StartFailure(exitCodes.usage, `${backupPath}: ${why}`);
  }
  if (existsSync(`${backupPath}-wal`)) {
    throw new StartFailure(
      exitCodes.usage,
      `${backupPath}: there is a ${backupPath}-wal beside it, so it is a database that was in use and ` +
        "may lack its last commits: make a backup with `patina backup`, or close it with sqlite3 first",
    );
  }
  const incoming = restoringPath(databasePath);
  const wasThere = existsSync(databasePath);
  // The lock first: an agent that runs has it. Where there is no file an empty one is made for it: an agent that
  // starts meanwhile would make its own, and lose it under its hands.
  using old = openLocked(databasePath, vfs, !wasThere);
  let isDone = false;
  try {
    removeRestoring(databasePath);
    guardedCopy(backupPath, incoming);
    using database = openLocked(incoming, vfs);
    checkBackup(database, backupPath);
    if (digestKey !== undefined) checkCluster(database, backupPath, digestKey);
    if (schema !== undefined) checkSchema(database, backupPath, schema);
    const incarnation = Math.max(
      Number(readState(database, "incarnation") ?? 0),
      wasThere ? incarnationOf(old, nowMs) : 0,
    );
    guarded(incoming, () => {
      database.exec("BEGIN IMMEDIATE");
      writeState(database, "restored", 1);
      writeState(database, "incarnation", incarnation);
      database.exec("COMMIT");
      database.checkpoint("TRUNCATE");
    });
    const bytes = Number(database.pragma("page_count")) * Number(database.pragma("page_size"));
    let kept: string | undefined;
    if (wasThere) {
      kept = `${databasePath}.before-restore-${nowMs}`;
      keep(databasePath, kept);
      if (existsSync(`${databasePath}-wal`)) renameSync(`${databasePath}-wal`, `${kept}-wal`);
    } else rmSync(`${databasePath}-wal`, { force: true });
    renameSync(incoming, databasePath);
    isDone = true;
    syncFolder(dirname(databasePath));
    return { bytes, kept };
  } finally {
    removeRestoring(databasePath);
    if (!wasThere && !isDone) rmSync(databasePath, { force: true });
  }
}

/** Under a second name; where the file system has no links, under that alone. */
function keep(path: string, kept: string): void {
  try {
    linkSync(path, kept);
  } catch {
    renameSync(path, kept);
  }
}

function syncFolder(path: string): void {
  const folder = openSync(path, "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

function guardedCopy(from: string, to: string): void {
  try {
    copyFileSync(from, to, constants.COPYFILE_EXCL);
    chmodSync(to, 0o600);
    // Root makes it for whoever has the folder: that user's agent is to open it.
    if (process.getuid?.() === 0) {
      const { uid, gid } = statSync(dirname(to));
      chownSync(to, uid, gid);
    }
  } catch (error) {
    throw new StartFailure(exitCodes.data, `${to}: ${(error as Error).message}`);
  }
}

/** Opening alone takes the lock; nothing is read, so that a damaged file can be replaced. */
function openLocked(path: string, vfs: Vfs, create = false): Database {
  return guarded(path, () => openDatabase(path, { vfs, create }));
}

function checkBackup(database: Database, path: string): void {
  const header = guarded(path, () => readFileHeader(database));
  if (header.kind !== "patina") {
    const why = header.kind === "refused" ? header.why : "it is no database of Patina's";
    throw new StartFailure(exitCodes.data, `${path}: ${why}`);
  }
  const problems = guarded(path, () => database.all("PRAGMA integrity_check(10)")).map(String);
  if (problems.length === 1 && problems[0] === "ok") return;
  throw new StartFailure(exitCodes.data, `${path} is damaged:\n${problems.join("\n")}`);
}

function checkCluster(database: Database, path: string, digestKey: Uint8Array): void {
  const of = guarded(path, () => readState(database, "digest_key"));
  if (of === undefined || of === digestKeyName(new Digester(sha256, digestKey))) return;
  throw new StartFailure(
    exitCodes.usage,
    `${path}: it is a backup of another cluster, or of an agent that stood alone: all hosts of this cluster would ` +
      "get its rows. If you mean that: --other-cluster",
  );
}

function checkSchema(database: Database, path: string, schema: PlannedSchema): void {
  const plan = guarded(path, () => planSchema(database, schema));
  if (plan.kind === "plan") return;
  const problems = plan.problems.map(problemToText).join("\n");
  throw new StartFailure(
    exitCodes.usage,
    `${path}: with this backup the agent wouldn't start, for the schema files (schema.paths) don't fit it:\n${problems}\n` +
      "Nothing was replaced: put the schema files of its time there, or newer ones, and restore then",
  );
}

/**
 * What the fleet has seen of this node's starts; a later one must count more. Where the old database can't
 * say, the time does: no agent starts once a second.
 */
function incarnationOf(old: Database, nowMs: number): number {
  try {
    const incarnation = Number(readState(old, "incarnation") ?? 0);
    // So that what is kept is whole without its WAL.
    old.checkpoint("TRUNCATE");
    return incarnation;
  } catch {
    return Math.floor(nowMs / 1000);
  }
}

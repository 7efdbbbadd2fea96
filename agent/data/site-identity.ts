/**
 * Which site this start of the agent is.
 *
 * A site is one life of one database file: its stamps must never be issued twice. A copy of the file, on
 * another machine or beside the first, must therefore become another site, and so must a file that may
 * have lost its last commits. A new one is taken when anything differs from what the database recorded
 * at its last start:
 *
 * - the machine (`/etc/machine-id`),
 * - the file's device and inode, and when it was born (an inode's number is soon used again),
 * - the nonce of the data directory, which is renewed at every start,
 * - the boot, unless the agent had been stopped in an orderly way before it,
 *
 * and always after a restore.
 *
 * That is harmless: old clocks keep the old site, and sites without rows are forgotten.
 *
 * @module
 */

import { createHash, randomBytes } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { type Site, siteOfHex } from "../../core/clock/stamp.ts";
import type { SqlDatabase } from "../../core/database.ts";
import { readState, writeState } from "../../core/store/file/file-header.ts";

/** What tells two lives of a file apart. */
export interface FileCircumstances {
  readonly machine: string;
  /** `device:inode` */
  readonly file: string;
  /** Nanoseconds since 1970. */
  readonly born: string;
  /** False where the file system may not know it, and the time of the last change stands there. */
  readonly isBornKnown: boolean;
  /** What the data directory's nonce is before this start. */
  readonly nonce: string;
  readonly boot: string;
}

export function circumstancesOf(databasePath: string, nonce: string): FileCircumstances {
  const stat = statSync(databasePath, { bigint: true });
  return {
    machine: readWord("/etc/machine-id"),
    file: `${stat.dev}:${stat.ino}`,
    born: String(stat.birthtimeNs),
    isBornKnown: stat.birthtimeNs > 0n && stat.birthtimeNs !== stat.ctimeNs,
    nonce,
    boot: readWord("/proc/sys/kernel/random/boot_id"),
  };
}

/** The site that the database had, if this is still the same life of it; otherwise why not. */
export function previousSite(
  database: SqlDatabase,
  site: Site | undefined,
  now: FileCircumstances,
): { readonly site: Site } | { readonly newBecause: string } {
  if (site === undefined) return { newBecause: "the database is new" };
  const recorded = (name: string) => readState(database, name);
  if (recorded("restored") === 1) return { newBecause: "the database was restored from a backup" };
  if (recorded("machine") !== now.machine) return { newBecause: "the machine is another" };
  const born = recorded("born");
  const isOtherBirth = born !== "" && born !== now.born;
  if (recorded("file") !== now.file || isOtherBirth) {
    return { newBecause: "the file was copied or moved" };
  }
  if (recorded("nonce") !== now.nonce) {
    return { newBecause: "the data directory is not the one of the last start" };
  }
  if (recorded("boot") !== now.boot && recorded("clean") !== 1) {
    return { newBecause: "the machine went down while the agent ran" };
  }
  return { site };
}

/** Whether the last agent on this database ended without {@link recordStop}: was killed, crashed, or lost its host. */
export function wasCutOff(database: SqlDatabase): boolean {
  return readState(database, "clean") === 0;
}

/** A site that nobody has had. @param publicKey of the node, hex */
export function newSite(publicKey: string): Site {
  const hash = createHash("sha256").update(Buffer.from(publicKey, "hex")).update(randomBytes(16));
  return siteOfHex(hash.digest("hex").slice(0, 32));
}

/** Which start of this database comes next, from 1. */
export function nextIncarnation(database: SqlDatabase): number {
  return Number(readState(database, "incarnation") ?? 0) + 1;
}

/** Records this start, in the transaction that is open. Returns which start of this database it is. */
export function recordStart(
  database: SqlDatabase,
  now: FileCircumstances,
  newNonce: string,
): number {
  const incarnation = nextIncarnation(database);
  writeState(database, "machine", now.machine);
  writeState(database, "file", now.file);
  writeState(database, "born", now.isBornKnown ? now.born : "");
  writeState(database, "boot", now.boot);
  writeState(database, "nonce", newNonce);
  writeState(database, "clean", 0);
  writeState(database, "incarnation", incarnation);
  writeState(database, "restored", 0);
  return incarnation;
}

/** The last thing that is written at an orderly stop. */
export function recordStop(database: SqlDatabase): void {
  writeState(database, "clean", 1);
}

function readWord(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}

/**
 * A database file as Patina's own: what it says of itself, and what a new one is given.
 *
 * | where                 | what                                                        |
 * | --------------------- | ----------------------------------------------------------- |
 * | `application_id`      | 0x5041544E, "PATN"                                          |
 * | `user_version`        | version of the tables of Patina's own: 1; 2 while there may be late clocks (`late-clocks.ts`) |
 * | `page_size`           | 4096                                                        |
 * | `auto_vacuum`         | INCREMENTAL: it can't be added later without a copy of all  |
 * | `patina_state`        | site, hlc (8 bytes), version (the site gave none above them); and what the agent keeps there |
 *
 * @module
 */

import { ByteReader } from "../../bytes/reader.ts";
import { ByteWriter } from "../../bytes/writer.ts";
import { type Hlc, hlcZero, readHlc, type Site, writeHlc } from "../../clock/stamp.ts";
import type { SqlDatabase } from "../../database.ts";
import { siteFromBytes } from "../../row/digest.ts";
import type { SqlValue } from "../../row/value.ts";

export const applicationId = 0x5041544e;
export const fileVersion = 1;
/** While there may be late clocks in the log, where an older patina wouldn't look. */
export const lateFileVersion = 2;

/** A member as SQL sees it. Ordinary, local, and written by the agent alone. */
export const membersTable = `CREATE TABLE IF NOT EXISTS patina_members (
  node TEXT PRIMARY KEY NOT NULL,
  key TEXT NOT NULL,
  region TEXT NOT NULL,
  zone TEXT NOT NULL,
  state TEXT NOT NULL,
  incarnation INTEGER NOT NULL,
  since_ms INTEGER NOT NULL,
  store_lag TEXT NOT NULL
)`;

/** Which node a site is or was, of those that this node has met: for people. */
export const nodeSitesTable =
  "CREATE TABLE IF NOT EXISTS patina_node_site (site BLOB PRIMARY KEY NOT NULL, node TEXT NOT NULL) WITHOUT ROWID";

/** Cells that were found damaged and have no clock again since. */
const damagedTable = `CREATE TABLE IF NOT EXISTS patina_damaged (
  tbl TEXT NOT NULL, key BLOB NOT NULL, col TEXT NOT NULL, found_ms INTEGER NOT NULL,
  PRIMARY KEY (tbl, key, col)
) WITHOUT ROWID`;

const ownTables = [
  "CREATE TABLE IF NOT EXISTS patina_state (name TEXT PRIMARY KEY NOT NULL, value) WITHOUT ROWID",
  "CREATE TABLE IF NOT EXISTS patina_site (ord INTEGER PRIMARY KEY, site BLOB NOT NULL UNIQUE)",
  "CREATE TABLE IF NOT EXISTS patina_column (ord INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
  "CREATE TABLE IF NOT EXISTS patina_absent (tbl TEXT NOT NULL, key BLOB NOT NULL, clock BLOB NOT NULL, held BLOB, PRIMARY KEY (tbl, key)) WITHOUT ROWID",
  "CREATE TABLE IF NOT EXISTS patina_unshown (tbl TEXT NOT NULL, col TEXT NOT NULL, cells INTEGER NOT NULL, PRIMARY KEY (tbl, col)) WITHOUT ROWID",
  "CREATE TABLE IF NOT EXISTS patina_late_clocks (seq INTEGER PRIMARY KEY, clocks BLOB NOT NULL)",
  damagedTable,
  membersTable,
  nodeSitesTable,
];

export type FileHeader =
  /** An empty file, or none yet. */
  | { readonly kind: "new" }
  /** Tables of somebody else, made without Patina, which can be taken over. */
  | { readonly kind: "adoptable" }
  | {
      readonly kind: "patina";
      readonly site: Site | undefined;
      readonly hlc: Hlc;
      /** As that site counts its commits: none was given above. */
      readonly version: number;
    }
  /** Not to be touched; nothing was. */
  | { readonly kind: "refused"; readonly why: string };

/** What a file says of itself. Only reads. */
export function readFileHeader(database: SqlDatabase): FileHeader {
  const id = Number(single(database, "PRAGMA application_id"));
  const version = Number(single(database, "PRAGMA user_version"));
  if (id === 0 && version === 0) {
    if (hasOwnTables(database)) {
      return {
        kind: "refused",
        why: "the database was made of a dump of Patina's, in which rows have lost their numbers: their clocks would be those of other rows. Take a backup of `patina backup`, or choose another file: the other hosts have its rows",
      };
    }
    const objects = single(database, "SELECT count(*) FROM sqlite_schema");
    return { kind: objects === 0 ? "new" : "adoptable" };
  }
  if (id !== applicationId) {
    return {
      kind: "refused",
      why: `the database belongs to another program (application_id ${id}, user_version ${version}; Patina's is ${applicationId}): choose another file`,
    };
  }
  if (version !== fileVersion && version !== lateFileVersion) {
    return {
      kind: "refused",
      why: `the database has version ${version}, this patina knows version ${lateFileVersion}: start the newer patina again, or choose another file`,
    };
  }
  const site = readState(database, "site");
  const hlc = readState(database, "hlc");
  return {
    kind: "patina",
    site: site instanceof Uint8Array && site.length === 16 ? siteFromBytes(site) : undefined,
    hlc:
      hlc instanceof Uint8Array && hlc.length === 8 ? readHlc(new ByteReader(hlc), "hlc") : hlcZero,
    version: Number(readState(database, "version") ?? 0),
  };
}

/** Made with the mark in one transaction: without it, they were copied by statements. */
function hasOwnTables(database: SqlDatabase): boolean {
  const sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'patina_state'";
  return single(database, sql) !== 0;
}

/** Settings that must come before the first table. Outside of any transaction. */
export function prepareFile(database: SqlDatabase): void {
  if (Number(single(database, "PRAGMA auto_vacuum")) === 2) return;
  database.exec("PRAGMA page_size = 4096");
  database.exec("PRAGMA auto_vacuum = INCREMENTAL");
  // A file that already has its first page keeps what it had until it is copied.
  if (Number(single(database, "PRAGMA page_count")) > 0) database.exec("VACUUM");
}

/** Patina's own tables, in the transaction that is open. */
export function createOwnTables(database: SqlDatabase): void {
  database.exec(`PRAGMA application_id = ${applicationId}`);
  database.exec(`PRAGMA user_version = ${fileVersion}`);
  for (const sql of ownTables) database.exec(sql);
}

/** A value of `patina_state`; undefined when there is none. */
export function readState(database: SqlDatabase, name: string): SqlValue | undefined {
  return database.all("SELECT value FROM patina_state WHERE name = ?", name)[0]?.[0];
}

/** Sets a value of `patina_state`, in the transaction that is open or in one of its own. */
export function writeState(database: SqlDatabase, name: string, value: SqlValue): void {
  database.run("INSERT OR REPLACE INTO patina_state (name, value) VALUES (?, ?)", name, value);
}

export function hlcToBytes(hlc: Hlc): Uint8Array {
  const writer = new ByteWriter(8);
  writeHlc(writer, hlc);
  return writer.finish();
}

function single(database: SqlDatabase, sql: string): SqlValue | undefined {
  return database.all(sql)[0]?.[0];
}

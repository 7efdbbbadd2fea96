/**
 * All sites that this node has written as in this database: whose stamps it may replace, should its clock
 * have been far ahead (`core/replica/restamp.ts`).
 *
 * They are kept in `patina_state`: `own_node` (32 bytes, the node's public key) and `own_sites` (16 bytes
 * each, the latest last). In a file that came from another node they are that node's, and are forgotten.
 *
 * @module
 */

import type { Site } from "../../core/clock/stamp.ts";
import type { SqlDatabase } from "../../core/database.ts";
import { siteFromBytes, siteToBytes } from "../../core/row/digest.ts";
import { readState, writeState } from "../../core/store/file/file-header.ts";

/** A site is taken at each restore, copy or unclean boot; clocks of older ones are long accepted. */
const sitesMax = 256;

/** Those that the file names, and that of this start. @param publicKey hex */
export function ownSitesOf(
  database: SqlDatabase,
  publicKey: string,
  site: Site,
): ReadonlySet<Site> {
  const known = readState(database, "own_node");
  const isSameNode =
    known instanceof Uint8Array && Buffer.from(known).toString("hex") === publicKey;
  const bytes = isSameNode ? readState(database, "own_sites") : undefined;
  const sites: Site[] = [];
  if (bytes instanceof Uint8Array) {
    for (let at = 0; at + 16 <= bytes.length; at += 16) {
      const one = siteFromBytes(bytes.subarray(at, at + 16));
      if (one !== site) sites.push(one);
    }
  }
  sites.push(site);
  return new Set(sites.slice(-sitesMax));
}

/** Writes them, in the transaction that is open. @param publicKey hex */
export function recordOwnSites(
  database: SqlDatabase,
  publicKey: string,
  sites: ReadonlySet<Site>,
): void {
  const bytes = Buffer.concat([...sites].map(siteToBytes));
  writeState(database, "own_node", Uint8Array.from(Buffer.from(publicKey, "hex")));
  writeState(database, "own_sites", Uint8Array.from(bytes));
}

/**
 * `patina_members` and `patina_node_site`: who is in the cluster as this node sees it, for SQL. Local tables,
 * written by the agent alone.
 *
 * @module
 */

import type { Site } from "../../core/clock/stamp.ts";
import type { MemberRow, PeerId } from "../../core/node/border.ts";
import { siteFromBytes, siteToBytes } from "../../core/row/digest.ts";
import type { SqlValue } from "../../core/row/value.ts";
import type { Database } from "../../wasm/database.ts";

/** Sites of nodes that were met: of more, those go that have written nothing here, and are nobody's now. */
export const nodeSitesMax = 4096;
/** Between two looks at how many there are, in sites. */
const sitesPerLook = 256;

export interface MembersTableParts {
  readonly writer: Database;
  /** Of this node, 64 hex digits. */
  readonly publicKey: string;
  /** That this start of this node writes as. */
  readonly site: Site;
  /** Runs `write` in one transaction, and tells live queries of rows with these keys. */
  readonly writeLocalTable: (
    table: string,
    keys: readonly (readonly SqlValue[])[],
    write: () => void,
  ) => void;
}

export class MembersTable {
  readonly #parts: MembersTableParts;
  /** As the table has it, or is to. */
  readonly #rows = new Map<string, Pick<MemberRow, "key" | "state" | "site">>();
  /** Written since there was a look at how many there are. */
  #sitesWritten = 0;
  /** What isn't written yet, which a full disk may keep it from. */
  #isForgetting = false;
  readonly #partedWaiting = new Set<PeerId>();
  readonly #rowsWaiting = new Map<string, MemberRow>();

  constructor(parts: MembersTableParts) {
    this.#parts = parts;
  }

  /** Those of the last run: whoever is there will be seen. As {@link write}. */
  forget(): void {
    this.#isForgetting = true;
    this.writeWaiting();
  }

  /** Never throws: what can't be written is {@link isBehind}. @param parted who isn't a member any more */
  write(rows: readonly MemberRow[], parted: readonly PeerId[] = []): void {
    if (rows.length + parted.length === 0) return;
    for (const key of parted) {
      this.#partedWaiting.add(key);
      forgetKey(this.#rows, key);
      forgetKey(this.#rowsWaiting, key);
    }
    for (const row of rows) {
      this.#rows.set(row.node, row);
      this.#rowsWaiting.set(row.node, row);
    }
    this.writeWaiting();
  }

  /** The table doesn't say yet what it is to. */
  get isBehind(): boolean {
    return this.#isForgetting || this.#partedWaiting.size + this.#rowsWaiting.size > 0;
  }

  /** @returns why it couldn't be written */
  writeWaiting(): Error | undefined {
    if (!this.isBehind) return undefined;
    try {
      this.#writeWaiting();
    } catch (error) {
      return error as Error;
    }
    this.#isForgetting = false;
    this.#partedWaiting.clear();
    this.#rowsWaiting.clear();
    return undefined;
  }

  #writeWaiting(): void {
    const { writer, writeLocalTable } = this.#parts;
    const [parted, rows] = [[...this.#partedWaiting], [...this.#rowsWaiting.values()]];
    const goneNodes = this.#isForgetting
      ? writer.all("SELECT node FROM patina_members")
      : parted.flatMap((key) => writer.all("SELECT node FROM patina_members WHERE key = ?", key));
    const keys = [...goneNodes, ...rows.map(({ node }) => [node])];
    if (keys.length === 0) return;
    writeLocalTable("patina_members", keys, () => {
      if (this.#isForgetting) writer.run("DELETE FROM patina_members");
      for (const key of parted) writer.run("DELETE FROM patina_members WHERE key = ?", key);
      for (const row of rows) this.#put(row);
      if (this.#isForgetting || this.#sitesWritten >= sitesPerLook) this.#boundSites();
    });
  }

  #put(row: MemberRow): void {
    const { writer, publicKey } = this.#parts;
    writer.run(
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
    const site = row.key === publicKey ? this.#parts.site : row.site;
    if (site === undefined) return;
    writer.run(
      "INSERT OR REPLACE INTO patina_node_site (site, node) VALUES (?, ?)",
      siteToBytes(site),
      row.node,
    );
    this.#sitesWritten++;
  }

  /** A host has a new site after each crash of its machine, and whoever means ill has one as often as it likes. */
  #boundSites(): void {
    const { writer, site: ownSite } = this.#parts;
    this.#sitesWritten = 0;
    const [[count] = []] = writer.all("SELECT count(*) FROM patina_node_site");
    if (Number(count) <= nodeSitesMax) return;
    const current = new Set([ownSite, ...[...this.#rows.values()].map(({ site }) => site)]);
    const unused = writer.all(
      "SELECT site FROM patina_node_site WHERE site NOT IN (SELECT site FROM patina_site)",
    );
    for (const [site] of unused) {
      if (current.has(siteFromBytes(site as Uint8Array))) continue;
      writer.run("DELETE FROM patina_node_site WHERE site = ?", site as Uint8Array);
    }
  }

  /** This node itself, where no net thread says it. @param sinceMs when it started, ms since 1970 */
  writeSelf(
    node: { readonly name: string; readonly region: string; readonly zone: string },
    incarnation: number,
    sinceMs: number,
  ): void {
    const { name, region, zone } = node;
    const key = this.#parts.publicKey as MemberRow["key"];
    this.write([
      { node: name, key, region, zone, state: "ALIVE", incarnation, sinceMs, storeLag: "ok" },
    ]);
  }

  /** Itself included. */
  countAlive(): number {
    let count = 0;
    for (const { state } of this.#rows.values()) if (state === "ALIVE") count++;
    return count;
  }

  /** Beside this node, that aren't DOWN. */
  hasOthers(): boolean {
    const own = this.#parts.publicKey as PeerId;
    return [...this.#rows.values()].some(({ key, state }) => key !== own && state !== "DOWN");
  }

  nodeByKey(): ReadonlyMap<string, string> {
    return new Map([...this.#rows].map(([node, { key }]) => [key, node]));
  }
}

function forgetKey(rows: Map<string, { readonly key: PeerId }>, key: PeerId): void {
  for (const [node, row] of rows) if (row.key === key) rows.delete(node);
}

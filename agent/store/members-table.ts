/**
 * `patina_members` and `patina_node_site`: who is in the cluster as this node sees it, for SQL. Local tables,
 * written by the agent alone.
 *
 * @module
 */

import type { Site } from "../../core/clock/stamp.ts";
import type { MemberRow, PeerId } from "../../core/node/border.ts";
import { siteToBytes } from "../../core/row/digest.ts";
import type { SqlValue } from "../../core/row/value.ts";
import type { Database } from "../../wasm/database.ts";

export interface MembersTableParts {
  readonly writer: Database;
  readonly reader: Database;
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

  constructor(parts: MembersTableParts) {
    this.#parts = parts;
  }

  /** Those of the last run: whoever is there will be seen. */
  forget(): void {
    const { writer, writeLocalTable } = this.#parts;
    const nodes = writer.all("SELECT node FROM patina_members");
    if (nodes.length === 0) return;
    writeLocalTable("patina_members", nodes, () => writer.run("DELETE FROM patina_members"));
  }

  /** @param parted who isn't a member any more */
  write(rows: readonly MemberRow[], parted: readonly PeerId[] = []): void {
    if (rows.length + parted.length === 0) return;
    const { writer, publicKey, writeLocalTable } = this.#parts;
    const goneNodes = parted.flatMap((key) =>
      writer.all("SELECT node FROM patina_members WHERE key = ?", key),
    );
    const keys = [...goneNodes, ...rows.map(({ node }) => [node])];
    writeLocalTable("patina_members", keys, () => {
      for (const key of parted) writer.run("DELETE FROM patina_members WHERE key = ?", key);
      for (const row of rows) {
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
        if (site === undefined) continue;
        writer.run(
          "INSERT OR REPLACE INTO patina_node_site (site, node) VALUES (?, ?)",
          siteToBytes(site),
          row.node,
        );
      }
    });
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
    const [row] = this.#parts.reader.all(
      "SELECT count(*) FROM patina_members WHERE state = 'ALIVE'",
    );
    return Number(row?.[0] ?? 0);
  }

  nodeByKey(): ReadonlyMap<SqlValue | undefined, string> {
    const rows = this.#parts.reader.all("SELECT key, node FROM patina_members");
    return new Map(rows.map(([key, node]) => [key, String(node)]));
  }
}

/**
 * Local numbers of sites and columns, kept in `patina_site` and `patina_column` and, all of them, in
 * memory. A number is never used again for something else.
 *
 * @module
 */

import { ByteWriter } from "../../bytes/writer.ts";
import type { Site } from "../../clock/stamp.ts";
import type { SqlDatabase, SqlStatement } from "../../database.ts";
import { siteFromBytes, siteToBytes } from "../../row/digest.ts";
import type { Ordinals } from "./clock-blob.ts";

export class StoredOrdinals implements Ordinals {
  readonly #sites = new NumberedNames<Site>();
  readonly #columns = new NumberedNames<string>();
  readonly #insertSite: SqlStatement;
  readonly #insertColumn: SqlStatement;

  /** Reads both tables. */
  constructor(database: SqlDatabase) {
    for (const [ordinal, site] of database.all("SELECT ord, site FROM patina_site ORDER BY ord")) {
      this.#sites.set(Number(ordinal), siteFromBytes(site as Uint8Array));
    }
    for (const [ordinal, name] of database.all("SELECT ord, name FROM patina_column")) {
      this.#columns.set(Number(ordinal), String(name));
    }
    this.keep();
    this.#insertSite = database.prepare("INSERT INTO patina_site (ord, site) VALUES (?, ?)");
    this.#insertColumn = database.prepare("INSERT INTO patina_column (ord, name) VALUES (?, ?)");
  }

  /** Another number after each {@link forget}: what was known of ordinals may be wrong then. */
  life = 0;
  readonly #siteBytes: (Uint8Array | undefined)[] = [];
  readonly #columnTexts: (Uint8Array | undefined)[] = [];

  /** Of a known site, 16. */
  siteBytes(ordinal: number): Uint8Array {
    let bytes = this.#siteBytes[ordinal];
    if (bytes === undefined) {
      bytes = siteToBytes(this.#sites.names[ordinal] as Site);
      this.#siteBytes[ordinal] = bytes;
    }
    return bytes;
  }

  /** The name of a known column as bytes: varint length, UTF-8. */
  columnText(ordinal: number): Uint8Array {
    let bytes = this.#columnTexts[ordinal];
    if (bytes === undefined) {
      const writer = new ByteWriter(64);
      writer.text(this.#columns.names[ordinal] as string);
      bytes = writer.finish();
      this.#columnTexts[ordinal] = bytes;
    }
    return bytes;
  }

  site(ordinal: number): Site | undefined {
    return this.#sites.names[ordinal];
  }

  column(ordinal: number): string | undefined {
    return this.#columns.names[ordinal];
  }

  /** A new site is written in the transaction that is open. */
  siteOrdinal(site: Site): number {
    const known = this.#sites.ordinals.get(site);
    if (known !== undefined) return known;
    const ordinal = this.#sites.add(site);
    insert(this.#insertSite, ordinal, siteToBytes(site));
    return ordinal;
  }

  /** A new column is written in the transaction that is open. */
  columnOrdinal(column: string): number {
    const known = this.#columns.ordinals.get(column);
    if (known !== undefined) return known;
    const ordinal = this.#columns.add(column);
    insert(this.#insertColumn, ordinal, column);
    return ordinal;
  }

  /** The transaction was committed. */
  keep(): void {
    this.#sites.kept = this.#sites.names.length;
    this.#columns.kept = this.#columns.names.length;
  }

  /** The transaction was rolled back, and with it what it had numbered. */
  forget(): void {
    this.#sites.forget();
    this.#columns.forget();
    this.#siteBytes.length = 0;
    this.#columnTexts.length = 0;
    this.life++;
  }
}

class NumberedNames<Name extends string> {
  readonly names: (Name | undefined)[] = [];
  readonly ordinals = new Map<Name, number>();
  kept = 0;

  set(ordinal: number, name: Name): void {
    this.names[ordinal] = name;
    this.ordinals.set(name, ordinal);
  }

  add(name: Name): number {
    const ordinal = this.names.length;
    this.set(ordinal, name);
    return ordinal;
  }

  forget(): void {
    for (const name of this.names.splice(this.kept)) {
      if (name !== undefined) this.ordinals.delete(name);
    }
  }
}

function insert(statement: SqlStatement, ordinal: number, name: string | Uint8Array): void {
  statement.bind(1, ordinal);
  statement.bind(2, name);
  statement.step();
  statement.reset();
}

import { SqliteNode } from "../generators/sqlite-store.ts";
import { MapStore } from "../model/map-store.ts";
import { rowStoreContract } from "./row-store.ts";

rowStoreContract("map store", (digester) => ({ store: new MapStore(digester), close() {} }));

function sqlite(name: string, sql: string): void {
  rowStoreContract(name, (digester) => {
    const node = new SqliteNode(sql, { digester });
    return { store: node.store, close: () => node[Symbol.dispose]() };
  });
}

sqlite(
  "SQLite store, columns that keep everything",
  `CREATE TABLE instances (k BLOB PRIMARY KEY NOT NULL, a, b, c, status, port);
   CREATE TABLE services (k TEXT PRIMARY KEY NOT NULL, a BLOB, b BLOB, c BLOB) WITHOUT ROWID;`,
);
sqlite(
  "SQLite store, columns that change values",
  `CREATE TABLE instances (
     k TEXT PRIMARY KEY NOT NULL, a INTEGER NOT NULL DEFAULT 7, b REAL, c TEXT DEFAULT 'none',
     g TEXT AS (c || lower(a)) STORED, CHECK (a < b)
   );
   CREATE INDEX byc ON instances (lower(c), a) WHERE b IS NOT NULL;
   CREATE TABLE services (k INTEGER PRIMARY KEY, a NUMERIC);`,
);
sqlite("SQLite store, no tables at all", "");

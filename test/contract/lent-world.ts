/**
 * The database of lent-vfs.test.ts: accounts whose sum never changes, a counter of commits, and what a
 * snapshot comes to.
 *
 * @module
 */

import type { Database } from "../../wasm/database.ts";

export const accounts = 400;

export function createAccounts(database: Database): void {
  database.pragma("auto_vacuum", 2);
  database.pragma("journal_mode", "wal");
  database.pragma("wal_autocheckpoint", 0);
  database.exec(`
    CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, note TEXT NOT NULL);
    CREATE INDEX account_balance ON account (balance);
    CREATE TABLE counter (n INTEGER NOT NULL);
    INSERT INTO counter VALUES (0);
    WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < ${accounts})
    INSERT INTO account SELECT x, 1000, hex(randomblob(200)) FROM c;
  `);
}

/** One transfer, in one transaction; now and then a rollback, or rows that come and go. */
export function transfer(database: Database, n: number, random: () => number): void {
  const some = () => 1 + Math.floor(random() * accounts);
  const amount = Math.floor(random() * 100);
  database.exec("BEGIN IMMEDIATE");
  database.run("UPDATE account SET balance = balance - ? WHERE id = ?", amount, some());
  if (random() < 0.1) {
    database.exec("ROLLBACK");
    database.exec("BEGIN IMMEDIATE");
  } else {
    database.run("UPDATE account SET balance = balance + ? WHERE id = ?", amount, some());
  }
  for (let i = 0; i < 4; i++) {
    database.run("UPDATE account SET note = hex(randomblob(200)) WHERE id = ?", some());
  }
  const more = random();
  if (more < 0.05) {
    database.run("DELETE FROM account WHERE id > ?", accounts);
    database.exec("PRAGMA incremental_vacuum");
  } else if (more < 0.1) {
    database.run("INSERT INTO account SELECT max(id) + 1, 0, hex(randomblob(3000)) FROM account");
  }
  database.run("UPDATE counter SET n = ?", n);
  database.exec("COMMIT");
}

/** By table and by index, twice the same; the counter; whether the file is sound. */
export function snapshotSeen(database: Database): string {
  const byTable = database.all("SELECT count(*), sum(balance + 0) FROM account NOT INDEXED");
  const byIndex = database.all("SELECT count(*), sum(balance) FROM account WHERE balance > -1e9");
  const [n] = database.get("SELECT n FROM counter") ?? [];
  const [check] = database.get("PRAGMA integrity_check") ?? [];
  const [notes] = database.get("SELECT sum(length(note)) FROM account") ?? [];
  return JSON.stringify([String(byTable), String(byIndex), n, check, Number(notes)]);
}

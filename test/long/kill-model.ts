/**
 * What clients write in a storm of kills, and what must be true of any file that is left.
 *
 * That a transaction is whole shows in three ways, each in rows of one writing node:
 *
 * - a row of `batches` says how many rows its transaction has (`size`): there are so many, or none;
 * - transfers between a node's `accounts` keep the sum;
 * - a large transaction sets one new `generation` in all of a node's `sheets`, and first in its local
 *   `ballast`, whose pages are more than SQLite's cache holds: so it stands in the WAL long before it
 *   commits. Both tables have one generation, the same.
 *
 * And now and then one node rewrites its `tomes`, which are more than the cache of those who merge them.
 *
 * @module
 */

import { Database } from "bun:sqlite";
import type { Statement } from "../../agent/client/client.ts";
import type { ClusterNode } from "../../examples/cluster.ts";

export const schemaSql = `
CREATE TABLE batches (
  id TEXT NOT NULL PRIMARY KEY, batch TEXT NOT NULL DEFAULT '', position INTEGER NOT NULL DEFAULT 0,
  size INTEGER NOT NULL DEFAULT 0, account TEXT NOT NULL DEFAULT '', payload TEXT NOT NULL DEFAULT ''
);
CREATE INDEX batches_by_batch ON batches (batch);
CREATE TABLE accounts (
  id TEXT NOT NULL PRIMARY KEY, node TEXT NOT NULL DEFAULT '', balance INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE sheets (
  id TEXT NOT NULL PRIMARY KEY, node TEXT NOT NULL DEFAULT '', generation INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE tomes (
  id TEXT NOT NULL PRIMARY KEY, generation INTEGER NOT NULL DEFAULT 0, payload BLOB
);
CREATE TABLE ballast (n INTEGER NOT NULL PRIMARY KEY, generation INTEGER, payload BLOB);
`;
/** Kills are what this is about, and not what a busy machine makes of a deadline. */
export const configToml =
  "[tables.ballast]\nreplicated = false\n[store]\nquery_timeout_ms = 60000\nstatement_timeout_ms = 60000\n";

const accounts = 20;
const sheets = 3000;
/** Two rows a page: 20 MB, of which the agent's writer caches 16. */
const ballast = 10_000;
/** A page each, and a little. */
const tomes = 5500;
/** Of a large transaction, about, that stand in the WAL before its `sheets` are written. */
export const spilledFrames = 800;
const batchRowsMax = 20;

export interface FileFindings {
  readonly problems: readonly string[];
  readonly rows: number;
  /** Of the sheets of each node: the one there is, or the largest. */
  readonly generations: ReadonlyMap<string, number>;
}

export interface LargeWrite {
  readonly isAnswered: boolean;
  readonly done: Promise<void>;
}

export class KillModel {
  readonly #random: () => number;
  readonly #acknowledged = new Map<string, Set<string>>();
  /** Answered, by node. */
  readonly #generations = new Map<string, number>();
  /** The last one asked for, by node. */
  readonly #asked = new Map<string, number>();
  #stillness: Promise<void> | undefined;

  constructor(random: () => number) {
    this.#random = random;
  }

  /** Rows of `batches` that were acknowledged. */
  acknowledged({ name }: ClusterNode): number {
    return this.#of(name).size;
  }

  get size(): number {
    return [...this.#acknowledged.values()].reduce((sum, ids) => sum + ids.size, 0);
  }

  generation({ name }: ClusterNode): number {
    return this.#generations.get(name) ?? 0;
  }

  async fill(node: ClusterNode): Promise<void> {
    const { name } = node;
    const count = (n: number) =>
      `WITH RECURSIVE k(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < ${n})`;
    await node.client.transact(
      `${count(accounts)} INSERT INTO accounts SELECT '${name}-' || i, '${name}', 100 FROM k`,
      `${count(sheets)} INSERT INTO sheets SELECT '${name}-' || i, '${name}', 0 FROM k`,
      `${count(ballast)} INSERT INTO ballast SELECT i, 0, zeroblob(2000) FROM k`,
    );
  }

  async fillTomes(node: ClusterNode): Promise<void> {
    await node.client.transact(
      `WITH RECURSIVE k(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < ${tomes})
       INSERT INTO tomes SELECT 'tome-' || i, 0, zeroblob(3900) FROM k`,
    );
  }

  /** So much that whoever merges it has it in its WAL before it is all there. Returns once it is committed. */
  async writeTomes(node: ClusterNode): Promise<void> {
    await node.client.transact("UPDATE tomes SET generation = generation + 1");
  }

  /** Small transactions wait for the work's end: what a reader has and what is asked for can be compared. */
  async still(work: () => Promise<void>): Promise<void> {
    this.#stillness = work();
    try {
      await this.#stillness;
    } finally {
      this.#stillness = undefined;
    }
  }

  /** Small transactions until told to stop: a batch of rows and a transfer in each. */
  async writeUntil(node: ClusterNode, prefix: string, isOver: () => boolean): Promise<void> {
    const { name } = node;
    for (let i = 0; !isOver(); i++) {
      await this.#stillness;
      const batch = `${prefix}-${i}`;
      const size = 1 + this.#int(batchRowsMax);
      const ids = Array.from({ length: size }, (_, n) => `${batch}-${n}`);
      const [from, to] = [this.#int(accounts) + 1, this.#int(accounts) + 1];
      const amount = this.#int(20);
      const statements: Statement[] = ids.map((id, n) => ({
        sql: "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)",
        parameters: [id, batch, n, size, `${name}-${from}`, "x".repeat(this.#int(300))],
      }));
      const move = "UPDATE accounts SET balance = balance + ? WHERE id = ?";
      statements.push(
        { sql: move, parameters: [-amount, `${name}-${from}`] },
        { sql: move, parameters: [amount, `${name}-${to}`] },
      );
      try {
        await node.client.transact(...statements);
      } catch (error) {
        // Killed before it answered: whether it is there is open, that it is whole isn't.
        if (isOver()) return;
        throw new Error(`${name} refused a write while it was alive: ${error}\n${node.log()}`);
      }
      for (const id of ids) this.#of(name).add(id);
      await Bun.sleep(this.#random() * 10);
    }
  }

  /** One large transaction, under way when this returns. */
  writeLarge(node: ClusterNode, isDead: () => boolean): LargeWrite {
    const { name } = node;
    const generation = (this.#asked.get(name) ?? 0) + 1;
    this.#asked.set(name, generation);
    const large = { isAnswered: false, done: Promise.resolve() };
    const write = async () => {
      try {
        await node.client.transact(
          { sql: "UPDATE ballast SET generation = ?", parameters: [generation] },
          {
            sql: "UPDATE sheets SET generation = ? WHERE node = ?",
            parameters: [generation, name],
          },
          // It stays open a while, and changes nothing.
          `UPDATE ballast SET generation = 0 WHERE n = 1 AND (WITH RECURSIVE k(i) AS (SELECT 1
           UNION ALL SELECT i + 1 FROM k WHERE i < 400000) SELECT count(*) FROM k) < 0`,
        );
      } catch (error) {
        if (isDead()) return;
        throw new Error(`${name} refused a large write while it was alive: ${error}`);
      }
      this.#generations.set(name, generation);
      large.isAnswered = true;
    };
    large.done = write();
    return large;
  }

  /** After a kill: what wasn't answered is there or isn't, and stays so. */
  restarted({ name }: ClusterNode, { generations }: FileFindings): void {
    const generation = generations.get(name) ?? 0;
    this.#generations.set(name, generation);
    this.#asked.set(name, generation);
  }

  /** Ids that were acknowledged by anybody and aren't there. */
  async missing(node: ClusterNode): Promise<string[]> {
    const { rows } = await node.client.query("SELECT id FROM batches");
    const held = new Set(rows.map(([id]) => String(id)));
    return [...this.#acknowledged.values()].flatMap((ids) =>
      [...ids].filter((id) => !held.has(id)),
    );
  }

  missingIn(name: string, held: ReadonlySet<string>): string[] {
    return [...this.#of(name)].filter((id) => !held.has(id));
  }

  asked(name: string): number {
    return this.#asked.get(name) ?? 0;
  }

  #of(name: string): Set<string> {
    const ids = this.#acknowledged.get(name) ?? new Set();
    this.#acknowledged.set(name, ids);
    return ids;
  }

  #int(end: number): number {
    return Math.floor(this.#random() * end);
  }
}

/**
 * What is wrong with the file that a killed node left. Its own transactions are judged alone: of another's
 * repair may have brought a part, which its changeset completes.
 *
 * @param path of a copy: opening it gets the WAL over
 */
export function checkFile(path: string, model: KillModel, node: ClusterNode): FileFindings {
  using database = new Database(path);
  const all = (sql: string): unknown[][] => database.query(sql).values() as unknown[][];
  const problems: string[] = [];
  const isOk = (all("PRAGMA integrity_check")[0] ?? [])[0];
  if (isOk !== "ok") problems.push(`integrity_check says ${isOk}`);

  const held = new Set(all("SELECT id FROM batches").map(([id]) => String(id)));
  const lost = model.missingIn(node.name, held);
  if (lost.length > 0) problems.push(`${lost.length} acknowledged rows lost: ${lost.slice(0, 5)}`);
  const parts = all(
    `SELECT batch, size, count(*) FROM batches WHERE batch LIKE 'victim-%'
     GROUP BY batch HAVING count(*) <> size`,
  );
  for (const [batch, size, count] of parts) problems.push(`${count} of ${size} rows of ${batch}`);
  const [sum] = all(`SELECT sum(balance), count(*) FROM accounts WHERE node = '${node.name}'`);
  if (sum?.[0] !== 100 * accounts) problems.push(`the accounts of ${sum?.[1]} have ${sum?.[0]}`);

  const generations = new Map<string, number>();
  for (const [name, generation] of all(
    "SELECT node, generation FROM sheets GROUP BY 1, 2 ORDER BY 2",
  )) {
    if (name === node.name && generations.has(node.name))
      problems.push("two generations of sheets");
    generations.set(String(name), Number(generation));
  }
  const own = generations.get(node.name) ?? 0;
  const ofBallast = all("SELECT DISTINCT generation FROM ballast").map(([g]) => Number(g));
  if (ofBallast.length !== 1 || ofBallast[0] !== own) {
    problems.push(`ballast has the generations ${ofBallast}, sheets ${own}`);
  }
  if (own < model.generation(node) || own > model.asked(node.name)) {
    problems.push(`generation ${own}; ${model.generation(node)} was acknowledged`);
  }
  return { problems, rows: held.size, generations };
}

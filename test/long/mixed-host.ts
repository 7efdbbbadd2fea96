/**
 * One host of a cluster of mixed releases: its agent, a client that writes, and one that listens.
 *
 * Rows that are called after a host are written by its own client alone, so what was acknowledged last is what all
 * have to show. Rows called `shared-…` are written by all: of those only that all show the same is asked.
 *
 * @module
 */

import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ApiFailure, Unreachable } from "../../agent/client/client.ts";
import { type ClusterNode, until } from "../../examples/cluster.ts";
import type { Release } from "./old-releases.ts";

const ownRows = 30;
const sharedRows = 10;
const manyRows = 20;
export const rowsSql = "SELECT id, status, weight FROM instances";
/** As {@link rowsSql} gives it; undefined: there is no such row. */
type Shown = string | undefined;

interface Write {
  readonly sql: string;
  readonly parameters: readonly (string | number)[];
  /** What the row is after it. */
  readonly makes: (before: Shown) => Shown;
}

export class MixedHost {
  readonly node: ClusterNode;
  release: Release;
  /** Rows of its own, as they were acknowledged. */
  readonly model = new Map<string, Shown>();
  writes = 0;
  /** Lines of warnings and errors of all its lives. */
  readonly complaints: string[] = [];
  readonly #random: () => number;
  readonly #listening = new AbortController();
  /** What its listener has been told. */
  readonly #told = new Map<number, string>();
  #heard: Promise<void> = Promise.resolve();
  #writing: Promise<void> = Promise.resolve();
  #mayWrite = false;
  #version = 0;
  /** How often {@link writeMany} was. */
  #many = 0;

  constructor(node: ClusterNode, release: Release, random: () => number) {
    this.node = node;
    this.release = release;
    this.#random = random;
  }

  get name(): string {
    return `${this.node.name} (${this.release.name})`;
  }

  // --- its agent -------------------------------------------------------------------------------------------

  /** Ready to take any write. */
  async ready(deadlineMs: number): Promise<void> {
    await this.node.answers(deadlineMs);
    await until(
      `${this.name} is ready`,
      deadlineMs,
      async () => (await this.status()).ready === true,
    );
  }

  async status(): Promise<Record<string, unknown>> {
    return JSON.parse(await this.node.client.get("/v1/status"));
  }

  /** Ends it, and keeps what it complained of. */
  async end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    await this.node.kill(signal);
    this.keepLog();
  }

  keepLog(): void {
    const lines = this.node.log(10 ** 6).split("\n");
    for (const line of lines) {
      if (/^\S+ (warn|error) /.test(line)) this.complaints.push(`${this.name}: ${line}`);
    }
  }

  /** For who looks for a fault: how it says it is, and the end of its log. */
  async account(): Promise<string> {
    const texts = await Promise.all(
      (["/v1/status", "/v1/swarm"] as const).map((path) =>
        this.node.client.get(path).catch(String),
      ),
    );
    return [`${this.name}:`, ...texts, this.node.log()].join("\n");
  }

  spawnAs(release: Release): void {
    this.release = release;
    this.node.binary = release.binary;
    this.node.spawn();
  }

  /** The database, not the key: the node is who it was, and knows nothing. */
  loseDatabase(): void {
    const folder = this.node.dataDirectory;
    for (const name of readdirSync(folder)) {
      if (name.startsWith("patina.db")) rmSync(join(folder, name));
    }
    if (existsSync(join(folder, "patina.db"))) throw new Error("the database is still there");
  }

  // --- its clients -----------------------------------------------------------------------------------------

  /** As all hosts would have to show it, in some order that is the same everywhere. */
  async rows(): Promise<string[]> {
    const { rows } = await this.node.client.query(rowsSql);
    return rows.map((row) => JSON.stringify(row)).sort();
  }

  /** What the listener has, in the order of {@link rows}. */
  toldRows(): string[] {
    return [...this.#told.values()].sort();
  }

  isTold(row: string): boolean {
    for (const one of this.#told.values()) if (one === row) return true;
    return false;
  }

  /** Listens until {@link close}, whatever becomes of the agent. */
  listen(): void {
    const { signal } = this.#listening;
    const listen = async (): Promise<void> => {
      for await (const event of this.node.client.subscribe(rowsSql, { signal })) {
        if (event.kind === "row") this.#told.set(event.rowId, JSON.stringify(event.cells));
        else if (event.kind === "resumed" && !event.isComplete) this.#told.clear();
        else if (event.kind === "change" && event.type === "delete") this.#told.delete(event.rowId);
        else if (event.kind === "change") this.#told.set(event.rowId, JSON.stringify(event.cells));
      }
    };
    this.#heard = listen();
    this.#heard.catch(() => {});
  }

  startWriting(): void {
    this.#mayWrite = true;
    this.#writing = this.#write();
    this.#writing.catch(() => {});
  }

  /** Many rows of its own in one transaction, the second time and later as updates: their clocks then stand in the log. */
  async writeMany(): Promise<void> {
    const weight = ++this.#many;
    const ids = Array.from({ length: manyRows }, (_, i) => `${this.node.name}-many-${i}`);
    const sql = `INSERT INTO instances (id, status, weight) SELECT value, 'up', ?2 FROM json_each(?1) WHERE true
                 ON CONFLICT (id) DO UPDATE SET status = 'up', weight = ?2`;
    await this.node.client.transact({ sql, parameters: [JSON.stringify(ids), weight] });
    for (const id of ids) this.model.set(id, JSON.stringify([id, "up", weight]));
  }

  /** @throws what kept it from writing */
  async stopWriting(): Promise<void> {
    this.#mayWrite = false;
    await this.#writing;
  }

  /** Throws what its listener met. */
  async close(): Promise<void> {
    this.#listening.abort();
    await this.#heard;
  }

  async #write(): Promise<void> {
    while (this.#mayWrite) {
      const id = `${this.node.name}-${this.#int(ownRows)}`;
      const before = this.model.get(id);
      const write = this.#nextWrite(id, before);
      const after = write.makes(before);
      const shared = this.#nextWrite(`shared-${this.#int(sharedRows)}`, undefined);
      try {
        const { rowsAffected } = await this.node.client.transact(write, shared);
        if (before !== undefined && rowsAffected[0] === 0)
          throw new Error(`${this.name}: ${write.sql} changed nothing; ${id} was ${before}`);
        this.model.set(id, after);
        this.writes++;
      } catch (error) {
        if (error instanceof Unreachable) this.model.set(id, await this.#ask(id, before, after));
        // Nothing of it was applied.
        else if (!(error instanceof ApiFailure && error.message === "the agent is stopping"))
          throw error;
      }
      await Bun.sleep(20 + this.#int(80));
    }
  }

  /** Whether an unanswered write was made: asked once the agent is there again. */
  async #ask(id: string, before: Shown, after: Shown): Promise<Shown> {
    let found: Shown;
    await until(`${this.name} says what became of ${id}`, 60_000, async () => {
      const { rows } = await this.node.client.query(`${rowsSql} WHERE id = ?`, id);
      found = rows[0] === undefined ? undefined : JSON.stringify(rows[0]);
      return true;
    });
    if (found === before || found === after) return found;
    throw new Error(
      `${this.name}: ${id} is ${found}; it was ${before}, and ${after} was asked for`,
    );
  }

  #nextWrite(id: string, before: Shown): Write {
    const weight = ++this.#version;
    const what = this.#random();
    if (what < 0.5) {
      const status = this.#random() < 0.5 ? "up" : "down";
      return {
        sql: `INSERT INTO instances (id, service, status, weight) VALUES (?1, 's', ?2, ?3)
              ON CONFLICT (id) DO UPDATE SET status = ?2, weight = ?3`,
        parameters: [id, status, weight],
        makes: () => JSON.stringify([id, status, weight]),
      };
    }
    if (what < 0.85) {
      return {
        sql: "UPDATE instances SET status = 'down', weight = ?2 WHERE id = ?1",
        parameters: [id, weight],
        makes: () => before && JSON.stringify([id, "down", weight]),
      };
    }
    return {
      sql: "DELETE FROM instances WHERE id = ?",
      parameters: [id],
      makes: () => undefined,
    };
  }

  #int(end: number): number {
    return Math.floor(this.#random() * end);
  }
}

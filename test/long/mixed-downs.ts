/**
 * Instances that one host says are up, and another one down: all have to hear of both, at once.
 *
 * @module
 */

import { until } from "../../examples/cluster.ts";
import type { MixedHost } from "./mixed-host.ts";

export class Downs {
  readonly hosts: readonly MixedHost[];
  /** By id, as they have to be shown at last. */
  readonly rows = new Map<string, string>();
  /** Starts that an older release refused, rightly. */
  refusals = 0;
  readonly #deadlineMs: number;
  #said = 0;
  #slowestMs = 0;

  constructor(hosts: readonly MixedHost[], deadlineMs: number) {
    this.hosts = hosts;
    this.#deadlineMs = deadlineMs;
  }

  /** Each host says that an instance of another one is down. */
  async say(): Promise<void> {
    for (const [i, host] of this.hosts.entries()) {
      const row = await this.up(host);
      await this.down(row, this.hosts[(i + 1) % this.hosts.length] as MixedHost, this.hosts);
    }
  }

  /** @returns its id, once all have heard of it */
  async up(host: MixedHost): Promise<string> {
    const id = `instance-${this.rows.size}`;
    // A host that has just come back isn't ready yet; what says whether it is up doesn't wait for that.
    const sql = `INSERT INTO instances (id, status, weight) VALUES (?1, 'up', 1)
                 ON CONFLICT (id) DO UPDATE SET status = 'up'`;
    await host.node.client.transact({ sql, parameters: [id] });
    this.rows.set(id, JSON.stringify([id, "up", 1]));
    await this.told(id, this.hosts);
    return id;
  }

  /** @param listening those who hear of it now */
  async down(id: string, host: MixedHost, listening: readonly MixedHost[]): Promise<void> {
    const saidMs = performance.now();
    const sql = "UPDATE instances SET status = 'down' WHERE id = ?";
    await host.node.client.transact({ sql, parameters: [id] });
    this.rows.set(id, JSON.stringify([id, "down", 1]));
    await this.told(id, listening);
    if (listening.length < this.hosts.length) return;
    this.#said++;
    this.#slowestMs = Math.max(this.#slowestMs, performance.now() - saidMs);
  }

  async told(id: string, listening: readonly MixedHost[]): Promise<void> {
    const row = this.rows.get(id) as string;
    for (const host of listening) {
      await until(`${host.name}'s listener hears ${row}`, this.#deadlineMs, () => host.isTold(row));
    }
  }

  describe(): string {
    const refused = this.refusals === 0 ? "" : `, ${this.refusals} files refused by older releases`;
    return `${this.#said} "down"s told to all within ${Math.ceil(this.#slowestMs)} ms${refused}`;
  }
}

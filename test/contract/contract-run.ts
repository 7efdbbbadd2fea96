/**
 * What the tests of the HTTP contract share while they run on one server.
 *
 * @module
 */

import { expect } from "bun:test";
import type { HttpClient, HttpTarget } from "./http-target.ts";

export class ContractRun {
  /** Every test has a thousand keys. Of all runs: a live query over keys that had been deleted again would be the same. */
  static #lastKey = 0;
  #target: HttpTarget | undefined;
  #http: HttpClient | undefined;

  async begin(target: HttpTarget, http: HttpClient): Promise<void> {
    this.#target = target;
    this.#http = http;
    const [max] = await http.cells('"SELECT coalesce(max(id), 0) FROM tests"');
    const lastMax = Math.ceil((JSON.parse(max as string)[0] as number) / 1000) * 1000;
    ContractRun.#lastKey = Math.max(ContractRun.#lastKey, lastMax);
  }

  get target(): HttpTarget {
    return this.#target as HttpTarget;
  }

  get http(): HttpClient {
    return this.#http as HttpClient;
  }

  /** The first of a thousand keys that nobody has used. */
  keys(): number {
    ContractRun.#lastKey += 1000;
    return ContractRun.#lastKey;
  }

  /** The one error of a refused transaction, which must have changed nothing. */
  async refusedTransaction(statements: string, status = 500): Promise<string> {
    const state = '"SELECT count(*), sum(id), sum(length(text)) FROM tests"';
    const before = await this.http.cells(state);
    const answer = await this.http.transact(statements);
    expect(answer.status).toBe(status);
    expect(answer.contentType).toBe("application/json");
    const body = JSON.parse(answer.text);
    expect(Object.keys(body)).toEqual(["results", "time", "version", "actor_id"]);
    expect(body.version).toBeNull();
    expect(body.results).toHaveLength(1);
    expect(await this.http.cells(state)).toEqual(before);
    return body.results[0].error;
  }
}

/**
 * Store threads without a network, for tests.
 *
 * @module
 */

import { createLog } from "../../agent/log.ts";
import { StoreThread } from "../../agent/store/store-thread.ts";
import type { StoreThreadOptions } from "../../agent/store/store-thread-options.ts";

type Needed = "vfs" | "databasePath" | "schema";

/** What a test doesn't care about is large enough, and silent. It isn't started. */
export function createStoreThread(
  options: Pick<StoreThreadOptions, Needed> & Partial<StoreThreadOptions>,
): StoreThread {
  return new StoreThread({
    publicKey: "ef".repeat(32),
    node: { name: "n", region: "r", zone: "z" },
    digestKey: () => new Uint8Array(32),
    durability: "normal",
    queryTimeoutMs: 10_000,
    statementTimeoutMs: 10_000,
    resultBytesMax: 2 ** 26,
    nonce: "",
    renewNonce: () => "nonce",
    standsAlone: true,
    log: createLog({ level: "error", format: "text" }),
    swarm: async () => ({ kind: "stands-alone" }),
    bodiesWaiting: async () => 0,
    ...options,
  });
}

/**
 * Warms the code up: an agent that has just started runs what it has hardly run before, and that takes two
 * to three times as long as the same code later, once the engine has compiled it. The first host that goes
 * down after a start would be told of late. So an agent does beforehand what it is there for, some hundred
 * times, on a database of its own in memory: a transaction through the API, with its live query, and a
 * changeset of a peer, with its live query. Functions are compiled once a thread, whoever calls them.
 *
 * It takes about half a second of CPU time, in steps of a millisecond or less with pauses between, after the
 * start. Nothing of it reaches the real database, the peers or the status.
 *
 * @module
 */

import { encodeChangeset } from "../../core/change/changeset.ts";
import { siteOfHex } from "../../core/clock/stamp.ts";
import type { PeerId } from "../../core/node/border.ts";
import { encodeKey } from "../../core/row/key.ts";
import { readSchema } from "../../core/schema/schema-reader.ts";
import { openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { createApi } from "../api/handlers.ts";
import type { ApiRequest, ApiResponse } from "../api/http.ts";
import type { Log } from "../log.ts";
import { StoreThread } from "./store-thread.ts";

/** Compiled code is reached after about a hundred calls, and made in the background. */
const stepsDefault = 300;
const pauseMs = 4;
const rows = 64;

const schemaText = `CREATE TABLE warm (id TEXT PRIMARY KEY NOT NULL, service TEXT NOT NULL DEFAULT '',
  node TEXT NOT NULL DEFAULT '', address TEXT NOT NULL DEFAULT '', status TEXT NOT NULL DEFAULT 'up',
  weight INTEGER NOT NULL DEFAULT 100);`;

const liveSql = "SELECT id, address, status FROM warm WHERE service = 's'";

/**
 * Resolves when it is done, or soon after the signal aborts. Rejects when something isn't as it is meant to be.
 *
 * @param isBusy The thread is needed for something better: it waits. What comes in bulk warms up as well.
 */
export async function warmUp(
  signal: AbortSignal,
  steps: number = stepsDefault,
  isBusy: () => boolean = () => false,
): Promise<void> {
  while (isBusy() && !signal.aborted) await Bun.sleep(pauseMs);
  if (signal.aborted) return;
  const store = createStore();
  try {
    store.start({ post: () => {} });
    const run = createStep(store, signal);
    for (let step = 0; step < steps && !signal.aborted; step++) {
      await run(step);
      do await Bun.sleep(pauseMs);
      while (isBusy() && !signal.aborted);
    }
  } finally {
    store.stop();
  }
}

function createStore(): StoreThread {
  const vfs = new MemoryVfs();
  using scratch = openDatabase("/schema.db", { vfs });
  const rules = { replicated: true, urgent: "status <> 'up'" };
  const read = readSchema(
    scratch,
    [{ name: "warm-up", text: schemaText }],
    new Map([["warm", rules]]),
  );
  if (read.kind === "refused") throw new Error("the warm-up's schema is refused");
  return new StoreThread({
    vfs,
    databasePath: "/warm-up.db",
    publicKey: "0".repeat(64),
    node: { name: "warm-up", region: "", zone: "" },
    digestKey: () => new Uint8Array(32),
    schema: read.schema,
    durability: "normal",
    // On a busy machine, too.
    queryTimeoutMs: 60_000,
    statementTimeoutMs: 60_000,
    resultBytesMax: 1024 * 1024,
    nonce: "",
    renewNonce: () => "",
    standsAlone: true,
    log: silent,
    circumstances: { machine: "", file: "", born: "", isBornKnown: false, nonce: "", boot: "" },
    swarm: async () => ({ kind: "stands-alone" }),
    bodiesWaiting: async () => 0,
  });
}

const silent: Log = { error() {}, warn() {}, info() {}, debug() {} };

/** What is done again and again. */
function createStep(store: StoreThread, signal: AbortSignal): (step: number) => Promise<void> {
  const handle = createApi(store.service);
  const post = async (path: string, body: unknown): Promise<ApiResponse> => {
    const response = await handle(new WarmRequest(path, JSON.stringify(body), signal));
    // Else something else would be warm than what is wanted.
    if (response.status !== 200) throw new Error(`${path}: ${response.status}`);
    return response;
  };
  const site = siteOfHex("1".repeat(32));
  const isUp = (step: number) => (step % 3 === 0 ? "down" : "up");
  return async (step) => {
    if (step === 0) void listen((await post("/v1/subscriptions", liveSql)).body);
    const id = `i${step % rows}`;
    const sql =
      step < rows
        ? "INSERT INTO warm (status, service, id) VALUES (?, 's', ?)"
        : "UPDATE warm SET status = ? WHERE id = ?";
    await post("/v1/transactions", [[sql, [isUp(step), id]]]);
    await post("/v1/queries", ["SELECT address, status FROM warm WHERE id = ?", [id]]);
    const stamp = { ms: Date.now(), count: step, site };
    const cells = ["address", "node", "service", "status", "weight"].map((column) => ({
      column,
      stamp,
      value: column === "weight" ? step : column === "status" ? isUp(step + 1) : "s",
    }));
    const key = encodeKey([`r${step % rows}`]) as Uint8Array;
    const row = { table: "warm", key, clock: { ...stamp, cl: 1 }, cells };
    store.request({
      kind: "apply",
      ticket: step,
      lane: 0,
      peer: "2".repeat(64) as PeerId,
      what: "changesets",
      bodies: [encodeChangeset({ stamp, lane: 0, rows: [row] })],
    });
  };
}

/** Reads a stream until the store ends it. */
async function listen(body: Uint8Array | AsyncIterable<Uint8Array>): Promise<void> {
  if (body instanceof Uint8Array) return;
  try {
    for await (const _ of body);
  } catch {
    // It was cut, as streams are at a stop.
  }
}

class WarmRequest implements ApiRequest {
  readonly method = "POST";
  readonly path: string;
  readonly query = "";
  readonly body: Uint8Array;
  readonly signal: AbortSignal;

  constructor(path: string, body: string, signal: AbortSignal) {
    this.path = path;
    this.body = Buffer.from(body);
    this.signal = signal;
  }

  header(name: string): string | undefined {
    return name === "content-type" ? "application/json" : undefined;
  }
}

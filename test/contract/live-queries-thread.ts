/**
 * The store thread that laws of live queries run on, and what a crash leaves of its database.
 *
 * @module
 */

import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { type LiveLimits, liveLimits } from "../../agent/live/live-queries.ts";
import { createLog } from "../../agent/log.ts";
import { readerLimits } from "../../agent/readers/reader-pool.ts";
import { StoreThread } from "../../agent/store/store-thread.ts";
import type { StoreThreadOptions } from "../../agent/store/store-thread-options.ts";
import type { PlannedSchema } from "../../core/schema/schema.ts";
import { FileVfs } from "../../wasm/vfs/file.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";

export type Limits = Partial<Pick<StoreThreadOptions, "liveLimits" | "readerLimits">>;

/** Where the database is, and what a crash leaves of it. */
export interface Disk {
  readonly vfs: MemoryVfs | FileVfs;
  readonly path: string;
  copy(): Disk;
}

/** @param schema asked again at a reload */
export function openThread(schema: () => PlannedSchema, disk: Disk, limits: Limits): StoreThread {
  return new StoreThread({
    vfs: disk.vfs,
    databasePath: disk.path,
    publicKey: "ef".repeat(32),
    node: { name: "n", region: "r", zone: "z" },
    digestKey: () => new Uint8Array(32),
    schema: schema(),
    readSchema: schema,
    durability: "normal",
    // None of it is about time, and a machine may have much else to do.
    queryTimeoutMs: 60_000,
    statementTimeoutMs: 10_000,
    resultBytesMax: 1024 * 1024,
    nonce: "",
    renewNonce: () => "",
    standsAlone: false,
    log: createLog({ level: "warn", format: "text" }),
    circumstances: { machine: "m", file: "f", born: "", isBornKnown: false, nonce: "", boot: "b" },
    swarm: async () => ({ kind: "stands-alone" }),
    bodiesWaiting: async () => 0,
    ...limits,
  });
}

/** What makes rare orders of events common. Which of them a run has its seed says, bit by bit. */
const rareLimits: readonly (readonly [name: string, limits: Partial<LiveLimits>])[] = [
  // In each turn one row is noted, or one query looked at: then most look at several commits at once.
  ["one look a turn", { turnMsMax: 1e-6 }],
  ["commits that wait are one", { noteMsMax: -1 }],
  // What the log lost stands in the rows that are saved.
  ["a short log", { logCharsMax: 3000 }],
  ["short histories", { changesMax: 6 }],
  ["taken up late", { restoreMsMax: -1 }],
];

export function drawnLimits(seed: number): { readonly name: string; readonly limits: LiveLimits } {
  const drawn = rareLimits.filter((_, i) => ((seed >> i) & 1) === 1);
  return {
    name: [`seed ${seed}`, ...drawn.map(([name]) => name)].join(", "),
    limits: Object.assign({ ...liveLimits }, ...drawn.map(([, limits]) => limits)),
  };
}

/** On files there is a reader thread: whatever is run, at first, again or after a crash, is there. */
export const inReaderThread = (limits: LiveLimits): Limits => ({
  readerLimits: { ...readerLimits, tryMs: 0 },
  liveLimits: {
    ...limits,
    lookBudget: { rerun: { ms: 0, bytes: 0 }, lookUpMs: 10 },
    restoreMsMax: 0,
  },
});

export function memoryDisk(vfs = new MemoryVfs()): Disk {
  return {
    vfs,
    path: "/patina.db",
    copy() {
      const copy = new MemoryVfs();
      for (const path of vfs.paths()) copy.write(path, vfs.read(path) as Uint8Array);
      return memoryDisk(copy);
    },
  };
}

export function fileDisk(folder: string, number = 0): Disk {
  const inner = join(folder, String(number));
  mkdirSync(inner);
  const path = join(inner, "patina.db");
  return {
    vfs: new FileVfs(),
    path,
    copy() {
      const copy = fileDisk(folder, number + 1);
      for (const end of ["", "-wal"]) {
        if (existsSync(path + end)) copyFileSync(path + end, copy.path + end);
      }
      return copy;
    },
  };
}

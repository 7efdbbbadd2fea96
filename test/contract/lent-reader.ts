/**
 * A Worker for lent-vfs.test.ts: reads one lent snapshot after another, and says what it saw.
 *
 * @module
 */

import { type Database, openDatabase } from "../../wasm/database.ts";
import { loadSqlite } from "../../wasm/module.ts";
import { LentVfs } from "../../wasm/vfs/lent.ts";
import { snapshotSeen } from "./lent-world.ts";

declare const self: Worker;

const module = loadSqlite();
const vfs = new LentVfs("lent", module.heap);
let database: Database | undefined;

self.onmessage = (event: MessageEvent<{ path: string; regions: Uint8Array[] }>) => {
  const { path, regions } = event.data;
  vfs.lend(regions);
  database ??= openDatabase(path, { vfs, readonly: true });
  const seen: string[] = [];
  // Several times, while the owner commits and checkpoints: it must be the same each time.
  for (let i = 0; i < 3; i++) seen.push(snapshotSeen(database));
  self.postMessage(seen);
};

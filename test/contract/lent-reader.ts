/**
 * A Worker for lent-vfs.test.ts: reads one lent snapshot after another, and says what it saw.
 *
 * @module
 */

import { type Database, openDatabase } from "../../wasm/database.ts";
import { loadSqlite } from "../../wasm/module.ts";
import { type LentFiles, LentVfs } from "../../wasm/vfs/lent.ts";
import { snapshotSeen } from "./lent-world.ts";

declare const self: Worker;

const module = loadSqlite();
let vfs: LentVfs | undefined;
let database: Database | undefined;

interface Loan {
  readonly path: string;
  readonly files: LentFiles;
  readonly regions: readonly Uint8Array[];
}

self.onmessage = (event: MessageEvent<Loan>) => {
  const { path, files, regions } = event.data;
  vfs ??= new LentVfs("lent", module.heap, files);
  vfs.lend(regions);
  database ??= openDatabase(path, { vfs, readonly: true });
  const seen: string[] = [];
  // Several times, while the owner commits and checkpoints: it must be the same each time.
  for (let i = 0; i < 3; i++) seen.push(snapshotSeen(database));
  self.postMessage(seen);
};

/**
 * `patina restore`: puts a backup in the place of the database of an agent that is stopped.
 *
 * @module
 */

import { FileVfs } from "../../../wasm/vfs/file.ts";
import { DataDirectory } from "../../data/data-directory.ts";
import { restore as restoreDatabase } from "../../operations/restore.ts";
import { openCluster } from "../../secrets/agent-secrets.ts";
import { loadConfig } from "../config-source.ts";
import type { GlobalOptions } from "../global-options.ts";
import { print, printDone } from "../output.ts";

export interface RestoreOptions extends GlobalOptions {
  readonly dataDir?: string;
  readonly otherCluster?: boolean;
}

export function restore(file: string, options: RestoreOptions): void {
  process.umask(0o077);
  const config = loadConfig(options.config, { "node.data_dir": options.dataDir });
  const { databasePath } = new DataDirectory(config.node.dataDir);
  const key = options.otherCluster === true ? undefined : openCluster(config)?.digestKey;
  const { bytes, kept } = restoreDatabase(file, databasePath, new FileVfs(), Date.now(), key);
  printDone(
    `but the database was restored${kept === undefined ? "" : `, and ${kept} kept`}`,
    () => {
      if (options.json) {
        print(JSON.stringify({ database: databasePath, bytes, kept: kept ?? null }));
        return;
      }
      print(`${databasePath}: ${bytes} bytes, from ${file}`);
      if (kept !== undefined) {
        print(`what was there before is in ${kept}: remove it when all is well`);
      }
      print("Start the agent: it takes a new site and gets from its peers what the backup lacks.");
    },
  );
}

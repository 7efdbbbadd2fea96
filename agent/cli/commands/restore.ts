/**
 * `patina restore`: puts a backup in the place of the database of an agent that is stopped.
 *
 * @module
 */

import type { PlannedSchema } from "../../../core/schema/schema.ts";
import { FileVfs } from "../../../wasm/vfs/file.ts";
import type { Config } from "../../config/config.ts";
import { readSchemaFiles } from "../../config/schema-files.ts";
import { DataDirectory } from "../../data/data-directory.ts";
import { restore as restoreDatabase } from "../../operations/restore.ts";
import { openCluster } from "../../secrets/agent-secrets.ts";
import { StartFailure } from "../../start-failure.ts";
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
  const checks = {
    digestKey: options.otherCluster === true ? undefined : openCluster(config)?.digestKey,
    schema: schemaOf(config),
  };
  const { bytes, kept } = restoreDatabase(file, databasePath, new FileVfs(), Date.now(), checks);
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

/** Undefined where it can't be seen: a host is restored before all of it is there, perhaps. */
function schemaOf({ schema, tables }: Config): PlannedSchema | undefined {
  if (schema.paths.length === 0) return undefined;
  try {
    return readSchemaFiles(schema.paths, tables);
  } catch (error) {
    if (!(error instanceof StartFailure)) throw error;
    console.error(
      `warning: whether the agent starts with this backup isn't known: ${error.message}`,
    );
    return undefined;
  }
}

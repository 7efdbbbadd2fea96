/**
 * Which keys of the configuration say something else than at the start: a reload doesn't reach them.
 *
 * @module
 */

import { type Config, configWithoutSecrets } from "./config.ts";

/** What a reload does read again; tokens are told one by one. */
const reloaded = new Set(["schema.paths", "api.tokens", "api.tokens_file"]);

/** As a file has them, `node.name`, in the order of the configuration. */
export function changedKeys(before: Config, now: Config): string[] {
  const [old, fresh] = [configValues(before), configValues(now)];
  return [...fresh.keys()].filter((key) => !reloaded.has(key) && old.get(key) !== fresh.get(key));
}

/** Values as JSON, by key; without tables. */
export function configValues(config: Config): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  for (const [section, keys] of Object.entries(configWithoutSecrets(config))) {
    if (section === "tables") continue;
    for (const [key, value] of Object.entries(keys)) {
      values.set(`${section}.${key}`, JSON.stringify(value));
    }
  }
  return values;
}

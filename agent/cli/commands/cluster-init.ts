/**
 * `patina cluster init`: writes the secrets of a new cluster to a file.
 *
 * @module
 */

import { createClusterFile } from "../../secrets/cluster-file.ts";
import { exitCodes, StartFailure } from "../../start-failure.ts";
import type { GlobalOptions } from "../global-options.ts";
import { print, printDone } from "../output.ts";

export function clusterInit(
  file: string,
  options: GlobalOptions & { readonly name: string },
): void {
  process.umask(0o077);
  const made = createClusterFile(file, options.name);
  if (made.kind === "refused") throw new StartFailure(exitCodes.failed, made.why);
  const { name, id } = made.cluster;
  printDone(`but ${file} was made`, () => {
    if (options.json) print(JSON.stringify({ name, id, file }));
    else print(`cluster ${name} (${id}): copy ${file} to every host, mode 0600`);
  });
}

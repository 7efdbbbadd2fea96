/**
 * `patina backup`: copies the database of a running agent into a new file.
 *
 * @module
 */

import { resolve } from "node:path";
import { clientOf } from "../agent-client.ts";
import type { GlobalOptions } from "../global-options.ts";
import { print, printDone } from "../output.ts";
import { Progress } from "../progress.ts";

export async function backup(file: string, options: GlobalOptions): Promise<void> {
  const progress = new Progress(
    options.json ?? false,
    ({ pages, of }) => `${pages} of ${of} pages`,
  );
  // The agent's working folder is another.
  const body = JSON.stringify({ path: resolve(file) });
  const done = await clientOf(options).operate("/v1/backup", body, progress.show);
  progress.end();
  const text = `${done.path}: ${done.bytes} bytes`;
  printDone(`but the backup was made: ${text}`, () => {
    print(options.json ? JSON.stringify(done) : text);
  });
}

/**
 * `patina backup`: copies the database of a running agent into a new file.
 *
 * @module
 */

import { statSync } from "node:fs";
import { resolve } from "node:path";
import { clientOf } from "../agent-client.ts";
import type { GlobalOptions } from "../global-options.ts";
import { print, printDone } from "../output.ts";
import { Progress } from "../progress.ts";
import { Silence } from "../silence.ts";

export async function backup(file: string, options: GlobalOptions): Promise<void> {
  const progress = new Progress(
    options.json ?? false,
    ({ pages, of }) => `${pages} of ${of} pages`,
  );
  // The agent's working folder is another.
  const path = resolve(file);
  const body = JSON.stringify({ path });
  using silence = new Silence();
  const done = await clientOf(options).operate("/v1/backup", body, (line) => {
    silence.end();
    progress.show(line);
  });
  progress.end();
  const text = `${done.path}: ${done.bytes} bytes`;
  printDone(`but the backup was made: ${text}`, () => {
    print(options.json ? JSON.stringify(done) : text);
  });
  if (isMissing(path)) {
    console.error(
      `warning: ${path} isn't there for this command: the agent sees other folders (under PrivateTmp= another /tmp, which is ` +
        "gone when the agent stops): choose one that both see, or fetch it",
    );
  }
}

/** Another refusal than that there is no such file says nothing: the folder may be the agent's alone. */
function isMissing(path: string): boolean {
  try {
    statSync(path);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT";
  }
}

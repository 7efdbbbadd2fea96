/**
 * Runs a command where the repository can't be seen: an executable finds addons and modules through absolute
 * paths of the machine that built it, which works there and nowhere else.
 *
 * @module
 */

import { resolve } from "node:path";

const repository = resolve(import.meta.dir, "../..");
/** Of `unshare`: a mount namespace, as root or as one who becomes root in it. */
export const unshareOptions = process.getuid?.() === 0 ? "-m" : "-rm";

/** Undefined if the tree can be hidden here, else why not. */
export function missingHiding(): string | undefined {
  if (Bun.which("unshare") === null) return "unshare is not installed";
  const { exitCode } = Bun.spawnSync(hideTree(["true"]), { stderr: "ignore" });
  return exitCode === 0 ? undefined : "no mount namespace is allowed here";
}

/** `command` in a mount namespace of its own, with an empty file system over the repository. */
export function hideTree(command: readonly string[]): string[] {
  const script = 'mount -t tmpfs none "$1" && shift && exec "$@"';
  // Whatever it started ends with it.
  const ends = ["--pid", "--fork", "--kill-child", "--mount-proc"];
  return ["unshare", unshareOptions, ...ends, "sh", "-c", script, "sh", repository, ...command];
}

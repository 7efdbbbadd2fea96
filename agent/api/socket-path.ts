/**
 * Makes sure of a Unix socket's path before a server is put there: a live socket is never stolen, a
 * stale one is replaced.
 *
 * Two agents that start at once must not both find the socket stale. So whoever looks holds a lock, on
 * a file beside it (`<socket>.lock`), from before the look until its agent ends; the kernel drops it
 * with the process. The file itself stays: removing it would race with the next one.
 *
 * @module
 */

import * as fs from "node:fs";
import { connect } from "node:net";
import { dirname } from "node:path";
import { lockDatabaseFile } from "../../wasm/vfs/ofd-lock.ts";

/** `sun_path` of sockaddr_un(7), without its zero byte. */
const socketPathBytesMax = 107;

export type SocketClaim =
  /** Keep it as long as the socket is served. */
  | { readonly kind: "claimed"; readonly release: () => void }
  | { readonly kind: "refused"; readonly why: string };

/** Why no socket can have this path; undefined when one can. */
export function problemOfSocketPath(path: string): string | undefined {
  const bytes = Buffer.byteLength(path);
  if (bytes <= socketPathBytesMax) return undefined;
  const limit = `a Unix socket's path has at most ${socketPathBytesMax} bytes, this has ${bytes}`;
  return `socket ${path}: ${limit}: set api.socket to a shorter one`;
}

export async function claimSocketPath(path: string): Promise<SocketClaim> {
  const problem = problemOfSocketPath(path);
  if (problem !== undefined) return { kind: "refused", why: problem };
  let lockFd: number;
  try {
    fs.mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    lockFd = fs.openSync(`${path}.lock`, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const whose = `permission denied: its folder, and ${path}.lock, must be the agent's user's`;
    return { kind: "refused", why: `socket ${path}: ${code === "EACCES" ? whose : message}` };
  }
  const refused = (why: string): SocketClaim => {
    fs.closeSync(lockFd);
    return { kind: "refused", why: `socket ${path}: ${why}` };
  };
  try {
    if (lockDatabaseFile(lockFd, true).kind !== "locked") {
      return refused("another agent serves it: stop that one, or set api.socket to another path");
    }
  } catch (error) {
    return refused(`it can't be locked: ${(error as Error).message}`);
  }
  const found = await probe(path);
  switch (found) {
    case "live":
      return refused("another program listens on it: set api.socket to another path");
    case "other":
      return refused("there is something that isn't a socket: remove it, or set api.socket");
    case "stale":
      fs.unlinkSync(path);
      break;
    case "none":
      break;
    default:
      return refused(found.why);
  }
  return { kind: "claimed", release: () => fs.closeSync(lockFd) };
}

async function probe(
  path: string,
): Promise<"none" | "stale" | "live" | "other" | { readonly why: string }> {
  try {
    if (!fs.lstatSync(path).isSocket()) return "other";
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === "ENOENT" ? "none" : { why: message };
  }
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.on("connect", () => {
      socket.destroy();
      resolve("live");
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED") resolve("stale");
      else if (error.code === "ENOENT") resolve("none");
      else resolve({ why: error.message });
    });
  });
}

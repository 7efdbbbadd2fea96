/**
 * What it takes for a small file to be there after a power cut: all of its bytes, the file's sync, and that of the folder
 * which has its name.
 *
 * @module
 */

import * as fs from "node:fs";
import { dirname, resolve } from "node:path";

/** Writes all of `text` from the file's beginning, however little the disk takes at a time. @throws what the system says */
export function writeWhole(fd: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) {
    const written = fs.writeSync(fd, bytes, at, bytes.length - at, at);
    if (written === 0) throw Object.assign(new Error("nothing was written"), { code: "ENOSPC" });
    at += written;
  }
}

/** The name of `path` survives the loss of power from here on. @throws what the system says */
export function syncFolderOf(path: string): void {
  let fd: number;
  try {
    fd = fs.openSync(dirname(resolve(path)), fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
  } catch (error) {
    // Of a folder that others own, names may be looked up and the folder not be read.
    if (hasCode(error, "EACCES", "EPERM")) return;
    throw error;
  }
  try {
    fs.fsyncSync(fd);
  } catch (error) {
    // Some file systems sync no folders.
    if (!hasCode(error, "EINVAL", "ENOTSUP")) throw error;
  } finally {
    fs.closeSync(fd);
  }
}

/** Makes a folder and those above it, all of them on the disk when this returns. @throws what the system says */
export function makeFolder(path: string, mode: number): void {
  const first = fs.mkdirSync(path, { recursive: true, mode });
  if (first === undefined) return;
  for (let made = resolve(path); made.length >= first.length; made = dirname(made)) {
    syncFolderOf(made);
  }
}

function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return codes.includes((error as NodeJS.ErrnoException).code ?? "");
}

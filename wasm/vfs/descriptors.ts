/**
 * Opens files as SQLite's flags say, and makes names last.
 *
 * @module
 */

import { constants } from "node:fs";
import * as path from "node:path";
import {
  SQLITE_CANTOPEN,
  SQLITE_CANTOPEN_ISDIR,
  SQLITE_IOERR_DIR_FSYNC,
  SQLITE_OPEN_CREATE,
  SQLITE_OPEN_EXCLUSIVE,
  SQLITE_OPEN_READWRITE,
  SQLITE_READONLY_DIRECTORY,
} from "../constants.ts";
import type { FileSystem } from "./file-system.ts";
import { codeOf, systemFailure } from "./vfs-error.ts";

/** As SQLite's own VFS does, a file that is there and can't be written is opened for reading. */
export function openDescriptor(
  fs: FileSystem,
  name: string,
  flags: number,
): { fd: number; readonly: boolean } {
  if ((flags & SQLITE_OPEN_READWRITE) === 0) return openForReading(fs, name);
  const create = (flags & SQLITE_OPEN_CREATE) !== 0 ? constants.O_CREAT : 0;
  const exclusive = (flags & SQLITE_OPEN_EXCLUSIVE) !== 0 ? constants.O_EXCL : 0;
  const created = create !== 0 && !fs.exists(name);
  try {
    const fd = fs.open(name, constants.O_RDWR | create | exclusive, 0o666);
    return { fd, readonly: false };
  } catch (thrown) {
    const code = codeOf(thrown);
    if (code === "EISDIR") throw systemFailure(SQLITE_CANTOPEN_ISDIR, "open", name, thrown);
    // EPERM: of a file or a folder that was made immutable.
    const isDenied = code === "EACCES" || code === "EROFS" || code === "EPERM";
    if (created && isDenied) throw systemFailure(SQLITE_READONLY_DIRECTORY, "create", name, thrown);
    if (isDenied && exclusive === 0) return openForReading(fs, name);
    throw systemFailure(SQLITE_CANTOPEN, "open", name, thrown);
  }
}

function openForReading(fs: FileSystem, name: string): { fd: number; readonly: true } {
  try {
    return { fd: fs.open(name, constants.O_RDONLY, 0), readonly: true };
  } catch (thrown) {
    throw systemFailure(SQLITE_CANTOPEN, "open", name, thrown);
  }
}

/** Syncs the directory that `name` is in: its name is on the disk then. */
export function syncDirectoryOf(fs: FileSystem, name: string): void {
  const directory = path.dirname(name);
  try {
    const fd = fs.open(directory, constants.O_RDONLY | constants.O_DIRECTORY, 0);
    try {
      fs.fsync(fd);
    } finally {
      fs.close(fd);
    }
  } catch (thrown) {
    throw systemFailure(SQLITE_IOERR_DIR_FSYNC, "fsync", directory, thrown);
  }
}

/** The same on a thread of its own. */
export async function syncDirectoryLater(fs: FileSystem, name: string): Promise<void> {
  const directory = path.dirname(name);
  try {
    const fd = fs.open(directory, constants.O_RDONLY | constants.O_DIRECTORY, 0);
    try {
      await fs.fsyncLater(fd);
    } finally {
      fs.close(fd);
    }
  } catch (thrown) {
    throw systemFailure(SQLITE_IOERR_DIR_FSYNC, "fsync", directory, thrown);
  }
}

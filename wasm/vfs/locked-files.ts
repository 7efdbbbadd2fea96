/**
 * Database files that this thread has open, and how other processes are kept out of them.
 *
 * WAL coordinates its users through the wal-index, which for all connections of this process is a
 * piece of the wasm heap (shared-file.ts). A process that can't see it, another agent or a
 * `sqlite3` shell, must therefore not get in at all, not even to read: it would make a wal-index of
 * its own and overwrite what ours still needs. So the first open of a database takes an exclusive
 * lock of the operating system on the whole range that SQLite's own unix VFS locks (ofd-lock.ts),
 * and keeps it until the last connection is closed. Others get "database is locked", and we get it,
 * with the holder's process id where the kernel knows it, when they were first. Lock levels between
 * the connections of this process never reach the operating system.
 *
 * The lock belongs to a descriptor that nothing else uses, one for each (device, inode), so that two
 * paths to one file are one database. A file that may only be read is locked for reading, which
 * keeps other agents out but not a `sqlite3` that reads; who can't write it can't harm it.
 *
 * @module
 */

import { constants } from "node:fs";
import { SQLITE_BUSY, SQLITE_CANTOPEN } from "../constants.ts";
import type { FileSystem } from "./file-system.ts";
import { SharedFile } from "./shared-file.ts";
import { VfsError } from "./vfs-error.ts";

/** What this process knows of one database file, by (device, inode). */
export interface LockedFile {
  readonly shared: SharedFile;
  /** Holds the operating system's lock and is used for nothing else. */
  readonly lockFd: number;
  /** Whether that lock is exclusive. */
  readonly exclusive: boolean;
  /** Open connections. */
  count: number;
}

/**
 * For all of this thread: locks belong to files, not to VFS objects. (Two threads exclude each
 * other like two processes: each has its own wasm heap.)
 */
const lockedFiles = new Map<string, LockedFile>();

export function lockedFile(key: string): LockedFile | undefined {
  return lockedFiles.get(key);
}

/** Joins the connections that this process has to the file, or is the first and locks it. */
export function lockFile(fs: FileSystem, key: string, name: string, writable: boolean): LockedFile {
  const known = lockedFiles.get(key);
  if (known !== undefined && (known.exclusive || !writable)) {
    known.count += 1;
    return known;
  }
  if (known !== undefined) {
    // Opened for reading first, by one that wasn't allowed to write; now it is, or another is.
    throw new VfsError(SQLITE_BUSY, `${name}: this process has it open for reading only`);
  }
  const { fd, exclusive } = openForLock(fs, name, writable);
  try {
    if (fs.identity(fd) !== key) {
      throw new VfsError(SQLITE_CANTOPEN, `${name}: was replaced while it was being opened`);
    }
    const attempt = fs.lock(fd, exclusive);
    if (attempt.kind === "held") {
      const holder = attempt.pid === null ? "another agent" : `process ${attempt.pid}`;
      throw new VfsError(SQLITE_BUSY, `${name}: ${holder} has it open`);
    }
  } catch (thrown) {
    fs.close(fd);
    throw thrown;
  }
  const locked = { shared: new SharedFile(), lockFd: fd, exclusive, count: 1 };
  lockedFiles.set(key, locked);
  return locked;
}

/** An exclusive lock needs a descriptor that may write, also when the database is only read. */
function openForLock(
  fs: FileSystem,
  name: string,
  writable: boolean,
): { fd: number; exclusive: boolean } {
  try {
    return { fd: fs.open(name, constants.O_RDWR, 0), exclusive: true };
  } catch (thrown) {
    if (writable) throw thrown;
    return { fd: fs.open(name, constants.O_RDONLY, 0), exclusive: false };
  }
}

/** One connection less; after the last one others may open it. */
export function unlockFile(fs: FileSystem, key: string): void {
  const locked = lockedFiles.get(key) as LockedFile;
  locked.count -= 1;
  if (locked.count > 0) return;
  lockedFiles.delete(key);
  fs.close(locked.lockFd);
}

/**
 * Database files on a real disk.
 *
 * **Other processes are kept out.** WAL coordinates its users through the wal-index, which for all
 * connections of this process is a piece of the wasm heap (shared-file.ts). A process that can't see
 * it, another agent or a `sqlite3` shell, must therefore not get in at all, not even to read: it
 * would make a wal-index of its own and overwrite what ours still needs. So the first open of a
 * database takes an exclusive lock of the operating system on the whole range that SQLite's own unix
 * VFS locks (ofd-lock.ts), and keeps it until the last connection is closed. Others get "database is
 * locked", and we get it, with the holder's process id where the kernel knows it, when they were
 * first. Lock levels between the connections of this process never reach the operating system.
 *
 * The lock belongs to a descriptor that nothing else uses, one for each (device, inode), so that two
 * paths to one file are one database. A file that may only be read is locked for reading, which
 * keeps other agents out but not a `sqlite3` that reads; who can't write it can't harm it.
 *
 * **Durability.** `xSync` is fdatasync; a file made here has its directory synced with its first
 * sync, and a deletion syncs the directory if SQLite asks for it. Errors keep the errno and name the
 * call and the file.
 *
 * @module
 */

import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import {
  SQLITE_ACCESS_READWRITE,
  SQLITE_BUSY,
  SQLITE_CANTOPEN,
  SQLITE_CANTOPEN_ISDIR,
  SQLITE_FULL,
  SQLITE_IOERR_ACCESS,
  SQLITE_IOERR_CLOSE,
  SQLITE_IOERR_DELETE,
  SQLITE_IOERR_DIR_FSYNC,
  SQLITE_IOERR_FSTAT,
  SQLITE_IOERR_FSYNC,
  SQLITE_IOERR_READ,
  SQLITE_IOERR_TRUNCATE,
  SQLITE_IOERR_WRITE,
  SQLITE_OPEN_CREATE,
  SQLITE_OPEN_DELETEONCLOSE,
  SQLITE_OPEN_EXCLUSIVE,
  SQLITE_OPEN_MAIN_DB,
  SQLITE_OPEN_READONLY,
  SQLITE_OPEN_READWRITE,
  SQLITE_READONLY_DIRECTORY,
} from "../constants.ts";
import { lockDatabaseFile } from "./ofd-lock.ts";
import { SharedFile } from "./shared-file.ts";
import { type OpenedFile, type Vfs, VfsError, type VfsFile } from "./vfs.ts";

const { constants } = fs;

/** What this process knows of one database file, by (device, inode). */
interface LockedFile {
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

let temporaryFiles = 0;
let named = 0;

export class FileVfs implements Vfs {
  readonly name: string;

  /** @param name default: `file-1`, `file-2` and so on */
  constructor(name?: string) {
    named += 1;
    this.name = name ?? `file-${named}`;
  }

  xOpen(name: string | null, flags: number): OpenedFile {
    if (name === null) return this.#openTemporary(flags);
    const { fd, readonly, created } = openDescriptor(name, flags);
    try {
      const key = keyOf(fs.fstatSync(fd, { bigint: true }));
      const isDatabase = (flags & SQLITE_OPEN_MAIN_DB) !== 0;
      const locked = isDatabase ? lock(key, name, !readonly) : null;
      const file = new FileHandle(this, name, fd, key, flags, locked, created);
      const access = readonly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
      return { file, flags: (flags & ~(SQLITE_OPEN_READONLY | SQLITE_OPEN_READWRITE)) | access };
    } catch (thrown) {
      fs.closeSync(fd);
      throw thrown instanceof VfsError ? thrown : failure(SQLITE_CANTOPEN, "open", name, thrown);
    }
  }

  /** Has no name a moment later, so that it is gone when the process is. */
  #openTemporary(flags: number): OpenedFile {
    temporaryFiles += 1;
    const name = path.join(os.tmpdir(), `patina-${process.pid}-${temporaryFiles}-${Date.now()}`);
    try {
      const fd = fs.openSync(name, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
      fs.unlinkSync(name);
      const kept = flags & ~SQLITE_OPEN_DELETEONCLOSE;
      return { file: new FileHandle(this, name, fd, "", kept, null, false), flags };
    } catch (thrown) {
      throw failure(SQLITE_CANTOPEN, "create", name, thrown);
    }
  }

  xDelete(name: string, syncDirectory: boolean): boolean {
    try {
      fs.unlinkSync(name);
    } catch (thrown) {
      if (codeOf(thrown) === "ENOENT") return false;
      throw failure(SQLITE_IOERR_DELETE, "unlink", name, thrown);
    }
    if (syncDirectory) syncDirectoryOf(name);
    return true;
  }

  xAccess(name: string, flags: number): boolean {
    try {
      if (flags === SQLITE_ACCESS_READWRITE) {
        fs.accessSync(name, constants.R_OK | constants.W_OK);
        return true;
      }
      // An empty file counts as none, as in SQLite's own VFS: a journal cut off at its creation.
      return fs.statSync(name).size > 0;
    } catch (thrown) {
      const code = codeOf(thrown);
      if (code === "ENOENT" || code === "EACCES" || code === "EROFS" || code === "ENOTDIR") {
        return false;
      }
      throw failure(SQLITE_IOERR_ACCESS, "stat", name, thrown);
    }
  }

  xFullPathname(name: string): string {
    return path.resolve(name);
  }

  xRandomness(into: Uint8Array): void {
    // Not straight into the heap: `getRandomValues` takes at most 65,536 bytes, and any view.
    crypto.getRandomValues(into);
  }

  xCurrentTimeMs(): number {
    return Date.now();
  }

  xSleep(microseconds: number): void {
    Bun.sleepSync(Math.ceil(microseconds / 1000));
  }
}

class FileHandle implements VfsFile {
  readonly shared: SharedFile | null;
  readonly #vfs: FileVfs;
  readonly #name: string;
  readonly #fd: number;
  /** (device, inode). */
  readonly #key: string;
  readonly #flags: number;
  /** The file was made here: its name isn't safe before its directory is synced. */
  #directorySyncDue: boolean;

  constructor(
    vfs: FileVfs,
    name: string,
    fd: number,
    key: string,
    flags: number,
    locked: LockedFile | null,
    created: boolean,
  ) {
    this.#vfs = vfs;
    this.#name = name;
    this.#fd = fd;
    this.#key = key;
    this.#flags = flags;
    this.shared = locked?.shared ?? null;
    this.#directorySyncDue = created;
  }

  xClose(): void {
    try {
      fs.closeSync(this.#fd);
    } catch (thrown) {
      throw failure(SQLITE_IOERR_CLOSE, "close", this.#name, thrown);
    } finally {
      if (this.shared !== null) unlock(this.#key);
    }
    if ((this.#flags & SQLITE_OPEN_DELETEONCLOSE) !== 0) this.#vfs.xDelete(this.#name, false);
  }

  xRead(heap: Uint8Array, pointer: number, bytes: number, offset: number): number {
    try {
      let done = fs.readSync(this.#fd, heap, pointer, bytes, offset);
      while (done < bytes) {
        const more = fs.readSync(this.#fd, heap, pointer + done, bytes - done, offset + done);
        if (more === 0) break;
        done += more;
      }
      return done;
    } catch (thrown) {
      throw failure(SQLITE_IOERR_READ, "read", this.#name, thrown);
    }
  }

  xWrite(heap: Uint8Array, pointer: number, bytes: number, offset: number): void {
    try {
      let done = 0;
      while (done < bytes) {
        const more = fs.writeSync(this.#fd, heap, pointer + done, bytes - done, offset + done);
        if (more === 0) throw Object.assign(new Error("nothing was written"), { code: "ENOSPC" });
        done += more;
      }
    } catch (thrown) {
      const code = codeOf(thrown);
      const isFull = code === "ENOSPC" || code === "EDQUOT" || code === "EFBIG";
      throw failure(isFull ? SQLITE_FULL : SQLITE_IOERR_WRITE, "write", this.#name, thrown);
    }
  }

  xTruncate(bytes: number): void {
    try {
      fs.ftruncateSync(this.#fd, bytes);
    } catch (thrown) {
      throw failure(SQLITE_IOERR_TRUNCATE, "ftruncate", this.#name, thrown);
    }
  }

  xSync(): void {
    try {
      fs.fdatasyncSync(this.#fd);
    } catch (thrown) {
      throw failure(SQLITE_IOERR_FSYNC, "fdatasync", this.#name, thrown);
    }
    if (this.#directorySyncDue) {
      syncDirectoryOf(this.#name);
      this.#directorySyncDue = false;
    }
  }

  xFileSize(): number {
    try {
      return fs.fstatSync(this.#fd).size;
    } catch (thrown) {
      throw failure(SQLITE_IOERR_FSTAT, "fstat", this.#name, thrown);
    }
  }

  hasMoved(): boolean {
    try {
      return keyOf(fs.statSync(this.#name, { bigint: true })) !== this.#key;
    } catch {
      return true;
    }
  }
}

/** As SQLite's own VFS does, a file that is there and can't be written is opened for reading. */
function openDescriptor(
  name: string,
  flags: number,
): { fd: number; readonly: boolean; created: boolean } {
  if ((flags & SQLITE_OPEN_READWRITE) === 0) return openForReading(name);
  const create = (flags & SQLITE_OPEN_CREATE) !== 0 ? constants.O_CREAT : 0;
  const exclusive = (flags & SQLITE_OPEN_EXCLUSIVE) !== 0 ? constants.O_EXCL : 0;
  const created = create !== 0 && !fs.existsSync(name);
  try {
    const fd = fs.openSync(name, constants.O_RDWR | create | exclusive, 0o666);
    return { fd, readonly: false, created };
  } catch (thrown) {
    const code = codeOf(thrown);
    if (code === "EISDIR") throw failure(SQLITE_CANTOPEN_ISDIR, "open", name, thrown);
    const isDenied = code === "EACCES" || code === "EROFS";
    if (created && isDenied) throw failure(SQLITE_READONLY_DIRECTORY, "create", name, thrown);
    if (isDenied && exclusive === 0) return openForReading(name);
    throw failure(SQLITE_CANTOPEN, "open", name, thrown);
  }
}

function openForReading(name: string): { fd: number; readonly: true; created: false } {
  try {
    return { fd: fs.openSync(name, constants.O_RDONLY), readonly: true, created: false };
  } catch (thrown) {
    throw failure(SQLITE_CANTOPEN, "open", name, thrown);
  }
}

/** Joins the connections that this process has to the file, or is the first and locks it. */
function lock(key: string, name: string, writable: boolean): LockedFile {
  const known = lockedFiles.get(key);
  if (known !== undefined && (known.exclusive || !writable)) {
    known.count += 1;
    return known;
  }
  if (known !== undefined) {
    // Opened for reading first, by one that wasn't allowed to write; now it is, or another is.
    throw new VfsError(SQLITE_BUSY, `${name}: this process has it open for reading only`);
  }
  const { fd, exclusive } = openForLock(name, writable);
  try {
    if (keyOf(fs.fstatSync(fd, { bigint: true })) !== key) {
      throw new VfsError(SQLITE_CANTOPEN, `${name}: was replaced while it was being opened`);
    }
    const attempt = lockDatabaseFile(fd, exclusive);
    if (attempt.kind === "held") {
      const holder = attempt.pid === null ? "another agent" : `process ${attempt.pid}`;
      throw new VfsError(SQLITE_BUSY, `${name}: ${holder} has it open`);
    }
  } catch (thrown) {
    fs.closeSync(fd);
    throw thrown;
  }
  const locked = { shared: new SharedFile(), lockFd: fd, exclusive, count: 1 };
  lockedFiles.set(key, locked);
  return locked;
}

/** An exclusive lock needs a descriptor that may write, also when the database is only read. */
function openForLock(name: string, writable: boolean): { fd: number; exclusive: boolean } {
  try {
    return { fd: fs.openSync(name, constants.O_RDWR), exclusive: true };
  } catch (thrown) {
    if (writable) throw thrown;
    return { fd: fs.openSync(name, constants.O_RDONLY), exclusive: false };
  }
}

function unlock(key: string): void {
  const locked = lockedFiles.get(key) as LockedFile;
  locked.count -= 1;
  if (locked.count > 0) return;
  lockedFiles.delete(key);
  fs.closeSync(locked.lockFd);
}

function keyOf(inode: fs.BigIntStats): string {
  return `${inode.dev}:${inode.ino}`;
}

function syncDirectoryOf(name: string): void {
  const directory = path.dirname(name);
  try {
    const fd = fs.openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
  } catch (thrown) {
    throw failure(SQLITE_IOERR_DIR_FSYNC, "fsync", directory, thrown);
  }
}

function codeOf(thrown: unknown): string | undefined {
  return (thrown as { code?: string } | null)?.code;
}

function failure(code: number, call: string, name: string, thrown: unknown): VfsError {
  const errno = Math.abs((thrown as { errno?: number } | null)?.errno ?? 0);
  const reason = codeOf(thrown) ?? (thrown instanceof Error ? thrown.message : String(thrown));
  return new VfsError(code, `${call} ${name}: ${reason}`, errno);
}

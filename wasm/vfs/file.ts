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
 * **Durability.** `xSync` is fdatasync. The first one of a handle that might have made the file also
 * syncs the directory, even if the file was there already: whoever made it may have died before its
 * name was safe. A deletion syncs the directory if SQLite asks for it. Errors keep the errno and name
 * the call and the file.
 *
 * **After a failed fdatasync of a WAL** Linux has forgotten which of its pages aren't on the disk, and
 * the next fdatasync succeeds without them; Btrfs even takes them back. A checkpoint that relied on
 * it would overwrite the database from frames that a power cut takes away. So the WAL refuses writes
 * and syncs from then on, whatever they would say, until the last connection has closed it. Who opens
 * it next reads it and writes all of it again before SQLite looks at it: what it then finds valid by its
 * checksums is dirty, so the next sync takes it to the disk or fails, and whatever relies on the WAL (an
 * acknowledged commit, a checkpoint) syncs it first. Reads go on meanwhile; where the file system
 * takes pages back they may fail or be wrong, so the agent should not live on. (A failed sync of the
 * database itself needs none of this: a checkpoint that failed is done again from the same frames.)
 *
 * @module
 */

import { constants } from "node:fs";
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
  SQLITE_OPEN_WAL,
  SQLITE_READONLY_DIRECTORY,
} from "../constants.ts";
import { Owed } from "./checkpoint-sync.ts";
import { CopyAhead } from "./copy-ahead.ts";
import { EarlyWriteback } from "./early-writeback.ts";
import { type FileSystem, systemFiles } from "./file-system.ts";
import { FrameBuffer } from "./frame-buffer.ts";
import { SharedFile } from "./shared-file.ts";
import type { CheckpointSync, OpenedFile, Vfs, VfsFile, WalSync } from "./vfs.ts";
import { VfsError } from "./vfs-error.ts";

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

/** What this process knows of one WAL. */
interface OpenWal {
  /** Open handles. */
  count: number;
  /** What its database owes the disk. */
  readonly owed: Owed;
  /** Why it may not be relied on; null while it may. */
  failure: string | null;
}

const walSuffix = "-wal";

/** By disk and path of the database: its WAL comes and goes. */
const owedByDisk = new WeakMap<FileSystem, Map<string, Owed>>();

function owedOf(fs: FileSystem, databasePath: string): Owed {
  let byPath = owedByDisk.get(fs);
  if (byPath === undefined) {
    byPath = new Map();
    owedByDisk.set(fs, byPath);
  }
  let owed = byPath.get(databasePath);
  if (owed === undefined) {
    owed = new Owed();
    byPath.set(databasePath, owed);
  }
  return owed;
}

/** By (device, inode). */
const openWals = new Map<string, OpenWal>();

const REWRITE_BYTES = 1024 * 1024;

let temporaryFiles = 0;
let named = 0;

export class FileVfs implements Vfs {
  readonly name: string;
  /**
   * Told once for each WAL that may not be relied on any more: a sync of it failed, and it refuses
   * writes until the database is opened anew. Only a restart of the process mends that.
   */
  onSyncFailed: ((path: string, why: string) => void) | undefined;
  readonly #fs: FileSystem;

  /**
   * @param name default: `file-1`, `file-2` and so on
   * @param fileSystem default: the operating system's
   */
  constructor(name?: string, fileSystem: FileSystem = systemFiles) {
    named += 1;
    this.name = name ?? `file-${named}`;
    this.#fs = fileSystem;
  }

  xOpen(name: string | null, flags: number): OpenedFile {
    if (name === null) return this.#openTemporary(flags);
    const fs = this.#fs;
    const { fd, readonly } = openDescriptor(fs, name, flags);
    try {
      const key = fs.identity(fd);
      const isDatabase = (flags & SQLITE_OPEN_MAIN_DB) !== 0;
      const locked = isDatabase ? lock(fs, key, name, !readonly) : null;
      const wal = (flags & SQLITE_OPEN_WAL) !== 0 ? joinWal(fs, key, fd, name, !readonly) : null;
      const mayHaveMade = (flags & SQLITE_OPEN_CREATE) !== 0 && !readonly;
      const file = new FileHandle(this, fs, name, fd, key, flags, locked, wal, mayHaveMade);
      const access = readonly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
      return { file, flags: (flags & ~(SQLITE_OPEN_READONLY | SQLITE_OPEN_READWRITE)) | access };
    } catch (thrown) {
      fs.close(fd);
      throw thrown instanceof VfsError ? thrown : failure(SQLITE_CANTOPEN, "open", name, thrown);
    }
  }

  /**
   * A copy of the wal-index of an open database, to be lent to another thread (lent.ts). It stays true for as long as
   * a connection of this thread is in a read transaction that was begun in the same turn.
   *
   * @param heap of the connections
   */
  copyWalIndex(name: string, heap: Uint8Array): Uint8Array<ArrayBuffer>[] {
    return lockedFiles.get(this.#fs.identityOf(name))?.shared.copyWalIndex(heap) ?? [];
  }

  /** Has no name a moment later, so that it is gone when the process is. */
  #openTemporary(flags: number): OpenedFile {
    temporaryFiles += 1;
    const name = path.join(os.tmpdir(), `patina-${process.pid}-${temporaryFiles}-${Date.now()}`);
    try {
      const fs = this.#fs;
      const fd = fs.open(name, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
      fs.unlink(name);
      const kept = flags & ~SQLITE_OPEN_DELETEONCLOSE;
      return { file: new FileHandle(this, fs, name, fd, "", kept, null, null, false), flags };
    } catch (thrown) {
      throw failure(SQLITE_CANTOPEN, "create", name, thrown);
    }
  }

  xDelete(name: string, syncDirectory: boolean): boolean {
    if (name.endsWith(walSuffix)) this.payOwed(name.slice(0, -walSuffix.length));
    try {
      this.#fs.unlink(name);
    } catch (thrown) {
      if (codeOf(thrown) === "ENOENT") return false;
      throw failure(SQLITE_IOERR_DELETE, "unlink", name, thrown);
    }
    if (syncDirectory) syncDirectoryOf(this.#fs, name);
    return true;
  }

  xAccess(name: string, flags: number): boolean {
    try {
      if (flags === SQLITE_ACCESS_READWRITE) {
        this.#fs.access(name, constants.R_OK | constants.W_OK);
        return true;
      }
      // An empty file counts as none, as in SQLite's own VFS: a journal cut off at its creation.
      return this.#fs.sizeOf(name) > 0;
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

  /** By a descriptor of its own: any of a file's syncs all of it, and each is told of a failure once. */
  openWalSync(databasePath: string): WalSync {
    const fs = this.#fs;
    const name = `${this.xFullPathname(databasePath)}-wal`;
    const fd = openDescriptor(fs, name, SQLITE_OPEN_READWRITE).fd;
    const wal = openWals.get(fs.identity(fd));
    let isNamed = false;
    return {
      sync: async () => {
        try {
          await fs.fdatasyncLater(fd);
        } catch (thrown) {
          throw this.syncFailed(name, wal ?? null, thrown);
        }
        // Another descriptor's may have failed meanwhile, and the kernel has told only that one.
        if (wal !== undefined && wal.failure !== null) throw distrusted(name, wal.failure);
        if (isNamed) return;
        // Once, of its name as well: whoever made the file may have died before that was safe.
        await syncDirectoryLater(fs, name);
        isNamed = true;
      },
      close: () => fs.close(fd),
    };
  }

  /** By descriptors of its own, as {@link openWalSync}. */
  openCheckpointSync(databasePath: string): CheckpointSync {
    const fs = this.#fs;
    const name = this.xFullPathname(databasePath);
    const owed = owedOf(fs, name);
    const walSync = this.openWalSync(databasePath);
    const { fd } = openDescriptor(fs, name, SQLITE_OPEN_READWRITE);
    const walFd = openDescriptor(fs, `${name}${walSuffix}`, SQLITE_OPEN_READWRITE).fd;
    owed.descriptor = fd;
    return {
      syncWal: walSync.sync,
      withoutSyncs: (checkpoint, ahead) => owed.withoutSyncs(checkpoint, ahead),
      copyAhead: (heap, lastFrame) => {
        const { shared } = lockedFiles.get(fs.identity(fd)) as LockedFile;
        const toCopy = shared.framesToCopy(heap, lastFrame);
        return toCopy === undefined ? undefined : new CopyAhead(fs, walFd, fd, toCopy);
      },
      syncDatabase: async () => {
        const paid = owed.begin();
        try {
          await fs.fdatasyncLater(fd);
        } catch (thrown) {
          throw this.#databaseSyncFailed(name, thrown);
        }
        paid();
      },
      shortenWal: (usedBytes, cutBytesMax) => {
        const bytes = fs.size(walFd);
        if (bytes <= usedBytes + cutBytesMax) return false;
        fs.ftruncate(walFd, bytes - cutBytesMax);
        return true;
      },
      close: () => {
        walSync.close();
        owed.descriptor = undefined;
        fs.close(fd);
        fs.close(walFd);
      },
    };
  }

  /** The WAL of a database is about to go or to begin anew: what its checkpoints wrote has to be on the disk. */
  payOwed(databasePath: string): void {
    const owed = owedOf(this.#fs, databasePath);
    if (!owed.owes) return;
    const paid = owed.begin();
    try {
      const known = owed.descriptor;
      const fd = known ?? openDescriptor(this.#fs, databasePath, SQLITE_OPEN_READWRITE).fd;
      try {
        this.#fs.fdatasync(fd);
      } finally {
        if (known === undefined) this.#fs.close(fd);
      }
    } catch (thrown) {
      throw this.#databaseSyncFailed(databasePath, thrown);
    }
    paid();
  }

  /** Of a sync that was owed. It counts as one of the WAL's: see `checkpoint-sync.ts`. */
  #databaseSyncFailed(databasePath: string, thrown: unknown): VfsError {
    const name = `${databasePath}${walSuffix}`;
    return this.syncFailed(name, openWalOf(this.#fs, name), thrown);
  }

  /** Takes note of a failed sync, and gives the error for it. */
  syncFailed(name: string, wal: OpenWal | null, thrown: unknown): VfsError {
    if (wal !== null && wal.failure === null) {
      wal.failure = reasonOf(thrown);
      this.onSyncFailed?.(name, wal.failure);
    }
    return failure(SQLITE_IOERR_FSYNC, "fdatasync", name, thrown);
  }
}

class FileHandle implements VfsFile {
  readonly shared: SharedFile | null;
  readonly #vfs: FileVfs;
  readonly #fs: FileSystem;
  readonly #name: string;
  readonly #fd: number;
  /** (device, inode). */
  readonly #key: string;
  readonly #flags: number;
  readonly #wal: OpenWal | null;
  /** The file may have been made here: its name isn't safe before its directory is synced. */
  #directorySyncDue: boolean;
  /** Of a WAL: frames of a transaction that isn't committed yet (frame-buffer.ts). */
  readonly #frames: FrameBuffer | null;
  /** Of a database and its WAL. */
  readonly #writeback: EarlyWriteback | null;
  readonly #databasePath: string;
  /** Of a database and its WAL. */
  readonly #owed: Owed | undefined;
  /** Where the last call read, if that was the last call: what SQLite writes there it writes again. */
  #readAt = -1;

  constructor(
    vfs: FileVfs,
    fs: FileSystem,
    name: string,
    fd: number,
    key: string,
    flags: number,
    locked: LockedFile | null,
    wal: OpenWal | null,
    mayHaveMade: boolean,
  ) {
    this.#vfs = vfs;
    this.#fs = fs;
    this.#name = name;
    this.#fd = fd;
    this.#key = key;
    this.#flags = flags;
    this.shared = locked?.shared ?? null;
    this.#wal = wal;
    this.#frames = wal === null ? null : new FrameBuffer();
    this.#writeback =
      wal === null && locked === null ? null : new EarlyWriteback(fs.beginWriteback);
    this.#databasePath = wal === null ? name : name.slice(0, -walSuffix.length);
    this.#owed = wal?.owed ?? (locked === null ? undefined : owedOf(fs, name));
    this.#directorySyncDue = mayHaveMade;
  }

  xClose(): void {
    try {
      // What waits was never committed.
      this.#fs.close(this.#fd);
    } catch (thrown) {
      throw failure(SQLITE_IOERR_CLOSE, "close", this.#name, thrown);
    } finally {
      if (this.shared !== null) unlock(this.#fs, this.#key);
      if (this.#wal !== null) leaveWal(this.#key, this.#wal);
    }
    if ((this.#flags & SQLITE_OPEN_DELETEONCLOSE) !== 0) this.#vfs.xDelete(this.#name, false);
  }

  xRead(heap: Uint8Array, pointer: number, bytes: number, offset: number): number {
    // Only what is asked for: what waits may be of a transaction that was rolled back because the disk is full.
    if (this.#frames?.overlaps(bytes, offset) === true) this.#writeFrames();
    this.#readAt = offset;
    if (this.#wal !== null && this.#owed?.ahead?.skipsRead(bytes, offset) === true) return bytes;
    try {
      let done = this.#fs.pread(this.#fd, heap, pointer, bytes, offset);
      while (done < bytes) {
        const more = this.#fs.pread(this.#fd, heap, pointer + done, bytes - done, offset + done);
        if (more === 0) break;
        done += more;
      }
      return done;
    } catch (thrown) {
      throw failure(SQLITE_IOERR_READ, "read", this.#name, thrown);
    }
  }

  xWrite(heap: Uint8Array, pointer: number, bytes: number, offset: number): void {
    this.#refuseDistrusted();
    // Its header: it begins anew.
    if (offset === 0 && this.#wal !== null) this.#vfs.payOwed(this.#databasePath);
    const frames = this.#frames;
    if (frames === null) {
      if (this.#owed?.ahead?.skipsWrite(heap, pointer, bytes, offset) === true) return;
      this.#write(heap, pointer, bytes, offset);
      return;
    }
    // A header that was just read is written with another checksum, and no page follows it.
    const isAgain = offset === this.#readAt;
    this.#readAt = -1;
    if (!isAgain && frames.fits(bytes, offset)) {
      if (frames.take(heap, pointer, bytes, offset)) this.#writeFrames();
      return;
    }
    // Written again from where they begin: those that wait were rolled back.
    if (!isAgain && frames.isBegunAgain(bytes, offset)) frames.clear();
    else this.#writeFrames();
    if (!isAgain && frames.fits(bytes, offset)) frames.take(heap, pointer, bytes, offset);
    else this.#write(heap, pointer, bytes, offset);
  }

  /** Frames that couldn't be written are given up, as SQLite gives up their transaction. */
  #writeFrames(): void {
    const frames = this.#frames;
    if (frames === null || frames.length === 0) return;
    const { bytes, length, offset } = frames;
    frames.clear();
    this.#write(bytes, 0, length, offset);
  }

  #write(heap: Uint8Array, pointer: number, bytes: number, offset: number): void {
    try {
      let done = 0;
      while (done < bytes) {
        const more = this.#fs.pwrite(this.#fd, heap, pointer + done, bytes - done, offset + done);
        if (more === 0) throw Object.assign(new Error("nothing was written"), { code: "ENOSPC" });
        done += more;
      }
      // Another thread syncs it.
      if (this.#owed?.descriptor !== undefined) return;
      this.#writeback?.wrote(this.#fd, offset, bytes);
    } catch (thrown) {
      const code = codeOf(thrown);
      const isFull = code === "ENOSPC" || code === "EDQUOT" || code === "EFBIG";
      throw failure(isFull ? SQLITE_FULL : SQLITE_IOERR_WRITE, "write", this.#name, thrown);
    }
  }

  xTruncate(bytes: number): void {
    this.#refuseDistrusted();
    if (this.#wal !== null) this.#vfs.payOwed(this.#databasePath);
    this.#writeFrames();
    try {
      this.#fs.ftruncate(this.#fd, bytes);
      this.#writeback?.truncated(bytes);
    } catch (thrown) {
      throw failure(SQLITE_IOERR_TRUNCATE, "ftruncate", this.#name, thrown);
    }
  }

  xSync(): void {
    this.#refuseDistrusted();
    this.#writeFrames();
    const owed = this.#owed;
    if (owed?.isRelaxed === true) return;
    const paid = this.#wal === null ? owed?.begin() : undefined;
    try {
      this.#fs.fdatasync(this.#fd);
    } catch (thrown) {
      throw this.#vfs.syncFailed(this.#name, this.#wal, thrown);
    }
    this.#writeback?.synced();
    paid?.();
    if (this.#directorySyncDue) {
      syncDirectoryOf(this.#fs, this.#name);
      this.#directorySyncDue = false;
    }
  }

  #refuseDistrusted(): void {
    if (this.#wal === null || this.#wal.failure === null) return;
    throw distrusted(this.#name, this.#wal.failure);
  }

  xFileSize(): number {
    this.#writeFrames();
    try {
      return this.#fs.size(this.#fd);
    } catch (thrown) {
      throw failure(SQLITE_IOERR_FSTAT, "fstat", this.#name, thrown);
    }
  }

  hasMoved(): boolean {
    try {
      return this.#fs.identityOf(this.#name) !== this.#key;
    } catch {
      return true;
    }
  }
}

function distrusted(name: string, failed: string): VfsError {
  const why = `an earlier fdatasync failed (${failed}): what was written since the one before may not be on the disk; nothing is written until the database was closed and opened again`;
  return new VfsError(SQLITE_IOERR_FSYNC, `${name}: ${why}`);
}

/** As SQLite's own VFS does, a file that is there and can't be written is opened for reading. */
function openDescriptor(
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
    if (code === "EISDIR") throw failure(SQLITE_CANTOPEN_ISDIR, "open", name, thrown);
    const isDenied = code === "EACCES" || code === "EROFS";
    if (created && isDenied) throw failure(SQLITE_READONLY_DIRECTORY, "create", name, thrown);
    if (isDenied && exclusive === 0) return openForReading(fs, name);
    throw failure(SQLITE_CANTOPEN, "open", name, thrown);
  }
}

function openForReading(fs: FileSystem, name: string): { fd: number; readonly: true } {
  try {
    return { fd: fs.open(name, constants.O_RDONLY, 0), readonly: true };
  } catch (thrown) {
    throw failure(SQLITE_CANTOPEN, "open", name, thrown);
  }
}

/** Joins the connections that this process has to the file, or is the first and locks it. */
function lock(fs: FileSystem, key: string, name: string, writable: boolean): LockedFile {
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

function unlock(fs: FileSystem, key: string): void {
  const locked = lockedFiles.get(key) as LockedFile;
  locked.count -= 1;
  if (locked.count > 0) return;
  lockedFiles.delete(key);
  fs.close(locked.lockFd);
}

/** Joins the handles that this process has to a WAL, or is the first and makes sure of it. */
function joinWal(
  fs: FileSystem,
  key: string,
  fd: number,
  name: string,
  writable: boolean,
): OpenWal {
  let wal = openWals.get(key);
  if (wal === undefined) {
    if (writable) rewrite(fs, fd, name);
    wal = { count: 0, failure: null, owed: owedOf(fs, name.slice(0, -walSuffix.length)) };
    openWals.set(key, wal);
  }
  wal.count += 1;
  return wal;
}

function openWalOf(fs: FileSystem, name: string): OpenWal | null {
  try {
    return openWals.get(fs.identityOf(name)) ?? null;
  } catch {
    return null;
  }
}

function leaveWal(key: string, wal: OpenWal): void {
  wal.count -= 1;
  if (wal.count === 0) openWals.delete(key);
}

/** Sees to it that the next sync takes to the disk what the page cache has, also where that believes it to be there. */
function rewrite(fs: FileSystem, fd: number, name: string): void {
  const buffer = new Uint8Array(Math.min(fs.size(fd), REWRITE_BYTES));
  if (buffer.length === 0) return;
  try {
    for (let offset = 0; ; ) {
      const bytes = fs.pread(fd, buffer, 0, buffer.length, offset);
      if (bytes === 0) break;
      for (let done = 0; done < bytes; ) {
        done += fs.pwrite(fd, buffer, done, bytes - done, offset + done);
      }
      offset += bytes;
    }
  } catch (thrown) {
    throw failure(SQLITE_IOERR_WRITE, "write again", name, thrown);
  }
}

function syncDirectoryOf(fs: FileSystem, name: string): void {
  const directory = path.dirname(name);
  try {
    const fd = fs.open(directory, constants.O_RDONLY | constants.O_DIRECTORY, 0);
    try {
      fs.fsync(fd);
    } finally {
      fs.close(fd);
    }
  } catch (thrown) {
    throw failure(SQLITE_IOERR_DIR_FSYNC, "fsync", directory, thrown);
  }
}

async function syncDirectoryLater(fs: FileSystem, name: string): Promise<void> {
  const directory = path.dirname(name);
  try {
    const fd = fs.open(directory, constants.O_RDONLY | constants.O_DIRECTORY, 0);
    try {
      await fs.fsyncLater(fd);
    } finally {
      fs.close(fd);
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
  return new VfsError(code, `${call} ${name}: ${reasonOf(thrown)}`, errno);
}

function reasonOf(thrown: unknown): string {
  return codeOf(thrown) ?? (thrown instanceof Error ? thrown.message : String(thrown));
}

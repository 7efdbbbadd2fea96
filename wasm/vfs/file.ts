/**
 * Database files on a real disk.
 *
 * `xSync` is fdatasync. The first one of a handle that might have made the file also
 * syncs the directory, even if the file was there already: whoever made it may have died before its
 * name was safe. A deletion syncs the directory if SQLite asks for it. Errors keep the errno and name
 * the call and the file.
 *
 * What keeps other processes out is told in locked-files.ts, and what becomes of a WAL whose sync has
 * failed in open-wals.ts.
 *
 * @module
 */

import { constants } from "node:fs";
import * as path from "node:path";
import {
  SQLITE_ACCESS_READWRITE,
  SQLITE_CANTOPEN,
  SQLITE_FULL,
  SQLITE_IOERR_ACCESS,
  SQLITE_IOERR_CLOSE,
  SQLITE_IOERR_DELETE,
  SQLITE_IOERR_FSTAT,
  SQLITE_IOERR_FSYNC,
  SQLITE_IOERR_READ,
  SQLITE_IOERR_TRUNCATE,
  SQLITE_IOERR_WRITE,
  SQLITE_OPEN_CREATE,
  SQLITE_OPEN_DELETEONCLOSE,
  SQLITE_OPEN_MAIN_DB,
  SQLITE_OPEN_READONLY,
  SQLITE_OPEN_READWRITE,
  SQLITE_OPEN_WAL,
} from "../constants.ts";
import { type Owed, owedOf } from "./checkpoint-sync.ts";
import { CopyAhead } from "./copy-ahead.ts";
import { openDescriptor, syncDirectoryLater, syncDirectoryOf } from "./descriptors.ts";
import { EarlyWriteback } from "./early-writeback.ts";
import { type FileSystem, systemFiles } from "./file-system.ts";
import type { FrameBuffer } from "./frame-buffer.ts";
import { type LockedFile, lockedFile, lockFile, unlockFile } from "./locked-files.ts";
import {
  distrusted,
  joinWal,
  leaveWal,
  type OpenWal,
  openWal,
  openWalOf,
  walSuffix,
} from "./open-wals.ts";
import { RoomAhead } from "./room-ahead.ts";
import type { SharedFile } from "./shared-file.ts";
import { TemporaryFile } from "./temporary-file.ts";
import type { CheckpointSync, OpenedFile, Vfs, VfsFile, WalSync } from "./vfs.ts";
import { codeOf, reasonOf, systemFailure, VfsError } from "./vfs-error.ts";

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
    if (name === null) return { file: new TemporaryFile(), flags };
    const fs = this.#fs;
    const { fd, readonly } = openDescriptor(fs, name, flags);
    try {
      const key = fs.identity(fd);
      const isDatabase = (flags & SQLITE_OPEN_MAIN_DB) !== 0;
      const isWal = (flags & SQLITE_OPEN_WAL) !== 0;
      const locked = isDatabase ? lockFile(fs, key, name, !readonly) : null;
      const wal = isWal ? joinWal(fs, { key, fd, name }, !readonly) : null;
      const mayHaveMade = (flags & SQLITE_OPEN_CREATE) !== 0 && !readonly;
      const file = new FileHandle(this, fs, { name, fd, key, flags, locked, wal, mayHaveMade });
      const access = readonly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
      return { file, flags: (flags & ~(SQLITE_OPEN_READONLY | SQLITE_OPEN_READWRITE)) | access };
    } catch (thrown) {
      fs.close(fd);
      throw thrown instanceof VfsError
        ? thrown
        : systemFailure(SQLITE_CANTOPEN, "open", name, thrown);
    }
  }

  /**
   * A copy of the wal-index of an open database, to be lent to another thread (lent.ts). It stays true for as long as
   * a connection of this thread is in a read transaction that was begun in the same turn.
   *
   * @param heap of the connections
   */
  copyWalIndex(name: string, heap: Uint8Array): Uint8Array<ArrayBuffer>[] {
    return lockedFile(this.#fs.identityOf(name))?.shared.copyWalIndex(heap) ?? [];
  }

  xDelete(name: string, syncDirectory: boolean): boolean {
    if (name.endsWith(walSuffix)) this.payOwed(name.slice(0, -walSuffix.length));
    try {
      this.#fs.unlink(name);
    } catch (thrown) {
      if (codeOf(thrown) === "ENOENT") return false;
      throw systemFailure(SQLITE_IOERR_DELETE, "unlink", name, thrown);
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
      throw systemFailure(SQLITE_IOERR_ACCESS, "stat", name, thrown);
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
    const wal = openWal(fs.identity(fd));
    let isNamed = false;
    return {
      sync: async () => {
        try {
          await fs.fdatasyncLater(fd);
        } catch (thrown) {
          throw this.syncFailed(name, wal, thrown);
        }
        // Another descriptor's may have failed meanwhile, and the kernel has told only that one.
        if (wal !== null && wal.failure !== null) throw distrusted(name, wal.failure);
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
    const opened: number[] = [];
    try {
      for (const one of [name, `${name}${walSuffix}`]) {
        opened.push(openDescriptor(fs, one, SQLITE_OPEN_READWRITE).fd);
      }
    } catch (error) {
      for (const fd of opened) fs.close(fd);
      walSync.close();
      throw error;
    }
    const [fd, walFd] = opened as [number, number];
    owed.descriptor = fd;
    return {
      syncWal: walSync.sync,
      withoutSyncs: (checkpoint, ahead) => owed.withoutSyncs(checkpoint, ahead),
      copyAhead: (heap, lastFrame) => {
        const { shared } = lockedFile(fs.identity(fd)) as LockedFile;
        const toCopy = shared.framesToCopy(heap, lastFrame);
        return toCopy === undefined ? undefined : new CopyAhead(fs, walFd, fd, toCopy);
      },
      syncDatabase: async () => {
        const paid = owed.begin();
        try {
          await fs.fdatasyncLater(fd);
        } catch (thrown) {
          throw this.databaseSyncFailed(name, thrown);
        }
        paid();
      },
      blankWal: async (heap) => {
        const { shared } = lockedFile(fs.identity(fd)) as LockedFile;
        const wal = openWal(fs.identity(walFd));
        if (wal === null || owed.owes || !shared.isWhollyCopied(heap)) return;
        const gone = wal.start.makeBlank(fs, walFd);
        await walSync.sync();
        gone();
      },
      isWalBlank: () => openWal(fs.identity(walFd))?.start.isGone === true,
      cutWal: async (usedBytes, cutBytesMax) => {
        const bytes = fs.size(walFd);
        if (bytes <= usedBytes) return false;
        const cutTo = Math.max(usedBytes, bytes - cutBytesMax);
        await openWal(fs.identity(walFd))?.end.cut(fs, walFd, cutTo);
        return true;
      },
      walBytes: () => fs.size(walFd),
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
    if (owed.failure !== null) throw distrusted(`${databasePath}${walSuffix}`, owed.failure);
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
      throw this.databaseSyncFailed(databasePath, thrown);
    }
    paid();
  }

  /** Of a sync that was owed. It counts as one of the WAL's: see `checkpoint-sync.ts`. */
  databaseSyncFailed(databasePath: string, thrown: unknown): VfsError {
    const name = `${databasePath}${walSuffix}`;
    owedOf(this.#fs, databasePath).failed(reasonOf(thrown));
    return this.syncFailed(name, openWalOf(this.#fs, name), thrown);
  }

  /** Takes note of a failed sync, and gives the error for it. */
  syncFailed(name: string, wal: OpenWal | null, thrown: unknown): VfsError {
    if (wal !== null && wal.failure === null) {
      wal.failure = reasonOf(thrown);
      this.onSyncFailed?.(name, wal.failure);
    }
    return systemFailure(SQLITE_IOERR_FSYNC, "fdatasync", name, thrown);
  }
}

/** What is known of a file when it has been opened. */
interface OpenedHandle {
  readonly name: string;
  readonly fd: number;
  /** (device, inode); "" for a file without a name. */
  readonly key: string;
  readonly flags: number;
  /** Of a database. */
  readonly locked: LockedFile | null;
  /** Of a WAL. */
  readonly wal: OpenWal | null;
  /** It may have been made here: its name isn't safe before its directory is synced. */
  readonly mayHaveMade: boolean;
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
  #directorySyncDue: boolean;
  /** Of a WAL: frames of a transaction that isn't committed yet (frame-buffer.ts). */
  readonly #frames: FrameBuffer | null;
  /** Of a database and its WAL. */
  readonly #writeback: EarlyWriteback | null;
  /** Of a WAL. */
  readonly #room: RoomAhead | null;
  readonly #databasePath: string;
  /** Of a database and its WAL. */
  readonly #owed: Owed | undefined;
  /** Where the last call read, if that was the last call: what SQLite writes there it writes again. */
  #readAt = -1;
  /** The last call wrote a WAL's header, where there was none on the disk. */
  #isNewHeader = false;

  constructor(vfs: FileVfs, fs: FileSystem, opened: OpenedHandle) {
    const { name, fd, key, flags, locked, wal, mayHaveMade } = opened;
    this.#vfs = vfs;
    this.#fs = fs;
    this.#name = name;
    this.#fd = fd;
    this.#key = key;
    this.#flags = flags;
    this.shared = locked?.shared ?? null;
    this.#wal = wal;
    this.#frames = wal?.frames ?? null;
    this.#writeback =
      wal === null && locked === null ? null : new EarlyWriteback(fs.beginWriteback);
    this.#room = wal === null ? null : new RoomAhead(fs.findRoom);
    this.#databasePath = wal === null ? name : name.slice(0, -walSuffix.length);
    this.#owed = wal?.owed ?? (locked === null ? undefined : owedOf(fs, name));
    this.#directorySyncDue = mayHaveMade;
  }

  xClose(): void {
    try {
      // What waits was never committed.
      this.#fs.close(this.#fd);
    } catch (thrown) {
      throw systemFailure(SQLITE_IOERR_CLOSE, "close", this.#name, thrown);
    } finally {
      if (this.shared !== null) unlockFile(this.#fs, this.#key);
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
      throw systemFailure(SQLITE_IOERR_READ, "read", this.#name, thrown);
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
      if (this.#wal !== null) {
        this.#wal.end.beforeWrite(this.#fs, this.#fd, offset + bytes);
        this.#isNewHeader = this.#wal.start.beforeWrite(this.#fs, this.#fd, offset);
      }
      this.#room?.before(this.#fd, offset, bytes);
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
      throw systemFailure(isFull ? SQLITE_FULL : SQLITE_IOERR_WRITE, "write", this.#name, thrown);
    }
  }

  xTruncate(bytes: number): void {
    this.#refuseDistrusted();
    if (this.#wal !== null) this.#vfs.payOwed(this.#databasePath);
    this.#writeFrames();
    // Whoever syncs elsewhere also cuts there.
    if (bytes === 0 && this.#wal?.start.isGone && this.#owed?.descriptor !== undefined) return;
    try {
      this.#wal?.end.beforeWrite(this.#fs, this.#fd, Number.POSITIVE_INFINITY);
      this.#fs.ftruncate(this.#fd, bytes);
      this.#writeback?.truncated(bytes);
      this.#room?.truncated();
    } catch (thrown) {
      throw systemFailure(SQLITE_IOERR_TRUNCATE, "ftruncate", this.#name, thrown);
    }
  }

  xSync(): void {
    this.#refuseDistrusted();
    this.#writeFrames();
    const isNewHeader = this.#isNewHeader;
    this.#isNewHeader = false;
    const owed = this.#owed;
    if (owed?.isRelaxed === true || isNewHeader) return;
    const paid = this.#wal === null ? owed?.begin() : undefined;
    try {
      this.#fs.fdatasync(this.#fd);
    } catch (thrown) {
      // What a checkpoint before this one wrote, and readers take from the database since, may be lost with it.
      if (this.#wal === null && owed?.owes === true) {
        throw this.#vfs.databaseSyncFailed(this.#databasePath, thrown);
      }
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
      throw systemFailure(SQLITE_IOERR_FSTAT, "fstat", this.#name, thrown);
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

/**
 * A snapshot of a database, read on another thread than the one that owns it.
 *
 * A snapshot of a WAL database is three things: the database file, the frames of the WAL up to its last commit, and the
 * wal-index, which says which frame has which page. The first two are files that any thread can read. The
 * third is a piece of the owner's heap, 32 KiB for some 4,096 frames: so the owner copies it and posts the copy.
 * Nothing is shared, and nothing has to be reclaimed from a thread that ends. The two files are opened by the owner, too, and
 * closed when the borrower's thread is over: what a thread has opened stays open when it is ended from outside.
 *
 * **Who keeps the snapshot.** The owner begins a read transaction on a connection of its own in the turn in which it copies, and
 * ends it when the borrower is done. SQLite's own read mark then sees to it that
 *
 * - no checkpoint copies frames younger than the snapshot into the database file (those it does copy are of pages
 *   that the borrower reads from the WAL), and none at all when the WAL was wholly copied before, in which
 *   case the borrower reads the file alone, as SQLite does under `WAL_READ_LOCK(0)`;
 * - the WAL isn't begun anew, so that its frames stay where the copy says.
 *
 * **What the borrower sees.** An ordinary read-only connection, whose wal-index is the copy. SQLite may note its read mark in it,
 * which nobody else sees. It is refused the locks of a writer, of a checkpoint and of recovery. At the
 * next loan SQLite finds another header in the wal-index and drops its page cache by itself; with the same header it is
 * the same snapshot.
 *
 * One VFS serves one connection, and one loan at a time.
 *
 * @module
 */

import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import {
  SQLITE_CANTOPEN,
  SQLITE_IOERR_FSTAT,
  SQLITE_IOERR_READ,
  SQLITE_LOCK_SHARED,
  SQLITE_OPEN_CREATE,
  SQLITE_OPEN_MAIN_DB,
  SQLITE_OPEN_READONLY,
  SQLITE_OPEN_READWRITE,
  SQLITE_OPEN_WAL,
  SQLITE_READONLY,
} from "../constants.ts";
import type { FileHolder, FileSharing, HeapAllocator } from "./shared-file.ts";
import { TemporaryFile } from "./temporary-file.ts";
import type { OpenedFile, Vfs, VfsFile } from "./vfs.ts";
import { VfsError } from "./vfs-error.ts";

/** Descriptors of the two files: their owner's, who closes them. */
export interface LentFiles {
  readonly database: number;
  readonly wal: number;
}

/** @throws what `openSync` does */
export function openLentFiles(databasePath: string): LentFiles & { close(): void } {
  const database = openSync(databasePath, "r");
  let wal: number;
  try {
    wal = openSync(`${databasePath}-wal`, "r");
  } catch (thrown) {
    closeSync(database);
    throw thrown;
  }
  return {
    database,
    wal,
    close() {
      closeSync(database);
      closeSync(wal);
    },
  };
}

/** The heap that the connection lives in; read anew each time, since it may grow. */
export interface HeapView {
  readonly u8: Uint8Array;
}

export class LentVfs implements Vfs {
  readonly name: string;
  readonly #files: LentFiles;
  readonly #index: LentIndex;

  /** @param files stay open as long as its connection is */
  constructor(name: string, heap: HeapView, files: LentFiles) {
    this.name = name;
    this.#files = files;
    this.#index = new LentIndex(heap);
  }

  /** Another snapshot. The connection must be outside of any transaction. */
  lend(regions: readonly Uint8Array[]): void {
    this.#index.replace(regions);
  }

  xOpen(name: string | null, flags: number): OpenedFile {
    if (name === null) return { file: new TemporaryFile(), flags };
    const isDatabase = (flags & SQLITE_OPEN_MAIN_DB) !== 0;
    if (!(isDatabase || (flags & SQLITE_OPEN_WAL) !== 0)) {
      throw new VfsError(SQLITE_CANTOPEN, `${name}: only a lent snapshot`);
    }
    const { database, wal } = this.#files;
    const file = isDatabase
      ? new LentFile(name, database, this.#index)
      : new LentFile(name, wal, null);
    const given = flags & ~(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    return { file, flags: given | SQLITE_OPEN_READONLY };
  }

  xDelete(name: string): boolean {
    throw readOnly(name);
  }

  /** There is a WAL, also an empty one, and no journal. */
  xAccess(name: string): boolean {
    return name.endsWith("-wal");
  }

  xFullPathname(name: string): string {
    return name;
  }

  xRandomness(into: Uint8Array): void {
    crypto.getRandomValues(into);
  }

  xCurrentTimeMs(): number {
    return Date.now();
  }

  xSleep(microseconds: number): void {
    Bun.sleepSync(Math.ceil(microseconds / 1000));
  }
}

class LentFile implements VfsFile {
  readonly shared: FileSharing | null;
  readonly #name: string;
  readonly #fd: number;

  constructor(name: string, fd: number, shared: FileSharing | null) {
    this.#name = name;
    this.#fd = fd;
    this.shared = shared;
  }

  xClose(): void {}

  xRead(heap: Uint8Array, pointer: number, bytes: number, offset: number): number {
    try {
      let done = 0;
      while (done < bytes) {
        const more = readSync(this.#fd, heap, pointer + done, bytes - done, offset + done);
        if (more === 0) break;
        done += more;
      }
      return done;
    } catch (thrown) {
      throw failure(SQLITE_IOERR_READ, "read", this.#name, thrown);
    }
  }

  xWrite(): void {
    throw readOnly(this.#name);
  }

  xTruncate(): void {
    throw readOnly(this.#name);
  }

  xSync(): void {}

  xFileSize(): number {
    try {
      return fstatSync(this.#fd).size;
    } catch (thrown) {
      throw failure(SQLITE_IOERR_FSTAT, "fstat", this.#name, thrown);
    }
  }

  hasMoved(): boolean {
    return false;
  }
}

/** Wal-index locks 0 to 2: writer, checkpoint, recovery. Those above are readers'. */
const firstReadLock = 3;

/** The copied wal-index, and locks that only this one connection takes. */
class LentIndex implements FileSharing {
  readonly #heap: HeapView;
  #regions: readonly Uint8Array[] = [];
  /** Where SQLite has them: it keeps the addresses, so the next loan's go to the same place. */
  #pointers: number[] = [];

  constructor(heap: HeapView) {
    this.#heap = heap;
  }

  replace(regions: readonly Uint8Array[]): void {
    this.#regions = regions;
    for (const [i, pointer] of this.#pointers.entries()) this.#fill(pointer, i);
  }

  #fill(pointer: number, index: number): void {
    const region = this.#regions[index];
    if (region !== undefined) this.#heap.u8.set(region, pointer);
  }

  lock(holder: FileHolder, level: number): boolean {
    if (level > SQLITE_LOCK_SHARED) return false;
    holder.lockLevel = level;
    return true;
  }

  unlock(holder: FileHolder, level: number): void {
    holder.lockLevel = level;
  }

  isReserved(): boolean {
    return false;
  }

  shmLock(_holder: FileHolder, first: number, _count: number, exclusive: boolean): boolean {
    return !exclusive || first >= firstReadLock;
  }

  shmUnlock(): void {}

  shmMap(_holder: FileHolder, heap: HeapAllocator, index: number, bytes: number): number | null {
    if (index >= this.#regions.length) return null;
    while (this.#pointers.length <= index) {
      const pointer = heap.allocate(bytes);
      if (pointer === 0) return 0;
      this.#fill(pointer, this.#pointers.length);
      this.#pointers.push(pointer);
    }
    return this.#pointers[index] as number;
  }

  shmUnmap(_holder: FileHolder, heap: HeapAllocator): void {
    for (const pointer of this.#pointers) heap.free(pointer);
    this.#pointers = [];
  }

  release(holder: FileHolder, heap: HeapAllocator): void {
    this.shmUnmap(holder, heap);
  }
}

function readOnly(name: string): VfsError {
  return new VfsError(SQLITE_READONLY, `${name}: a lent snapshot can't be written`);
}

function failure(code: number, call: string, name: string, thrown: unknown): VfsError {
  if (thrown instanceof VfsError) return thrown;
  const { code: reason, errno = 0, message } = thrown as NodeJS.ErrnoException;
  return new VfsError(code, `${call} ${name}: ${reason ?? message}`, Math.abs(errno));
}

/**
 * The upper layer of every VFS: SQLite's C structs and result codes on one side, {@link Vfs} and
 * {@link VfsFile} on the other.
 *
 * All VFSs share one set of C function pointers (trampoline.ts). What an open file is, SQLite tells
 * by the address of its `sqlite3_file`, which here is two words:
 *
 * | offset | bytes | what                                                 |
 * | ------ | ----- | ---------------------------------------------------- |
 * | 0      | 4     | `pMethods`: the one table of io methods, version 2   |
 * | 4      | 4     | index into {@link VfsGlue}'s open files              |
 *
 * Nothing thrown below gets through to SQLite, whose C frames can't be unwound: it becomes a result
 * code, and the thrown object is kept for the error message (`takeFailure`).
 *
 * @module
 */

import {
  SQLITE_BUSY,
  SQLITE_CANTOPEN,
  SQLITE_FCNTL_HAS_MOVED,
  SQLITE_FCNTL_LAST_ERRNO,
  SQLITE_INTERRUPT,
  SQLITE_IOCAP_POWERSAFE_OVERWRITE,
  SQLITE_IOERR,
  SQLITE_IOERR_DELETE_NOENT,
  SQLITE_IOERR_NOMEM,
  SQLITE_IOERR_SHORT_READ,
  SQLITE_NOTFOUND,
  SQLITE_OK,
  SQLITE_SHM_EXCLUSIVE,
  SQLITE_SHM_UNLOCK,
} from "../constants.ts";
import type { Heap } from "../heap.ts";
import type { TrampolineSignature } from "../trampoline.ts";
import { createFileHolder, type FileHolder, type HeapAllocator } from "./shared-file.ts";
import type { Vfs, VfsFile } from "./vfs.ts";
import { VfsError } from "./vfs-error.ts";

/** What the glue needs of SQLite's exports. */
export interface VfsExports {
  sqlite3_malloc(bytes: number): number;
  sqlite3_free(pointer: number): void;
  sqlite3_vfs_register(vfs: number, makeDefault: number): number;
  sqlite3_vfs_unregister(vfs: number): number;
}

const sectorBytes = 4096;
const pathBytesMax = 1024;
const osFileBytes = 8;
/** `sqlite3_vfs` up to and including `xCurrentTimeInt64` (version 2). */
const vfsBytes = 76;
/** 1970-01-01 as milliseconds of the Julian day, which SQLite counts time in. */
const julianEpochMs = 210_866_760_000_000;
const highWord = 4_294_967_296;

/** Order of `sqlite3_io_methods`, after `iVersion`. */
const ioMethods = [
  ["xClose", "i", "i"],
  ["xRead", "iiij", "i"],
  ["xWrite", "iiij", "i"],
  ["xTruncate", "ij", "i"],
  ["xSync", "ii", "i"],
  ["xFileSize", "ii", "i"],
  ["xLock", "ii", "i"],
  ["xUnlock", "ii", "i"],
  ["xCheckReservedLock", "ii", "i"],
  ["xFileControl", "iii", "i"],
  ["xSectorSize", "i", "i"],
  ["xDeviceCharacteristics", "i", "i"],
  ["xShmMap", "iiiii", "i"],
  ["xShmLock", "iiii", "i"],
  ["xShmBarrier", "i", "v"],
  ["xShmUnmap", "ii", "i"],
] as const;

/** Order of `sqlite3_vfs` from offset 24 on; the four of dynamic loading stay null. */
const vfsMethods = [
  ["xOpen", "iiiii", "i", 24],
  ["xDelete", "iii", "i", 28],
  ["xAccess", "iiii", "i", 32],
  ["xFullPathname", "iiii", "i", 36],
  ["xRandomness", "iii", "i", 56],
  ["xSleep", "ii", "i", 60],
  ["xCurrentTime", "ii", "i", 64],
  ["xGetLastError", "iii", "i", 68],
  ["xCurrentTimeInt64", "ii", "i", 72],
] as const;

interface OpenFile {
  readonly file: VfsFile;
  readonly holder: FileHolder;
}

interface RegisteredVfs {
  readonly vfs: Vfs;
  readonly pointer: number;
  /** Open databases. */
  users: number;
}

export class VfsGlue {
  readonly #heap: Heap;
  #exports!: VfsExports;
  #pointers!: ReadonlyMap<string, number>;
  #ioMethods = 0;
  readonly #files: (OpenFile | undefined)[] = [];
  readonly #freeIndexes: number[] = [];
  readonly #vfsByPointer = new Map<number, Vfs>();
  readonly #registeredByName = new Map<string, RegisteredVfs>();
  readonly #allocator: HeapAllocator;
  #failure: unknown = null;
  #failureCode = 0;
  #clockReads = 0;
  /**
   * Asked before each read of a file while something is here; true: it fails, and so does the statement that wants it, as
   * interrupted. For statements that only read: some go through a whole table in one step of SQLite's virtual machine
   * (`count(*)`, the sums of `dbstat`), and only between steps does SQLite ask whether to go on.
   */
  isReadRefused: (() => boolean) | undefined;

  constructor(heap: Heap) {
    this.#heap = heap;
    this.#allocator = {
      allocate: (bytes) => {
        const pointer = this.#exports.sqlite3_malloc(bytes);
        if (pointer !== 0) this.#heap.u8.fill(0, pointer, pointer + bytes);
        return pointer;
      },
      free: (pointer) => this.#exports.sqlite3_free(pointer),
    };
  }

  /** How often SQLite has asked what time it is: a statement does so once, when `'now'` comes up in it. */
  get clockReads(): number {
    return this.#clockReads;
  }

  /** Functions that SQLite is to call, for the trampolines. */
  callbacks(): [string, TrampolineSignature & { readonly target: CallableFunction }][] {
    return [...ioMethods, ...vfsMethods].map(([name, params, result]) => [
      name,
      { params, result, target: this[`_${name}`].bind(this) },
    ]);
  }

  /** Completes it once SQLite runs. @param pointers function table indexes, by callback name */
  start(exports: VfsExports, pointers: ReadonlyMap<string, number>): void {
    this.#exports = exports;
    this.#pointers = pointers;
    this.#ioMethods = exports.sqlite3_malloc(4 * (1 + ioMethods.length));
    const i32 = this.#heap.i32;
    i32[this.#ioMethods >> 2] = 2;
    for (const [at, [name]] of ioMethods.entries()) {
      i32[(this.#ioMethods >> 2) + 1 + at] = pointers.get(name) as number;
    }
  }

  /** Makes a VFS known to SQLite, until {@link release} was called as often as this. */
  acquire(vfs: Vfs): void {
    const known = this.#registeredByName.get(vfs.name);
    if (known !== undefined) {
      if (known.vfs !== vfs) throw new Error(`two VFSs are named ${vfs.name}`);
      known.users += 1;
      return;
    }
    const name = Buffer.from(`${vfs.name}\0`);
    const pointer = this.#exports.sqlite3_malloc(vfsBytes + name.length);
    if (pointer === 0) throw new VfsError(SQLITE_IOERR_NOMEM, "the wasm heap is full");
    const { u8, i32 } = this.#heap;
    u8.fill(0, pointer, pointer + vfsBytes);
    u8.set(name, pointer + vfsBytes);
    i32[pointer >> 2] = 2;
    i32[(pointer + 4) >> 2] = osFileBytes;
    i32[(pointer + 8) >> 2] = pathBytesMax;
    i32[(pointer + 16) >> 2] = pointer + vfsBytes;
    for (const [method, , , offset] of vfsMethods) {
      i32[(pointer + offset) >> 2] = this.#pointers.get(method) as number;
    }
    this.#exports.sqlite3_vfs_register(pointer, 0);
    this.#vfsByPointer.set(pointer, vfs);
    this.#registeredByName.set(vfs.name, { vfs, pointer, users: 1 });
  }

  release(vfs: Vfs): void {
    const known = this.#registeredByName.get(vfs.name) as RegisteredVfs;
    known.users -= 1;
    if (known.users > 0) return;
    this.#exports.sqlite3_vfs_unregister(known.pointer);
    this.#exports.sqlite3_free(known.pointer);
    this.#vfsByPointer.delete(known.pointer);
    this.#registeredByName.delete(vfs.name);
  }

  /** How many files are open, for tests that look for leaks. */
  get openFiles(): number {
    return this.#files.length - this.#freeIndexes.length;
  }

  /**
   * What was thrown under a call that SQLite reported as `code`, and forgets it. Only a failure of
   * the same kind is given out: an older one may have been handled by SQLite itself.
   */
  takeFailure(code: number): unknown {
    const failure = this.#failure;
    const matches = failure !== null && (this.#failureCode & 0xff) === (code & 0xff);
    this.#failure = null;
    return matches ? failure : undefined;
  }

  #fail(thrown: unknown, otherwise: number): number {
    this.#failure = thrown;
    this.#failureCode = thrown instanceof VfsError ? thrown.code : otherwise;
    return this.#failureCode;
  }

  #open(pFile: number): OpenFile {
    return this.#files[this.#heap.i32[(pFile + 4) >> 2] as number] as OpenFile;
  }

  #vfs(pVfs: number): Vfs {
    return this.#vfsByPointer.get(pVfs) as Vfs;
  }

  // The io methods. Named after SQLite's with a mark, since they take its arguments, not ours.

  _xClose(pFile: number): number {
    const index = this.#heap.i32[(pFile + 4) >> 2] as number;
    const { file, holder } = this.#files[index] as OpenFile;
    this.#files[index] = undefined;
    this.#freeIndexes.push(index);
    this.#heap.i32[pFile >> 2] = 0;
    file.shared?.release(holder, this.#allocator);
    try {
      file.xClose();
      return SQLITE_OK;
    } catch (thrown) {
      return this.#fail(thrown, SQLITE_IOERR);
    }
  }

  _xRead(pFile: number, pointer: number, bytes: number, low: number, high: number): number {
    if (this.isReadRefused?.() === true) return SQLITE_INTERRUPT;
    try {
      const heap = this.#heap.u8;
      const offset = high * highWord + (low >>> 0);
      const done = this.#open(pFile).file.xRead(heap, pointer, bytes, offset);
      if (done === bytes) return SQLITE_OK;
      // SQLite relies on the rest being zero.
      heap.fill(0, pointer + done, pointer + bytes);
      return SQLITE_IOERR_SHORT_READ;
    } catch (thrown) {
      return this.#fail(thrown, SQLITE_IOERR);
    }
  }

  _xWrite(pFile: number, pointer: number, bytes: number, low: number, high: number): number {
    try {
      const offset = high * highWord + (low >>> 0);
      this.#open(pFile).file.xWrite(this.#heap.u8, pointer, bytes, offset);
      return SQLITE_OK;
    } catch (thrown) {
      return this.#fail(thrown, SQLITE_IOERR);
    }
  }

  _xTruncate(pFile: number, low: number, high: number): number {
    try {
      this.#open(pFile).file.xTruncate(high * highWord + (low >>> 0));
      return SQLITE_OK;
    } catch (thrown) {
      return this.#fail(thrown, SQLITE_IOERR);
    }
  }

  _xSync(pFile: number, _flags: number): number {
    try {
      this.#open(pFile).file.xSync();
      return SQLITE_OK;
    } catch (thrown) {
      return this.#fail(thrown, SQLITE_IOERR);
    }
  }

  _xFileSize(pFile: number, result: number): number {
    try {
      this.#writeInt64(result, this.#open(pFile).file.xFileSize());
      return SQLITE_OK;
    } catch (thrown) {
      return this.#fail(thrown, SQLITE_IOERR);
    }
  }

  _xLock(pFile: number, level: number): number {
    const { file, holder } = this.#open(pFile);
    return file.shared === null || file.shared.lock(holder, level) ? SQLITE_OK : SQLITE_BUSY;
  }

  _xUnlock(pFile: number, level: number): number {
    const { file, holder } = this.#open(pFile);
    file.shared?.unlock(holder, level);
    return SQLITE_OK;
  }

  _xCheckReservedLock(pFile: number, result: number): number {
    this.#heap.i32[result >> 2] = this.#open(pFile).file.shared?.isReserved() ? 1 : 0;
    return SQLITE_OK;
  }

  _xFileControl(pFile: number, operation: number, argument: number): number {
    switch (operation) {
      case SQLITE_FCNTL_LAST_ERRNO:
        this.#heap.i32[argument >> 2] = errnoOf(this.#failure);
        return SQLITE_OK;
      case SQLITE_FCNTL_HAS_MOVED:
        this.#heap.i32[argument >> 2] = this.#open(pFile).file.hasMoved() ? 1 : 0;
        return SQLITE_OK;
      default:
        return SQLITE_NOTFOUND;
    }
  }

  _xSectorSize(): number {
    return sectorBytes;
  }

  _xDeviceCharacteristics(): number {
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
  }

  _xShmMap(pFile: number, index: number, bytes: number, extend: number, result: number): number {
    const { file, holder } = this.#open(pFile);
    if (file.shared === null) return SQLITE_IOERR;
    const pointer = file.shared.shmMap(holder, this.#allocator, index, bytes, extend !== 0);
    this.#heap.i32[result >> 2] = pointer ?? 0;
    return pointer === 0 ? SQLITE_IOERR_NOMEM : SQLITE_OK;
  }

  _xShmLock(pFile: number, first: number, count: number, flags: number): number {
    const { file, holder } = this.#open(pFile);
    if (file.shared === null) return SQLITE_IOERR;
    if ((flags & SQLITE_SHM_UNLOCK) !== 0) {
      file.shared.shmUnlock(holder, first, count);
      return SQLITE_OK;
    }
    const exclusive = (flags & SQLITE_SHM_EXCLUSIVE) !== 0;
    return file.shared.shmLock(holder, first, count, exclusive) ? SQLITE_OK : SQLITE_BUSY;
  }

  /** Everything that could look at the wal-index runs on this thread: there is nothing to order. */
  _xShmBarrier(): void {}

  _xShmUnmap(pFile: number, _deleteIt: number): number {
    const { file, holder } = this.#open(pFile);
    file.shared?.shmUnmap(holder, this.#allocator);
    return SQLITE_OK;
  }

  // The VFS methods.

  _xOpen(pVfs: number, zName: number, pFile: number, flags: number, pOutFlags: number): number {
    this.#heap.i32[pFile >> 2] = 0;
    try {
      const path = zName === 0 ? null : this.#heap.cString(zName);
      const opened = this.#vfs(pVfs).xOpen(path, flags);
      const index = this.#freeIndexes.pop() ?? this.#files.length;
      this.#files[index] = { file: opened.file, holder: createFileHolder() };
      this.#heap.i32[pFile >> 2] = this.#ioMethods;
      this.#heap.i32[(pFile + 4) >> 2] = index;
      if (pOutFlags !== 0) this.#heap.i32[pOutFlags >> 2] = opened.flags;
      return SQLITE_OK;
    } catch (thrown) {
      return this.#fail(thrown, SQLITE_CANTOPEN);
    }
  }

  _xDelete(pVfs: number, zName: number, syncDirectory: number): number {
    try {
      const deleted = this.#vfs(pVfs).xDelete(this.#heap.cString(zName), syncDirectory !== 0);
      return deleted ? SQLITE_OK : SQLITE_IOERR_DELETE_NOENT;
    } catch (thrown) {
      return this.#fail(thrown, SQLITE_IOERR);
    }
  }

  _xAccess(pVfs: number, zName: number, flags: number, result: number): number {
    try {
      const is = this.#vfs(pVfs).xAccess(this.#heap.cString(zName), flags);
      this.#heap.i32[result >> 2] = is ? 1 : 0;
      return SQLITE_OK;
    } catch (thrown) {
      return this.#fail(thrown, SQLITE_IOERR);
    }
  }

  _xFullPathname(pVfs: number, zName: number, bytesMax: number, result: number): number {
    try {
      const path = this.#vfs(pVfs).xFullPathname(this.#heap.cString(zName));
      const bytes = Buffer.from(`${path}\0`);
      if (bytes.length > bytesMax) {
        throw new VfsError(
          SQLITE_CANTOPEN,
          `path of ${bytes.length - 1} bytes is too long: ${path}`,
        );
      }
      this.#heap.u8.set(bytes, result);
      return SQLITE_OK;
    } catch (thrown) {
      return this.#fail(thrown, SQLITE_CANTOPEN);
    }
  }

  _xRandomness(pVfs: number, bytes: number, result: number): number {
    try {
      this.#vfs(pVfs).xRandomness(this.#heap.u8.subarray(result, result + bytes));
      return bytes;
    } catch (thrown) {
      this.#fail(thrown, SQLITE_IOERR);
      return 0;
    }
  }

  _xSleep(pVfs: number, microseconds: number): number {
    try {
      this.#vfs(pVfs).xSleep(microseconds);
    } catch (thrown) {
      this.#fail(thrown, SQLITE_IOERR);
    }
    return microseconds;
  }

  _xCurrentTime(pVfs: number, result: number): number {
    this.#clockReads++;
    try {
      const days = (julianEpochMs + this.#vfs(pVfs).xCurrentTimeMs()) / 86_400_000;
      new DataView(this.#heap.u8.buffer).setFloat64(result, days, true);
      return SQLITE_OK;
    } catch (thrown) {
      return this.#fail(thrown, SQLITE_IOERR);
    }
  }

  _xCurrentTimeInt64(pVfs: number, result: number): number {
    this.#clockReads++;
    try {
      this.#writeInt64(result, julianEpochMs + Math.floor(this.#vfs(pVfs).xCurrentTimeMs()));
      return SQLITE_OK;
    } catch (thrown) {
      return this.#fail(thrown, SQLITE_IOERR);
    }
  }

  _xGetLastError(_pVfs: number, bytesMax: number, result: number): number {
    const message = this.#failure instanceof Error ? this.#failure.message : "";
    if (bytesMax > 0 && result !== 0) {
      const bytes = Buffer.from(message).subarray(0, bytesMax - 1);
      this.#heap.u8.set(bytes, result);
      this.#heap.u8[result + bytes.length] = 0;
    }
    return errnoOf(this.#failure);
  }

  #writeInt64(pointer: number, value: number): void {
    this.#heap.i32[pointer >> 2] = value | 0;
    this.#heap.i32[(pointer >> 2) + 1] = Math.floor(value / highWord);
  }
}

function errnoOf(failure: unknown): number {
  return failure instanceof VfsError ? failure.errno : 0;
}

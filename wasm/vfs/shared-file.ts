/**
 * What all connections of this thread to one database file share: its locks and its wal-index.
 *
 * Every connection lives in the same wasm heap, on the same thread. So the "shared memory" that WAL
 * needs is a pointer into that heap, handed to each of them; a memory barrier is nothing at all; and
 * a lock is an entry in a table. Nothing here keeps *other processes* out: file.ts does, with a lock
 * of the operating system that it holds from the first open to the last close.
 *
 * The lock levels and their rules are those of SQLite's os_unix.c (its header comment on
 * `unixLock`); the eight wal-index locks are those of `unixShmLock`.
 *
 * @module
 */

import {
  SQLITE_LOCK_EXCLUSIVE,
  SQLITE_LOCK_NONE,
  SQLITE_LOCK_PENDING,
  SQLITE_LOCK_RESERVED,
  SQLITE_LOCK_SHARED,
  SQLITE_SHM_NLOCK,
} from "../constants.ts";
import { type FramesToCopy, framesToCopy, isWhollyCopied, regionsInUse } from "./wal-index.ts";

/** One connection's part in it. Made and used by the glue. */
export interface FileHolder {
  lockLevel: number;
  /** Bit n: holds wal-index lock n shared. */
  shmShared: number;
  /** Bit n: holds wal-index lock n exclusively. */
  shmExclusive: number;
  /** Whether it has mapped any part of the wal-index. */
  shmMapped: boolean;
}

export function createFileHolder(): FileHolder {
  return { lockLevel: SQLITE_LOCK_NONE, shmShared: 0, shmExclusive: 0, shmMapped: false };
}

/** Heap memory for the wal-index. */
export interface HeapAllocator {
  /** Zeroed. 0 when there is none left. */
  allocate(bytes: number): number;
  free(pointer: number): void;
}

/** Locks and wal-index of one main database, as the glue asks for them. */
export interface FileSharing {
  lock(holder: FileHolder, level: number): boolean;
  unlock(holder: FileHolder, level: number): void;
  isReserved(): boolean;
  shmLock(holder: FileHolder, first: number, count: number, exclusive: boolean): boolean;
  shmUnlock(holder: FileHolder, first: number, count: number): void;
  shmMap(
    holder: FileHolder,
    heap: HeapAllocator,
    index: number,
    bytes: number,
    extend: boolean,
  ): number | null;
  shmUnmap(holder: FileHolder, heap: HeapAllocator): void;
  release(holder: FileHolder, heap: HeapAllocator): void;
}

/** Of the eight wal-index locks, that of read mark 0; four more follow. */
const firstReadLock = 3;

export class SharedFile implements FileSharing {
  /** Holders at SHARED or above. */
  #sharedCount = 0;
  /** The one at RESERVED or above. */
  #writer: FileHolder | null = null;
  /** The one at PENDING or EXCLUSIVE, which lets no new reader in. */
  #pending: FileHolder | null = null;
  /** Per wal-index lock: > 0 shared holders, -1 exclusive. */
  readonly #shmLocks = new Int32Array(SQLITE_SHM_NLOCK);
  #shmMappers = 0;
  #shmRegions: number[] = [];
  #shmRegionBytes = 0;

  /** Raises the lock. False: another connection is in the way, SQLITE_BUSY. */
  lock(holder: FileHolder, level: number): boolean {
    if (holder.lockLevel >= level) return true;
    if (holder.lockLevel === SQLITE_LOCK_NONE) {
      if (this.#pending !== null) return false;
      this.#sharedCount += 1;
      holder.lockLevel = SQLITE_LOCK_SHARED;
      if (level === SQLITE_LOCK_SHARED) return true;
    }
    if (this.#writer !== null && this.#writer !== holder) return false;
    this.#writer = holder;
    if (level === SQLITE_LOCK_RESERVED) {
      holder.lockLevel = SQLITE_LOCK_RESERVED;
      return true;
    }
    // From here on no new reader comes in, and those that are in run out: a writer isn't starved.
    this.#pending = holder;
    holder.lockLevel = SQLITE_LOCK_PENDING;
    if (level === SQLITE_LOCK_PENDING) return true;
    if (this.#sharedCount > 1) return false;
    holder.lockLevel = SQLITE_LOCK_EXCLUSIVE;
    return true;
  }

  /** Lowers the lock to SHARED or NONE. */
  unlock(holder: FileHolder, level: number): void {
    if (holder.lockLevel <= level) return;
    if (this.#pending === holder) this.#pending = null;
    if (this.#writer === holder) this.#writer = null;
    if (level === SQLITE_LOCK_NONE) this.#sharedCount -= 1;
    holder.lockLevel = level;
  }

  /** Whether any connection, also the asking one, is at RESERVED or above. */
  isReserved(): boolean {
    return this.#writer !== null;
  }

  /** Takes wal-index locks `first` to `first + count - 1`, all or none. False: SQLITE_BUSY. */
  shmLock(holder: FileHolder, first: number, count: number, exclusive: boolean): boolean {
    const mask = ((1 << count) - 1) << first;
    if (exclusive) {
      for (let n = first; n < first + count; n++) {
        const mine = (holder.shmExclusive & (1 << n)) !== 0;
        if (!mine && this.#shmLocks[n] !== 0) return false;
      }
      for (let n = first; n < first + count; n++) this.#shmLocks[n] = -1;
      holder.shmExclusive |= mask;
      return true;
    }
    if ((holder.shmShared & mask) === mask) return true;
    for (let n = first; n < first + count; n++) {
      if ((this.#shmLocks[n] as number) < 0) return false;
    }
    for (let n = first; n < first + count; n++) {
      if ((holder.shmShared & (1 << n)) === 0) {
        this.#shmLocks[n] = (this.#shmLocks[n] as number) + 1;
        holder.shmShared |= 1 << n;
      }
    }
    return true;
  }

  /** Gives wal-index locks back, in whichever way they are held. */
  shmUnlock(holder: FileHolder, first: number, count: number): void {
    for (let n = first; n < first + count; n++) {
      const bit = 1 << n;
      if ((holder.shmExclusive & bit) !== 0) {
        this.#shmLocks[n] = 0;
        holder.shmExclusive &= ~bit;
      } else if ((holder.shmShared & bit) !== 0) {
        this.#shmLocks[n] = (this.#shmLocks[n] as number) - 1;
        holder.shmShared &= ~bit;
      }
    }
  }

  /**
   * Address of region `index` of the wal-index, the same for every connection.
   *
   * @returns null when it doesn't exist and `extend` is false; 0 when the heap is full.
   */
  shmMap(
    holder: FileHolder,
    heap: HeapAllocator,
    index: number,
    bytes: number,
    extend: boolean,
  ): number | null {
    if (!holder.shmMapped) {
      holder.shmMapped = true;
      this.#shmMappers += 1;
    }
    while (this.#shmRegions.length <= index) {
      if (!extend) return null;
      this.#shmRegionBytes = bytes;
      const pointer = heap.allocate(bytes);
      if (pointer === 0) return 0;
      this.#shmRegions.push(pointer);
    }
    return this.#shmRegions[index] as number;
  }

  /** A copy of those regions of the wal-index that tell of frames of the last commit or older ones. */
  copyWalIndex(heap: Uint8Array): Uint8Array<ArrayBuffer>[] {
    const [first] = this.#shmRegions;
    if (first === undefined) return [];
    return this.#shmRegions
      .slice(0, regionsInUse(heap, first))
      .map((pointer) => new Uint8Array(heap.slice(pointer, pointer + this.#shmRegionBytes)));
  }

  /** What a checkpoint would copy now, none behind `lastFrame`: see wal-index.ts. */
  framesToCopy(heap: Uint8Array, lastFrame: number): FramesToCopy | undefined {
    const isMarkHeld = (mark: number): boolean => this.#shmLocks[firstReadLock + mark] !== 0;
    return framesToCopy(heap, this.#shmRegions, isMarkHeld, lastFrame);
  }

  /** Whether the database has all that is committed in the WAL. */
  isWhollyCopied(heap: Uint8Array): boolean {
    const [first] = this.#shmRegions;
    return first !== undefined && isWhollyCopied(heap, first);
  }

  /** The last connection to let go frees it: the next one rebuilds it from the WAL. */
  shmUnmap(holder: FileHolder, heap: HeapAllocator): void {
    this.shmUnlock(holder, 0, SQLITE_SHM_NLOCK);
    if (!holder.shmMapped) return;
    holder.shmMapped = false;
    this.#shmMappers -= 1;
    if (this.#shmMappers > 0) return;
    for (const pointer of this.#shmRegions) heap.free(pointer);
    this.#shmRegions = [];
  }

  /** A connection goes, in whatever state it is. */
  release(holder: FileHolder, heap: HeapAllocator): void {
    this.shmUnmap(holder, heap);
    this.unlock(holder, SQLITE_LOCK_NONE);
  }
}

/**
 * What a VFS has to do, in JavaScript's terms. The lower of two layers; `glue.ts` is the upper one,
 * which speaks SQLite's C structs and owns everything that is the same for every VFS: result codes,
 * zero-filled short reads, file locks between connections, the wal-index.
 *
 * Methods are named as SQLite names them. They return what was asked for and throw
 * {@link VfsError} when the outside world refuses; the glue catches it and turns it into the code.
 * Reads and writes are given the heap and an address in it, not a view: making a typed array costs
 * more than the call that would use it. The heap is only valid during the call.
 *
 * @module
 */

import type { CopyAhead } from "./copy-ahead.ts";
import type { FileSharing } from "./shared-file.ts";

/** One open file. Offsets and sizes are bytes and below 2**53. */
export interface VfsFile {
  /**
   * What all connections to this file share (locks, wal-index). Null for everything but a main
   * database: journals and temporary files are never locked.
   */
  readonly shared: FileSharing | null;
  xClose(): void;
  /** Reads up to `bytes` to `heap[pointer]`. Returns how many there were. */
  xRead(heap: Uint8Array, pointer: number, bytes: number, offset: number): number;
  /** Writes all of it or throws. A write beyond the end leaves zeros between. */
  xWrite(heap: Uint8Array, pointer: number, bytes: number, offset: number): void;
  xTruncate(bytes: number): void;
  /** Returns when what was written survives the loss of power. */
  xSync(): void;
  xFileSize(): number;
  /** Whether the path no longer leads to this file. */
  hasMoved(): boolean;
}

export interface OpenedFile {
  readonly file: VfsFile;
  /** The flags it was really opened with: READONLY in place of READWRITE where that was refused. */
  readonly flags: number;
}

/** Syncs of a WAL that don't hold up the thread. */
export interface WalSync {
  /**
   * Resolves when what was written before the call survives the loss of power. Rejects with
   * {@link VfsError} when that isn't known; nothing more is written to that WAL then.
   */
  sync(): Promise<void>;
  /** No sync must be under way. */
  close(): void;
}

/**
 * Checkpoints whose syncs don't hold up the thread. What makes them safe is written in `checkpoint-sync.ts`.
 */
export interface CheckpointSync {
  /** As {@link WalSync.sync}. */
  syncWal(): Promise<void>;
  /**
   * What the next checkpoint would copy at once, to be copied in pieces before. Undefined: nothing may be copied now.
   *
   * @param heap of the connections
   * @param lastFrame The last that is on the disk. Until that checkpoint a read mark must keep the WAL from beginning anew.
   */
  copyAhead(heap: Uint8Array, lastFrame: number): CopyAhead | undefined;
  /**
   * Runs a checkpoint without the syncs that SQLite asks for: the frames that it copies are on the disk
   * already, and the database's sync is owed.
   *
   * @param ahead what was copied of it before
   */
  withoutSyncs<T>(checkpoint: () => T, ahead?: CopyAhead): T;
  /** Pays what is owed. Rejects as `syncWal` does. */
  syncDatabase(): Promise<void>;
  /**
   * Makes the header of a WAL blank that is wholly copied: so that it can begin anew, or be cut, without a sync in that moment
   * (`wal-start.ts`). Does nothing where some of it isn't copied, or the database isn't synced. Rejects as `syncWal` does.
   *
   * @param heap of the connections
   */
  blankWal(heap: Uint8Array): Promise<void>;
  /** It is blank, on the disk too, and no commit has come since. */
  isWalBlank(): boolean;
  /**
   * Cuts up to `cutBytesMax` off the end of a WAL of which SQLite uses the first `usedBytes` at most.
   *
   * @returns whether it was longer than that. Rejects as the file system does.
   */
  cutWal(usedBytes: number, cutBytesMax: number): Promise<boolean>;
  /** How long the WAL's file is, however little of it is used. */
  walBytes(): number;
  /** No sync must be under way. */
  close(): void;
}

export interface Vfs {
  /** Unique among the VFSs of this thread. Also the `vfs=` of a URI. */
  readonly name: string;
  /** @param path absolute, from {@link xFullPathname}; null for a temporary file. */
  xOpen(path: string | null, flags: number): OpenedFile;
  /** Returns false when there was no such file. @param syncDirectory make it survive a power loss */
  xDelete(path: string, syncDirectory: boolean): boolean;
  xAccess(path: string, flags: number): boolean;
  xFullPathname(path: string): string;
  /** Fills with random bytes. Seeds SQLite's own generator, once a thread. */
  xRandomness(into: Uint8Array): void;
  /** Milliseconds since 1970, for `datetime('now')` and friends. */
  xCurrentTimeMs(): number;
  xSleep(microseconds: number): void;
  /** Of a database that is open in WAL mode. Undefined where nothing survives the process. */
  openWalSync?(databasePath: string): WalSync;
  /** Likewise. */
  openCheckpointSync?(databasePath: string): CheckpointSync;
}

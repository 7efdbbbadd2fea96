/**
 * The calls to the operating system that `FileVfs` makes: everything that a disk can refuse.
 *
 * They are named as in POSIX and behave so: a read or write may do less than it was asked to, and
 * failures are thrown as `Error` with `code` ("ENOSPC") and `errno` (negative, as Node has it). The
 * agent uses {@link systemFiles}; tests put a disk in their place that loses power (`test/disk/`).
 *
 * @module
 */

import * as fs from "node:fs";
import { promisify } from "node:util";
import { type BeginWriteback, beginWriteback } from "./early-writeback.ts";
import { type LockAttempt, lockDatabaseFile } from "./ofd-lock.ts";
import { type FindRoom, findRoom } from "./room-ahead.ts";

export interface FileSystem {
  open(path: string, flags: number, mode: number): number;
  close(fd: number): void;
  /** Reads up to `bytes` bytes to `into[at]`. Returns how many; 0 only at the end of the file. */
  pread(fd: number, into: Uint8Array, at: number, bytes: number, offset: number): number;
  /** Writes up to `bytes` bytes from `from[at]`. Returns how many. */
  pwrite(fd: number, from: Uint8Array, at: number, bytes: number, offset: number): number;
  /** Nothing depends on it. */
  beginWriteback: BeginWriteback;
  /** Nothing depends on it. */
  findRoom: FindRoom;
  ftruncate(fd: number, bytes: number): void;
  /** The same on a thread of its own. */
  ftruncateLater(fd: number, bytes: number): Promise<void>;
  /** The file's content and size survive the loss of power once it returns. */
  fdatasync(fd: number): void;
  /** The same on a thread of its own, of everything that was written before the call. */
  fdatasyncLater(fd: number): Promise<void>;
  /** Of a directory: the names in it survive too. */
  fsync(fd: number): void;
  /** The same on a thread of its own. */
  fsyncLater(fd: number): Promise<void>;
  /** Size in bytes. */
  size(fd: number): number;
  sizeOf(path: string): number;
  /** Names the (device, inode) behind a descriptor or a path. */
  identity(fd: number): string;
  identityOf(path: string): string;
  access(path: string, mode: number): void;
  exists(path: string): boolean;
  unlink(path: string): void;
  /** Locks SQLite's byte range, until the descriptor is closed. */
  lock(fd: number, exclusive: boolean): LockAttempt;
}

export const systemFiles: FileSystem = {
  open: (path, flags, mode) => fs.openSync(path, flags, mode),
  close: (fd) => fs.closeSync(fd),
  pread: (fd, into, at, bytes, offset) => fs.readSync(fd, into, at, bytes, offset),
  pwrite: (fd, from, at, bytes, offset) => fs.writeSync(fd, from, at, bytes, offset),
  beginWriteback,
  findRoom,
  ftruncate: (fd, bytes) => fs.ftruncateSync(fd, bytes),
  ftruncateLater: promisify(fs.ftruncate),
  fdatasync: (fd) => fs.fdatasyncSync(fd),
  fdatasyncLater: promisify(fs.fdatasync),
  fsync: (fd) => fs.fsyncSync(fd),
  fsyncLater: promisify(fs.fsync),
  size: (fd) => fs.fstatSync(fd).size,
  sizeOf: (path) => fs.statSync(path).size,
  identity: (fd) => identityOf(fs.fstatSync(fd, { bigint: true })),
  identityOf: (path) => identityOf(fs.statSync(path, { bigint: true })),
  access: (path, mode) => fs.accessSync(path, mode),
  exists: (path) => fs.existsSync(path),
  unlink: (path) => fs.unlinkSync(path),
  lock: lockDatabaseFile,
};

function identityOf(stats: fs.BigIntStats): string {
  return `${stats.dev}:${stats.ino}`;
}

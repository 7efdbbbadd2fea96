/**
 * A disk in memory, for tests and the simulator. It lasts as long as the object, so a database can
 * be closed and opened again, and what it holds can be looked at (`read`) or put there (`write`).
 *
 * Nothing about it is random unless asked for: time and randomness come in.
 *
 * @module
 */

import {
  SQLITE_CANTOPEN,
  SQLITE_FULL,
  SQLITE_OPEN_CREATE,
  SQLITE_OPEN_DELETEONCLOSE,
  SQLITE_OPEN_EXCLUSIVE,
  SQLITE_OPEN_MAIN_DB,
} from "../constants.ts";
import { SharedFile } from "./shared-file.ts";
import type { OpenedFile, Vfs, VfsFile } from "./vfs.ts";
import { VfsError } from "./vfs-error.ts";

export interface MemoryVfsOptions {
  /** Default: `memory-1`, `memory-2` and so on. */
  readonly name?: string;
  /** Fills with random bytes. Default: the system's. */
  readonly random?: (into: Uint8Array) => void;
  /** Milliseconds since 1970. Default: the system's. */
  readonly nowMs?: () => number;
  /** Writes beyond this many bytes in all files together fail with SQLITE_FULL. */
  readonly bytesMax?: number;
}

let named = 0;

/** What a path leads to. Open files keep it alive after the path is gone, as on Unix. */
class MemoryFile {
  bytes: Uint8Array = new Uint8Array(0);
  size = 0;
  readonly shared: SharedFile = new SharedFile();
}

export class MemoryVfs implements Vfs {
  readonly name: string;
  readonly #files = new Map<string, MemoryFile>();
  readonly #options: MemoryVfsOptions;

  constructor(options: MemoryVfsOptions = {}) {
    named += 1;
    this.name = options.name ?? `memory-${named}`;
    this.#options = options;
  }

  /** Paths of all files, sorted. */
  paths(): string[] {
    return [...this.#files.keys()].sort();
  }

  /** A copy of a file's content, or null. */
  read(path: string): Uint8Array | null {
    const file = this.#files.get(this.xFullPathname(path));
    return file === undefined ? null : file.bytes.slice(0, file.size);
  }

  /** Puts a file there, in place of one of that name. No database may be open on it. */
  write(path: string, bytes: Uint8Array): void {
    const file = new MemoryFile();
    file.bytes = bytes.slice();
    file.size = bytes.length;
    this.#files.set(this.xFullPathname(path), file);
  }

  xOpen(path: string | null, flags: number): OpenedFile {
    let file = path === null ? undefined : this.#files.get(path);
    if (file !== undefined && (flags & SQLITE_OPEN_EXCLUSIVE) !== 0) {
      throw new VfsError(SQLITE_CANTOPEN, `${path}: file exists`);
    }
    if (file === undefined) {
      if (path !== null && (flags & SQLITE_OPEN_CREATE) === 0) {
        throw new VfsError(SQLITE_CANTOPEN, `${path}: no such file`);
      }
      file = new MemoryFile();
      if (path !== null) this.#files.set(path, file);
    }
    const isDatabase = (flags & SQLITE_OPEN_MAIN_DB) !== 0;
    return { file: new MemoryHandle(this, path, file, flags, isDatabase), flags };
  }

  xDelete(path: string, _syncDirectory: boolean): boolean {
    return this.#files.delete(path);
  }

  xAccess(path: string, _flags: number): boolean {
    return this.#files.has(path);
  }

  xFullPathname(path: string): string {
    return path.startsWith("/") ? path : `/${path}`;
  }

  xRandomness(into: Uint8Array): void {
    if (this.#options.random !== undefined) this.#options.random(into);
    else crypto.getRandomValues(into);
  }

  xCurrentTimeMs(): number {
    return this.#options.nowMs?.() ?? Date.now();
  }

  /** Nobody else could run meanwhile. */
  xSleep(_microseconds: number): void {}

  /** Whether `path` leads to this file. For handles. */
  leadsTo(path: string, file: MemoryFile): boolean {
    return this.#files.get(path) === file;
  }

  /** Throws SQLITE_FULL when a file may not grow by this much. For handles. */
  claim(bytes: number, path: string | null): void {
    if (this.#options.bytesMax === undefined) return;
    let used = bytes;
    for (const file of this.#files.values()) used += file.size;
    if (used > this.#options.bytesMax) {
      throw new VfsError(
        SQLITE_FULL,
        `${path}: the disk of ${this.#options.bytesMax} bytes is full`,
      );
    }
  }
}

class MemoryHandle implements VfsFile {
  readonly shared: SharedFile | null;
  readonly #vfs: MemoryVfs;
  readonly #path: string | null;
  readonly #file: MemoryFile;
  readonly #flags: number;

  constructor(
    vfs: MemoryVfs,
    path: string | null,
    file: MemoryFile,
    flags: number,
    isDatabase: boolean,
  ) {
    this.#vfs = vfs;
    this.#path = path;
    this.#file = file;
    this.#flags = flags;
    this.shared = isDatabase ? file.shared : null;
  }

  xClose(): void {
    const deleted = (this.#flags & SQLITE_OPEN_DELETEONCLOSE) !== 0;
    if (deleted && this.#path !== null) this.#vfs.xDelete(this.#path, false);
  }

  xRead(heap: Uint8Array, pointer: number, bytes: number, offset: number): number {
    const file = this.#file;
    const end = Math.min(offset + bytes, file.size);
    if (end <= offset) return 0;
    heap.set(file.bytes.subarray(offset, end), pointer);
    return end - offset;
  }

  xWrite(heap: Uint8Array, pointer: number, bytes: number, offset: number): void {
    const file = this.#file;
    const end = offset + bytes;
    if (end > file.size) {
      this.#vfs.claim(end - file.size, this.#path);
      if (end > file.bytes.length) {
        const grown = new Uint8Array(Math.max(end, file.bytes.length * 2, 4096));
        grown.set(file.bytes.subarray(0, file.size));
        file.bytes = grown;
      }
      file.size = end;
    }
    file.bytes.set(heap.subarray(pointer, pointer + bytes), offset);
  }

  xTruncate(bytes: number): void {
    const file = this.#file;
    if (bytes > file.size) return;
    // A later write beyond the end must find zeros.
    file.bytes.fill(0, bytes, file.size);
    file.size = bytes;
    if (bytes === 0) file.bytes = new Uint8Array(0);
  }

  xSync(): void {}

  xFileSize(): number {
    return this.#file.size;
  }

  hasMoved(): boolean {
    return this.#path !== null && !this.#vfs.leadsTo(this.#path, this.#file);
  }
}

/**
 * The VFS of the agent over a disk that fails: what is tested is the code that ships.
 *
 * Time and randomness come in too, so that a run can be repeated.
 *
 * @module
 */

import { FileVfs } from "../../wasm/vfs/file.ts";
import type { CheckpointSync, OpenedFile, Vfs } from "../../wasm/vfs/vfs.ts";
import type { FaultyDisk } from "./faulty-disk.ts";

export interface FaultyVfsOptions {
  /** Fills with random bytes. Default: the system's. */
  readonly random?: (into: Uint8Array) => void;
  /** Milliseconds since 1970. Default: the system's. */
  readonly nowMs?: () => number;
  /** As `FileVfs.onSyncFailed`. */
  readonly onSyncFailed?: (path: string, why: string) => void;
}

let named = 0;

export class FaultyVfs implements Vfs {
  readonly name: string;
  readonly disk: FaultyDisk;
  readonly #files: FileVfs;
  readonly #options: FaultyVfsOptions;

  constructor(disk: FaultyDisk, options: FaultyVfsOptions = {}) {
    named += 1;
    this.name = `faulty-${named}`;
    this.disk = disk;
    this.#files = new FileVfs(this.name, disk);
    this.#files.onSyncFailed = options.onSyncFailed;
    this.#options = options;
  }

  xOpen(path: string | null, flags: number): OpenedFile {
    return this.#files.xOpen(path, flags);
  }

  xDelete(path: string, syncDirectory: boolean): boolean {
    return this.#files.xDelete(path, syncDirectory);
  }

  xAccess(path: string, flags: number): boolean {
    return this.#files.xAccess(path, flags);
  }

  xFullPathname(path: string): string {
    return this.#files.xFullPathname(path);
  }

  xRandomness(into: Uint8Array): void {
    if (this.#options.random !== undefined) this.#options.random(into);
    else this.#files.xRandomness(into);
  }

  xCurrentTimeMs(): number {
    return this.#options.nowMs?.() ?? this.#files.xCurrentTimeMs();
  }

  openCheckpointSync(databasePath: string): CheckpointSync {
    return this.#files.openCheckpointSync(databasePath);
  }

  /** Nobody else could run meanwhile. */
  xSleep(_microseconds: number): void {}
}

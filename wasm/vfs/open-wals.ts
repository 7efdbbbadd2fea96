/**
 * WALs that this thread has open, and which of them may be relied on.
 *
 * After a failed fdatasync of a WAL Linux has forgotten which of its pages aren't on the disk, and
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

import { SQLITE_IOERR_FSYNC, SQLITE_IOERR_WRITE } from "../constants.ts";
import { type Owed, owedOf } from "./checkpoint-sync.ts";
import type { FileSystem } from "./file-system.ts";
import { FrameBuffer } from "./frame-buffer.ts";
import { systemFailure, VfsError } from "./vfs-error.ts";
import { WalEnd } from "./wal-end.ts";
import { WalStart } from "./wal-start.ts";

/** What this process knows of one WAL. */
export interface OpenWal {
  /** Open handles. */
  count: number;
  /** What its database owes the disk. */
  readonly owed: Owed;
  /** Of the one connection that is writing, or was and has rolled back: whoever writes next finds them. */
  readonly frames: FrameBuffer;
  readonly start: WalStart;
  readonly end: WalEnd;
  /** Why it may not be relied on; null while it may. */
  failure: string | null;
}

export const walSuffix = "-wal";

/** By (device, inode). */
const openWals = new Map<string, OpenWal>();

const rewriteBytesMax = 1024 * 1024;

/** Joins the handles that this process has to a WAL, or is the first and makes sure of it. */
export function joinWal(
  fs: FileSystem,
  { key, fd, name }: { readonly key: string; readonly fd: number; readonly name: string },
  writable: boolean,
): OpenWal {
  let wal = openWals.get(key);
  if (wal === undefined) {
    if (writable) rewrite(fs, fd, name);
    const owed = owedOf(fs, name.slice(0, -walSuffix.length));
    owed.walOpened();
    wal = {
      count: 0,
      failure: null,
      owed,
      frames: new FrameBuffer(),
      start: new WalStart(),
      end: new WalEnd(),
    };
    openWals.set(key, wal);
  }
  wal.count += 1;
  return wal;
}

/** By (device, inode); null for one that nobody has open. */
export function openWal(key: string): OpenWal | null {
  return openWals.get(key) ?? null;
}

/** Of a path; null for one that nobody has open. */
export function openWalOf(fs: FileSystem, name: string): OpenWal | null {
  try {
    return openWals.get(fs.identityOf(name)) ?? null;
  } catch {
    return null;
  }
}

/** One handle less; whoever opens it after the last one may rely on it again. */
export function leaveWal(key: string, wal: OpenWal): void {
  wal.count -= 1;
  if (wal.count === 0) openWals.delete(key);
}

/** What every write and sync of a WAL says after its sync has failed. */
export function distrusted(name: string, failed: string): VfsError {
  const why = `an earlier fdatasync failed (${failed}): what was written since the one before may not be on the disk; nothing is written until the database was closed and opened again`;
  return new VfsError(SQLITE_IOERR_FSYNC, `${name}: ${why}`);
}

/** Sees to it that the next sync takes to the disk what the page cache has, also where that believes it to be there. */
function rewrite(fs: FileSystem, fd: number, name: string): void {
  const buffer = new Uint8Array(Math.min(fs.size(fd), rewriteBytesMax));
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
    throw systemFailure(SQLITE_IOERR_WRITE, "write again", name, thrown);
  }
}

/**
 * A disk in memory that fails as disks do: it loses power, tears writes, runs full and lies about
 * what it synced. For tests; drawn from a seed.
 *
 * What programs see is the *page cache*; what is left when the power goes is the *platter*. Between
 * the two, per file:
 *
 * - A write makes pages of 4,096 bytes *dirty*. Each of them remembers all versions it has had since
 *   it was last clean, since the kernel may have written it back at any moment, or not at all.
 * - The size is remembered in the same way, apart from the content. Cutting a file off is one event of
 *   the file system's journal: it has happened or not, for the size and all pages behind it alike,
 *   and what was written there later is nowhere if it hasn't. (SQLite relies on that: a WAL of
 *   which a checkpoint's truncation had left the first half would take pages of the database back.)
 * - `fdatasync` puts the newest of all that on the platter. A *failed* one puts some pages there and
 *   forgets that the others were ever dirty, as Linux does: the next sync succeeds and doesn't write
 *   them. They stay in the cache (ext4, XFS) or go back to what the platter has (Btrfs).
 * - Names (made, deleted) belong to the directory, and are on the platter after an `fsync` of that.
 *   Syncing a file doesn't save its name. (It would on ext4; POSIX doesn't promise it.)
 *
 * A power cut draws one of: nothing unsynced was written; all was; all up to a moment (the write of
 * that moment torn); or each page for itself any version, some torn at sectors of 512 bytes. Space
 * that a file has gained and never written may hold zeros or rubbish. Never changed: bytes of a
 * sector that nobody wrote (SQLITE_IOCAP_POWERSAFE_OVERWRITE), and what was synced.
 *
 * Sources: Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020, for
 * failed syncs; Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014, for names.
 *
 * @module
 */

import { constants } from "node:fs";
import * as path from "node:path";
import type { FileSystem } from "../../wasm/vfs/file-system.ts";
import type { LockAttempt } from "../../wasm/vfs/ofd-lock.ts";
import { FaultyInode, type PowerCut, pageBytes } from "./faulty-inode.ts";

export type DiskCall =
  | "open"
  | "pread"
  | "pwrite"
  | "ftruncate"
  | "fdatasync"
  | "fsync"
  | "unlink"
  | "size"
  | "access";

export type DiskFault =
  /** `times` calls of a kind fail, after `after` of them went well. */
  | {
      readonly kind: "error";
      readonly call: DiskCall;
      readonly after: number;
      readonly times: number;
      readonly code: "EIO" | "ENOSPC";
    }
  /** In the middle of a call that changes something everything stops, until {@link FaultyDisk.restart}. */
  | { readonly kind: "stop"; readonly after: number };

export interface FaultyDiskOptions {
  /** In 0..1. The only source of chance. */
  readonly random: () => number;
  /** What a page shows that a failed sync didn't write. Default: what was written to it. */
  readonly failedPages?: "kept" | "reverted";
  /** Share of reads and writes that do only a part of what was asked. Default: 0. */
  readonly shortShare?: number;
}

/** How much of it there was, so that a test can tell whether it tested anything. */
export interface DiskCounts {
  calls: number;
  short: number;
  errors: number;
  failedSyncs: number;
  /** Pages that a failed sync dropped. */
  pagesDropped: number;
  full: number;
  powerCuts: number;
  /** Pages and names that a power cut took back. */
  pagesLost: number;
  pagesTorn: number;
  namesLost: number;
}

interface NameChange {
  readonly at: number;
  readonly path: string;
  readonly value: FaultyInode | null;
}

type Descriptor = { readonly inode: FaultyInode | null; readonly path: string };

interface ArmedFault {
  readonly fault: DiskFault;
  left: number;
  times: number;
}

let disks = 0;

export class FaultyDisk implements FileSystem {
  readonly counts: DiskCounts = {
    calls: 0,
    short: 0,
    errors: 0,
    failedSyncs: 0,
    pagesDropped: 0,
    full: 0,
    powerCuts: 0,
    pagesLost: 0,
    pagesTorn: 0,
    namesLost: 0,
  };
  /** Room for all files together, in whole pages of 4,096 bytes. May be changed at any time. */
  bytesMax: number = Number.POSITIVE_INFINITY;
  readonly #options: FaultyDiskOptions;
  readonly #id: number;
  #names = new Map<string, FaultyInode>();
  #platterNames = new Map<string, FaultyInode>();
  #nameChanges: NameChange[] = [];
  readonly #descriptors = new Map<number, Descriptor>();
  #nextDescriptor = 3;
  #nextInode = 1;
  /** Counts changes: the order in which things were asked for. */
  #moment = 0;
  #faults: ArmedFault[] = [];
  #isStopped = false;

  constructor(options: FaultyDiskOptions) {
    this.#options = options;
    disks += 1;
    this.#id = disks;
  }

  /** Arms a fault. It goes when it has happened, and all go with a restart. */
  inject(fault: DiskFault): void {
    const times = fault.kind === "error" ? fault.times : 1;
    this.#faults.push({ fault, left: fault.after, times });
  }

  /** Disarms all faults. */
  calm(): void {
    this.#faults = [];
  }

  /** A `stop` has happened: every call fails. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** As a `stop` fault, between two calls. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Bytes in use, in whole pages. */
  get bytesUsed(): number {
    const inodes = new Set(this.#names.values());
    for (const { inode } of this.#descriptors.values()) if (inode !== null) inodes.add(inode);
    let pages = 0;
    for (const inode of inodes) pages += inode.pages;
    return pages * pageBytes;
  }

  /**
   * Ends all who have files open and lets new ones begin. After the end of a *process* the page
   * cache is as it was; after a *power* cut there is only what had reached the platter.
   */
  restart(after: "process" | "power"): void {
    this.#descriptors.clear();
    this.calm();
    this.#isStopped = false;
    if (after === "power") this.#cutPower();
  }

  // The calls. Each begins with `#enter`, where faults happen.

  open(name: string, flags: number, _mode: number): number {
    if ((flags & constants.O_DIRECTORY) !== 0) return this.#describe(null, name);
    let inode = this.#names.get(name);
    const creates = inode === undefined && (flags & constants.O_CREAT) !== 0;
    const fault = this.#enter("open", creates);
    if (fault !== undefined) throw refusal(fault);
    if (inode !== undefined && (flags & constants.O_EXCL) !== 0) throw refusal("EEXIST");
    if (inode === undefined) {
      if (!creates) throw refusal("ENOENT");
      inode = new FaultyInode(`disk ${this.#id}:${this.#nextInode++}`);
      this.#rename(name, inode);
    }
    return this.#describe(inode, name);
  }

  close(fd: number): void {
    this.#descriptors.delete(fd);
  }

  pread(fd: number, into: Uint8Array, at: number, bytes: number, offset: number): number {
    if (this.#enter("pread") !== undefined) throw refusal("EIO");
    return this.#inode(fd).read(into, at, this.#shortened(bytes), offset);
  }

  pwrite(fd: number, from: Uint8Array, at: number, bytes: number, offset: number): number {
    const fault = this.#enter("pwrite", true);
    const inode = this.#inode(fd);
    if (fault !== undefined) {
      // Some of it may have got there.
      this.#write(inode, from, at, Math.floor(this.#options.random() * (bytes + 1)), offset);
      throw refusal(fault);
    }
    const wanted = this.#shortened(bytes);
    const written = Math.min(wanted, this.#room(inode, wanted, offset));
    if (written === 0 && bytes > 0) {
      this.counts.full += 1;
      throw refusal("ENOSPC");
    }
    this.#write(inode, from, at, written, offset);
    return written;
  }

  ftruncate(fd: number, bytes: number): void {
    const fault = this.#enter("ftruncate", true);
    if (fault !== undefined) throw refusal(fault);
    this.#inode(fd).truncate(bytes, ++this.#moment);
  }

  async ftruncateLater(fd: number, bytes: number): Promise<void> {
    this.ftruncate(fd, bytes);
  }

  async fdatasyncLater(fd: number): Promise<void> {
    this.fdatasync(fd);
  }

  /** This disk writes what it likes at any time anyway: when the power goes, some of it is on the platter. */
  beginWriteback(): void {}

  findRoom(): boolean {
    return true;
  }

  fdatasync(fd: number): void {
    const fault = this.#enter("fdatasync", true);
    const inode = this.#inode(fd);
    if (fault !== undefined) {
      const { random, failedPages = "kept" } = this.#options;
      this.counts.failedSyncs += 1;
      this.counts.pagesDropped += inode.failSync(random, failedPages);
      throw refusal(fault);
    }
    inode.sync();
  }

  fsync(fd: number): void {
    const { inode, path: name } = this.#descriptor(fd);
    if (inode !== null) {
      this.fdatasync(fd);
      return;
    }
    const fault = this.#enter("fsync", true);
    if (fault !== undefined) throw refusal(fault);
    this.#nameChanges = this.#nameChanges.filter((change) => {
      if (path.dirname(change.path) !== name) return true;
      setName(this.#platterNames, change);
      return false;
    });
  }

  async fsyncLater(fd: number): Promise<void> {
    this.fsync(fd);
  }

  size(fd: number): number {
    if (this.#enter("size") !== undefined) throw refusal("EIO");
    return this.#inode(fd).size;
  }

  sizeOf(name: string): number {
    if (this.#enter("access") !== undefined) throw refusal("EIO");
    return this.#named(name).size;
  }

  identity(fd: number): string {
    return this.#inode(fd).id;
  }

  identityOf(name: string): string {
    return this.#named(name).id;
  }

  access(name: string, _mode: number): void {
    if (this.#enter("access") !== undefined) throw refusal("EIO");
    this.#named(name);
  }

  exists(name: string): boolean {
    return this.#names.has(name);
  }

  unlink(name: string): void {
    const fault = this.#enter("unlink", true);
    if (fault !== undefined) throw refusal(fault);
    this.#named(name);
    this.#rename(name, null);
  }

  /** Nobody else uses this disk. */
  lock(_fd: number, _exclusive: boolean): LockAttempt {
    return { kind: "locked" };
  }

  /** Counts the call, and fails or stops it if that is its turn. Returns an error for it to throw. */
  #enter(call: DiskCall, changes = false): "EIO" | "ENOSPC" | undefined {
    if (this.#isStopped) throw refusal("ENODEV");
    this.counts.calls += 1;
    let error: "EIO" | "ENOSPC" | undefined;
    this.#faults = this.#faults.filter((armed) => {
      const { fault } = armed;
      const concerned = fault.kind === "error" ? fault.call === call : changes;
      if (!concerned || error !== undefined || this.#isStopped) return true;
      if (armed.left > 0) {
        armed.left -= 1;
        return true;
      }
      armed.times -= 1;
      this.counts.errors += 1;
      error = fault.kind === "error" ? fault.code : "EIO";
      if (fault.kind === "stop") this.#isStopped = true;
      return armed.times > 0;
    });
    // A write is cut in the middle, a sync not done; the others haven't begun.
    if (this.#isStopped && call !== "pwrite") throw refusal("ENODEV");
    return error;
  }

  #describe(inode: FaultyInode | null, name: string): number {
    const fd = this.#nextDescriptor++;
    this.#descriptors.set(fd, { inode, path: name });
    return fd;
  }

  #descriptor(fd: number): Descriptor {
    const descriptor = this.#descriptors.get(fd);
    if (descriptor === undefined) throw refusal("EBADF");
    return descriptor;
  }

  #inode(fd: number): FaultyInode {
    const { inode } = this.#descriptor(fd);
    if (inode === null) throw refusal("EISDIR");
    return inode;
  }

  #named(name: string): FaultyInode {
    const inode = this.#names.get(name);
    if (inode === undefined) throw refusal("ENOENT");
    return inode;
  }

  #rename(name: string, inode: FaultyInode | null): void {
    const change = { path: name, value: inode, at: ++this.#moment };
    setName(this.#names, change);
    this.#nameChanges.push(change);
  }

  #shortened(bytes: number): number {
    const share = this.#options.shortShare ?? 0;
    if (share === 0 || bytes < 2 || this.#options.random() >= share) return bytes;
    this.counts.short += 1;
    return 1 + Math.floor(this.#options.random() * (bytes - 1));
  }

  /** How much of a write at `offset` there is room for. Overwriting takes none. */
  #room(inode: FaultyInode, bytes: number, offset: number): number {
    if (this.bytesMax === Number.POSITIVE_INFINITY) return bytes;
    let free = this.bytesMax - this.bytesUsed;
    for (let from = offset; from < offset + bytes; ) {
      const number = Math.floor(from / pageBytes);
      if (!inode.hasPage(number)) {
        free -= pageBytes;
        if (free < 0) return from - offset;
      }
      from = (number + 1) * pageBytes;
    }
    return bytes;
  }

  #write(inode: FaultyInode, from: Uint8Array, at: number, bytes: number, offset: number): void {
    if (bytes > 0) inode.write(from, at, bytes, offset, ++this.#moment);
  }

  #cutPower(): void {
    this.counts.powerCuts += 1;
    const { random } = this.#options;
    const mode = powerCuts[Math.floor(random() * powerCuts.length)] as (typeof powerCuts)[number];
    const moments = this.#openMoments();
    const moment = moments[Math.floor(random() * moments.length)] ?? 0;
    const inodes = new Set([...this.#platterNames.values()]);
    for (const { value } of this.#nameChanges) if (value !== null) inodes.add(value);
    for (const inode of inodes) {
      const { lost, torn } = inode.cutPower(powerCut(mode, moment, random));
      this.counts.pagesLost += lost;
      this.counts.pagesTorn += torn;
    }
    for (const change of this.#nameChanges) {
      const survives =
        mode === "all" ||
        (mode === "moment" ? change.at <= moment : mode === "any" && random() < 0.5);
      if (survives) setName(this.#platterNames, change);
      else this.counts.namesLost += 1;
    }
    this.#nameChanges = [];
    this.#names = new Map(this.#platterNames);
  }

  /** Moments at which something happened that isn't on the platter yet. */
  #openMoments(): number[] {
    const moments = this.#nameChanges.map(({ at }) => at);
    const inodes = new Set([...this.#platterNames.values(), ...this.#names.values()]);
    for (const inode of inodes) moments.push(...inode.dirtyMoments());
    return moments;
  }
}

/** What of the unsynced was written. Twice as often as another each page decides for itself. */
const powerCuts = ["nothing", "all", "moment", "any", "any"] as const;

/** @param moment up to which all was written, for "moment" */
function powerCut(
  mode: (typeof powerCuts)[number],
  moment: number,
  random: () => number,
): PowerCut {
  // With one bias a file, since what matters is which files got ahead of which.
  const bias = random();
  return {
    random,
    choose: (versions) => {
      if (mode === "nothing") return 0;
      if (mode === "all") return versions.length;
      if (mode === "moment") return versions.filter(({ at }) => at <= moment).length;
      if (random() < 0.5) return random() < bias ? versions.length : 0;
      return Math.floor(random() * (versions.length + 1));
    },
    isTorn: (versions) => {
      if (mode === "any") return random() < 0.25;
      return mode === "moment" && versions.some(({ at }) => at === moment);
    },
  };
}

function setName(names: Map<string, FaultyInode>, { path: name, value }: NameChange): void {
  if (value === null) names.delete(name);
  else names.set(name, value);
}

const errnoByCode = { EIO: 5, EBADF: 9, ENOENT: 2, EEXIST: 17, ENODEV: 19, EISDIR: 21, ENOSPC: 28 };

function refusal(code: keyof typeof errnoByCode): Error {
  return Object.assign(new Error(code), { code, errno: -errnoByCode[code] });
}

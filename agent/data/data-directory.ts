/**
 * The data directory: what an agent keeps, and nobody else writes.
 *
 * | file                       |                                                                    |
 * | -------------------------- | ------------------------------------------------------------------ |
 * | `patina.db`, `patina.db-wal` | the database                                                     |
 * | `node.key`                 | the node's seed, unless `key_file` says otherwise                  |
 * | `nonce`                    | 32 hex digits, new at every start, in the database too             |
 * | `port`                     | UDP port of the last run                                           |
 * | `neighbours`               | neighbours met last, `key@host:port` a line, the latest first      |
 * | `secrets`                  | only without a cluster: a digest key of its own                    |
 *
 * @module
 */

import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { join } from "node:path";
import { makeFolder, syncFolderOf, writeWhole } from "../host/durable-file.ts";
import { readPlainFile } from "../host/text-file.ts";
import { exitCodes, NoRoomFailure, StartFailure } from "../start-failure.ts";

const nonceBytes = 16;

export class DataDirectory {
  readonly path: string;
  /**
   * The file itself, where `patina.db` is a link: SQLite's WAL stands beside it, and whoever opens it by its
   * own name, or by another link, must find that WAL.
   */
  readonly databasePath: string;
  /**
   * Names of the database's file that are not this one: hard links. The WAL has this one's. Whoever opens the file by another
   * one after a crash lacks what is in the WAL, and damages the database if he writes.
   */
  readonly otherNames: number;
  /** There is a database, and no room for anything else. */
  readonly isFull: boolean = false;
  /** Of the nonce; what went wrong. */
  #nonceSync: Promise<NodeJS.ErrnoException | undefined> | undefined;

  /** Makes it when it isn't there, and finds out whether it can be written. @throws StartFailure */
  constructor(path: string) {
    this.path = path;
    try {
      makeFolder(path, 0o700);
      // Asking for permissions isn't enough: a full disk or a read-only mount says so only here.
      const probe = join(path, ".probe");
      try {
        fs.rmSync(probe, { force: true, recursive: true });
        fs.writeFileSync(probe, "patina", { flag: "wx" });
      } catch (error) {
        // Another start has made it since, so it can be made: who of the two goes on the database's lock decides.
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      } finally {
        fs.rmSync(probe, { force: true, recursive: true });
      }
    } catch (error) {
      const failure = this.#failure(error);
      const isStarted = fs.existsSync(join(path, "patina.db"));
      if (!(failure instanceof NoRoomFailure && isStarted)) throw failure;
      this.isFull = true;
    }
    refuseOthersFiles(path);
    this.databasePath = this.#resolveDatabase(join(path, "patina.db"));
    this.otherNames = (this.#stat(this.databasePath, fs.statSync)?.nlink ?? 1) - 1;
  }

  /** Of the last start; undefined when there was none. */
  readNonce(): string | undefined {
    return this.#read("nonce");
  }

  /** Makes a new one; it is on the disk once {@link nonceWritten} says so, or at once. @throws StartFailure */
  renewNonce(atOnce = false): string {
    const nonce = randomBytes(nonceBytes).toString("hex");
    if (this.readNonce()?.length === nonce.length) this.#overwriteNonce(nonce, atOnce);
    else this.#write("nonce", nonce);
    return nonce;
  }

  /** One that was there before. It is written in the place of another, for which even a full disk has room. */
  putNonceBack(nonce: string): void {
    try {
      this.#overwriteNonce(nonce, true);
    } catch {
      // Then the next start takes a new site.
    }
  }

  /** To be waited for before a stamp of this start leaves the host. Rejects with a StartFailure. */
  async nonceWritten(): Promise<void> {
    const error = await this.#nonceSync;
    if (error !== undefined) throw this.#failure(error);
  }

  /** In place: a crash may leave neither the old nor the new, and the next start takes a new site then. */
  #overwriteNonce(nonce: string, atOnce: boolean): void {
    try {
      const fd = fs.openSync(join(this.path, "nonce"), "r+");
      closedIfItFails(fd, () => {
        writeWhole(fd, nonce);
        if (atOnce) fs.fdatasyncSync(fd);
      });
      if (atOnce) {
        fs.closeSync(fd);
        return;
      }
      // On another thread, for the start has more to do.
      this.#nonceSync = new Promise((resolve) => {
        fs.fdatasync(fd, (error) => {
          fs.closeSync(fd);
          resolve(error ?? undefined);
        });
      });
    } catch (error) {
      throw this.#failure(error);
    }
  }

  /** UDP port of the last run; 0 when there was none. */
  readPort(): number {
    const port = Number(this.#readHint("port"));
    return Number.isInteger(port) && port > 0 && port < 65_536 ? port : 0;
  }

  /** A hint, as {@link writeNeighbours}. */
  writePort(port: number): Promise<void> {
    return this.#writeHint("port", String(port));
  }

  /** Where neighbours were met last, as `peers` are configured; the latest first. A hint: it may be old or cut off. */
  readNeighbours(): string[] {
    return this.#readHint("neighbours")
      .split("\n")
      .filter((line) => line !== "");
  }

  /** Beside whatever this thread does. That it can't be written (a full disk) doesn't matter. */
  writeNeighbours(neighbours: readonly string[]): Promise<void> {
    return this.#writeHint("neighbours", neighbours.join("\n"));
  }

  /** A key for the digests of an agent that stands alone. @throws StartFailure */
  ownDigestKey(): Uint8Array {
    const known = this.#read("secrets");
    if (known !== undefined) {
      if (/^[0-9a-f]{64}$/.test(known)) return Uint8Array.from(Buffer.from(known, "hex"));
      // With another key all rows are hashed anew, and whatever is damaged by now counts as sound.
      const why = `${join(this.path, "secrets")}: 64 hex digits wanted: put it back as it was, or remove it`;
      throw new StartFailure(
        exitCodes.data,
        `${why}: the rows are then hashed anew, with a new key`,
      );
    }
    const key = randomBytes(32);
    this.#write("secrets", key.toString("hex"));
    return Uint8Array.from(key);
  }

  #resolveDatabase(path: string): string {
    let real = path;
    try {
      const entry = this.#stat(path, fs.lstatSync);
      if (entry?.isSymbolicLink()) real = fs.realpathSync(path);
    } catch (error) {
      if (error instanceof StartFailure) throw error;
      const why = `a link that leads to no file (${(error as NodeJS.ErrnoException).code}): remove it`;
      throw new StartFailure(exitCodes.data, `database ${path}: ${why}`);
    }
    for (const one of [real, `${real}-wal`]) {
      if (this.#stat(one, fs.statSync)?.isFile() !== false) continue;
      throw new StartFailure(exitCodes.data, `database ${one}: it is no file: remove it`);
    }
    return real;
  }

  /** Undefined: there is no such file. @throws StartFailure */
  #stat(path: string, ask: typeof fs.statSync): fs.Stats | undefined {
    try {
      return ask(path, { throwIfNoEntry: false });
    } catch (error) {
      throw this.#failure(error);
    }
  }

  #read(name: string): string | undefined {
    try {
      return readPlainFile(join(this.path, name)).trim();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw this.#failure(error);
    }
  }

  /** Whatever stands in its place says nothing. */
  #readHint(name: string): string {
    try {
      return this.#read(name) ?? "";
    } catch {
      return "";
    }
  }

  /** In one step, and not synced. */
  async #writeHint(name: string, text: string): Promise<void> {
    const path = join(this.path, name);
    try {
      // Opening a queue of that name would be waited for without end.
      await fs.promises.rm(`${path}.new`, { force: true, recursive: true });
      await fs.promises.writeFile(`${path}.new`, `${text}\n`, { mode: 0o600, flag: "wx" });
      await fs.promises.rename(`${path}.new`, path);
    } catch {
      // Then the next start takes any port, and asks the DHT.
    }
  }

  /** In one step, so that a crash leaves the old or the new; a power cut the new, once this has returned. */
  #write(name: string, text: string): void {
    const path = join(this.path, name);
    try {
      fs.rmSync(`${path}.new`, { force: true, recursive: true });
      const fd = fs.openSync(`${path}.new`, "wx", 0o600);
      closedIfItFails(fd, () => {
        writeWhole(fd, `${text}\n`);
        fs.fsyncSync(fd);
      });
      fs.closeSync(fd);
      fs.renameSync(`${path}.new`, path);
      syncFolderOf(path);
    } catch (error) {
      throw this.#failure(error);
    }
  }

  #failure(error: unknown): StartFailure {
    return failureOf(this.path, error);
  }
}

/** What a start would refuse, as far as it shows without writing. It needn't be there yet. @throws StartFailure */
export function checkDataDirectory(path: string): void {
  const { R_OK, W_OK, X_OK } = fs.constants;
  try {
    if (!fs.statSync(path).isDirectory()) {
      throw Object.assign(new Error("no folder"), { code: "ENOTDIR" });
    }
    fs.accessSync(path, R_OK | W_OK | X_OK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw failureOf(path, error);
  }
  refuseOthersFiles(path);
}

/** Whoever has run the agent by hand, as root, has left files there that its own user can't write. @throws StartFailure */
function refuseOthersFiles(path: string): void {
  for (const name of ["patina.db", "patina.db-wal", "nonce"]) {
    const file = join(path, name);
    try {
      fs.accessSync(file, fs.constants.R_OK | fs.constants.W_OK);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "EACCES" && code !== "EPERM") continue;
      throw new StartFailure(exitCodes.data, `${file}: ${reasons[code]}`);
    }
  }
}

function failureOf(path: string, error: unknown): StartFailure {
  const { code, message } = error as NodeJS.ErrnoException;
  const what = reasons[code ?? ""] ?? message;
  const Failure = code === "ENOSPC" || code === "EDQUOT" ? NoRoomFailure : StartFailure;
  return new Failure(exitCodes.data, `data directory ${path}: ${what}`);
}

/** A full disk may be tried again every second, for days. */
function closedIfItFails(fd: number, use: () => void): void {
  try {
    use();
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
}

const reasons: Readonly<Record<string, string>> = {
  EACCES: "permission denied: it must belong to the user that runs the agent",
  EPERM: "permission denied: it must belong to the user that runs the agent",
  EROFS: "it is on a read-only file system",
  EIO: "the disk fails to read or to write: the kernel's log says more (dmesg)",
  ENOSPC: "the disk is full",
  EDQUOT: "the disk quota is used up",
  ENOTDIR: "there is a file of that name, or in its path",
  EEXIST: "there is a file of that name, or a link that leads nowhere",
};

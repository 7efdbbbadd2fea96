/**
 * Backup of a running agent's database into one new file.
 *
 * The pages are copied a few a turn, so that reads, writes and merges go on. The copy is made under
 * another name beside the one asked for, and gets that once it is whole and on the disk: a file of that
 * name is a backup, or isn't there.
 *
 * @module
 */

import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { dirname } from "node:path";
import { OnlineBackup } from "../../wasm/backup.ts";
import { type Database, openDatabase } from "../../wasm/database.ts";
import { SqliteError } from "../../wasm/error.ts";
import type { Vfs } from "../../wasm/vfs/vfs.ts";

export type BackupEvent =
  | { readonly kind: "progress"; readonly pages: number; readonly of: number }
  | { readonly kind: "done"; readonly path: string; readonly bytes: number; readonly pages: number }
  | { readonly kind: "failed"; readonly why: string };

/** 512 KB: about a millisecond. */
const pagesPerStep = 128;

export class Backup {
  readonly #path: string;
  readonly #partial: string;
  #target: Database | undefined;
  #copy: OnlineBackup | undefined;
  #end: BackupEvent | undefined;

  /** @param source The connection that writes. @param path Absolute, of a file that isn't there. */
  constructor(source: Database, vfs: Vfs, path: string) {
    this.#path = path;
    this.#partial = `${path}.partial`;
    if (existsSync(path)) {
      const why = `${path} is there already: choose another name, or remove it`;
      this.#end = { kind: "failed", why };
      return;
    }
    if (!isFolder(dirname(path))) {
      this.#end = {
        kind: "failed",
        why: `${dirname(path)}: there is no such folder on the agent's host`,
      };
      return;
    }
    try {
      // Of a backup that was cut short.
      rmSync(this.#partial, { force: true });
      this.#target = openDatabase(this.#partial, { vfs });
      // Nobody needs the copy after a crash in the middle.
      this.#target.pragma("journal_mode", "off");
      this.#target.pragma("synchronous", "full");
      this.#copy = new OnlineBackup(source, this.#target);
    } catch (error) {
      this.#fail(reasonOf(error, path));
    }
  }

  get isEnded(): boolean {
    return this.#end !== undefined;
  }

  /** Copies the next pages, outside of any transaction of the source. After the end: how it ended. */
  step(): BackupEvent {
    if (this.#end !== undefined) return this.#end;
    const copy = this.#copy as OnlineBackup;
    try {
      const isDone = copy.step(pagesPerStep);
      const { pages, pagesLeft } = copy;
      if (!isDone) return { kind: "progress", pages: pages - pagesLeft, of: pages };
      this.#close();
      this.#end = this.#finish(pages);
      return this.#end;
    } catch (error) {
      return this.#fail(reasonOf(error, this.#path));
    }
  }

  /** Ends it now; nothing of it is left. To be called before the source is closed. */
  abort(why: string): void {
    if (this.#end === undefined) this.#fail(why);
  }

  /** Gives the copy its name, unless somebody took that meanwhile. */
  #finish(pages: number): BackupEvent {
    this.#takeName();
    const folder = openSync(dirname(this.#path), "r");
    fsyncSync(folder);
    closeSync(folder);
    return { kind: "done", path: this.#path, bytes: statSync(this.#path).size, pages };
  }

  #takeName(): void {
    try {
      linkSync(this.#partial, this.#path);
      rmSync(this.#partial);
    } catch (error) {
      if (existsSync(this.#path)) throw error;
      // A file system without links, on a stick or another host's disk.
      renameSync(this.#partial, this.#path);
    }
  }

  #fail(why: string): BackupEvent {
    this.#end = { kind: "failed", why: `backup to ${this.#path}: ${why}` };
    this.#close();
    try {
      rmSync(this.#partial, { force: true });
    } catch {
      // Nothing can be there, or what made the backup fail (a disk that is gone, or only read) keeps it there.
    }
    return this.#end;
  }

  #close(): void {
    this.#copy?.[Symbol.dispose]();
    this.#target?.close();
    this.#copy = undefined;
    this.#target = undefined;
  }
}

/**
 * Steps until the end, with a turn for everybody else between. Left early, it is aborted.
 *
 * @param whenFree undefined when the source is in no transaction; otherwise to be asked again once it is kept
 */
export async function* backupEvents(
  backup: Backup,
  whenFree: () => Promise<void> | undefined = () => undefined,
): AsyncGenerator<BackupEvent> {
  try {
    for (;;) {
      for (let busy = whenFree(); busy !== undefined; busy = whenFree()) await busy;
      const event = backup.step();
      yield event;
      if (event.kind !== "progress") return;
      await new Promise((resolve) => setImmediate(resolve));
    }
  } finally {
    backup.abort("it was cut short");
  }
}

function isFolder(path: string): boolean {
  // Through a link as well. With a file among its parents the look itself fails.
  return existsSync(path) && statSync(path).isDirectory();
}

function reasonOf(error: unknown, path: string): string {
  const cause = error instanceof SqliteError && error.cause instanceof Error ? error.cause : error;
  if (!(cause instanceof Error)) return String(cause);
  const why = whyNotThere[(cause as NodeJS.ErrnoException).code ?? ""];
  return why === undefined ? cause.message : `${dirname(path)} ${why}`;
}

/** What whoever asks for the backup may write, the agent may not. */
const whyNotThere: Readonly<Record<string, string>> = {
  EACCES: "isn't writable for the agent's user",
  EROFS:
    "is read-only for the agent: its unit has to name it in ReadWritePaths=, and it has to be there when the agent starts",
};

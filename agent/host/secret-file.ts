/**
 * Files that hold secrets: written once, with mode 0600; read if nobody else may read them; and no message that quotes them.
 *
 * @module
 */

import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { dirname } from "node:path";
import { parse, TomlError } from "smol-toml";
import { syncFolderOf, writeWhole } from "./durable-file.ts";
import { openTextFile } from "./text-file.ts";

export type SecretFileRead =
  | { readonly kind: "table"; readonly table: Readonly<Record<string, unknown>> }
  | { readonly kind: "missing" }
  /** Others can read it, it can't be read, or it is no TOML. */
  | { readonly kind: "refused"; readonly why: string };

/**
 * Makes a file for its owner alone, whole and on the disk when this returns, or none. It has its name only once it is whole:
 * who starts at the same time reads all of it, or finds none.
 *
 * @returns why not
 */
export function createSecretFile(path: string, text: string): string | undefined {
  // A name of its own: another start may be at the same.
  const draft = `${path}.${randomBytes(4).toString("hex")}.new`;
  try {
    const fd = fs.openSync(draft, "wx", 0o600);
    try {
      writeWhole(fd, text);
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
    nameDraft(draft, path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") return "it exists, and is never overwritten: choose another name";
    // The system names the draft, which nobody has asked for.
    if (code === "ENOENT") return `there is no folder ${dirname(path)}: make it first`;
    return message;
  } finally {
    fs.rmSync(draft, { force: true });
  }
  try {
    syncFolderOf(path);
    return undefined;
  } catch (error) {
    // One that may be gone after a power cut isn't to be gone by.
    fs.rmSync(path, { force: true });
    return (error as Error).message;
  }
}

/** Gives a file the name `path`, unless something has it. @throws what the system says */
function nameDraft(draft: string, path: string): void {
  try {
    fs.linkSync(draft, path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (!["EPERM", "ENOTSUP", "ENOSYS"].includes(code ?? "")) throw error;
    // A file system without links (FAT): the name is taken first.
    fs.closeSync(fs.openSync(path, "wx", 0o600));
    fs.renameSync(draft, path);
  }
}

/**
 * A file or a pipe that nobody else can read; or one of root's that its group may read, but not write, where that is meant: root
 * says who is in that group. So does systemd hand out credentials (`LoadCredential=`: 0440, the group's bits are the mask of an
 * access list), and so is a secret given to a user that is to read it and not to change it. Where root itself reads, to check or to
 * restore, a group other than root's says that it is meant.
 *
 * @throws with the reason; with the system's code where it says why
 */
export function readSecretText(path: string): string {
  const check = (mode: number, uid: number, gid: number): void => {
    if ((mode & 0o077) === 0) return;
    const isMeant = process.geteuid?.() !== 0 || gid !== 0;
    if (uid === 0 && (mode & 0o037) === 0 && isMeant) return;
    throw new Error(`others can read it (mode 0${mode.toString(8)}): chmod 600 ${path}`);
  };
  return openTextFile(path, { check }).text;
}

/** As TOML. */
export function readSecretFile(path: string): SecretFileRead {
  let text: string;
  try {
    text = readSecretText(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === "ENOENT" ? { kind: "missing" } : { kind: "refused", why: message };
  }
  try {
    return { kind: "table", table: parse(text) as Record<string, unknown> };
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // The rest of the message quotes the line.
    const [why] = error.message.split("\n");
    return { kind: "refused", why: `line ${error.line}, column ${error.column}: ${why}` };
  }
}

/**
 * Files that hold secrets: mode 0600, written once, and no message that quotes them.
 *
 * @module
 */

import {
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { parse, TomlError } from "smol-toml";

export type SecretFileRead =
  | { readonly kind: "table"; readonly table: Readonly<Record<string, unknown>> }
  | { readonly kind: "missing" }
  /** Others can read it, it can't be read, or it is no TOML. */
  | { readonly kind: "refused"; readonly why: string };

/** Makes a file for its owner alone, on the disk when this returns, or none. @returns why not */
export function createSecretFile(path: string, text: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(path, "wx", 0o600);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === "EEXIST" ? "it exists, and is never overwritten: choose another name" : message;
  }
  try {
    writeFileSync(fd, text);
    fsyncSync(fd);
    return undefined;
  } catch (error) {
    // A part of one would be in the way of the next try.
    rmSync(path, { force: true });
    return (error as Error).message;
  } finally {
    closeSync(fd);
  }
}

/** As TOML. */
export function readSecretFile(path: string): SecretFileRead {
  let text: string;
  try {
    const mode = statSync(path).mode & 0o777;
    if ((mode & 0o077) !== 0) {
      const why = `others can read it (mode 0${mode.toString(8)}): chmod 600 ${path}`;
      return { kind: "refused", why };
    }
    text = readFileSync(path, "utf8");
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

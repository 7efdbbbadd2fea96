/**
 * Text files that people write: configuration, schema and secrets; and small ones of an agent's own. A device or a log that
 * was named by mistake is refused, and doesn't fill the memory. A pipe will do (`-c <(…)`), but isn't waited for without
 * end: opening a queue that nobody writes to would stop the agent for good.
 *
 * @module
 */

import { isUtf8 } from "node:buffer";
import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from "node:fs";

const bytesMax = 16 * 1024 * 1024;
const chunkBytes = 64 * 1024;
const lookEveryMs = 5;
/**
 * Pipes that were read before, by device and inode. Who reads one again is an agent that reloads, and meanwhile everybody
 * waits for it: for `-c <(…)`, which nobody writes to a second time, that was 5 s.
 */
const readPipes = new Set<string>();
const againMsMax = 100;

export interface TextFileOptions {
  readonly isPlain?: boolean;
  /** Looks at the permissions, as in `chmod`, and the owners before anything is read, and throws. */
  readonly check?: (mode: number, uid: number, gid: number) => void;
  /** How long a pipe may say nothing. */
  readonly silenceMsMax?: number;
}

export interface TextFile {
  readonly text: string;
  /** Permissions, as in `chmod`. */
  readonly mode: number;
}

/** A pipe will do. @throws with the reason: what the system says, too large, no UTF-8 (it would be another text elsewhere) */
export function readTextFile(path: string): string {
  return openTextFile(path).text;
}

/** Of a file alone, whatever a crash has left in it. @throws with the reason; with the system's code where it says why */
export function readPlainFile(path: string): string {
  return openTextFile(path, { isPlain: true }).text;
}

/** @throws as {@link readTextFile} */
export function openTextFile(
  path: string,
  { isPlain = false, check, silenceMsMax = 5000 }: TextFileOptions = {},
): TextFile {
  // A queue is opened at once, whether anybody writes to it or not.
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(fd);
    const mode = stat.mode & 0o777;
    if (isPlain && !stat.isFile()) throw new Error(`${path} is no file: remove it`);
    check?.(mode, stat.uid, stat.gid);
    const whole = readAll(fd, stat.isFIFO() ? pipeSilenceMs(stat, silenceMsMax) : undefined);
    if (!isPlain && !isUtf8(whole)) throw new Error("it is not UTF-8");
    return { text: whole.toString(), mode };
  } finally {
    closeSync(fd);
  }
}

function pipeSilenceMs({ dev, ino }: Stats, silenceMsMax: number): number {
  const pipe = `${dev}:${ino}`;
  const isKnown = readPipes.has(pipe);
  readPipes.add(pipe);
  return isKnown ? Math.min(silenceMsMax, againMsMax) : silenceMsMax;
}

/** @param silenceMsMax of a pipe */
function readAll(fd: number, silenceMsMax: number | undefined): Buffer {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  let silentMs = 0;
  for (;;) {
    const chunk = new Uint8Array(chunkBytes);
    const read = readNow(fd, chunk);
    // Before anybody has opened the other end it looks as if it were closed.
    if (read === 0 && (silenceMsMax === undefined || bytes > 0)) return Buffer.concat(chunks);
    if (read === undefined || read === 0) {
      const seconds = (silenceMsMax ?? 0) / 1000;
      if (silentMs >= seconds * 1000) {
        throw new Error(`it is a pipe, and nobody wrote to it for ${seconds} s`);
      }
      Bun.sleepSync(lookEveryMs);
      silentMs += lookEveryMs;
      continue;
    }
    silentMs = 0;
    bytes += read;
    if (bytes > bytesMax) throw new Error(`it is larger than ${bytesMax} bytes`);
    chunks.push(chunk.subarray(0, read));
  }
}

/** Undefined: nothing is there yet. */
function readNow(fd: number, chunk: Uint8Array): number | undefined {
  try {
    return readSync(fd, chunk);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EAGAIN") return undefined;
    throw error;
  }
}

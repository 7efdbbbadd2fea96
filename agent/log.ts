/**
 * The log: lines on stderr, for people or for machines.
 *
 * Lines begin with the syslog priority in angle brackets when stderr goes to the journal, which takes it off, so that it keeps
 * the level (`journalctl -p warning`).
 *
 * @module
 */

import { fstatSync, writeSync } from "node:fs";
import type { LogLevel } from "./config/config.ts";

export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;

export interface Log {
  error(text: string, fields?: LogFields): void;
  warn(text: string, fields?: LogFields): void;
  info(text: string, fields?: LogFields): void;
  debug(text: string, fields?: LogFields): void;
}

const levels: readonly LogLevel[] = ["error", "warn", "info", "debug"];
/** syslog(3): err, warning, info, debug. */
const priorities = { error: 3, warn: 4, info: 6, debug: 7 } as const;

export interface LogOptions {
  readonly level: LogLevel;
  readonly format: "text" | "json";
  readonly write?: (line: string) => void;
  readonly isJournal?: boolean;
}

export function createLog(options: LogOptions): Log {
  const limit = levels.indexOf(options.level);
  const write = options.write ?? writeToStderr;
  const { isJournal = isStderrJournal(process.env.JOURNAL_STREAM) } = options;
  const say = (level: LogLevel, text: string, fields: LogFields = {}): void => {
    if (levels.indexOf(level) > limit) return;
    const time = new Date().toISOString();
    const priority = isJournal ? `<${priorities[level]}>` : "";
    if (options.format === "json") {
      write(`${priority}${JSON.stringify({ time, level, text, ...fields })}\n`);
      return;
    }
    const rest = Object.entries(fields)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => ` ${key}=${typeof value === "string" ? quoted(value) : value}`)
      .join("");
    const head = isJournal ? priority : `${time} ${level.padEnd(5)} `;
    write(`${head}${text}${rest}\n`);
  };
  return {
    error: (text, fields) => say("error", text, fields),
    warn: (text, fields) => say("warn", text, fields),
    info: (text, fields) => say("info", text, fields),
    debug: (text, fields) => say("debug", text, fields),
  };
}

/**
 * Whether stderr is the journal's: a shell in the unit may have led it to a file, which the variable outlives.
 *
 * @param stream `JOURNAL_STREAM` of systemd.exec(5): device and inode
 */
export function isStderrJournal(stream: string | undefined, fd = 2): boolean {
  if (stream === undefined) return false;
  try {
    const { dev, ino } = fstatSync(fd);
    return stream === `${dev}:${ino}`;
  } catch {
    return false;
  }
}

let isBroken = false;

/**
 * A log that can't be written (a full disk, a collector that has gone) is no reason to end: its lines are lost
 * until it can be again.
 */
function writeToStderr(line: string): void {
  // Not counted here: where this module is loaded several times (`bun test`), stderr is still one.
  if (process.stderr.listenerCount("error") === 0) {
    process.stderr.on("error", () => {
      isBroken = true;
    });
  }
  if (!isBroken) {
    process.stderr.write(line);
    return;
  }
  try {
    // The stream has ended with its first error; what it led to may have room again.
    writeSync(2, line);
  } catch {
    // Lost.
  }
}

function quoted(value: string): string {
  return /^[\w.:/@+-]+$/.test(value) ? value : JSON.stringify(value);
}

/** What a log says of something that was thrown. */
export function faultText(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/**
 * Where a command finds the configuration: `-c`, `$PATINA_CONFIG`, or `/etc/patina/patina.toml` when
 * that is there. Never the working folder: a binary must not do what a file says that happens to lie
 * where it is started.
 *
 * @module
 */

import { type Config, readConfig } from "../config/config.ts";
import { readTextFile } from "../host/text-file.ts";
import { exitCodes, StartFailure } from "../start-failure.ts";

const systemFile = "/etc/patina/patina.toml";

/**
 * @param system Read when `file` isn't given. One that is there and can't be read is no missing one: without it an agent would
 *   start with the defaults, and stand alone.
 * @throws StartFailure
 */
export function loadConfig(
  file: string | undefined,
  flags: Readonly<Record<string, string | undefined>> = {},
  system: string = systemFile,
): Config {
  const path = file ?? system;
  let text: string | undefined;
  try {
    text = readTextFile(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const isMissing = code === "ENOENT";
    if (!isMissing || file !== undefined) {
      const isFolder = code === "EISDIR";
      const why = isMissing ? "there is no such file" : isFolder ? "it is a folder" : message;
      throw new StartFailure(exitCodes.usage, `configuration: ${path}: ${why}`);
    }
  }
  const read = readConfig({
    file: text === undefined ? undefined : path,
    text,
    environment: process.env,
    flags,
  });
  if (read.kind === "refused") {
    throw new StartFailure(exitCodes.usage, `configuration:\n${read.problems.join("\n")}`);
  }
  return read.config;
}

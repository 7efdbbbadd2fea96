/**
 * Where a command finds the configuration: `-c`, `$PATINA_CONFIG`, or `/etc/patina/patina.toml` when
 * that is there. Never the working folder: a binary must not do what a file says that happens to lie
 * where it is started.
 *
 * @module
 */

import { existsSync } from "node:fs";
import { type Config, readConfig } from "../config/config.ts";
import { readTextFile } from "../host/text-file.ts";
import { exitCodes, StartFailure } from "../start-failure.ts";

const systemFile = "/etc/patina/patina.toml";

/** @throws StartFailure */
export function loadConfig(
  file: string | undefined,
  flags: Readonly<Record<string, string | undefined>> = {},
): Config {
  const path = file ?? (existsSync(systemFile) ? systemFile : undefined);
  let text: string | undefined;
  if (path !== undefined) {
    try {
      text = readTextFile(path);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      const why = code === "ENOENT" ? "there is no such file" : message;
      throw new StartFailure(exitCodes.usage, `configuration: ${path}: ${why}`);
    }
  }
  const read = readConfig({ file: path, text, environment: process.env, flags });
  if (read.kind === "refused") {
    throw new StartFailure(exitCodes.usage, `configuration:\n${read.problems.join("\n")}`);
  }
  return read.config;
}

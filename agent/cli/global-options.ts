/**
 * Options that most commands have.
 *
 * @module
 */

import { Option } from "commander";

export interface GlobalOptions {
  readonly json?: boolean;
  readonly config?: string;
  readonly socket?: string;
}

export const json = (): Option => new Option("--json", "print JSON: one object, or one a line");
export const config = (): Option =>
  new Option("-c, --config <file>", "the agent's TOML file").env("PATINA_CONFIG");
export const socket = (): Option =>
  new Option("-s, --socket <path>", "the agent's Unix socket (default: as its config says)");

/**
 * What each key of the configuration may be, and its default.
 *
 * @module
 */

import { resolve } from "node:path";
import { parseListenAddress } from "../api/listen-address.ts";
import { parsePeerAddress } from "../swarm/peer-address.ts";

/** What a value may be. Without `value` the key has no default, or one that depends on others. */
export type Rule =
  | {
      readonly kind: "text";
      readonly pattern?: RegExp;
      readonly says?: string;
      readonly value?: string;
    }
  | { readonly kind: "path"; readonly value?: string }
  | { readonly kind: "paths" }
  | { readonly kind: "list"; readonly isOne: (item: string) => boolean; readonly says: string }
  | { readonly kind: "integer"; readonly min: number; readonly max: number; readonly value: number }
  | { readonly kind: "fraction"; readonly value: number }
  | { readonly kind: "boolean"; readonly value: boolean }
  | { readonly kind: "octal"; readonly value: number }
  | { readonly kind: "addresses" }
  | { readonly kind: "tokens" }
  | { readonly kind: "choice"; readonly of: readonly string[]; readonly value: string };

const peerSays = "node keys of 64 hex digits, or those with @address:port";
/** Of nodes, regions and zones. */
export const nameRule = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const nameSays = "1 to 63 letters, digits, '.', '-' or '_'";
const megabyte = 1024 * 1024;

/** Every key, as it is written in the file. Defaults that depend on other keys are filled in `build`. */
export const rules: Readonly<Record<string, Readonly<Record<string, Rule>>>> = {
  node: {
    name: { kind: "text", pattern: nameRule, says: nameSays },
    region: { kind: "text", pattern: nameRule, says: nameSays, value: "default" },
    zone: { kind: "text", pattern: nameRule, says: nameSays, value: "default" },
    data_dir: { kind: "path", value: "patina-data" },
    key_file: { kind: "path" },
  },
  cluster: { file: { kind: "path", value: "" } },
  api: {
    socket: { kind: "path" },
    socket_mode: { kind: "octal", value: 0o600 },
    socket_owner: { kind: "text", value: "" },
    socket_group: { kind: "text", value: "" },
    listen: { kind: "addresses" },
    token: { kind: "boolean", value: true },
    tokens: { kind: "tokens" },
    tokens_file: { kind: "path", value: "" },
    endpoint_name: { kind: "text", value: "" },
    connections_max: { kind: "integer", min: 16, max: 1_000_000, value: 16_384 },
    body_bytes_max: { kind: "integer", min: 1024, max: 1024 * megabyte, value: 16 * megabyte },
    subscriber_bytes_max: { kind: "integer", min: 1024, max: 1024 * megabyte, value: 4 * megabyte },
  },
  schema: { paths: { kind: "paths" } },
  store: {
    durability: { kind: "choice", of: ["normal", "full"], value: "normal" },
    query_timeout_ms: { kind: "integer", min: 1, max: 3_600_000, value: 2000 },
    statement_timeout_ms: { kind: "integer", min: 1, max: 3_600_000, value: 10_000 },
    result_bytes_max: { kind: "integer", min: 65_536, max: 1024 * megabyte, value: 64 * megabyte },
    scrub_rows_per_second: { kind: "integer", min: 0, max: 1_000_000, value: 2000 },
    history_changes: { kind: "integer", min: 1, max: 1_000_000, value: 10_000 },
    subscribed_bytes: { kind: "integer", min: megabyte, max: 2 ** 40, value: 1024 * megabyte },
    history_bytes: { kind: "integer", min: 64 * 1024, max: 1024 * megabyte, value: 32 * megabyte },
  },
  swarm: {
    enabled: { kind: "boolean", value: true },
    host: {
      kind: "text",
      pattern: /^\d{1,3}(\.\d{1,3}){3}$/,
      says: "an IPv4 address",
      value: "0.0.0.0",
    },
    port: { kind: "integer", min: 0, max: 65_535, value: 0 },
    bootstrap: { kind: "list", isOne: isBootstrap, says: 'texts as "10.0.0.1:7700", or "public"' },
    act_as_bootstrap: { kind: "boolean", value: false },
    only: { kind: "list", isOne: isPeer, says: peerSays },
    peers: { kind: "list", isOne: isPeer, says: peerSays },
    heartbeat_ms: { kind: "integer", min: 20, max: 60_000, value: 200 },
    loss_fraction: { kind: "fraction", value: 0 },
  },
  log: {
    level: { kind: "choice", of: ["error", "warn", "info", "debug"], value: "info" },
    format: { kind: "choice", of: ["text", "json"], value: "text" },
  },
};

/** Those that a variable or a flag writes with commas. */
export const listKinds: ReadonlySet<Rule["kind"]> = new Set([
  "list",
  "paths",
  "addresses",
  "tokens",
]);

/** `host:port`; HyperDHT also takes `address@host:port`, which spares it the look-up. */
function isBootstrap(text: string): boolean {
  const port = Number(/^(?:[\d.]+@)?[\w.-]+:(\d{1,5})$/.exec(text)?.[1] ?? 0);
  return text === "public" || (port > 0 && port < 65_536);
}

function isPeer(text: string): boolean {
  return parsePeerAddress(text) !== undefined;
}

/** What is wanted in place of a value that isn't allowed. */
export type Checked =
  | { readonly kind: "value"; readonly value: unknown }
  | { readonly kind: "wanted"; readonly what: string };

/** @param base folder that relative paths are of */
export function checkValue(rule: Rule, value: unknown, base: string): Checked {
  const wanted = (what: string): Checked => ({ kind: "wanted", what });
  const found = (checked: unknown): Checked => ({ kind: "value", value: checked });
  switch (rule.kind) {
    case "text":
      if (typeof value !== "string") return wanted("a text");
      return rule.pattern?.test(value) === false
        ? wanted(rule.says ?? "another text")
        : found(value);
    case "path":
      if (typeof value !== "string" || value.includes("\0")) return wanted("a path");
      // Empty is "none" where that is the default; anywhere else it would be the folder itself.
      if (value === "") return rule.value === "" ? found("") : wanted("a path");
      return found(resolve(base, value));
    case "tokens":
      return found(value);
    case "addresses": {
      if (!Array.isArray(value)) return wanted("a list of addresses");
      const addresses = value.map((item) =>
        typeof item === "string" ? parseListenAddress(item) : undefined,
      );
      return addresses.includes(undefined)
        ? wanted('addresses as "127.0.0.1:8080" or "[::1]:8080"')
        : found(addresses);
    }
    case "paths":
    case "list": {
      if (!Array.isArray(value) || value.some((item) => typeof item !== "string")) {
        return wanted("a list of texts");
      }
      if (rule.kind === "paths") {
        if (value.some((item) => item === "" || item.includes("\0"))) {
          return wanted("a list of paths");
        }
        return found(value.map((item: string) => resolve(base, item)));
      }
      return value.every((item) => rule.isOne(item)) ? found(value) : wanted(rule.says);
    }
    case "integer":
      if (typeof value !== "number" || !Number.isInteger(value)) return wanted("a whole number");
      return value < rule.min || value > rule.max
        ? wanted(`${rule.min} to ${rule.max}`)
        : found(value);
    case "fraction":
      return typeof value === "number" && value >= 0 && value <= 1
        ? found(value)
        : wanted("0 to 1");
    case "boolean":
      return typeof value === "boolean" ? found(value) : wanted("true or false");
    case "octal":
      // 0o660 is a number in TOML; "660" and "0660" are texts.
      if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 0o777) {
        return found(value);
      }
      if (typeof value === "string" && /^0?[0-7]{3}$/.test(value)) {
        return found(Number.parseInt(value, 8));
      }
      return wanted('permissions as "660" or 0o660');
    case "choice":
      return typeof value === "string" && rule.of.includes(value)
        ? found(value)
        : wanted(rule.of.map((choice) => `"${choice}"`).join(" or "));
  }
}

/**
 * The agent's configuration: one TOML file, environment variables over it, flags over both; read once,
 * checked, and printed at start.
 *
 * `PATINA_<SECTION>_<KEY>` sets a key (`PATINA_SWARM_PORT=7701`); lists are written with commas.
 * Relative paths are relative to the folder of the file, those of the environment and of flags to the
 * working folder. A key that isn't known is refused, with the nearest one that is.
 *
 * @module
 */

import { hostname } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parse, TomlError } from "smol-toml";
import type { Token } from "../api/access.ts";
import { isLoopback, type ListenAddress } from "../api/listen-address.ts";
import { parseTokens } from "../api/tokens.ts";
import { locate, suggest } from "./config-hints.ts";
import { checkValue, listKinds, nameRule, type Rule, rules } from "./config-rules.ts";
import { snakeCased } from "./snake-case.ts";

export interface Config {
  readonly node: {
    /** What people and tables call this host. 1 to 63 letters, digits, `.`, `-`, `_`. Default: the host's name. */
    readonly name: string;
    /** Where it is, in the large: `fra`, `eu-west`. Shown in `patina_members`; lanes by region come later. */
    readonly region: string;
    /** Its failure domain within the region (a rack, a zone): hosts that may fail together share it. */
    readonly zone: string;
    /** Folder of the database, the key and the socket; made with mode 0700 if it isn't there. */
    readonly dataDir: string;
    /** The node's Ed25519 seed, 64 hex digits. Made at the first start. Default: `node.key` in `data_dir`. */
    readonly keyFile: string;
  };
  readonly cluster: {
    /**
     * The file that `patina cluster init` wrote, the same on every host: it holds the cluster's secrets.
     * "" stands alone: then nothing is sent or received, and the database has secrets of its own.
     */
    readonly file: string;
  };
  readonly api: {
    /** Unix socket of the HTTP API, at most 107 bytes long. Default: `patina.sock` in `data_dir`. */
    readonly socket: string;
    /** Permissions of the socket, octal. Whoever can write to it can read and change everything. */
    readonly socketMode: number;
    /** User and group of the socket, by name or number; "" leaves them as they are. Changing the owner needs root. */
    readonly socketOwner: string;
    readonly socketGroup: string;
    /**
     * TCP addresses, HTTP/1.1 and HTTP/2 without TLS on the same port: for clients that know no Unix
     * socket. Empty: none. Each needs a token.
     */
    readonly listen: readonly ListenAddress[];
    /** False: TCP without a token. Accepted for loopback addresses only; then every user of the host may read and write everything. */
    readonly token: boolean;
    /** What TCP clients send as `authorization: bearer …`: see `agent/api/tokens.ts`. */
    readonly tokens: readonly Token[];
    /** A file of more of them, which nobody else may read (`agent/host/secret-file.ts`). "" for none. */
    readonly tokensFile: string;
    /** What clients that send `x-corrosion-requested-endpoint-name` must ask for, else 421. "" for anything. */
    readonly endpointName: string;
    /**
     * Connections, over TCP and the Unix socket together; above it TCP takes in another only where an idle one can be closed
     * for it. Lower where the process may have fewer files open: 1,024 of them, or half, are kept for the Unix socket,
     * and 64 for the agent itself.
     */
    readonly connectionsMax: number;
    /** Larger request bodies are refused with 413. */
    readonly bodyBytesMax: number;
    /** Events that one subscriber has not read; above this it is let go, with a line that says so. */
    readonly subscriberBytesMax: number;
  };
  readonly schema: {
    /** Files of CREATE TABLE, CREATE INDEX and CREATE VIEW, or folders of `.sql` files. Applied at the start and by a reload. */
    readonly paths: readonly string[];
  };
  readonly tables: Readonly<Record<string, TableConfig>>;
  readonly store: {
    /** `normal`: a commit survives kill -9; a power loss may lose the last ones. `full`: it survives that too, for an fsync each. */
    readonly durability: "normal" | "full";
    /**
     * Computing time of one query; then it is interrupted. Short ones run on the store thread, those over 2 ms in the
     * reader thread, one after another: ten that never end make the eleventh wait ten times this.
     */
    readonly queryTimeoutMs: number;
    /** Store time of one transaction. Larger than `query_timeout_ms`: a write that is cut off was for nothing. */
    readonly statementTimeoutMs: number;
    /** Of one query's result. It is streamed, so this bounds time and traffic, not memory. */
    readonly resultBytesMax: number;
    /**
     * Rows a second whose values are held against their hashes, while there is nothing else to do; some 10 µs
     * each. A million rows take 8 minutes at 2,000. 0 for never: then damage is found when a row is sent.
     */
    readonly scrubRowsPerSecond: number;
    /** Changes of a subscription that are kept for readers that come back. */
    readonly historyChanges: number;
    /** Changes of all subscriptions together, in memory and in the database, in bytes. */
    readonly historyBytes: number;
    /** Live queries and the rows that they keep to tell changes by, all together, in bytes: some 15 KB a query, and 50 to 180 a row beside its texts. */
    readonly subscribedBytes: number;
  };
  readonly swarm: {
    /** False stands alone: no socket is opened to the outside. */
    readonly enabled: boolean;
    /** IPv4 address that UDP sockets are bound to. */
    readonly host: string;
    /** UDP port; 0 takes any, and the same again at the next start. */
    readonly port: number;
    /** `host:port` of DHT nodes of your own (`patina bootstrap`); `public` for Hyperswarm's, which is asked only then. Without any no network is touched. */
    readonly bootstrap: readonly string[];
    /** Be such a DHT node too; needs a concrete `host` and a `port`. */
    readonly actAsBootstrap: boolean;
    /** Talk to these node keys only (64 hex digits, or with `@host:port`). Empty: to every member. */
    readonly only: readonly string[];
    /** Always keep a connection to these. With `@host:port` they are found without a DHT. */
    readonly peers: readonly string[];
    /** Between heartbeats to each peer; a peer is suspected after four of them. */
    readonly heartbeatMs: number;
    /** Share of outgoing datagrams that is dropped on purpose, 0 to 1. For demonstrations and tests. */
    readonly lossFraction: number;
  };
  readonly log: {
    /** `error`, `warn`, `info` or `debug`. */
    readonly level: LogLevel;
    /** `text` for people, `json` for machines: one object a line. Always on stderr. */
    readonly format: "text" | "json";
  };
}

export interface TableConfig {
  /** False keeps the table on this node. */
  readonly replicated: boolean;
  /**
   * A predicate over the new row, for example `status <> 'up'`: such rows, and deletes, go first, and a column
   * that it reads counts as written where a statement sets it, although the value is the same (`core/store/local/capture.ts`):
   * each time is a changeset, so whoever repeats a "down" every second sends one every second.
   */
  readonly urgent: string | undefined;
}

export type LogLevel = "error" | "warn" | "info" | "debug";

export type ConfigRead =
  | { readonly kind: "config"; readonly config: Config }
  /** Nothing was done. Each problem names the file, line and column, or the variable, and says what to do. */
  | { readonly kind: "refused"; readonly problems: readonly string[] };

export interface ConfigSources {
  /** As the user wrote it; undefined for none. */
  readonly file: string | undefined;
  /** The file's text; undefined for none. */
  readonly text: string | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** By `section.key`, as texts. */
  readonly flags?: Readonly<Record<string, string | undefined>>;
}

export function readConfig(sources: ConfigSources): ConfigRead {
  const reader = new Reader(sources);
  return reader.read();
}

/** Options of `patina agent` that aren't called as their key is. */
const optionNames: Readonly<Record<string, string>> = {
  "cluster.file": "cluster",
  "log.level": "log-level",
  "schema.paths": "schema",
};

type Values = Record<string, Record<string, unknown>>;

class Reader {
  readonly #sources: ConfigSources;
  readonly #problems: string[] = [];
  readonly #values: Values = {};
  /** Without a prototype: `[tables.__proto__]` is a name like any other. */
  readonly #tables: Record<string, TableConfig> = Object.create(null);

  constructor(sources: ConfigSources) {
    this.#sources = sources;
    for (const section of Object.keys(rules)) this.#values[section] = {};
  }

  read(): ConfigRead {
    this.#readFile();
    this.#readEnvironment();
    for (const [path, text] of Object.entries(this.#sources.flags ?? {})) {
      const [section, key] = path.split(".") as [string, string];
      const option = optionNames[path] ?? key.replaceAll("_", "-");
      if (text !== undefined) this.#setText(section, key, text, `--${option}`);
    }
    const config = this.#build();
    const problems = this.#problems;
    return problems.length > 0 ? { kind: "refused", problems } : { kind: "config", config };
  }

  #readFile(): void {
    const { text, file } = this.#sources;
    if (text === undefined) return;
    let root: Record<string, unknown>;
    try {
      root = parse(text) as Record<string, unknown>;
    } catch (error) {
      if (!(error instanceof TomlError)) throw error;
      const [why] = error.message.split("\n");
      this.#problems.push(`${file}:${error.line}:${error.column}: ${why}`);
      return;
    }
    for (const [section, body] of Object.entries(root)) {
      const at = () => this.#place(section);
      if (section === "tables") this.#readTables(body);
      else if (!Object.hasOwn(rules, section)) {
        const known = [...Object.keys(rules), "tables"];
        this.#problems.push(`${at()}: unknown section [${section}]${suggest(section, known)}`);
      } else if (!isTable(body)) {
        this.#problems.push(`${at()}: ${section} is a section: write [${section}]`);
      } else {
        for (const [key, value] of Object.entries(body)) this.#setFromFile(section, key, value);
      }
    }
  }

  #setFromFile(section: string, key: string, value: unknown): void {
    const rule = rules[section]?.[key];
    const at = this.#place(section, key);
    if (rule === undefined) {
      const known = Object.keys(rules[section] ?? {});
      this.#problems.push(`${at}: unknown key ${section}.${key}${suggest(key, known)}`);
      return;
    }
    const base = this.#sources.file === undefined ? "." : dirname(this.#sources.file);
    this.#check(section, key, rule, value, base, at);
  }

  #readTables(body: unknown): void {
    if (!isTable(body)) {
      this.#problems.push(`${this.#place("tables")}: tables are sections: write [tables.NAME]`);
      return;
    }
    for (const [table, options] of Object.entries(body)) {
      const section = `tables.${table}`;
      if (!isTable(options)) {
        this.#problems.push(`${this.#place("tables", table)}: write [${section}]`);
        continue;
      }
      let replicated = true;
      let urgent: string | undefined;
      for (const [key, value] of Object.entries(options)) {
        const at = this.#place(section, key);
        if (key === "replicated" && typeof value === "boolean") replicated = value;
        else if (key === "urgent" && typeof value === "string") urgent = value;
        else if (key === "replicated") {
          this.#problems.push(`${at}: ${section}.replicated: true or false, got ${show(value)}`);
        } else if (key === "urgent") {
          this.#problems.push(`${at}: ${section}.urgent: an SQL condition, got ${show(value)}`);
        } else {
          const hint = suggest(key, ["replicated", "urgent"]);
          this.#problems.push(`${at}: unknown key ${section}.${key}${hint}`);
        }
      }
      if (!replicated && urgent !== undefined) {
        const why = "a table that isn't replicated has nothing urgent to send";
        this.#problems.push(`${this.#place(section)}: ${section}: ${why}`);
      }
      this.#tables[table.toLowerCase()] = { replicated, urgent };
    }
  }

  #readEnvironment(): void {
    for (const [variable, text] of Object.entries(this.#sources.environment)) {
      if (text === undefined || !variable.startsWith("PATINA_")) continue;
      const name = variable.slice("PATINA_".length).toLowerCase();
      // Settings of tests and builds.
      if (name === "config" || name === "require_real" || name.startsWith("test_")) continue;
      const section = Object.keys(rules).find((one) => name.startsWith(`${one}_`));
      const key = section === undefined ? "" : name.slice(section.length + 1);
      if (section === undefined || rules[section]?.[key] === undefined) {
        const known = Object.entries(rules).flatMap(([one, keys]) =>
          Object.keys(keys).map((of) => `PATINA_${one}_${of}`.toUpperCase()),
        );
        this.#problems.push(`${variable}: unknown variable${suggest(variable, known)}`);
        continue;
      }
      this.#setText(section, key, text, variable);
    }
  }

  /** A value of the environment or of a flag. */
  #setText(section: string, key: string, text: string, at: string): void {
    const rule = rules[section]?.[key] as Rule;
    let value: unknown = text;
    if (rule.kind === "integer" || rule.kind === "fraction") {
      value = text.trim() === "" ? text : Number(text);
      if (Number.isNaN(value)) value = text;
    } else if (rule.kind === "boolean") {
      value = text === "true" ? true : text === "false" ? false : text;
    } else if (rule.kind === "tokens") {
      const why = "secrets don't belong into the environment: write them to api.tokens_file";
      this.#problems.push(`${at}: ${why}`);
      return;
    } else if (rule.kind === "list" || rule.kind === "paths" || rule.kind === "addresses") {
      value = text === "" ? [] : text.split(",").map((item) => item.trim());
    }
    this.#check(section, key, rule, value, ".", at);
  }

  #check(section: string, key: string, rule: Rule, value: unknown, base: string, at: string): void {
    if (rule.kind === "tokens") {
      const read = parseTokens(value);
      if (read.kind === "refused") {
        for (const problem of read.problems) this.#problems.push(`${at}: ${problem}`);
      } else (this.#values[section] as Record<string, unknown>)[key] = read.tokens;
      return;
    }
    const checked = checkValue(rule, value, base);
    if (checked.kind === "value") {
      (this.#values[section] as Record<string, unknown>)[key] = checked.value;
    } else {
      const wanted = `${section}.${key}: ${checked.what}, got ${show(value)}`;
      this.#problems.push(`${at}: ${wanted}`);
    }
  }

  #build(): Config {
    const get = (section: string, key: string): never => {
      const value = this.#values[section]?.[key];
      if (value !== undefined) return value as never;
      const rule = rules[section]?.[key] as Rule;
      if (!("value" in rule) && listKinds.has(rule.kind)) return [] as never;
      return ("value" in rule ? rule.value : undefined) as never;
    };
    const dataDir = resolve(get("node", "data_dir"));
    const ownName = hostname().split(".")[0] ?? "";
    const config: Config = {
      node: {
        name: get("node", "name") ?? (nameRule.test(ownName) ? ownName : "node"),
        region: get("node", "region"),
        zone: get("node", "zone"),
        dataDir,
        keyFile: get("node", "key_file") ?? join(dataDir, "node.key"),
      },
      cluster: { file: get("cluster", "file") },
      api: {
        socket: get("api", "socket") ?? join(dataDir, "patina.sock"),
        socketMode: get("api", "socket_mode"),
        socketOwner: get("api", "socket_owner"),
        socketGroup: get("api", "socket_group"),
        listen: get("api", "listen"),
        token: get("api", "token"),
        tokens: get("api", "tokens"),
        tokensFile: get("api", "tokens_file"),
        endpointName: get("api", "endpoint_name"),
        connectionsMax: get("api", "connections_max"),
        bodyBytesMax: get("api", "body_bytes_max"),
        subscriberBytesMax: get("api", "subscriber_bytes_max"),
      },
      schema: { paths: get("schema", "paths") },
      tables: this.#tables,
      store: {
        durability: get("store", "durability"),
        queryTimeoutMs: get("store", "query_timeout_ms"),
        statementTimeoutMs: get("store", "statement_timeout_ms"),
        resultBytesMax: get("store", "result_bytes_max"),
        scrubRowsPerSecond: get("store", "scrub_rows_per_second"),
        historyChanges: get("store", "history_changes"),
        historyBytes: get("store", "history_bytes"),
        subscribedBytes: get("store", "subscribed_bytes"),
      },
      swarm: {
        enabled: get("swarm", "enabled"),
        host: get("swarm", "host"),
        port: get("swarm", "port"),
        bootstrap: get("swarm", "bootstrap"),
        actAsBootstrap: get("swarm", "act_as_bootstrap"),
        only: get("swarm", "only"),
        peers: get("swarm", "peers"),
        heartbeatMs: get("swarm", "heartbeat_ms"),
        lossFraction: get("swarm", "loss_fraction"),
      },
      log: { level: get("log", "level"), format: get("log", "format") },
    };
    if (
      config.swarm.actAsBootstrap &&
      (config.swarm.port === 0 || config.swarm.host === "0.0.0.0")
    ) {
      this.#problems.push(
        "swarm.act_as_bootstrap: others begin with this node, so it needs a swarm.host and a swarm.port that stay",
      );
    }
    this.#checkTokens(config.api);
    return config;
  }

  #checkTokens(api: Config["api"]): void {
    const hasTokens = api.tokens.length > 0 || api.tokensFile !== "";
    if (!api.token && hasTokens) {
      this.#problems.push("api.token: false, and yet there are tokens: write one or the other");
    }
    if (api.listen.length === 0) return;
    const open = api.listen.find((address) => !isLoopback(address));
    if (!api.token && open !== undefined) {
      const why = `api.token: false is for loopback addresses only, and ${open.host} is none`;
      this.#problems.push(`${why}: set api.tokens_file`);
    } else if (api.token && !hasTokens) {
      const why = "api.listen: TCP needs a token: set api.tokens_file";
      const choice = open === undefined ? ", or api.token = false" : "";
      this.#problems.push(`${why}${choice}`);
    }
  }

  /** `file:line:column` of a section or of a key in it. */
  #place(section: string, key?: string): string {
    const { file, text } = this.#sources;
    const found = text === undefined ? undefined : locate(text, section, key);
    return found === undefined ? `${file}` : `${file}:${found.line}:${found.column}`;
  }
}

function isTable(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date)
  );
}

function show(value: unknown): string {
  // JSON has no infinity.
  return typeof value === "bigint" || typeof value === "number"
    ? String(value)
    : (JSON.stringify(value) ?? String(value));
}

/** For people: without secrets, under the names that the file has. */
export function configWithoutSecrets(config: Config): object {
  const { api, tables } = config;
  const tokens = api.tokens.map(({ name, access }) => ({
    name,
    secret: "***",
    read_only: !access.mayWrite,
    ...(access.tables === undefined ? {} : { tables: [...access.tables] }),
  }));
  const shown = { ...api, socketMode: `0${api.socketMode.toString(8)}`, tokens };
  // The names of tables are the user's.
  return { ...snakeCased({ ...config, api: shown }), tables };
}

/** For the log at start. */
export function configToText(config: Config): string {
  return JSON.stringify(configWithoutSecrets(config));
}

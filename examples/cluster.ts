/**
 * A real cluster on loopback: a private bootstrap and some agents, each a process of its own with its own data
 * directory and socket. The demo, the benches and the end-to-end tests start theirs here.
 *
 * Agents are given the bootstrap's address and the cluster's file, never each other's addresses.
 *
 * @module
 */

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { PatinaClient } from "../agent/client/client.ts";

export interface ClusterOptions {
  /** The compiled executable. */
  readonly binary: string;
  /** Each node's own, in place of it. */
  readonly binaries?: readonly string[];
  readonly nodes: number;
  /** Files of CREATE TABLE and CREATE INDEX. */
  readonly schema: readonly string[];
  /** More TOML for every agent's configuration. */
  readonly config?: string;
  /** Fraction of datagrams to drop, in both directions. */
  readonly loss?: number;
}

export class ClusterNode {
  readonly name: string;
  readonly socket: string;
  readonly configFile: string;
  readonly dataDirectory: string;
  readonly client: PatinaClient;
  /** What the next start runs. */
  binary: string;
  readonly #env: Record<string, string>;
  readonly #logFile: string;
  #process: Subprocess | undefined;

  constructor(options: {
    name: string;
    folder: string;
    binary: string;
    config: string;
    env: Record<string, string>;
  }) {
    this.name = options.name;
    this.dataDirectory = join(options.folder, options.name);
    this.socket = join(options.folder, `${options.name}.sock`);
    this.configFile = join(options.folder, `${options.name}.toml`);
    this.#logFile = join(options.folder, `${options.name}.log`);
    this.binary = options.binary;
    this.#env = options.env;
    mkdirSync(this.dataDirectory, { recursive: true, mode: 0o700 });
    writeFileSync(this.configFile, options.config);
    this.client = new PatinaClient(this.socket);
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  /** Starts the agent's process; returns at once. */
  spawn(): void {
    this.#process = Bun.spawn([this.binary, "agent", "--config", this.configFile], {
      env: { ...process.env, ...this.#env },
      stdin: "ignore",
      stdout: Bun.file(this.#logFile),
      stderr: Bun.file(`${this.#logFile}.err`),
    });
  }

  /** Waits until the agent answers a query. */
  async answers(deadlineMs = 60_000): Promise<void> {
    await until(`${this.name} answers`, deadlineMs, async () => {
      if (this.#process?.exitCode != null) throw new Error(`${this.name} ended:\n${this.log()}`);
      return (await this.client.query("SELECT 1")).rows.length === 1;
    });
  }

  async kill(signal: "SIGKILL" | "SIGTERM" = "SIGKILL"): Promise<void> {
    this.#process?.kill(signal);
    await this.#process?.exited;
  }

  /** The end of what the agent has logged since its last start. */
  log(charactersMax = 4000): string {
    const read = (path: string) => {
      try {
        return readFileSync(path, "utf8").slice(-charactersMax);
      } catch {
        return "";
      }
    };
    return read(this.#logFile) + read(`${this.#logFile}.err`);
  }

  /** Resident memory in bytes, of the running process. */
  rssBytes(): number {
    const status = readFileSync(`/proc/${this.pid}/status`, "utf8");
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
  }
}

const endingSignals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export class Cluster implements AsyncDisposable {
  readonly folder: string;
  readonly nodes: ClusterNode[] = [];
  #bootstrap: Subprocess | undefined;
  /** Whoever is interrupted (Ctrl-C, a terminal that is closed) leaves no agents behind, nor their folder. */
  readonly #onSignal = (signal: NodeJS.Signals): void => {
    process.exit(128 + constants.signals[signal]);
  };
  readonly #onExit = (): void => {
    for (const node of this.nodes) void node.kill();
    this.#bootstrap?.kill("SIGKILL");
    // They may write for a moment still.
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  };

  private constructor(folder: string) {
    this.folder = folder;
    process.on("exit", this.#onExit);
    for (const signal of endingSignals) process.on(signal, this.#onSignal);
  }

  /** From now on signals are the caller's, who disposes of this. */
  leaveSignals(): void {
    for (const signal of endingSignals) process.off(signal, this.#onSignal);
  }

  /** Starts everything and returns when every agent answers; finding each other takes a little longer. */
  static async start(options: ClusterOptions): Promise<Cluster> {
    const cluster = new Cluster(mkdtempSync(join(tmpdir(), "patina-cluster-")));
    try {
      await cluster.#start(options);
      return cluster;
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #start(options: ClusterOptions): Promise<void> {
    const { binary, binaries = [], nodes, schema, config = "", loss = 0 } = options;
    const clusterFile = join(this.folder, "cluster.toml");
    const init = Bun.spawnSync([binary, "cluster", "init", clusterFile]);
    if (init.exitCode !== 0) throw new Error(`cluster init: ${init.stderr}`);
    const env: Record<string, string> =
      loss > 0 ? { PATINA_SWARM_LOSS_FRACTION: String(loss) } : {};
    const bootstrap = Bun.spawn(
      [binary, "bootstrap", "--host", "127.0.0.1", "--port", String(await freeUdpPort()), "--json"],
      { stdin: "ignore", stdout: "pipe", stderr: "ignore" },
    );
    this.#bootstrap = bootstrap;
    const started = JSON.parse(await firstLine(bootstrap.stdout)) as { bootstrap: string };
    for (let i = 0; i < nodes; i++) {
      const name = `edge-${i + 1}`;
      const node = new ClusterNode({
        name,
        folder: this.folder,
        binary: binaries[i] ?? binary,
        env,
        config: [
          `[node]\nname = "${name}"\nregion = "local"\nzone = "zone-${i + 1}"`,
          `data_dir = "${join(this.folder, name)}"\n`,
          `[cluster]\nfile = "${clusterFile}"\n`,
          `[api]\nsocket = "${join(this.folder, `${name}.sock`)}"\n`,
          `[schema]\npaths = ${JSON.stringify(schema)}\n`,
          `[swarm]\nhost = "127.0.0.1"\nbootstrap = ["${started.bootstrap}"]\n`,
          config,
        ].join("\n"),
      });
      this.nodes.push(node);
      node.spawn();
    }
    await Promise.all(this.nodes.map((node) => node.answers()));
  }

  /** Waits until every agent holds every other one alive. */
  async connected(deadlineMs = 60_000): Promise<void> {
    const others = this.nodes.length - 1;
    await until("every agent sees the others alive", deadlineMs, async () => {
      for (const node of this.nodes) {
        const sql = "SELECT count(*) FROM patina_members WHERE state = 'ALIVE' AND node <> ?";
        const { rows } = await node.client.query(sql, node.name);
        if (Number(rows[0]?.[0]) < others) return false;
      }
      return true;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.leaveSignals();
    process.off("exit", this.#onExit);
    await Promise.all(this.nodes.map((node) => node.kill()));
    this.#bootstrap?.kill("SIGKILL");
    await this.#bootstrap?.exited;
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Asks again until `condition` holds; the error says what was waited for and why it last failed. */
export async function until(
  what: string,
  deadlineMs: number,
  condition: () => Promise<boolean> | boolean,
): Promise<void> {
  const end = performance.now() + deadlineMs;
  let last = "the condition does not hold";
  for (;;) {
    try {
      if (await condition()) return;
    } catch (error) {
      last = error instanceof Error ? error.message : String(error);
      if (/ ended:\n/.test(last)) throw error;
    }
    if (performance.now() > end) throw new Error(`${what}: not within ${deadlineMs} ms (${last})`);
    await Bun.sleep(10);
  }
}

/** A bootstrap node's id is a hash of its address, so its port has to be known before it starts. */
async function freeUdpPort(): Promise<number> {
  const socket = await Bun.udpSocket({ hostname: "127.0.0.1" });
  const { port } = socket;
  socket.close();
  return port;
}

async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const piece of stream) {
    text += decoder.decode(piece, { stream: true });
    const end = text.indexOf("\n");
    if (end >= 0) return text.slice(0, end);
  }
  throw new Error(`the process ended before its first line: ${text}`);
}

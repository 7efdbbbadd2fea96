/**
 * Starts and drives `net-peer.ts` processes.
 *
 * @module
 */

import { join } from "node:path";
import type { NetOptions } from "../../agent/net/messages.ts";
import { startBootstrap } from "../../agent/swarm/bootstrap.ts";
import { until } from "../until.ts";
import type { PeerCommand, PeerEvent } from "./net-peer.ts";

export class NetPeer implements AsyncDisposable {
  readonly name: string;
  readonly events: PeerEvent[] = [];
  readonly #process;
  #rest = "";

  /** `within`: a command that runs the rest of its arguments, such as `ip netns exec NAME`. */
  constructor(name: string, options: NetOptions, within: readonly string[] = []) {
    this.name = name;
    const file = join(import.meta.dir, "net-peer.ts");
    this.#process = Bun.spawn([...within, process.execPath, file, JSON.stringify(options)], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    });
    void this.#read();
  }

  async #read(): Promise<void> {
    for await (const piece of this.#process.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (this.#rest + piece).split("\n");
      this.#rest = lines.pop() as string;
      for (const line of lines) this.events.push(JSON.parse(line) as PeerEvent);
    }
  }

  tell(command: PeerCommand): void {
    this.#process.stdin.write(`${JSON.stringify(command)}\n`);
    this.#process.stdin.flush();
  }

  of<K extends PeerEvent["kind"]>(kind: K): Extract<PeerEvent, { kind: K }>[] {
    return this.events.filter((event) => event.kind === kind) as never;
  }

  reports(kind: string): (Record<string, unknown> & { kind: string })[] {
    return this.of("report")
      .map(({ report }) => report)
      .filter((report) => report.kind === kind);
  }

  /** The last `listening`. */
  async listening(): Promise<{ key: string; port: number }> {
    await until(`${this.name} listens`, () => this.reports("listening").length > 0);
    return this.reports("listening").at(-1) as never;
  }

  async status(): Promise<Extract<PeerEvent, { kind: "status" }>["status"]> {
    const before = this.of("status").length;
    this.tell({ kind: "status" });
    await until(`${this.name} answers`, () => this.of("status").length > before);
    return this.of("status").at(-1)?.status as never;
  }

  /** Rows that came from others, by key. */
  received(): Map<string, number> {
    const rows = this.of("row").filter((row) => !row.isLocal);
    return new Map(rows.map((row) => [row.key, row.atMs - row.writtenMs]));
  }

  kill(): Promise<number> {
    this.#process.kill("SIGKILL");
    return this.#process.exited;
  }

  /** Stops as planned; resolves when the process has ended. */
  stop(): Promise<number> {
    this.tell({ kind: "stop" });
    return this.#process.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

/** A bootstrap node in this process, and nodes that know its address and one cluster's secrets. */
export class NetCluster implements AsyncDisposable {
  readonly #peers: NetPeer[] = [];
  readonly #secrets = {
    topic: crypto.getRandomValues(new Uint8Array(32)),
    admissionSecret: crypto.getRandomValues(new Uint8Array(32)),
  };
  readonly #bootstrap: string;
  readonly #close: () => Promise<void>;

  private constructor(bootstrap: string, close: () => Promise<void>) {
    this.#bootstrap = bootstrap;
    this.#close = close;
  }

  static async start(): Promise<NetCluster> {
    const started = await startBootstrap({ host: "127.0.0.1", port: 0 });
    if (started.kind === "failed") throw new Error(started.why);
    return new NetCluster(started.bootstrap.address, () => started.bootstrap.close());
  }

  /** Nodes of one name have one key. */
  node(name: string, options: Partial<NetOptions> = {}): NetPeer {
    const peer = new NetPeer(name, {
      nodeSeed: Uint8Array.from(new Bun.CryptoHasher("sha256").update(name).digest()),
      name,
      region: "test",
      zone: "test",
      cluster: this.#secrets,
      host: "127.0.0.1",
      port: 0,
      bootstrap: [this.#bootstrap],
      isBootstrap: false,
      incarnation: 1,
      testHooks: true,
      ...options,
    });
    this.#peers.push(peer);
    return peer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const peer of this.#peers) await peer.kill();
    await this.#close();
  }
}

export function quantile(values: Iterable<number>, q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
}

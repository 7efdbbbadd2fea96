/**
 * Many net sides in one process: what runs in the net thread of an agent (swarm, node machine, Hyperswarm, UDX),
 * each without a thread of its own and with a store that is always empty. Thirty processes would be more than
 * two cores start in a few seconds; `test/long/fleet.ts` does that with real agents.
 *
 * @module
 */

import type { NetAnswer, NetMessage, NetOptions, SwarmStatus } from "../../agent/net/messages.ts";
import { createMachine } from "../../agent/net/net-machine.ts";
import { createNetRunner, type NetRunner } from "../../agent/net/net-runner.ts";
import { startBootstrap } from "../../agent/swarm/bootstrap.ts";
import { siteOfHex } from "../../core/clock/stamp.ts";

/** Key of a node → keys of the peers that it is connected to. */
export type Streams = ReadonlyMap<string, readonly string[]>;

/** Whether every node is reached from the first, along streams that both sides hold. */
export function isOneGraph(streams: Streams): boolean {
  const first = streams.keys().next().value;
  if (first === undefined) return false;
  const reached = new Set([first]);
  for (const node of reached) {
    for (const peer of streams.get(node) ?? []) {
      if (streams.get(peer)?.includes(node)) reached.add(peer);
    }
  }
  return reached.size === streams.size;
}

class NetSide {
  readonly region: string;
  readonly #runner: NetRunner;
  readonly #waiting: ((message: NetMessage) => void)[] = [];
  readonly failures: string[] = [];

  constructor(options: NetOptions) {
    this.region = options.region;
    this.#runner = createNetRunner({ post: (message) => this.#onMessage(message) }, createMachine);
    this.#runner.onMessage({ kind: "start", options });
    const site = siteOfHex(options.name.padStart(32, "0"));
    const identity = { kind: "identity", site, schema: [], starting: false } as const;
    this.#runner.onMessage({ kind: "replies", replies: [identity] });
  }

  #onMessage(message: NetMessage): void {
    if (message.kind === "report" && message.report.kind === "failed") {
      this.failures.push(message.report.why);
    }
    if (message.kind === "answer" || message.kind === "stopped") this.#waiting.shift()?.(message);
  }

  async status(): Promise<SwarmStatus> {
    const answered = new Promise<NetMessage>((resolve) => this.#waiting.push(resolve));
    this.#runner.onMessage({ kind: "ask", id: 1, question: { kind: "swarm" } });
    const { answer } = (await answered) as { answer: NetAnswer };
    if (!("peers" in answer)) throw new Error(`no status: ${answer.kind}`);
    return answer;
  }

  async stop(): Promise<void> {
    const stopped = new Promise<NetMessage>((resolve) => this.#waiting.push(resolve));
    this.#runner.onMessage({ kind: "stop", untilMs: 0, reason: "test" });
    await stopped;
  }
}

export class NetFleet implements AsyncDisposable {
  readonly #sides: NetSide[] = [];
  readonly #secrets = {
    topic: crypto.getRandomValues(new Uint8Array(32)),
    admissionSecret: crypto.getRandomValues(new Uint8Array(32)),
  };
  readonly #options: Partial<NetOptions>;
  readonly #bootstrap: string;
  readonly #close: () => Promise<void>;

  private constructor(bootstrap: string, close: () => Promise<void>, options: Partial<NetOptions>) {
    this.#bootstrap = bootstrap;
    this.#close = close;
    this.#options = options;
  }

  /** A bootstrap, and no node yet. */
  static async start(options: Partial<NetOptions> = {}): Promise<NetFleet> {
    const started = await startBootstrap({ host: "127.0.0.1", port: 0 });
    if (started.kind === "failed") throw new Error(started.why);
    const { address, close } = started.bootstrap;
    return new NetFleet(address, () => close(), options);
  }

  /** Starts `count` more, all in this very moment. */
  add(count: number, regionOf: (index: number) => string): void {
    for (let i = 0; i < count; i++) {
      this.#sides.push(
        new NetSide({
          nodeSeed: crypto.getRandomValues(new Uint8Array(32)),
          name: `${this.#sides.length + 1}`,
          region: regionOf(i),
          zone: "zone",
          cluster: this.#secrets,
          host: "127.0.0.1",
          port: 0,
          bootstrap: [this.#bootstrap],
          isBootstrap: false,
          incarnation: 1,
          ...this.#options,
        }),
      );
    }
  }

  async streams(): Promise<Streams> {
    const streams = new Map<string, string[]>();
    for (const { key, peers } of await this.#statuses()) {
      streams.set(
        key,
        peers.map(({ peer }) => peer),
      );
    }
    return streams;
  }

  /** Of each node: how many of its neighbours are of its region and of others. */
  async farCounts(): Promise<{ near: number; far: number }[]> {
    const statuses = await this.#statuses();
    return statuses.map(({ peers }, i) => {
      const near = peers.filter(({ region }) => region === this.#sides[i]?.region).length;
      return { near, far: peers.length - near };
    });
  }

  async #statuses(): Promise<SwarmStatus[]> {
    for (const { failures } of this.#sides)
      if (failures[0] !== undefined) throw new Error(failures[0]);
    return Promise.all(this.#sides.map((side) => side.status()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#sides.map((side) => side.stop()));
    await this.#close();
  }
}

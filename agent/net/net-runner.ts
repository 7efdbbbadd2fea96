/**
 * The net side: joins the node machine to the swarm, one timer and the link. It runs in the net thread
 * (`net-thread.ts`), but knows only a port that messages come from and go to.
 *
 * The machine decides; here each effect is carried out and nothing is kept. It never waits for the
 * store: requests go out as messages, replies come as events.
 *
 * @module
 */

import { assert, unreachable } from "../../core/assert.ts";
import type { PeerId, StoreRequest } from "../../core/node/border.ts";
import type { NodeEffect, NodeEvent } from "../../core/node/node-events.ts";
import { WallClock } from "../host/wall-clock.ts";
import { type Bootstrap, startBootstrap } from "../swarm/bootstrap.ts";
import { publicDht } from "../swarm/cluster-dht.ts";
import type { KnownMember } from "../swarm/neighbourhood.ts";
import { type Swarm, startSwarm } from "../swarm/swarm.ts";
import { UDX } from "../udx/index.ts";
import type { Agreed } from "./agreements.ts";
import type { LinkMessage, NetAnswer, NetMessage, NetOptions, NetQuestion } from "./messages.ts";
import type { CreateMachine, Machine } from "./net-machine.ts";
import { warmUpNet } from "./net-warm-up.ts";

export interface NetPort {
  /** Buffers in `transfer` are given away. */
  post(message: NetMessage, transfer: ArrayBuffer[]): void;
}

export interface NetRunner {
  /** Messages are taken in order; `start` first, and once. */
  onMessage(message: LinkMessage): void;
}

const peersMaxDefault = 12;
/** Hole punching begins with four samples of the own address by different DHT nodes, and some may fail. */
const dhtNodesForPunching = 6;
/** Reports of refused peers: so many in that time. */
const refusedToldMax = 5;
const refusedWindowMs = 10_000;
/** What comes with the start goes first. */
const warmUpAfterMs = 1500;
/** A stop waits so long for what its peers are still to be sent: a slow one hears of the rest when this node is back. */
const partingMs = 600;
const partingLookMs = 5;
/** setTimeout fires at once above this. */
const timeoutMsMax = 2 ** 31 - 1;

export function createNetRunner(port: NetPort, createMachine: CreateMachine): NetRunner {
  let running: Promise<Running | undefined> | undefined;
  let net: Running | undefined;
  return {
    onMessage(message) {
      if (message.kind === "start") {
        assert(running === undefined, "one start");
        running = start(port, createMachine, message.options).then((started) => {
          net = started;
          return started;
        });
        return;
      }
      assert(running !== undefined, "start comes first");
      // In order also while it starts: promise callbacks run in the order they were added.
      if (net !== undefined) net.onMessage(message);
      else void running.then((started) => started?.onMessage(message));
    },
  };
}

async function start(
  port: NetPort,
  createMachine: CreateMachine,
  options: NetOptions,
): Promise<Running | undefined> {
  if (options.lossFraction) {
    // Nodes of one test lose different packets.
    UDX.simulateLoss(options.lossFraction, options.nodeSeed[0]);
  }
  const failed = (why: string): undefined => {
    port.post({ kind: "report", report: { kind: "failed", why } }, []);
  };
  let bootstrap: Bootstrap | undefined;
  if (options.isBootstrap) {
    const started = await startBootstrap(options);
    if (started.kind === "failed") return failed(started.why);
    bootstrap = started.bootstrap;
  }
  const runner = new Running(port, options, bootstrap);
  const started = await startSwarm(
    {
      sha256: (bytes) => new Bun.CryptoHasher("sha256").update(bytes).digest(),
      nodeSeed: options.nodeSeed,
      topic: options.cluster.topic,
      admissionSecret: options.cluster.admissionSecret,
      host: options.host,
      // A node's own DHT doesn't answer its own look-ups, so a bootstrap is a second DHT node beside.
      port: bootstrap === undefined ? options.port : options.port + 1,
      bootstrap: bootstrap ? [bootstrap.address, ...options.bootstrap] : options.bootstrap,
      firewalled:
        options.firewalled ??
        (options.bootstrap.length >= dhtNodesForPunching || options.bootstrap.includes(publicDht)),
      only: options.only?.length ? options.only : undefined,
      peers: options.peers ?? [],
      remembered: options.remembered,
      peersMax: options.peersMax ?? peersMaxDefault,
      region: options.region,
    },
    {
      knownMembers: () => runner.knownMembers(),
      onConnected: (peer) => {
        runner.report({ kind: "connected", peer, address: runner.swarm.addressOf(peer) });
        runner.handle({ kind: "connected", peer });
      },
      onFrame: (peer, frame) => runner.handle({ kind: "received", peer, frame }),
      onDrained: (peer, bytesLeft) => runner.handle({ kind: "drained", peer, bytesLeft }),
      onParting: (peer) => runner.handle({ kind: "parting", peer }),
      onDisconnected: (peer, why) => {
        runner.report({ kind: "disconnected", peer, why });
        runner.handle({ kind: "disconnected", peer });
      },
      onRefused: (peer, why) => runner.refused(peer, why),
    },
  );
  if (started.kind === "failed") {
    await bootstrap?.close();
    return failed(started.why);
  }
  runner.begin(started.swarm, createMachine);
  return runner;
}

class Running {
  readonly #port: NetPort;
  readonly #options: NetOptions;
  readonly #bootstrap: Bootstrap | undefined;
  readonly #clock = new WallClock();
  #swarm: Swarm | undefined;
  #machine: Machine | undefined;
  readonly #events: NodeEvent[] = [];
  readonly #effects: NodeEffect[] = [];
  #isHandling = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerMs = Number.POSITIVE_INFINITY;
  #warmUpTimer: ReturnType<typeof setTimeout> | undefined;
  #requests: StoreRequest[] = [];
  #isStopping = false;
  #toldAgreement: Agreed | undefined;
  #refusedUntilMs = 0;
  #refusedTold = 0;

  constructor(port: NetPort, options: NetOptions, bootstrap: Bootstrap | undefined) {
    this.#port = port;
    this.#options = options;
    this.#bootstrap = bootstrap;
  }

  get swarm(): Swarm {
    assert(this.#swarm !== undefined, "a swarm that has begun");
    return this.#swarm;
  }

  begin(swarm: Swarm, createMachine: CreateMachine): void {
    this.#swarm = swarm;
    this.#machine = createMachine(this.#options, swarm.key);
    this.report({ kind: "listening", key: swarm.key, ...swarm.address });
    // Its first event sets the machine's clock.
    this.handle({ kind: "timeout" });
    this.#warmUpLater(createMachine);
  }

  #warmUpLater(createMachine: CreateMachine): void {
    this.#warmUpTimer = setTimeout(() => {
      if (this.#machine?.isCatchingUp) return this.#warmUpLater(createMachine);
      const warm = (name: string, key: PeerId) => createMachine({ ...this.#options, name }, key);
      // Should it fail, the first news are a little later, which is no reason to end this thread.
      warmUpNet(warm, () => this.#isStopping).catch(() => {});
    }, warmUpAfterMs);
  }

  onMessage(message: LinkMessage): void {
    switch (message.kind) {
      case "start":
        assert(false, "one start");
        return;
      case "replies":
        for (const reply of message.replies) this.handle({ kind: "store", reply });
        return;
      case "ask":
        this.#port.post(
          { kind: "answer", id: message.id, answer: this.#answer(message.question) },
          [],
        );
        return;
      case "ping":
        this.#port.post({ kind: "alive" }, []);
        return;
      case "stop":
        void this.#stop(message.untilMs, message.reason);
        return;
      default:
        unreachable(message);
    }
  }

  report(report: Extract<NetMessage, { kind: "report" }>["report"]): void {
    this.#port.post({ kind: "report", report }, []);
  }

  /** Members that can be dialled, as gossip tells. */
  knownMembers(): KnownMember[] {
    const known: KnownMember[] = [];
    for (const { key, region, state } of this.#machine?.snapshot().members ?? []) {
      if (state === "ALIVE") known.push({ peer: key, region });
    }
    return known;
  }

  /** Who knows the topic can knock as often as it likes: counted always, told of only now and then. */
  refused(peer: PeerId, why: string): void {
    const nowMs = performance.now();
    if (nowMs > this.#refusedUntilMs) {
      this.#refusedUntilMs = nowMs + refusedWindowMs;
      this.#refusedTold = 0;
    }
    if (this.#refusedTold++ < refusedToldMax) this.report({ kind: "refused", peer, why });
  }

  /** Effects never call back, so that events don't nest; should one ever, it waits its turn. */
  handle(event: NodeEvent): void {
    this.#events.push(event);
    if (this.#isHandling) return;
    this.#isHandling = true;
    try {
      for (let next = this.#events.shift(); next !== undefined; next = this.#events.shift()) {
        assert(this.#machine !== undefined, "a machine that has begun");
        this.#machine.handle(next, this.#clock.nowMs(), this.#effects);
        for (const effect of this.#effects) this.#carryOut(effect);
        this.#effects.length = 0;
      }
    } finally {
      this.#isHandling = false;
    }
    const agreed = this.#machine?.latestAgreement;
    if (agreed !== this.#toldAgreement && agreed !== undefined) {
      this.#toldAgreement = agreed;
      this.report({ kind: "agreed", peer: agreed.peer, cut: agreed.cut });
    }
    this.#armTimer();
  }

  #carryOut(effect: NodeEffect): void {
    switch (effect.kind) {
      case "send":
        this.swarm.send(effect.peer, effect.bytes, effect.lane === 0);
        return;
      case "close":
        this.swarm.close(effect.peer, effect.why);
        return;
      case "store":
        this.#request(effect.request);
        return;
      case "alarm":
        this.report(effect);
        return;
      default:
        unreachable(effect);
    }
  }

  /** Posted when this task ends, together with the others; urgent ones at once. */
  #request(request: StoreRequest): void {
    this.#requests.push(request);
    if (request.kind === "apply" && request.lane === 0) this.#postRequests();
    else if (this.#requests.length === 1) queueMicrotask(() => this.#postRequests());
  }

  #postRequests(): void {
    if (this.#requests.length === 0) return;
    const transfer: ArrayBuffer[] = [];
    const requests = this.#requests.map((request) => detached(request, transfer));
    this.#requests = [];
    this.#port.post({ kind: "requests", requests }, transfer);
  }

  #armTimer(): void {
    if (this.#machine === undefined || this.#isStopping) return;
    const atMs = this.#machine.pollTimeout();
    if (atMs === this.#timerMs && this.#timer !== undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#timerMs = atMs;
    if (atMs === Number.POSITIVE_INFINITY) return;
    const waitMs = Math.min(Math.max(0, Math.ceil(atMs - this.#clock.nowMs())), timeoutMsMax);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.handle({ kind: "timeout" });
    }, waitMs);
  }

  #answer(question: NetQuestion): NetAnswer {
    switch (question.kind) {
      case "swarm": {
        const { swarm } = this;
        assert(this.#machine !== undefined, "a machine that has begun");
        const node = this.#machine.snapshot();
        const hellos = new Map(
          node.peers.map(({ peer, name, region }) => [peer, { name, region }] as const),
        );
        const unknown = { name: undefined, region: undefined };
        return {
          key: swarm.key,
          ...swarm.address,
          bootstrap: this.#options.bootstrap,
          isBootstrap: this.#bootstrap !== undefined,
          peers: swarm
            .status()
            .map((status) => ({ ...status, ...(hellos.get(status.peer) ?? unknown) })),
          connecting: swarm.connecting,
          known: swarm.peersKnown,
          counters: {
            admitted: swarm.admitted,
            refused: Object.fromEntries(swarm.refused),
            ...swarm.datagrams,
            simulatedLoss: UDX.simulatedLossCount,
          },
          // The link knows.
          restarts: 0,
          node,
        };
      }
      case "backlog": {
        assert(this.#machine !== undefined, "a machine that has begun");
        return { kind: "backlog", bodies: this.#machine.applyBodies };
      }
      case "crash": {
        if (!this.#options.testHooks) return { kind: "unavailable", why: "test hooks are off" };
        setTimeout(() => {
          throw new Error("crash asked for by a test");
        }, 0);
        return { kind: "unavailable", why: "crashing" };
      }
      case "hang": {
        if (!this.#options.testHooks) return { kind: "unavailable", why: "test hooks are off" };
        setTimeout(() => {
          for (;;);
        }, 0);
        return { kind: "unavailable", why: "hanging" };
      }
      default:
        return unreachable(question);
    }
  }

  /** Commits may wait in their lanes, and leave as the streams drain. Bulk is repair's. */
  async #commitsSent(): Promise<void> {
    const untilMs = performance.now() + partingMs;
    const isWaiting = () =>
      this.#machine?.snapshot().peers.some(({ waitingBytes: [urgent, normal] }) => {
        return urgent + normal > 0;
      });
    while (isWaiting() && performance.now() < untilMs) await Bun.sleep(partingLookMs);
  }

  async #stop(untilMs: number, reason: string): Promise<void> {
    if (this.#isStopping) return;
    this.handle({ kind: "stopping", untilMs, reason });
    this.#isStopping = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#warmUpTimer);
    await this.#commitsSent();
    await this.swarm.destroy();
    await this.#bootstrap?.close();
    this.#port.post({ kind: "stopped" }, []);
  }
}

/**
 * The request with buffers of its own, listed in `transfer`. They are cut out first: a view would
 * take its whole buffer along, and the machine may still have to send that on.
 */
function detached(request: StoreRequest, transfer: ArrayBuffer[]): StoreRequest {
  if (request.kind !== "apply") return request;
  const bodies = request.bodies.map((body) => {
    const copy = new Uint8Array(body);
    transfer.push(copy.buffer);
    return copy;
  });
  return { ...request, bodies };
}

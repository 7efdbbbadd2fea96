/**
 * The swarm: finds the members of a cluster by its topic and keeps a bounded neighbourhood of streams.
 *
 * Hyperswarm 4.17 does the finding, the handshake and the hole punching. What it leaves to us:
 * - It looks the topic up once and then every ten minutes. Two nodes that start together both look
 *   before either has announced, and don't meet. So the topic is looked up again soon after the start,
 *   and more often while there are few peers.
 * - It dials up to `maxPeers`, but takes any number of inbound connections. Dialling stops at two
 *   thirds of `peersMax`, and members above `peersMax` are closed: a full cluster thus always has
 *   room for a node that joins. Nodes that haven't proved to be members don't count.
 * - Connections to one peer can be doubled and swapped. Here a peer has one stream, by its key.
 * - It would join the public DHT if it were given none. It is always given one, with the configured
 *   bootstrap nodes or none at all.
 *
 * @module
 */

import DHT from "hyperdht";
import Hyperswarm from "hyperswarm";
import { assert } from "../../core/assert.ts";
import { bytesToHex } from "../../core/bytes/hex.ts";
import type { Sha256 } from "../../core/hash.ts";
import type { PeerId } from "../../core/node/border.ts";
import type { PeerStatus } from "../link.ts";
import { ClusterDht } from "./cluster-dht.ts";
import { type PeerAddress, parsePeerAddress } from "./peer-address.ts";
import { PeerStream } from "./peer-stream.ts";

export interface SwarmOptions {
  readonly sha256: Sha256;
  /** Seed of the node's key, 32 bytes. */
  readonly nodeSeed: Uint8Array;
  readonly topic: Uint8Array;
  readonly admissionSecret: Uint8Array;
  readonly host: string;
  /** 0 for any. If it is taken, any. */
  readonly port: number;
  readonly bootstrap: readonly string[];
  readonly firewalled: boolean;
  readonly only: readonly string[] | undefined;
  readonly peers: readonly string[];
  readonly peersMax: number;
}

export interface SwarmHooks {
  /** Admitted. For one peer `connected` and `disconnected` alternate. */
  readonly onConnected: (peer: PeerId) => void;
  readonly onFrame: (peer: PeerId, frame: Uint8Array) => void;
  readonly onDrained: (peer: PeerId, bytesLeft: number) => void;
  readonly onDisconnected: (peer: PeerId, why: string) => void;
  /** Closed before it was admitted. */
  readonly onRefused: (peer: PeerId, why: string) => void;
}

/** Waits before the topic is looked up again after a start. */
const refreshesMs = [250, 1000, 3000, 10_000] as const;
/**
 * And from then on: without any peer, with fewer than dialling aims for, and with enough. Announcing again is
 * also what makes a bootstrap that was restarted useful to the next node that joins.
 */
const refreshNoneMs = 5_000;
const refreshFewMs = 20_000;
const refreshEnoughMs = 120_000;
/** Waits before a peer is dialled again. The last is for configured peers, which are never given up. */
const backoffsMs = [1000, 2500, 5000, 15_000] as const;
/** From the handshake until both sides have proved membership. */
const admissionMs = 3000;
/** Streams at most, those included that have not proved anything yet. */
const streamsMax = 64;
/** What `destroy` waits for peers to have taken, and for the DHT to have been told. */
const flushMs = 300;
const unannounceMs = 1500;

interface Connection {
  readonly stream: PeerStream;
  /** Told as connected, and not yet as disconnected. */
  isMember: boolean;
  readonly dialled: boolean;
  readonly sinceMs: number;
}

export type SwarmStarted =
  | { readonly kind: "started"; readonly swarm: Swarm }
  /** Nothing is left bound. */
  | { readonly kind: "failed"; readonly why: string };

/** Binds the sockets and begins to look for peers; doesn't wait for any. */
export async function startSwarm(options: SwarmOptions, hooks: SwarmHooks): Promise<SwarmStarted> {
  const only = options.only?.map(parsePeerAddress);
  const peers = options.peers.map(parsePeerAddress);
  const wrong = [...(options.only ?? []), ...options.peers].find(
    (text) => parsePeerAddress(text) === undefined,
  );
  if (wrong !== undefined) {
    return { kind: "failed", why: `peer: 64 hex digits, or those @host:port, got ${wrong}` };
  }
  const keyPair = DHT.keyPair(options.nodeSeed);
  let dht: ClusterDht | undefined;
  try {
    dht = new ClusterDht({ ...options, keyPair });
    await dht.bind();
  } catch (error) {
    await dht?.destroy().catch(() => {});
    const why = error instanceof Error ? error.message : String(error);
    return { kind: "failed", why: `UDP socket at ${options.host}: ${why}` };
  }
  const known = (list: readonly (PeerAddress | undefined)[]) =>
    list.filter((peer) => peer !== undefined);
  const swarm = new Swarm(dht, keyPair, options, hooks, only && known(only), known(peers));
  return { kind: "started", swarm };
}

export class Swarm {
  readonly key: PeerId;
  readonly #swarm: Hyperswarm;
  readonly #dht: ClusterDht;
  readonly #options: SwarmOptions;
  readonly #hooks: SwarmHooks;
  readonly #ownKey: Uint8Array;
  readonly #only: ReadonlySet<string> | undefined;
  readonly #explicit: ReadonlySet<string>;
  readonly #connections = new Map<PeerId, Connection>();
  #discovery: ReturnType<Hyperswarm["join"]> | undefined;
  /** Dialling stops at so many peers. */
  readonly #peersWanted: number;
  #refreshTimer: ReturnType<typeof setTimeout> | undefined;
  #refreshes = 0;
  #isClosed = false;
  admitted = 0;
  readonly refused = new Map<string, number>();

  constructor(
    dht: ClusterDht,
    keyPair: HyperKeyPair,
    options: SwarmOptions,
    hooks: SwarmHooks,
    only: readonly PeerAddress[] | undefined,
    peers: readonly PeerAddress[],
  ) {
    this.#dht = dht;
    this.#options = options;
    this.#hooks = hooks;
    this.#ownKey = Uint8Array.from(keyPair.publicKey);
    this.key = bytesToHex(this.#ownKey) as PeerId;
    const explicit = [...(only ?? []), ...peers].filter(({ peer }) => peer !== this.key);
    this.#only = only && new Set(explicit.map(({ peer }) => peer));
    this.#explicit = new Set(explicit.map(({ peer }) => peer));
    this.#peersWanted = Math.max(1, Math.ceil((options.peersMax * 2) / 3));
    this.#swarm = new Hyperswarm({
      dht,
      keyPair,
      maxPeers: this.#peersWanted * crowding(explicit.length),
      backoffs: backoffsMs,
      firewall: (key) => this.#only !== undefined && !this.#only.has(bytesToHex(key)),
    });
    this.#swarm.on("connection", (stream) => this.#onConnection(stream));
    for (const { peer, key, address } of explicit) {
      if (address !== undefined) dht.addresses.set(peer, address);
      this.#swarm.joinPeer(key);
    }
    void dht.checkBootstraps().then(() => this.#join());
  }

  /** Where peers reach this node; the port is the one that was bound. */
  get address(): { readonly host: string; readonly port: number } {
    const address = this.#dht.io.serverSocket?.address();
    assert(address !== undefined && address !== null, "a bound swarm");
    return { host: address.host, port: address.port };
  }

  get peersKnown(): number {
    return this.#swarm.peers.size;
  }

  get connecting(): number {
    let proving = 0;
    for (const { isMember } of this.#connections.values()) if (!isMember) proving++;
    return this.#swarm.connecting + proving;
  }

  get datagrams(): { readonly datagramsSent: number; readonly datagramsReceived: number } {
    const { packetsTransmitted, packetsReceived } = this.#dht.udx;
    return { datagramsSent: packetsTransmitted, datagramsReceived: packetsReceived };
  }

  /** Nothing happens if the peer has just gone: its `disconnected` is told or on its way. */
  send(peer: PeerId, frame: Uint8Array): void {
    this.#connections.get(peer)?.stream.send(frame);
  }

  close(peer: PeerId, why: string): void {
    this.#connections.get(peer)?.stream.destroy(why);
  }

  /** The peers that are admitted. Their names are the node machine's to know. */
  status(): Omit<PeerStatus, "name">[] {
    const peers: Omit<PeerStatus, "name">[] = [];
    for (const [peer, { stream, isMember, dialled, sinceMs }] of this.#connections) {
      const { transport } = stream;
      if (!isMember || transport === null) continue;
      peers.push({
        peer,
        address: `${transport.remoteHost}:${transport.remotePort}`,
        found: dialled ? (this.#explicit.has(peer) ? "configuration" : "topic") : "inbound",
        sinceMs,
        rttMs: transport.rttMs,
        framesSent: stream.framesSent,
        framesReceived: stream.framesReceived,
        bytesSent: stream.bytesSent,
        bytesReceived: stream.bytesReceived,
        bytesLeft: stream.bytesLeft,
        retransmits: transport.retransmits,
      });
    }
    return peers;
  }

  addressOf(peer: PeerId): string {
    const transport = this.#connections.get(peer)?.stream.transport;
    return transport ? `${transport.remoteHost}:${transport.remotePort}` : "";
  }

  /** Lets what was sent arrive, tells the DHT and the peers, and closes; within 2 s. */
  async destroy(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#refreshTimer);
    const streams = [...this.#connections.values()].map(({ stream }) => stream.flushed());
    await within(flushMs, Promise.all(streams));
    await within(unannounceMs, this.#swarm.destroy());
  }

  #onConnection(stream: NoiseStream): void {
    const peer = bytesToHex(stream.remotePublicKey) as PeerId;
    const previous = this.#connections.get(peer);
    if (previous !== undefined) {
      // Hyperswarm closes the older of two itself; should one be left, its end must come first.
      this.#connections.delete(peer);
      previous.stream.destroy("replaced by a newer connection");
      if (previous.isMember) this.#hooks.onDisconnected(peer, "replaced");
    }
    const isWanted = this.#only === undefined || this.#only.has(peer);
    if (this.#isClosed || !isWanted || this.#connections.size >= streamsMax) {
      stream.on("error", () => {});
      stream.destroy();
      this.#refuse(peer, isWanted ? "too many streams" : "not in `only`");
      return;
    }
    const connection: Connection = {
      isMember: false,
      dialled: stream.isInitiator,
      sinceMs: Date.now(),
      stream: new PeerStream(
        stream,
        {
          sha256: this.#options.sha256,
          admissionSecret: this.#options.admissionSecret,
          ownKey: this.#ownKey,
          admissionMs,
        },
        {
          onAdmitted: () => this.#onAdmitted(peer, connection),
          onFrame: (frame) => this.#hooks.onFrame(peer, frame),
          onDrained: (bytesLeft) => this.#hooks.onDrained(peer, bytesLeft),
          onClosed: (why) => this.#onClosed(peer, connection, why),
        },
      ),
    };
    this.#connections.set(peer, connection);
  }

  /** Only members count against `peersMax`: strangers, who are closed soon, mustn't keep members out. */
  #onAdmitted(peer: PeerId, connection: Connection): void {
    let members = 0;
    for (const { isMember } of this.#connections.values()) if (isMember) members++;
    if (members >= this.#options.peersMax && !this.#explicit.has(peer)) {
      connection.stream.destroy("full");
      return;
    }
    connection.isMember = true;
    this.admitted++;
    this.#hooks.onConnected(peer);
  }

  #onClosed(peer: PeerId, connection: Connection, why: string): void {
    // A connection that was replaced has been told of already.
    if (this.#connections.get(peer) !== connection) return;
    this.#connections.delete(peer);
    if (connection.isMember) this.#hooks.onDisconnected(peer, why);
    else this.#refuse(peer, why);
  }

  #refuse(peer: PeerId, why: string): void {
    this.refused.set(why, (this.refused.get(why) ?? 0) + 1);
    this.#hooks.onRefused(peer, why);
  }

  #join(): void {
    if (this.#isClosed) return;
    this.#discovery = this.#swarm.join(this.#options.topic, { client: true, server: true });
    this.#refreshLater();
  }

  #refreshLater(): void {
    const wait = refreshesMs[this.#refreshes] ?? this.#refreshMs();
    this.#refreshes++;
    // Nodes that were started together must not all ask at once.
    const jittered = wait * (0.75 + Math.random() / 2);
    this.#refreshTimer = setTimeout(() => void this.#refresh(), jittered);
  }

  #refreshMs(): number {
    const { size } = this.#connections;
    if (size === 0) return refreshNoneMs;
    return size < this.#peersWanted ? refreshFewMs : refreshEnoughMs;
  }

  async #refresh(): Promise<void> {
    await this.#dht.checkBootstraps();
    if (this.#isClosed) return;
    // The key's own announcement too: a bootstrap that was started after us, or again, lacks it.
    if (this.#refreshes > 1) this.#swarm.server.refresh();
    void this.#discovery?.refresh().catch(() => {});
    this.#refreshLater();
  }
}

/** Hyperswarm multiplies its connections by this before it compares them with `maxPeers`. */
function crowding(explicitPeers: number): number {
  if (explicitPeers === 0) return 1;
  if (explicitPeers === 1) return 2;
  return explicitPeers < 4 ? 3 : 4;
}

/** Waits for `promise`, but no longer than `waitMs`; what goes wrong in it no longer matters. */
async function within(waitMs: number, promise: Promise<unknown>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, waitMs);
  });
  await Promise.race([promise.catch(() => {}), timeout]);
  clearTimeout(timer);
}

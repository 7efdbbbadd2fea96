/**
 * The swarm: finds the members of a cluster by its topic and keeps a bounded neighbourhood of streams.
 *
 * Hyperswarm 4.17 does the finding, the handshake and the hole punching. What it leaves to us:
 * - It looks the topic up once and then every ten minutes. Two nodes that start together both look
 *   before either has announced, and don't meet. So the topic is looked up again soon after the start,
 *   and more often while there are few peers.
 * - It dials up to `maxPeers`, but takes any number of inbound connections. Dialling stops at two
 *   thirds of `peersMax`, which leaves room for nodes that join. A member that knocks at a full node
 *   takes the place of a neighbour that can be spared, now and then; otherwise it is refused, before
 *   it was told that it is admitted. Nodes that haven't proved to be members don't count.
 * - It takes whom the topic yields. Every few seconds the neighbours are looked over, so that some of
 *   them are near and some far (`balancer.ts`).
 * - Connections to one peer can be doubled and swapped. Here a peer has one stream, by its key.
 * - It waits for a stream to time out, 13 s, before it dials again. A neighbour that was killed and started
 *   again is found out sooner (`silence.ts`) and dialled where it was; and a node that starts dials the
 *   neighbours of its last life where they were (`recall.ts`), whatever the DHT knows.
 * - Where two nodes dialled each other both connections could be closed (`crossed-dials.ts`).
 * - It would join the public DHT if it were given none. It is always given one, with the configured
 *   bootstrap nodes or none at all.
 *
 * @module
 */

import DHT from "hyperdht";
import type Hyperswarm from "hyperswarm";
import { assert } from "../../core/assert.ts";
import { bytesToHex } from "../../core/bytes/hex.ts";
import type { Sha256 } from "../../core/hash.ts";
import type { PeerId } from "../../core/node/border.ts";
import { Balancer } from "./balancer.ts";
import { bindFailureText } from "./bind-failure.ts";
import { ClusterDht } from "./cluster-dht.ts";
import { CrossedDialSwarm } from "./crossed-dials.ts";
import type { KnownMember, Neighbour } from "./neighbourhood.ts";
import { type PeerAddress, parsePeerAddress } from "./peer-address.ts";
import type { PeerStatus } from "./peer-status.ts";
import { PeerStream } from "./peer-stream.ts";
import { Recall } from "./recall.ts";
import { lookMs, SilenceWatch } from "./silence.ts";
import { TopicAnnouncer } from "./topic-announcer.ts";
import { whoMakesRoom } from "./unproven.ts";

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
  /** Neighbours of the last life, `key@host:port`, the latest first: dialled at the start. What isn't that is skipped. */
  readonly remembered?: readonly string[] | undefined;
  readonly peersMax: number;
  /** Streams at most, those included that have not proved anything yet; 64. */
  readonly streamsMax?: number | undefined;
  /** The own region; members of others are far. */
  readonly region: string;
}

export interface SwarmHooks {
  /** Members that are known to be alive, neighbours among them, perhaps this node. Asked for every few seconds. */
  readonly knownMembers: () => readonly KnownMember[];
  /** Admitted. For one peer `connected` and `disconnected` alternate. */
  readonly onConnected: (peer: PeerId) => void;
  readonly onFrame: (peer: PeerId, frame: Uint8Array) => void;
  readonly onDrained: (peer: PeerId, bytesLeft: number) => void;
  /** A neighbour is about to be closed to make room for another. What is sent to it now still arrives. */
  readonly onParting: (peer: PeerId) => void;
  readonly onDisconnected: (peer: PeerId, why: string) => void;
  /** Closed before it was admitted. */
  readonly onRefused: (peer: PeerId, why: string) => void;
}

/** Waits before a peer is dialled again. The last is for configured peers, which are never given up. */
const backoffsMs = [1000, 2500, 5000, 15_000] as const;
/** From the handshake until both sides have proved membership. */
const admissionMs = 3000;
/** A neighbour makes room for a newcomer no more often. */
const makeRoomMs = 1000;
/** For members, for whom dials, and for strangers until they are found to be such. */
const streamsMaxDefault = 64;
/** What `destroy` waits for peers to have taken, and for the DHT to have been told. */
const flushMs = 300;
const unannounceMs = 1500;

/** What the transport knows of a peer. */
export type TransportStatus = Omit<PeerStatus, "name" | "region">;

interface Connection {
  readonly stream: PeerStream;
  /** Told as connected, and not yet as disconnected. */
  isMember: boolean;
  isParting: boolean;
  readonly silence: SilenceWatch;
  readonly found: PeerStatus["found"];
  readonly sinceMs: number;
  /** The same by a clock that nobody sets: how old it is decides whether it may make room. */
  readonly steadySinceMs: number;
}

export type SwarmStarted =
  | { readonly kind: "started"; readonly swarm: Swarm }
  /** Nothing is left bound. */
  | { readonly kind: "failed"; readonly why: string };

/** Binds the sockets and begins to look for peers; doesn't wait for any. */
export async function startSwarm(options: SwarmOptions, hooks: SwarmHooks): Promise<SwarmStarted> {
  const { only, peers, remembered = [] } = options;
  const wrong = [...(only ?? []), ...peers].find((text) => parsePeerAddress(text) === undefined);
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
    return { kind: "failed", why: `UDP socket at ${options.host}: ${bindFailureText(error)}` };
  }
  const swarm = new Swarm({
    dht,
    keyPair,
    options,
    hooks,
    only: only && parsePeers(only),
    peers: parsePeers(peers),
  });
  swarm.recall(parsePeers(remembered));
  return { kind: "started", swarm };
}

/** Those that can be read. */
function parsePeers(texts: readonly string[]): PeerAddress[] {
  return texts.map(parsePeerAddress).filter((peer) => peer !== undefined);
}

interface SwarmParts {
  readonly dht: ClusterDht;
  readonly keyPair: HyperKeyPair;
  readonly options: SwarmOptions;
  readonly hooks: SwarmHooks;
  /** Undefined: all members are welcome. */
  readonly only: readonly PeerAddress[] | undefined;
  /** Always to be connected. */
  readonly peers: readonly PeerAddress[];
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
  readonly #announcer: TopicAnnouncer;
  /** Dialling stops at so many peers. */
  readonly #peersWanted: number;
  readonly #balancer: Balancer;
  #lookTimer: ReturnType<typeof setInterval> | undefined;
  readonly #recall: Recall;
  #madeRoomMs = Number.NEGATIVE_INFINITY;
  #isClosed = false;
  admitted = 0;
  readonly refused = new Map<string, number>();

  constructor({ dht, keyPair, options, hooks, only, peers }: SwarmParts) {
    this.#dht = dht;
    this.#options = options;
    this.#hooks = hooks;
    this.#ownKey = Uint8Array.from(keyPair.publicKey);
    this.key = bytesToHex(this.#ownKey) as PeerId;
    const explicit = [...(only ?? []), ...peers].filter(({ peer }) => peer !== this.key);
    this.#only = only && new Set(explicit.map(({ peer }) => peer));
    this.#explicit = new Set(explicit.map(({ peer }) => peer));
    this.#peersWanted = Math.max(1, Math.ceil((options.peersMax * 2) / 3));
    this.#swarm = new CrossedDialSwarm({
      dht,
      keyPair,
      maxPeers: this.#peersWanted,
      backoffs: backoffsMs,
      firewall: (key) => this.#only !== undefined && !this.#only.has(bytesToHex(key)),
    });
    this.#swarm.on("connection", (stream) => this.#onConnection(stream));
    this.#recall = new Recall(this.#swarm, dht, this.#explicit, () => this.#limitDials());
    this.#balancer = new Balancer({
      swarm: this.#swarm,
      key: this.key,
      configured: this.#explicit,
      neighbourhood: {
        ownRegion: options.region,
        peersMin: this.#peersWanted,
        nearMin: Math.floor(options.peersMax / 4),
        farMin: Math.floor(options.peersMax / 4),
      },
      knownMembers: hooks.knownMembers,
      neighbours: () => this.#neighbours(),
      isConnected: (peer) => this.#connections.has(peer),
      onChange: () => this.#limitDials(),
    });
    for (const { peer, key, address } of explicit) {
      if (address !== undefined) dht.addresses.set(peer, address);
      this.#swarm.joinPeer(key);
    }
    this.#limitDials();
    this.#announcer = new TopicAnnouncer({
      swarm: this.#swarm,
      dht,
      topic: options.topic,
      hasBootstraps: options.bootstrap.length > 0,
      peersWanted: this.#peersWanted,
      peers: () => this.#connections.size,
    });
    if (this.#only === undefined) this.#balancer.start();
    this.#lookTimer = setInterval(() => this.#look(), lookMs);
  }

  /** Dials these where they were once met, as many as are wanted. */
  recall(peers: readonly PeerAddress[]): void {
    let called = 0;
    for (const { peer, address } of peers) {
      if (called >= this.#peersWanted) return;
      if (peer === this.key || address === undefined || this.#explicit.has(peer)) continue;
      if (this.#only !== undefined && !this.#only.has(peer)) continue;
      this.#recall.call(peer, address);
      called++;
    }
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
  send(peer: PeerId, frame: Uint8Array, isUrgent = false): void {
    this.#connections.get(peer)?.stream.send(frame, isUrgent);
  }

  close(peer: PeerId, why: string): void {
    this.#connections.get(peer)?.stream.destroy(why);
  }

  /** The peers that are admitted. Their names and regions are the node machine's to know. */
  status(): TransportStatus[] {
    const { serverSocket, clientSocket } = this.#dht.io;
    const peers: TransportStatus[] = [];
    for (const [peer, { stream, isMember, isParting, found, sinceMs }] of this.#connections) {
      const { transport } = stream;
      if (!isMember || isParting || transport === null) continue;
      peers.push({
        peer,
        address: `${transport.remoteHost}:${transport.remotePort}`,
        found,
        // HyperDHT punches holes from sockets that it opens for that.
        path:
          transport.socket === serverSocket || transport.socket === clientSocket
            ? "direct"
            : "punched",
        sinceMs,
        rttMs: transport.rttMs,
        framesSent: stream.framesSent,
        framesReceived: stream.framesReceived,
        bytesSent: stream.bytesSent,
        bytesReceived: stream.bytesReceived,
        bytesLeft: stream.bytesLeft,
        cwndBytes: transport.cwnd * transport.mtu,
        packetsSent: transport.packetsTransmitted,
        packetsLost: transport.packetsLost,
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
    this.#announcer.close();
    this.#balancer.close();
    clearInterval(this.#lookTimer);
    this.#recall.close();
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
    if (this.#isClosed) {
      // One that was under way when this node began to stop: nothing is wrong with it.
      stream.on("error", () => {});
      stream.destroy();
      return;
    }
    const isWanted = this.#only === undefined || this.#only.has(peer);
    if (!isWanted || !this.#hasRoom(stream)) {
      stream.on("error", () => {});
      stream.destroy();
      this.#refuse(peer, isWanted ? "too many streams" : "not in `only`");
      return;
    }
    const connection: Connection = {
      isMember: false,
      isParting: false,
      silence: new SilenceWatch(),
      found: this.#found(peer, stream),
      sinceMs: Date.now(),
      steadySinceMs: performance.now(),
      stream: new PeerStream(
        stream,
        {
          sha256: this.#options.sha256,
          admissionSecret: this.#options.admissionSecret,
          ownKey: this.#ownKey,
          admissionMs,
          // Who dialled a full node is to hear no yes before a no.
          provesLast: !stream.isInitiator && this.#members() >= this.#options.peersMax,
        },
        {
          refuses: () => this.#refuses(peer),
          onAdmitted: () => this.#onAdmitted(peer, connection),
          onFrame: (frame) => this.#hooks.onFrame(peer, frame),
          onDrained: (bytesLeft) => this.#hooks.onDrained(peer, bytesLeft),
          onClosed: (why) => this.#onClosed(peer, connection, why),
        },
      ),
    };
    this.#connections.set(peer, connection);
  }

  /** Makes room, where one that has proved nothing yet can go. */
  #hasRoom(newcomer: NoiseStream): boolean {
    const { streamsMax = streamsMaxDefault } = this.#options;
    if (this.#connections.size < streamsMax) return true;
    const unproven: { readonly address: string; readonly peer: PeerId }[] = [];
    for (const [peer, { isMember, found, stream }] of this.#connections) {
      if (isMember || found !== "inbound") continue;
      unproven.push({ peer, address: stream.transport?.remoteHost ?? "" });
    }
    const gone = whoMakesRoom(unproven, newcomer.rawStream?.remoteHost ?? "", Math.random);
    const connection = gone && this.#connections.get(gone.peer);
    if (gone === undefined || connection === undefined) return false;
    this.#connections.delete(gone.peer);
    connection.stream.destroy("replaced by another");
    this.#refuse(gone.peer, "admission: made room for another before it proved anything");
    return true;
  }

  #found(peer: PeerId, stream: NoiseStream): PeerStatus["found"] {
    if (!stream.isInitiator) return "inbound";
    if (this.#explicit.has(peer)) return "configuration";
    if (this.#recall.has(peer)) return "remembered";
    return this.#balancer.has(peer) ? "members" : "topic";
  }

  #members(): number {
    let members = 0;
    for (const { isMember, isParting } of this.#connections.values()) {
      if (isMember && !isParting) members++;
    }
    return members;
  }

  /** Only members count against `peersMax`: strangers, who are closed soon, mustn't keep members out. */
  #refuses(peer: PeerId): string | undefined {
    const isAsked = this.#balancer.has(peer);
    // Whom this node chose takes another's place a little earlier, so that room is left for newcomers.
    const membersMax = isAsked ? this.#peersWanted + 2 : this.#options.peersMax;
    if (this.#members() < membersMax || this.#explicit.has(peer)) return undefined;
    const nowMs = performance.now();
    if (!isAsked && nowMs - this.#madeRoomMs < makeRoomMs) return "full";
    const spare = this.#balancer.spare();
    if (spare === undefined) return "full";
    this.#madeRoomMs = nowMs;
    void this.#part(spare);
    return undefined;
  }

  /** Closes a neighbour when it has heard why. Until then it doesn't count. */
  async #part(peer: PeerId): Promise<void> {
    const connection = this.#connections.get(peer);
    if (connection === undefined) return;
    connection.isParting = true;
    this.#hooks.onParting(peer);
    await within(flushMs, connection.stream.flushed());
    connection.stream.destroy("made room for another");
  }

  #onAdmitted(peer: PeerId, connection: Connection): void {
    connection.isMember = true;
    this.admitted++;
    this.#recall.arrived(peer);
    this.#balancer.arrived(peer);
    this.#hooks.onConnected(peer);
  }

  /** Streams whose other end is gone while its host is there are given up, and the host is dialled. */
  #look(): void {
    const nowMs = performance.now();
    for (const [peer, { stream, silence, isMember, isParting }] of this.#connections) {
      const { transport } = stream;
      if (!isMember || isParting || transport === null || transport.socket === null) continue;
      const address = { host: transport.remoteHost, port: transport.remotePort };
      const seen = silence.look(nowMs, transport.packetsReceived);
      if (seen === "ask") {
        stream.ask();
        this.#dht.ping(address, { retry: false, socket: transport.socket }).then(
          () => silence.answered(),
          () => {},
        );
      } else if (seen === "lost") {
        stream.whenClosed(() => {
          if (!this.#isClosed && !this.#connections.has(peer)) this.#recall.call(peer, address);
        });
        stream.destroy("its host answers, and has no such stream");
      }
    }
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

  #neighbours(): Omit<Neighbour, "region">[] {
    const neighbours: Omit<Neighbour, "region">[] = [];
    for (const [peer, { stream, isMember, isParting, steadySinceMs }] of this.#connections) {
      if (!isMember || isParting) continue;
      neighbours.push({
        peer,
        isPinned: this.#explicit.has(peer),
        rttMs: stream.transport?.rttMs ?? 0,
        ageMs: performance.now() - steadySinceMs,
      });
    }
    return neighbours;
  }

  #limitDials(): void {
    this.#swarm.maxPeers = this.#peersWanted * crowding(this.#swarm.explicitPeers.size);
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

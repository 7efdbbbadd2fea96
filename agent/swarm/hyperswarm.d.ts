/**
 * What is used of Hyperswarm 4.17, HyperDHT 6.34 and @hyperswarm/secret-stream 6.9, which are JavaScript
 * and untyped. Nothing here is complete; every member is called somewhere in `agent/swarm/`.
 */

/** A UDX stream, from `agent/udx`: ordered, reliable, not encrypted. */
interface RawStream {
  readonly connected: boolean;
  readonly remoteHost: string;
  readonly remotePort: number;
  /** Smoothed round trip, ms. */
  readonly rttMs: number;
  /** Bytes sent and not yet acknowledged. */
  readonly inflight: number;
  readonly retransmits: number;
  /** Packets found missing; some turn out to have been late only. */
  readonly packetsLost: number;
  readonly packetsTransmitted: number;
  readonly packetsReceived: number;
  /** Congestion window, packets of at most `mtu` bytes. */
  readonly cwnd: number;
  readonly mtu: number;
  /** The socket it runs on; null before it is connected. */
  readonly socket: object | null;
  readonly bytesTransmitted: number;
  readonly bytesReceived: number;
  /** What is written until the end of this turn isn't kept to fill a packet. Of our UDX only. */
  hurry?(): void;
  /** Asks the other end for an acknowledgement, whatever waits to be sent. Of our UDX only. */
  askForAck?(): void;
}

/** An Ed25519 pair as libsodium has it: `secretKey` is seed ‖ public key. */
interface HyperKeyPair {
  readonly publicKey: Uint8Array;
  readonly secretKey: Uint8Array;
}

interface HyperAddress {
  readonly host: string;
  readonly port: number;
}

/**
 * A Noise stream over a UDX stream: encrypted, authenticated, a byte stream (message borders are not
 * kept). A streamx Duplex.
 */
interface NoiseStream {
  readonly isInitiator: boolean;
  /** The own key of this session. */
  readonly publicKey: Uint8Array;
  readonly remotePublicKey: Uint8Array;
  /** 64 bytes, the same on both sides, of this very session. */
  readonly handshakeHash: Uint8Array;
  /** Null before the handshake. */
  readonly rawStream: RawStream | null;
  readonly destroying: boolean;
  /** A buffer to fill and pass to the next `write`: saves the copy into the encrypted message. */
  alloc(length: number): Uint8Array;
  /** False: wait for `drain`. At most 16 MiB - 1. */
  write(bytes: Uint8Array): boolean;
  /** True when the peer has acknowledged all that was written before; false if the stream ends. */
  flush(): Promise<boolean>;
  end(): void;
  /** No more data until `resume`; what comes meanwhile is kept, within the transport's window. */
  pause(): void;
  resume(): void;
  destroy(error?: Error): void;
  on(event: "data", listener: (bytes: Uint8Array) => void): this;
  on(event: "drain" | "end" | "close", listener: () => void): this;
  on(event: "error", listener: (error: Error) => void): this;
}

declare module "hyperdht" {
  interface ConnectOptions {
    readonly keyPair?: HyperKeyPair;
    /** DHT nodes, or the peer itself, to send the handshake through before asking the DHT. */
    readonly relayAddresses?: readonly HyperAddress[] | null;
  }

  class HyperDHT {
    constructor(options: {
      /** `host:port`. Empty: isolated. Left out, it would be the public DHT's. */
      readonly bootstrap: readonly string[];
      /** Where both sockets are bound, an IPv4 address. */
      readonly host?: string;
      /** [first, after the last]; `[0, 0]` is any. */
      readonly port?: readonly [number, number] | number;
      /** Whether to take another port when these are taken. */
      readonly anyPort?: boolean;
      /** False: the server port can be reached; no hole punching, no NAT analysis. */
      readonly firewalled?: boolean;
      /** False: stores and routes for others. */
      readonly ephemeral?: boolean;
      readonly keyPair?: HyperKeyPair;
    });
    /** A first DHT node. `host`: a concrete IPv4 address. Binds at once; throws later, in the promise. */
    static bootstrapper(
      port: number,
      host: string,
      options?: ConstructorParameters<typeof HyperDHT>[0],
    ): HyperDHT;
    /** Of the public DHT: `address@name:port`. */
    static readonly BOOTSTRAP: readonly string[];
    static keyPair(seed?: Uint8Array): HyperKeyPair;
    /** Binds both sockets; rejects if it can't. */
    bind(): Promise<void>;
    readonly io: {
      readonly serverSocket: { address(): HyperAddress | null } | null;
      readonly clientSocket: object | null;
    };
    /** Of `agent/udx`: datagrams of all sockets. */
    readonly udx: { readonly packetsTransmitted: number; readonly packetsReceived: number };
    /** Resolves when bound and acquainted; rejects if it can't bind. */
    fullyBootstrapped(): Promise<void>;
    connect(publicKey: Uint8Array, options?: ConnectOptions): NoiseStream;
    /** Every look-up and announcement comes through here. `retries`: tries of a node after the first. */
    query(query: unknown, options?: Readonly<Record<string, unknown>>): unknown;
    /**
     * Rejects when there is no answer after four tries of a second, or after one without `retry`. The host must
     * be an address. `socket`: one of UDX; the node's own if left out.
     */
    ping(
      address: HyperAddress,
      options?: { readonly retry?: boolean; readonly socket?: object },
    ): Promise<unknown>;
    /** Where queries begin when the routing table is small. Parsed from `bootstrap`. */
    bootstrapNodes: readonly HyperAddress[];
    /** Known DHT nodes, those seen last first. */
    toArray(): HyperAddress[];
    /** Of the socket that speaks for this node. */
    address(): HyperAddress | null;
    destroy(options?: { readonly force?: boolean }): Promise<void>;
    readonly ephemeral: boolean;
  }
  export = HyperDHT;
}

declare module "hyperswarm" {
  import type HyperDHT from "hyperdht";

  interface PeerInfo {
    readonly publicKey: Uint8Array;
    /** Closed connections in a row: 0 has it dialled without a wait. */
    attempts: number;
  }

  interface PeerDiscoverySession {
    /** Announces and looks up again; false if that failed. */
    refresh(options?: { readonly client?: boolean; readonly server?: boolean }): Promise<boolean>;
    flushed(): Promise<boolean>;
    destroy(): Promise<void>;
  }

  class Hyperswarm {
    constructor(options: {
      readonly dht: HyperDHT;
      readonly keyPair: HyperKeyPair;
      /** Dials while there are fewer connections; inbound ones are not limited. */
      readonly maxPeers: number;
      /** Dials at the same time. */
      readonly maxParallel?: number;
      /** Waits before dialling again, ms: after the first failure, second, third, and all later ones. */
      readonly backoffs?: readonly [number, number, number, number];
      /** True refuses the peer for good, before the handshake is answered. */
      readonly firewall?: (publicKey: Uint8Array) => boolean;
    });
    join(
      topic: Uint8Array,
      options: { readonly client: boolean; readonly server: boolean },
    ): PeerDiscoverySession;
    /** Keeps a connection to this peer, whatever `maxPeers` says. */
    joinPeer(publicKey: Uint8Array): void;
    /** Undoes `joinPeer`; a connection stays. */
    leavePeer(publicKey: Uint8Array): void;
    maxPeers: number;
    /** Private, but what makes `joinPeer` dial at once a peer that is queued already. */
    _attemptClientConnections(): void;
    /** Private: what is called for each connection that another node has dialled. `crossed-dials.ts` says why. */
    _handleServerConnection(stream: NoiseStream): void;
    /** Private: dialled but not yet open, and open. */
    readonly _allConnections: {
      get(publicKey: Uint8Array): NoiseStream | undefined;
      add(stream: NoiseStream): void;
      delete(stream: NoiseStream): void;
    };
    /** Resolves when the server answers for its key. */
    listen(): Promise<void>;
    /** Unannounces, closes all, and the DHT too. */
    destroy(options?: { readonly force?: boolean }): Promise<void>;
    on(event: "connection", listener: (stream: NoiseStream, peer: PeerInfo) => void): this;
    emit(event: "connection", stream: NoiseStream, peer: PeerInfo): boolean;
    /** Dialled but not yet open, and open. */
    readonly connecting: number;
    readonly connections: ReadonlySet<NoiseStream>;
    /** Those of `joinPeer`. */
    readonly explicitPeers: ReadonlySet<PeerInfo>;
    readonly peers: ReadonlyMap<string, PeerInfo>;
    readonly dht: HyperDHT;
    /** `refresh` announces the own key again within 3 s; without it some 5 min may pass. */
    readonly server: { refresh(): void };
  }
  export = Hyperswarm;
}

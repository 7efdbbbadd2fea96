/**
 * A UDX stream as a streamx Duplex: joins a `StreamMachine` to a socket, the clock and one timer.
 *
 * When things are sent: a write goes out in the same call while nothing is in flight, and in full
 * packets otherwise; what is left over, and acknowledgements, go at the end of the event loop's turn
 * (`Hub.schedule`). No timer stands between a write and its packet. A turn may last, where messages of another thread
 * come faster than they are worked: {@link UDXStream.hurry} is for what shan't wait for its end.
 *
 * @module
 */

import { Duplex, Writable } from "streamx";
import { FrameGatherer } from "./frame-gatherer.ts";
import type { Hub, HubStream } from "./hub.ts";
import { createPacket, decodePacket, TYPE_DESTROY, writeU32 } from "./packet.ts";
import type { SocketPath, UDXSocket } from "./socket.ts";
import { addressFamily, unmapAddress } from "./socket.ts";
import type { StreamEvent } from "./stream-machine.ts";
import { ACK_EVERY_PACKETS, StreamMachine } from "./stream-machine.ts";
import { throwLater } from "./throw-later.ts";

/** True refuses the packet. It may connect the stream first and then let the packet in. */
export type Firewall = (socket: UDXSocket, port: number, host: string, family: 4 | 6) => unknown;

export interface UDXStreamOptions {
  /** Asked about every packet from a socket the stream isn't connected to. Without one: refused. */
  firewall?: Firewall;
  /** The bytes are frames with a length of 3 bytes before each: give them out whole where possible. */
  framed?: boolean;
  /** First sequence number of ours. */
  seq?: number;
  /** Most bytes held for a reader that doesn't read (not in udx-native, which has no limit). */
  receiveWindowBytes?: number;
}

export interface UDXConnectOptions {
  /** First sequence number of the peer's. */
  ack?: number;
}

const BBR_STATES = ["startup", "drain", "probe-bw", "probe-rtt"];

/** Shared by all: a packet is decoded and handled in one go. */
const packet = createPacket();

function refuseAll(): boolean {
  return true;
}

function errorWithCode(message: string, code: string): Error {
  return Object.assign(new Error(message), { code });
}

function toBytes(data: unknown): unknown {
  return typeof data === "string" ? Buffer.from(data) : data;
}

interface Flush {
  readonly ackedBytes: number;
  readonly resolve: (drained: boolean) => void;
}

/** Events besides a Duplex's: `connect`, `message` (bytes), `remote-changed`. */
export class UDXStream extends Duplex implements HubStream {
  /** The `UDX` that made it. */
  readonly udx: object;
  readonly id: number;
  socket: UDXSocket | null = null;
  remoteId = 0;
  remoteHost: string | null = null;
  remoteFamily: 0 | 4 | 6 = 0;
  remotePort = 0;
  userData: unknown = null;

  readonly #hub: Hub;
  readonly #machine: StreamMachine<SocketPath>;
  readonly #firewall: Firewall;
  #closed = false;
  #flushes: Flush[] = [];
  #onWritten: ((error?: Error | null) => void) | null = null;
  #onDestroyed: ((error?: Error | null) => void) | null = null;
  #remoteChanging: Promise<void> | null = null;
  #previousSocket: UDXSocket | null = null;
  /** Set while it waits in `Hub.schedule`'s list. */
  _scheduled = false;
  /** Packets that aren't full go out in the same call, too. */
  #isHurried = false;

  #timer: ReturnType<typeof setTimeout> | null = null;
  #timerAt: number = Number.POSITIVE_INFINITY;

  #readWanted = false;
  #readEnded = false;
  readonly #frames: FrameGatherer | null;

  #relayTo: UDXStream | null = null;
  #relaying: Set<UDXStream> | null = null;

  constructor(udx: object, hub: Hub, id: number, options: UDXStreamOptions = {}) {
    super({ mapWritable: toBytes, eagerOpen: true });
    this.udx = udx;
    this.#hub = hub;
    this.id = id;
    this.#firewall = options.firewall ?? refuseAll;
    this.#frames = options.framed === true ? new FrameGatherer((bytes) => this.#push(bytes)) : null;
    this.#machine = new StreamMachine<SocketPath>(id, hub.now(), {
      ...(options.seq ? { sendSeq: options.seq } : {}),
      ...(options.receiveWindowBytes ? { receiveWindowBytes: options.receiveWindowBytes } : {}),
      ...hub.packetBuffers,
    });
    hub.addStream(this);
  }

  // ---- Properties

  get connected(): boolean {
    return this.socket !== null;
  }
  get mtu(): number {
    return this.#machine.mtu;
  }
  /** Smoothed round trip in whole milliseconds, as udx-native has it. */
  get rtt(): number {
    return Math.round(this.#machine.rttMs);
  }
  /** Smoothed round trip in milliseconds, with its fraction. */
  get rttMs(): number {
    return this.#machine.rttMs;
  }
  /** Packets. */
  get cwnd(): number {
    return this.#machine.cwndPackets;
  }
  /** Bytes. */
  get inflight(): number {
    return this.#machine.inflightBytes;
  }
  get rtoCount(): number {
    return this.#machine.timeouts;
  }
  get retransmits(): number {
    return this.#machine.retransmits;
  }
  get fastRecoveries(): number {
    return this.#machine.fastRecoveries;
  }
  /** Packets found lost, spuriously or not (not in udx-native). */
  get packetsLost(): number {
    return this.#machine.packetsLost;
  }
  get bbrState(): number {
    return BBR_STATES.indexOf(this.#machine.congestionState);
  }
  /** Bytes per second. */
  get bbrBandwidth(): number {
    return Math.round(this.#machine.congestion.bandwidthBytesPerSecond);
  }
  get bytesTransmitted(): number {
    return this.#machine.bytesSent;
  }
  get packetsTransmitted(): number {
    return this.#machine.packetsSent;
  }
  get bytesReceived(): number {
    return this.#machine.bytesReceived;
  }
  get packetsReceived(): number {
    return this.#machine.packetsReceived;
  }
  get localHost(): string | null {
    return this.socket?.address()?.host ?? null;
  }
  get localFamily(): 0 | 4 | 6 {
    return this.socket?.address()?.family ?? 0;
  }
  get localPort(): number {
    return this.socket?.address()?.port ?? 0;
  }

  toJSON(): object {
    return {
      id: this.id,
      connected: this.connected,
      destroying: this.destroying,
      destroyed: this.destroyed,
      remoteId: this.remoteId,
      remoteHost: this.remoteHost,
      remoteFamily: this.remoteFamily,
      remotePort: this.remotePort,
      mtu: this.mtu,
      rtt: this.rtt,
      cwnd: this.cwnd,
      inflight: this.inflight,
      socket: this.socket === null ? null : this.socket.toJSON(),
    };
  }

  /** For a look into a stream that stalls. */
  _debug(): object {
    return {
      ...this.#machine.snapshot(this.#hub.now()),
      scheduled: this._scheduled,
      timerIn: this.#timerAt - this.#hub.now(),
      readWanted: this.#readWanted,
      writing: this.#onWritten !== null,
    };
  }

  // ---- Methods

  /**
   * Accepted and without effect, as in udx-native, where a reversed check makes it return at once.
   */
  setInteractive(_interactive: boolean): void {}

  setKeepalive(keepaliveMs: number): void {
    if (this.#closed) return;
    this.#machine.setKeepalive(keepaliveMs, this.#hub.now());
    this.#armTimer(this.#hub.now());
  }

  connect(
    socket: UDXSocket,
    remoteId: number,
    port: number,
    host?: string | UDXConnectOptions | null,
    options: UDXConnectOptions = {},
  ): void {
    if (this.#closed) return;
    if (this.connected) throw new Error("Already connected");
    if (socket.closing) throw new Error("Socket is closed");
    const given = typeof host === "object" && host !== null ? host : options;
    const path = this.#toPath(socket, port, typeof host === "string" ? host : null);
    if (!socket.bound) socket.bind(0);

    this.#setRemote(path, remoteId);
    const now = this.#hub.now();
    this.#machine.connect(remoteId, path, now, given.ack || undefined);
    socket._addStream(this);
    this.emit("connect");
    this.#afterInput(now);
  }

  /** Resolves when all that was sent before is acknowledged. */
  changeRemote(
    socket: UDXSocket,
    remoteId: number,
    port: number,
    host?: string | null,
  ): Promise<void> {
    if (this.#remoteChanging !== null) throw new Error("Remote already changing");
    if (this.socket === null) throw new Error("Not yet connected");
    if (socket.closing) throw new Error("Socket is closed");
    if (this.socket.udx !== socket.udx) {
      throw new Error("Cannot change to a socket on another UDX instance");
    }
    const path = this.#toPath(socket, port, host ?? null);
    if (!socket.bound) socket.bind(0);
    if (this.socket !== socket) this.#previousSocket = this.socket;

    this.#setRemote(path, remoteId);
    const changing = new Promise<void>((resolve, reject) => {
      const onChanged = (): void => {
        this.off("close", onClose);
        resolve();
      };
      const onClose = (): void => {
        this.off("remote-changed", onChanged);
        reject(new Error("Stream is closed"));
      };
      this.once("remote-changed", onChanged).once("close", onClose);
    });
    this.#remoteChanging = changing;
    const now = this.#hub.now();
    this.#machine.changeRemote(remoteId, path, now);
    socket._addStream(this);
    this.#afterInput(now);
    return changing;
  }

  #toPath(socket: UDXSocket, port: number, host: string | null): SocketPath {
    const to = host || "127.0.0.1";
    const family = addressFamily(to);
    if (!(port > 0 && port < 65_536)) throw new Error(`${port} is not a valid port`);
    return { socket, host: to, port, family };
  }

  #setRemote(path: SocketPath, remoteId: number): void {
    this.remoteId = remoteId;
    this.remotePort = path.port;
    this.remoteHost = path.host;
    this.remoteFamily = path.family;
    this.socket = path.socket;
  }

  /** Passes every packet for this stream on to the remote of `destination`, unopened. */
  relayTo(destination: UDXStream): void {
    if (this.#closed || destination.#closed || this.#relayTo !== null) return;
    this.#relayTo = destination;
    destination.#relaying ??= new Set();
    destination.#relaying.add(this);
  }

  /** Sends one datagram to the stream's remote: unordered and unreliable. */
  async send(bytes: Uint8Array): Promise<boolean> {
    return this.#sendMessage(bytes);
  }

  trySend(bytes: Uint8Array): void {
    this.#sendMessage(bytes);
  }

  #sendMessage(bytes: Uint8Array): boolean {
    const path = this.#machine.path;
    if (path === null || this.#closed || !this.connected) return false;
    path.socket._queue(this.#machine.encodeMessage(bytes), path.port, path.host);
    path.socket._flush();
    return true;
  }

  /** True when the peer has acknowledged all that was written before; false if the stream ends. */
  async flush(): Promise<boolean> {
    if ((await Writable.drained(this)) === false) return false;
    if (this.destroying) return false;
    const ackedBytes = this.#machine.writtenBytes;
    if (this.#machine.ackedBytes >= ackedBytes) return true;
    return new Promise((resolve) => {
      this.#flushes.push({ ackedBytes, resolve });
    });
  }

  // ---- streamx

  override _read(callback: (error?: Error | null) => void): void {
    this.#readWanted = true;
    this.#deliver();
    callback(null);
  }

  /** What is written until the end of this turn goes out in the same call, also in packets that aren't full. */
  hurry(): void {
    if (!this.connected) return;
    this.#isHurried = true;
    if (!this._scheduled) this.#hub.schedule(this);
  }

  /** Asks the peer for an acknowledgement at once, whatever waits to be sent, or sent again. */
  askForAck(): void {
    if (!this.connected) return;
    this.#machine.askForAck(queuePacket);
    this.#afterTransmit(this.#hub.now());
  }

  override _writev(batch: Uint8Array[], callback: (error?: Error | null) => void): void {
    if (!this.connected) {
      // Not connected any more is an end like any other; not yet is a mistake.
      if (this.#closed) callback(null);
      else callback(notConnected());
      return;
    }
    let drained = true;
    for (const bytes of batch) drained = this.#machine.write(bytes);
    this.#transmit(this.#isHurried || this.#machine.quiet);
    if (drained) callback(null);
    else this.#onWritten = callback;
  }

  override _final(callback: (error?: Error | null) => void): void {
    if (!this.connected) {
      if (this.#closed) callback(null);
      else callback(notConnected());
      return;
    }
    this.#machine.end();
    this.#transmit(true);
    callback(null);
  }

  override _predestroy(): void {
    if (!this.#closed) {
      if (this.#relayTo === null) this.#machine.destroy(queuePacket);
      else this.#machine.abandon("destroyed");
      this.socket?._flush();
      this.#afterInput(this.#hub.now());
    }
    this.#writeContinue();
  }

  override _destroy(callback: (error?: Error | null) => void): void {
    if (this.connected) this.#onDestroyed = callback;
    else {
      // Never connected, or closed already: leave the table of streams.
      if (!this.#closed) {
        this.#machine.abandon("destroyed");
        this.#afterInput(this.#hub.now());
      }
      callback(null);
    }
  }

  #writeContinue(): void {
    const callback = this.#onWritten;
    this.#onWritten = null;
    callback?.(null);
  }

  // ---- Packets in

  /** Returns false for what isn't this stream's after all. */
  _onPacket(socket: UDXSocket, bytes: Uint8Array, port: number, from: string): boolean {
    if (!decodePacket(bytes, packet)) return false;
    if (this.socket !== socket) {
      const host = unmapAddress(from);
      if (port <= 0 || this.#firewall(socket, port, host, host.includes(":") ? 6 : 4)) return true;
      if (this.#closed) return true;
      // The firewall is the user's code: it may have made other packets be decoded.
      decodePacket(bytes, packet);
    }
    if (this.#relayTo !== null) {
      this.#relay(bytes, this.#relayTo);
      return true;
    }
    const now = this.#hub.now();
    this.#machine.handle(bytes, packet, now);
    this.#afterInput(now);
    return true;
  }

  #relay(bytes: Uint8Array, to: UDXStream): void {
    const destroys = ((bytes[2] ?? 0) & TYPE_DESTROY) !== 0;
    if (to.socket !== null && to.remoteHost !== null) {
      writeU32(bytes, 4, to.remoteId);
      to.socket._queue(bytes, to.remotePort, to.remoteHost);
      to.socket._flush();
    }
    if (destroys) {
      this.#machine.abandon("reset");
      this.#afterInput(this.#hub.now());
    }
  }

  // ---- Packets out

  #transmit(flushPartial: boolean): void {
    const now = this.#hub.now();
    this.#machine.transmit(now, queuePacket, flushPartial);
    this.#afterTransmit(now);
  }

  #afterTransmit(now: number): void {
    this.socket?._flush();
    this.#previousSocket?._flush();
    this.#afterInput(now);
  }

  /** The end of the event loop's turn: sends what was left for it. */
  _onTurnEnd(): void {
    this.#isHurried = false;
    if (this.#closed) return;
    this.#transmit(true);
  }

  /** Acts on what the machine says after any input. */
  #afterInput(now: number): void {
    const machine = this.#machine;
    if (machine.readable || machine.remoteEnded) this.#deliver();
    if (machine.events.length > 0) this.#emitEvents();
    if (this.#flushes.length > 0) this.#resolveFlushes();
    if (machine.closed) return;
    if (machine.ackPending >= ACK_EVERY_PACKETS) {
      machine.transmit(now, queuePacket, false);
      this.socket?._flush();
      this.#previousSocket?._flush();
      if (machine.events.length > 0) this.#emitEvents();
      if (machine.closed) return;
    }
    if (machine.wantsTransmit && !this._scheduled) this.#hub.schedule(this);
    this.#armTimer(now);
  }

  #emitEvents(): void {
    const events = this.#machine.events;
    this.#machine.events = [];
    for (const event of events) {
      try {
        this.#emitEvent(event);
      } catch (error) {
        throwLater(error);
      }
    }
  }

  #emitEvent(event: StreamEvent): void {
    switch (event.kind) {
      case "message":
        this.emit("message", event.bytes);
        break;
      case "drain":
        this.#writeContinue();
        break;
      case "remote-changed":
        this.#onRemoteChanged();
        break;
      case "closed":
        this.#onClosed(event.reason);
        break;
    }
  }

  #onRemoteChanged(): void {
    if (this.#previousSocket !== null) {
      this.#previousSocket._removeStream(this);
      this.#previousSocket = null;
    }
    this.#remoteChanging = null;
    this.emit("remote-changed");
  }

  #onClosed(reason: "ended" | "destroyed" | "reset" | "timed-out"): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const path = this.#machine.path;
    this.#hub.removeStream(this);
    if (reason === "ended" && path !== null) {
      this.#hub.rememberLate(this.id, this.#machine.encodeFinalAck());
    }
    if (this.#relayTo !== null) this.#relayTo.#relaying?.delete(this);
    for (const stream of this.#relaying ?? []) {
      stream.#relayTo = null;
      stream.destroy();
    }
    this.#relaying = null;

    const { socket } = this;
    this.socket = null;
    socket?._removeStream(this);
    this.#previousSocket?._removeStream(this);
    this.#previousSocket = null;
    for (const flush of this.#flushes) flush.resolve(reason === "ended");
    this.#flushes = [];

    let error: Error | null = null;
    if (reason === "reset") error = errorWithCode("connection reset by peer", "ECONNRESET");
    if (reason === "timed-out") error = errorWithCode("connection timed out", "ETIMEDOUT");
    this.#writeContinue();
    if (this.#onDestroyed !== null) {
      const callback = this.#onDestroyed;
      this.#onDestroyed = null;
      callback(error);
    } else if (error !== null) {
      this.destroy(error);
    }
  }

  #resolveFlushes(): void {
    const { ackedBytes } = this.#machine;
    while (this.#flushes[0] !== undefined && this.#flushes[0].ackedBytes <= ackedBytes) {
      this.#flushes.shift()?.resolve(true);
    }
  }

  // ---- Bytes out

  #deliver(): void {
    const machine = this.#machine;
    while (this.#readWanted) {
      const chunk = machine.takeChunk();
      if (chunk === undefined) break;
      if (this.#frames !== null) this.#frames.take(chunk);
      else this.#push(chunk.bytes.subarray(chunk.start, chunk.end));
    }
    if (machine.remoteEnded && !machine.readable && !this.#readEnded) {
      this.#readEnded = true;
      this.#frames?.flush();
      this.push(null);
    }
    if (machine.wantsTransmit && !this._scheduled) this.#hub.schedule(this);
  }

  #push(chunk: Uint8Array): void {
    this.#readWanted = this.push(chunk);
  }

  // ---- Time

  #armTimer(now: number): void {
    const at = this.#machine.nextTimeout();
    // A timer that is due sooner looks again by itself, which is cheaper than to move it each time.
    if (at >= this.#timerAt) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(this.#onTimer, Math.max(Math.ceil(at - now), 1));
  }

  readonly #onTimer = (): void => {
    this.#timer = null;
    this.#timerAt = Number.POSITIVE_INFINITY;
    if (this.#closed) return;
    const now = this.#hub.now();
    if (this.#machine.nextTimeout() <= now) {
      this.#machine.handleTimeout(now, queuePacket);
      this.#machine.transmit(now, queuePacket, true);
      this.#afterTransmit(now);
    } else {
      this.#armTimer(now);
    }
  };
}

function queuePacket(bytes: Uint8Array, path: SocketPath): void {
  path.socket._queue(bytes, path.port, path.host);
}

function notConnected(): Error {
  return errorWithCode("Writing while not connected not currently supported", "ERR_ASSERTION");
}

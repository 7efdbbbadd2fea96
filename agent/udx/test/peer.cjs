/**
 * A UDX peer in its own process, driven by lines of JSON on its standard input: one request a line,
 * one reply a line with the same `n`. It runs under Node and Bun, with udx-native or with ours:
 *
 *     node peer.cjs /path/to/the/udx/module
 *
 * CommonJS, because it is also what a user of udx-native would write.
 */

const { createHash } = require("node:crypto");
const { createInterface } = require("node:readline");

const UDX = require(process.argv[2]);
const udx = new UDX();
const streams = new Map();
const sockets = new Set();
const idle = [];
let firewallAsked = 0;
let swarm = null;

/** Bytes from a seed that both sides can make: each block is the hash of its number. */
function* blocks(seed, bytes, blockBytes) {
  const base = Buffer.alloc(Math.max(blockBytes, 64));
  for (let at = 0; at < base.length; at += 32) {
    createHash("sha256").update(`${seed}:${at}`).digest().copy(base, at);
  }
  for (let sent = 0, i = 0; sent < bytes; i++) {
    const block = Buffer.from(base.subarray(0, Math.min(blockBytes, bytes - sent)));
    if (block.length >= 4) block.writeUInt32LE(i, 0);
    sent += block.length;
    yield block;
  }
}

async function writeAll(
  stream,
  { seed, bytes, blockBytes = 65536, end = true, hash: hashes = true },
) {
  const hash = createHash("sha256");
  for (const block of blocks(seed, bytes, blockBytes)) {
    if (hashes) hash.update(block);
    if (!stream.write(block)) {
      await new Promise((resolve) => {
        const done = () => {
          stream.off("drain", done);
          stream.off("close", done);
          resolve();
        };
        stream.on("drain", done);
        stream.on("close", done);
      });
    }
  }
  if (end) stream.end();
  return hash.digest("hex");
}

function readAll(stream, { bytes, hash: hashes = true }) {
  return new Promise((resolve, reject) => {
    const hash = createHash("sha256");
    let received = 0;
    const started = performance.now();
    let first = 0;
    const finish = () => {
      stream.off("data", onData);
      // Or what comes before the next reader would be lost.
      stream.pause();
      resolve({
        bytes: received,
        sha256: hash.digest("hex"),
        ms: performance.now() - started,
        first,
      });
    };
    const onData = (data) => {
      if (received === 0) first = performance.now() - started;
      received += data.length;
      if (hashes) hash.update(data);
      if (bytes !== undefined && received >= bytes) finish();
    };
    stream.on("data", onData);
    stream.on("end", () => {
      if (bytes === undefined || received < bytes) finish();
    });
    stream.on("error", reject);
  });
}

function track(name, stream) {
  const entry = { stream, events: [], messages: [] };
  streams.set(name, entry);
  stream.on("error", (error) => entry.events.push(`error ${error.code}`));
  stream.on("close", () => entry.events.push("close"));
  stream.on("end", () => entry.events.push("end"));
  stream.on("remote-changed", () => entry.events.push("remote-changed"));
  stream.on("message", (message) => entry.messages.push(message.toString("base64")));
  return entry;
}

const commands = {
  open({ id, host = "127.0.0.1", options = {} }) {
    const socket = udx.createSocket();
    socket.bind(0, host);
    sockets.add(socket);
    const stream = udx.createStream(id, options);
    track(id, stream).socket = socket;
    return { port: socket.address().port };
  },
  connect({ id, remoteId, port, host = "127.0.0.1", ack }) {
    const { stream, socket } = streams.get(id);
    stream.connect(socket, remoteId, port, host, ack === undefined ? {} : { ack });
    return {};
  },
  /** A stream that waits for someone the firewall lets in, which is nobody. */
  listen({ id }) {
    const { port } = commands.open({ id, options: { firewall: () => ++firewallAsked > 0 } });
    return { port };
  },
  asked() {
    return { asked: firewallAsked };
  },
  /** Connected streams that read, in numbers. */
  accept({ count, port, host = "127.0.0.1" }) {
    const socket = udx.createSocket();
    socket.bind(0, host);
    const first = 5000;
    for (let i = 0; i < count; i++) {
      const stream = udx.createStream(first + i);
      stream.on("error", () => {});
      stream.resume();
      stream.connect(socket, first + i, port, host);
    }
    return { port: socket.address().port, first };
  },
  changeRemote({ id, remoteId, port, host = "127.0.0.1" }) {
    const { stream, socket } = streams.get(id);
    // null from udx-native when nothing was in flight.
    void stream.changeRemote(socket, remoteId, port, host)?.catch(() => {});
    return {};
  },
  async write({ id, ...what }) {
    return { sha256: await writeAll(streams.get(id).stream, what) };
  },
  read({ id, ...what }) {
    return readAll(streams.get(id).stream, what);
  },
  echo({ id }) {
    const { stream } = streams.get(id);
    stream.on("data", (data) => stream.write(data));
    stream.on("end", () => stream.end());
    return {};
  },
  /** Puts an encrypted stream over stream `id`, under the same name, when both sides have asked. */
  async secure({ id, initiator, root }) {
    const SecretStream = require(`${root}/node_modules/@hyperswarm/secret-stream`);
    const entry = streams.get(id);
    entry.raw = entry.stream;
    entry.stream = new SecretStream(initiator, entry.raw);
    entry.stream.on("error", (error) => entry.events.push(`error ${error.code}`));
    if (!(await entry.stream.opened)) throw new Error("the handshake failed");
    return {};
  },
  /** Many idle pairs of streams within this process. */
  async idle({ count, keepaliveMs }) {
    const [a, b] = [udx.createSocket(), udx.createSocket()];
    a.bind(0, "127.0.0.1");
    b.bind(0, "127.0.0.1");
    for (let i = 0; i < count; i++) {
      const [one, two] = [udx.createStream(1_000_000 + i * 2), udx.createStream(1_000_001 + i * 2)];
      one.connect(a, two.id, b.address().port, "127.0.0.1");
      two.connect(b, one.id, a.address().port, "127.0.0.1");
      one.setKeepalive(keepaliveMs);
      // One message, so that all that is made on first use is there.
      const heard = new Promise((resolve) => two.once("data", resolve));
      one.write("x");
      await heard;
      idle.push(one, two);
    }
    return {};
  },
  /** Round trips of small messages, one after another: microseconds, sorted. */
  ping({ id, count, bytes }) {
    const { stream } = streams.get(id);
    const message = Buffer.alloc(bytes, 1);
    return new Promise((resolve) => {
      const times = [];
      let received = 0;
      let started = performance.now();
      const onData = (data) => {
        received += data.length;
        if (received < bytes) return;
        received -= bytes;
        times.push((performance.now() - started) * 1000);
        if (times.length === count) {
          stream.off("data", onData);
          stream.pause();
          times.sort((a, b) => a - b);
          resolve({ p50: times[count >> 1], p99: times[Math.floor(count * 0.99)] });
          return;
        }
        started = performance.now();
        stream.write(message);
      };
      stream.on("data", onData);
      stream.write(message);
    });
  },
  /** Two streams that relay to each other, towards streams 1 and 2 behind one port. */
  relay({ a, b, port, host = "127.0.0.1" }) {
    const socket = udx.createSocket();
    socket.bind(0, host);
    const [toA, toB] = [udx.createStream(a), udx.createStream(b)];
    for (const stream of [toA, toB]) stream.on("error", () => {});
    toA.connect(socket, 1, port, host);
    toB.connect(socket, 2, port, host);
    toA.relayTo(toB);
    toB.relayTo(toA);
    return { port: socket.address().port };
  },
  pause({ id }) {
    streams.get(id).stream.pause();
    return {};
  },
  end({ id }) {
    streams.get(id).stream.end();
    return {};
  },
  destroy({ id }) {
    streams.get(id).stream.destroy();
    return {};
  },
  async message({ id, base64 }) {
    return { sent: await streams.get(id).stream.send(Buffer.from(base64, "base64")) };
  },
  keepalive({ id, ms }) {
    streams.get(id).stream.setKeepalive(ms);
    return {};
  },
  /** Linux doubles what it is asked for. */
  receiveBuffer({ id, bytes }) {
    const { socket } = streams.get(id);
    socket.setRecvBufferSize(bytes);
    return { bytes: socket.getRecvBufferSize() };
  },
  async flush({ id }) {
    return { flushed: await streams.get(id).stream.flush() };
  },
  state({ id }) {
    const { stream: top, raw, events, messages } = streams.get(id);
    const stream = raw ?? top.rawStream ?? top;
    return {
      events,
      messages,
      mtu: stream.mtu,
      rtt: stream.rtt,
      cwnd: stream.cwnd,
      retransmits: stream.retransmits,
      packetsReceived: stream.packetsReceived,
      bytesReceived: stream.bytesReceived,
      readable: stream._readableState.buffered,
    };
  },
  /** What a stalled transfer is looked into with. */
  debug({ id }) {
    const { stream: top, raw } = streams.get(id);
    const stream = raw ?? top;
    return {
      ...commands.state({ id }),
      stream: stream.toJSON(),
      machine: stream._debug?.(),
      topReadable: top._readableState.buffered,
      topWritable: top._writableState.buffered,
      paused: top._duplexState,
      rawState: stream._duplexState,
    };
  },
  usage({ collect = false }) {
    if (collect) {
      if (typeof Bun !== "undefined") Bun.gc(true);
      else globalThis.gc?.();
    }
    const { user, system } = process.cpuUsage();
    return {
      cpuMs: (user + system) / 1000,
      rss: process.memoryUsage().rss,
      packets: udx.packetsReceived + (swarm === null ? 0 : swarm.dht.udx.packetsReceived),
    };
  },
  /** A Hyperswarm, whose modules are found beside the UDX module. */
  async swarm({ bootstrap, topic, server, root }) {
    const DHT = require(`${root}/node_modules/hyperdht`);
    const Hyperswarm = require(`${root}/node_modules/hyperswarm`);
    if (bootstrap === undefined) {
      const testnet = await require(`${root}/node_modules/hyperdht/testnet.js`)(6);
      bootstrap = testnet.bootstrap;
    }
    const dht = new DHT({ bootstrap, host: "127.0.0.1" });
    swarm = new Hyperswarm({ dht });
    swarm.on("connection", (connection) => {
      connection.on("error", () => {});
      if (!streams.has("swarm")) track("swarm", connection);
    });
    const discovery = swarm.join(Buffer.from(topic, "hex"), { server, client: !server });
    if (server) await discovery.flushed();
    else void swarm.flush();
    return { bootstrap, publicKey: swarm.keyPair.publicKey.toString("hex") };
  },
  async connection() {
    while (!streams.has("swarm")) await new Promise((resolve) => setTimeout(resolve, 10));
    return {};
  },
  async leave() {
    await swarm.destroy();
    return {};
  },
  exit() {
    process.exit(0);
  },
};

const lines = createInterface({ input: process.stdin });
lines.on("line", async (line) => {
  const { n, command, ...rest } = JSON.parse(line);
  let reply;
  try {
    reply = await commands[command](rest);
  } catch (error) {
    reply = { error: error.stack ?? String(error) };
  }
  process.stdout.write(`${JSON.stringify({ n, ...reply })}\n`);
});
lines.on("close", () => process.exit(0));
process.stdout.write(`${JSON.stringify({ n: 0, ready: true })}\n`);

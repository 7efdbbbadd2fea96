/**
 * What udx-native's README promises, as checks that any implementation has to pass. Run it on one:
 *
 *     node api-contract.cjs /path/to/a/udx/module
 *
 * It prints a line of JSON for each check. `api-contract.test.ts` runs it on ours under Bun and Node
 * and on udx-native under Node.
 */

const assert = require("node:assert");
const { once } = require("node:events");

const checks = {};
const check = (name, run) => {
  checks[name] = run;
};

const DEADLINE_MS = 8000;

function pair(UDX, options = {}) {
  const udx = new UDX();
  const sockets = [udx.createSocket(), udx.createSocket()];
  for (const socket of sockets) socket.bind(0, "127.0.0.1");
  const a = udx.createStream(1, options.a);
  const b = udx.createStream(2, options.b);
  // Whoever is destroyed second at the end of a check has been reset by the first.
  for (const stream of [a, b]) stream.on("error", () => {});
  return { udx, a, b, sockets, ports: sockets.map((socket) => socket.address().port) };
}

function connected(UDX, options = {}) {
  const made = pair(UDX, options);
  made.a.connect(made.sockets[0], 2, made.ports[1], "127.0.0.1");
  made.b.connect(made.sockets[1], 1, made.ports[0], "127.0.0.1");
  return made;
}

/** Not `once`, which rejects when an error comes first. */
function closing(stream) {
  return new Promise((resolve) => stream.once("close", resolve));
}

async function finish({ a, b, sockets }) {
  for (const stream of [a, b]) {
    if (stream.destroyed) continue;
    const closed = closing(stream);
    stream.destroy();
    await closed;
  }
  for (const socket of sockets) await socket.close();
}

async function until(condition, what) {
  const deadline = Date.now() + DEADLINE_MS;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`still not: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function gather(stream, bytes) {
  return new Promise((resolve, reject) => {
    const parts = [];
    let length = 0;
    stream.on("data", (data) => {
      parts.push(data);
      length += data.length;
      if (length >= bytes) resolve(Buffer.concat(parts));
    });
    stream.on("error", reject);
  });
}

// ---- Addresses and names

check("isIPv4, isIPv6 and isIP tell addresses from names", (UDX) => {
  assert.deepEqual(
    ["127.0.0.1", "::1", "example.com", "1.2.3", "::ffff:1.2.3.4"].map((host) => [
      UDX.isIPv4(host),
      UDX.isIPv6(host),
      UDX.isIP(host),
    ]),
    [
      [true, false, 4],
      [false, true, 6],
      [false, false, 0],
      [false, false, 0],
      [false, true, 6],
    ],
  );
});

check("lookup finds localhost in either family", async (UDX) => {
  const found = await new UDX().lookup("localhost", { family: 4 });
  assert.deepEqual(found, { host: "127.0.0.1", family: 4 });
  const address = await new UDX().lookup("127.0.0.1");
  assert.deepEqual(address, { host: "127.0.0.1", family: 4 });
});

check("lookup of a name that can't exist rejects", async (UDX) => {
  await assert.rejects(new UDX().lookup("host.name.invalid"));
});

check("networkInterfaces lists loopback", (UDX) => {
  const loopback = new UDX().networkInterfaces().find((i) => i.host === "127.0.0.1");
  assert.equal(loopback.family, 4);
  assert.equal(loopback.internal, true);
  assert.equal(typeof loopback.name, "string");
});

check("a watcher of interfaces is iterable, stops, starts and closes", async (UDX) => {
  const watcher = new UDX().watchNetworkInterfaces(() => {});
  assert.deepEqual([...watcher], watcher.interfaces);
  assert.equal(watcher.unwatch(), watcher);
  assert.equal(watcher.watch(), watcher);
  let closed = false;
  watcher.on("close", () => {
    closed = true;
  });
  await watcher.destroy();
  assert.equal(closed, true);
});

// ---- Sockets

check("bind is synchronous, and address is known at once", async (UDX) => {
  const socket = new UDX().createSocket();
  assert.equal(socket.address(), null);
  assert.equal(socket.bound, false);
  let listening = 0;
  socket.on("listening", () => listening++);
  socket.bind(0, "127.0.0.1");
  assert.equal(listening, 1);
  assert.equal(socket.bound, true);
  const { host, family, port } = socket.address();
  assert.deepEqual([host, family], ["127.0.0.1", 4]);
  assert.ok(port > 0);
  assert.throws(() => socket.bind(0), /Already bound/);
  await socket.close();
});

check("a port in use throws EADDRINUSE at once", async (UDX) => {
  const udx = new UDX();
  const first = udx.createSocket();
  first.bind(0, "127.0.0.1");
  const second = udx.createSocket();
  assert.throws(
    () => second.bind(first.address().port, "127.0.0.1"),
    (error) => error.code === "EADDRINUSE",
  );
  await first.close();
  await second.close();
});

check("two sockets that reuse addresses share a port", async (UDX) => {
  const udx = new UDX();
  const [a, b] = [0, 1].map(() => udx.createSocket({ reuseAddress: true }));
  a.bind(0, "127.0.0.1");
  b.bind(a.address().port, "127.0.0.1");
  assert.equal(b.address().port, a.address().port);
  await a.close();
  await b.close();
});

check("an IPv6 socket that is only that leaves the port to IPv4", async (UDX) => {
  const udx = new UDX();
  const [six, four] = [udx.createSocket({ ipv6Only: true }), udx.createSocket()];
  try {
    six.bind(0, "::");
  } catch {
    return; // No IPv6 here.
  }
  four.bind(six.address().port, "0.0.0.0");
  await six.close();
  await four.close();
});

check("bind refuses what is no address", async (UDX) => {
  const socket = new UDX().createSocket();
  assert.throws(() => socket.bind(0, "localhost"), /not a valid IP address/);
  await socket.close();
});

check("bind without a host hears IPv4, and shows its address unmapped", async (UDX) => {
  const udx = new UDX();
  const [a, b] = [udx.createSocket(), udx.createSocket()];
  a.bind();
  b.bind(0, "127.0.0.1");
  const heard = once(a, "message");
  assert.equal(await b.send(Buffer.from("hello"), a.address().port, "127.0.0.1"), true);
  const [bytes, from] = await heard;
  assert.equal(bytes.toString(), "hello");
  assert.deepEqual(from, { host: "127.0.0.1", family: 4, port: b.address().port });
  // And it answers over IPv4.
  const answered = once(b, "message");
  a.trySend(Buffer.from("again"), b.address().port, "127.0.0.1");
  assert.equal((await answered)[0].toString(), "again");
  await a.close();
  await b.close();
});

check("IPv6 datagrams", async (UDX) => {
  const udx = new UDX();
  const [a, b] = [udx.createSocket({ ipv6Only: true }), udx.createSocket()];
  try {
    a.bind(0, "::1");
    b.bind(0, "::1");
  } catch {
    return; // No IPv6 here.
  }
  const heard = once(a, "message");
  b.trySend(Buffer.from("six"), a.address().port, "::1");
  const [bytes, from] = await heard;
  assert.equal(bytes.toString(), "six");
  assert.deepEqual([from.host, from.family], ["::1", 6]);
  await a.close();
  await b.close();
});

check("send binds a socket, and goes to 127.0.0.1 by default", async (UDX) => {
  const udx = new UDX();
  const [a, b] = [udx.createSocket(), udx.createSocket()];
  b.bind(0, "127.0.0.1");
  const heard = once(b, "message");
  assert.equal(await a.send(Buffer.from("x"), b.address().port), true);
  assert.equal(a.bound, true);
  await heard;
  await assert.rejects(a.send(Buffer.from("x"), 1, "not an address"), /not a valid IP address/);
  await a.close();
  await b.close();
  assert.equal(await a.send(Buffer.from("x"), 1), false);
});

check("empty and one-byte datagrams arrive", async (UDX) => {
  const udx = new UDX();
  const [a, b] = [udx.createSocket(), udx.createSocket()];
  b.bind(0, "127.0.0.1");
  const lengths = [];
  b.on("message", (bytes) => lengths.push(bytes.length));
  await a.send(Buffer.alloc(0), b.address().port);
  await a.send(Buffer.alloc(1), b.address().port);
  await a.send(Buffer.alloc(1400), b.address().port);
  await until(() => lengths.length === 3, "three datagrams");
  assert.deepEqual(lengths, [0, 1, 1400]);
  await a.close();
  await b.close();
});

check("a datagram may have a TTL of its own", async (UDX) => {
  const udx = new UDX();
  const [a, b] = [udx.createSocket(), udx.createSocket()];
  a.bind(0, "127.0.0.1");
  b.bind(0, "127.0.0.1");
  const heard = once(b, "message");
  assert.equal(await a.send(Buffer.from("x"), b.address().port, "127.0.0.1", 5), true);
  await heard;
  a.setTTL(64);
  await a.close();
  await b.close();
});

check("an unbound socket has no TTL and no buffers", (UDX) => {
  const socket = new UDX().createSocket();
  assert.throws(() => socket.setTTL(5), /not active/);
  assert.throws(() => socket.getRecvBufferSize(), /not active/);
  assert.throws(() => socket.setSendBufferSize(1000), /not active/);
});

check("buffer sizes can be read and set", async (UDX) => {
  const socket = new UDX().createSocket();
  socket.bind(0, "127.0.0.1");
  assert.ok(socket.getRecvBufferSize() >= 100_000);
  assert.ok(socket.getSendBufferSize() >= 100_000);
  socket.setRecvBufferSize(150_000);
  socket.setSendBufferSize(150_000);
  assert.ok(socket.getRecvBufferSize() >= 150_000);
  await socket.close();
});

check("multicast groups are joined and left", async (UDX) => {
  const socket = new UDX().createSocket();
  socket.bind(0, "0.0.0.0");
  socket.addMembership("239.1.2.3", "127.0.0.1");
  socket.dropMembership("239.1.2.3", "127.0.0.1");
  await socket.close();
});

check("a socket that never was bound closes", async (UDX) => {
  const socket = new UDX().createSocket();
  assert.equal(socket.closing, false);
  const closing = socket.close();
  assert.equal(socket.closing, true);
  await closing;
  assert.throws(() => socket.bind(0), /closed/);
});

check("counters count", async (UDX) => {
  const udx = new UDX();
  const [a, b] = [udx.createSocket(), udx.createSocket()];
  a.bind(0, "127.0.0.1");
  b.bind(0, "127.0.0.1");
  const heard = once(b, "message");
  await a.send(Buffer.alloc(10), b.address().port, "127.0.0.1");
  await heard;
  // udx-native leaves datagrams out of what it counts as transmitted.
  assert.deepEqual([b.bytesReceived, b.packetsReceived], [10, 1]);
  assert.deepEqual([udx.bytesReceived, udx.packetsReceived], [10, 1]);
  assert.equal(typeof a.bytesTransmitted, "number");
  assert.equal(typeof udx.packetsTransmitted, "number");
  await a.close();
  await b.close();
});

check("busy and idle tell of the first and the last stream", async (UDX) => {
  const made = pair(UDX);
  const events = [];
  made.sockets[0].on("busy", () => events.push("busy"));
  made.sockets[0].on("idle", () => events.push("idle"));
  assert.deepEqual([made.sockets[0].idle, made.sockets[0].busy], [true, false]);
  made.a.connect(made.sockets[0], 2, made.ports[1], "127.0.0.1");
  assert.deepEqual([made.sockets[0].idle, made.sockets[0].busy], [false, true]);
  assert.equal(made.sockets[0].streams.has(made.a), true);
  const closed = closing(made.a);
  made.a.destroy();
  await closed;
  assert.equal(made.sockets[0].streams.size, 0);
  assert.deepEqual(events, ["busy", "idle"]);
  await finish(made);
});

check("a socket closes when its streams have", async (UDX) => {
  const made = connected(UDX);
  let closed = false;
  const closing = made.sockets[0].close().then(() => {
    closed = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(closed, false);
  made.a.destroy();
  await closing;
  made.b.on("error", () => {});
  await finish(made);
});

check("toJSON of socket and stream has the documented keys", async (UDX) => {
  const made = connected(UDX);
  assert.deepEqual(Object.keys(made.a.toJSON()), [
    "id",
    "connected",
    "destroying",
    "destroyed",
    "remoteId",
    "remoteHost",
    "remoteFamily",
    "remotePort",
    "mtu",
    "rtt",
    "cwnd",
    "inflight",
    "socket",
  ]);
  assert.deepEqual(Object.keys(made.a.socket.toJSON()), [
    "bound",
    "closing",
    "streams",
    "address",
    "ipv6Only",
    "reuseAddress",
    "idle",
    "busy",
  ]);
  await finish(made);
});

// ---- Streams

check("properties before and after connect", async (UDX) => {
  const made = pair(UDX);
  const { a } = made;
  assert.deepEqual(
    [a.id, a.connected, a.socket, a.remoteId, a.remoteHost, a.remotePort, a.remoteFamily],
    [1, false, null, 0, null, 0, 0],
  );
  assert.deepEqual([a.localHost, a.localFamily, a.localPort, a.userData], [null, 0, 0, null]);
  let events = 0;
  a.on("connect", () => events++);
  a.connect(made.sockets[0], 2, made.ports[1], "127.0.0.1");
  assert.equal(events, 1);
  assert.deepEqual(
    [a.connected, a.socket, a.remoteId, a.remoteHost, a.remotePort, a.remoteFamily],
    [true, made.sockets[0], 2, "127.0.0.1", made.ports[1], 4],
  );
  assert.deepEqual([a.localHost, a.localFamily, a.localPort], ["127.0.0.1", 4, made.ports[0]]);
  assert.throws(() => a.connect(made.sockets[0], 2, made.ports[1]), /Already connected/);
  await finish(made);
});

check("connect refuses a bad host, a bad port and a closed socket", async (UDX) => {
  const made = pair(UDX);
  assert.throws(() => made.a.connect(made.sockets[0], 2, 1000, "nowhere"), /not a valid IP/);
  assert.throws(() => made.a.connect(made.sockets[0], 2, 0), /not a valid port/);
  assert.throws(() => made.a.connect(made.sockets[0], 2, 65536), /not a valid port/);
  const gone = made.udx.createSocket();
  await gone.close();
  assert.throws(() => made.a.connect(gone, 2, 1000), /Socket is closed/);
  await finish(made);
});

check("bytes and strings go both ways, and both ends end", async (UDX) => {
  const made = connected(UDX);
  const { a, b } = made;
  const toB = [];
  const toA = [];
  a.on("data", (data) => toA.push(data));
  b.on("data", (data) => toB.push(data));
  const ends = [once(a, "end"), once(b, "end"), closing(a), closing(b)];
  a.write("hello ");
  a.write(Buffer.from("world"));
  a.end();
  b.end("bye");
  await Promise.all(ends);
  assert.equal(Buffer.concat(toB).toString(), "hello world");
  assert.equal(Buffer.concat(toA).toString(), "bye");
  assert.deepEqual([a.connected, b.connected, a.destroyed], [false, false, true]);
  await finish(made);
});

check("one side may end long before the other", async (UDX) => {
  const made = connected(UDX);
  made.a.end("question");
  made.b.resume();
  await once(made.b, "end");
  const answer = gather(made.a, 6);
  made.b.end("answer");
  assert.equal((await answer).toString(), "answer");
  await finish(made);
});

check("a megabyte arrives as it was", async (UDX) => {
  const made = connected(UDX);
  const bytes = Buffer.alloc(1_000_003);
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 7 + (i >> 9)) & 255;
  const received = gather(made.b, bytes.length);
  made.a.write(bytes);
  assert.equal(Buffer.compare(await received, bytes), 0);
  assert.ok(made.a.packetsTransmitted > 600 && made.b.bytesReceived > bytes.length);
  await finish(made);
});

for (const [what, bindHost, host] of [
  ["IPv6", "::1", "::1"],
  ["sockets of both families, to an IPv4 address", undefined, "127.0.0.1"],
]) {
  check(`a megabyte over ${what}`, async (UDX) => {
    const udx = new UDX();
    const sockets = [udx.createSocket(), udx.createSocket()];
    try {
      for (const socket of sockets) socket.bind(0, bindHost);
    } catch {
      return; // No IPv6 here.
    }
    const [a, b] = [udx.createStream(1), udx.createStream(2)];
    for (const stream of [a, b]) stream.on("error", () => {});
    a.connect(sockets[0], 2, sockets[1].address().port, host);
    b.connect(sockets[1], 1, sockets[0].address().port, host);
    const bytes = Buffer.alloc(1_000_003);
    for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 7 + (i >> 9)) & 255;
    const received = gather(b, bytes.length);
    a.write(bytes);
    assert.equal(Buffer.compare(await received, bytes), 0);
    assert.equal(a.remoteFamily, host === "::1" ? 6 : 4);
    await finish({ a, b, sockets });
  });
}

check("write says when enough is queued, and drain when there is room", async (UDX) => {
  const made = connected(UDX);
  made.b.resume();
  let full = 0;
  for (let i = 0; i < 200; i++) {
    if (made.a.write(Buffer.alloc(65536))) continue;
    full++;
    await once(made.a, "drain");
  }
  assert.ok(full > 0);
  await finish(made);
});

check("flush resolves when all is acknowledged", async (UDX) => {
  const made = connected(UDX);
  made.b.resume();
  assert.equal(await made.a.flush(), true);
  made.a.write(Buffer.alloc(300_000));
  assert.equal(await made.a.flush(), true);
  assert.equal(made.a.inflight, 0);
  made.a.destroy();
  assert.equal(await made.a.flush(), false);
  await finish(made);
});

check("destroy resets the peer", async (UDX) => {
  const made = connected(UDX);
  const failed = once(made.b, "error");
  made.a.destroy();
  const [error] = await failed;
  assert.equal(error.code, "ECONNRESET");
  assert.equal(error.message.includes("connection reset by peer"), true);
  await finish(made);
});

check("destroy with an error tells it here", async (UDX) => {
  const made = connected(UDX);
  made.b.on("error", () => {});
  const failed = once(made.a, "error");
  made.a.destroy(new Error("enough"));
  assert.equal((await failed)[0].message, "enough");
  await finish(made);
});

check("a stream may be destroyed before it connects", async (UDX) => {
  const made = pair(UDX);
  const closed = closing(made.a);
  made.a.destroy();
  await closed;
  // Its id is free again.
  const again = made.udx.createStream(1);
  again.connect(made.sockets[0], 2, made.ports[1], "127.0.0.1");
  again.destroy();
  await closing(again);
  await finish(made);
});

check("messages are datagrams beside the stream", async (UDX) => {
  const made = connected(UDX);
  const heard = [];
  made.b.on("message", (bytes) => heard.push(bytes.toString()));
  assert.equal(await made.a.send(Buffer.from("one")), true);
  made.a.trySend(Buffer.from("two"));
  await until(() => heard.length === 2, "two messages");
  assert.deepEqual(heard, ["one", "two"]);
  await finish(made);
});

check("send before connect is false", async (UDX) => {
  const made = pair(UDX);
  assert.equal(await made.a.send(Buffer.from("x")), false);
  made.a.trySend(Buffer.from("x"));
  await finish(made);
});

check(
  "a firewall sees packets of a stream that isn't connected, and may connect it",
  async (UDX) => {
    let asked = 0;
    const made = pair(UDX, {
      b: {
        firewall(socket, port, host, family) {
          asked++;
          assert.equal(socket, made.sockets[1]);
          assert.deepEqual([port, host, family], [made.ports[0], "127.0.0.1", 4]);
          made.b.connect(socket, 1, port, host);
          return false;
        },
      },
    });
    const received = gather(made.b, 5);
    made.a.connect(made.sockets[0], 2, made.ports[1], "127.0.0.1");
    made.a.write("hello");
    assert.equal((await received).toString(), "hello");
    assert.equal(asked, 1);
    await finish(made);
  },
);

check("a firewall that refuses lets nothing in", async (UDX) => {
  let asked = 0;
  const made = pair(UDX, { b: { firewall: () => ++asked > 0 } });
  made.b.on("data", () => assert.fail("it got in"));
  made.a.connect(made.sockets[0], 2, made.ports[1], "127.0.0.1");
  made.a.write("hello");
  await until(() => asked >= 1, "the firewall is asked");
  assert.equal(made.b.connected, false);
  await finish(made);
});

check("what a firewall lets in before connect is acknowledged after", async (UDX) => {
  const made = pair(UDX, { b: { firewall: () => false } });
  const received = gather(made.b, 5);
  made.a.connect(made.sockets[0], 2, made.ports[1], "127.0.0.1");
  made.a.write("early");
  assert.equal((await received).toString(), "early");
  made.b.connect(made.sockets[1], 1, made.ports[0], "127.0.0.1");
  assert.equal(await made.a.flush(), true);
  await finish(made);
});

check("a packet for no stream is a message of the socket", async (UDX) => {
  const made = pair(UDX);
  const heard = once(made.sockets[1], "message");
  made.a.connect(made.sockets[0], 99, made.ports[1], "127.0.0.1");
  made.a.write("hello");
  const [bytes] = await heard;
  assert.equal(bytes.length, 25);
  assert.deepEqual([...bytes.subarray(0, 8)], [255, 1, 1, 0, 99, 0, 0, 0]);
  await finish(made);
});

check("sequence numbers may start anywhere", async (UDX) => {
  const made = pair(UDX, { a: { seq: 0xffff_fffe }, b: { seq: 42 } });
  made.a.connect(made.sockets[0], 2, made.ports[1], "127.0.0.1", { ack: 42 });
  made.b.connect(made.sockets[1], 1, made.ports[0], "127.0.0.1", { ack: 0xffff_fffe });
  const toB = gather(made.b, 10_000);
  const toA = gather(made.a, 4);
  made.a.write(Buffer.alloc(10_000, 1));
  made.b.write("back");
  assert.equal((await toB).length, 10_000);
  assert.equal((await toA).toString(), "back");
  await finish(made);
});

check("changeRemote moves a stream to another socket", async (UDX) => {
  const made = connected(UDX);
  const socket = made.udx.createSocket();
  socket.bind(0, "127.0.0.1");
  const third = made.udx.createStream(3, { firewall: () => false });
  const toB = gather(made.b, 3);
  made.a.write("one");
  assert.equal((await toB).toString(), "one");
  // b goes on as it was; a speaks to the third stream now.
  let changed = 0;
  made.a.on("remote-changed", () => changed++);
  const toThird = gather(third, 3);
  third.connect(socket, 1, made.ports[0], "127.0.0.1", { ack: 1 });
  const changing = made.a.changeRemote(made.sockets[0], 3, socket.address().port, "127.0.0.1");
  made.a.write("two");
  await changing;
  assert.equal(changed, 1);
  assert.equal((await toThird).toString(), "two");
  assert.equal(made.a.remoteId, 3);
  third.on("error", () => {});
  third.destroy();
  await closing(third);
  await socket.close();
  await finish(made);
});

check("changeRemote refuses what connect would", async (UDX) => {
  const made = pair(UDX);
  assert.throws(() => made.a.changeRemote(made.sockets[0], 2, 1000), /Not yet connected/);
  made.a.connect(made.sockets[0], 2, made.ports[1], "127.0.0.1");
  assert.throws(() => made.a.changeRemote(made.sockets[0], 2, 0), /not a valid port/);
  const other = new UDX().createSocket();
  other.bind(0, "127.0.0.1");
  assert.throws(() => made.a.changeRemote(other, 2, 1000), /another UDX instance/);
  await other.close();
  await finish(made);
});

check("a relay passes packets on without reading them", async (UDX) => {
  const udx = new UDX();
  const sockets = [0, 1, 2].map(() => udx.createSocket());
  for (const socket of sockets) socket.bind(0, "127.0.0.1");
  const [portA, portB, portR] = sockets.map((socket) => socket.address().port);
  const a = udx.createStream(1);
  const b = udx.createStream(2);
  // To each side the relay has a stream of its own.
  const relayA = udx.createStream(11);
  const relayB = udx.createStream(12);
  relayA.connect(sockets[2], 1, portA, "127.0.0.1");
  relayB.connect(sockets[2], 2, portB, "127.0.0.1");
  relayA.relayTo(relayB);
  relayB.relayTo(relayA);
  a.connect(sockets[0], 11, portR, "127.0.0.1");
  b.connect(sockets[1], 12, portR, "127.0.0.1");
  const toB = gather(b, 200_000);
  const toA = gather(a, 4);
  a.write(Buffer.alloc(200_000, 3));
  b.write("back");
  assert.equal(
    (await toB).every((byte) => byte === 3),
    true,
  );
  assert.equal((await toA).toString(), "back");
  // The end of one side reaches the relay and the other side.
  const codes = [];
  for (const stream of [b, relayA, relayB]) stream.on("error", (error) => codes.push(error.code));
  const closed = [a, b, relayA].map(closing);
  a.destroy();
  await Promise.all(closed);
  assert.deepEqual(codes.slice(0, 2), ["ECONNRESET", "ECONNRESET"]);
  // udx-native closes this one without telling its JavaScript part.
  relayB.destroy();
  for (const socket of sockets) await socket.close();
});

check("framed streams give out the bytes that were written", async (UDX) => {
  const made = connected(UDX, { a: { framed: true }, b: { framed: true } });
  const frame = (length, byte) => {
    const bytes = Buffer.alloc(3 + length, byte);
    bytes.writeUIntLE(length, 0, 3);
    return bytes;
  };
  const frames = [frame(5, 1), frame(0, 0), frame(100_000, 2), frame(1, 3), frame(4000, 4)];
  const wanted = Buffer.concat(frames);
  const received = gather(made.b, wanted.length);
  for (const bytes of frames) made.a.write(bytes);
  assert.equal(Buffer.compare(await received, wanted), 0);
  await finish(made);
});

check("a framed stream gives out a frame of many packets in one piece", async (UDX) => {
  const made = connected(UDX, { b: { framed: true } });
  const bytes = Buffer.alloc(3 + 20_000, 9);
  bytes.writeUIntLE(20_000, 0, 3);
  const received = once(made.b, "data");
  made.a.write(bytes);
  assert.equal((await received)[0].length, bytes.length);
  await finish(made);
});

check("keepalive keeps an idle stream", async (UDX) => {
  const made = connected(UDX);
  made.a.write("x");
  made.b.resume();
  await made.a.flush();
  const before = made.b.packetsReceived;
  made.a.setKeepalive(20);
  await until(() => made.b.packetsReceived >= before + 3, "three heartbeats");
  await finish(made);
});

check("the path MTU is searched", async (UDX) => {
  const made = connected(UDX);
  assert.equal(made.a.mtu, 1200);
  made.b.resume();
  made.a.write(Buffer.alloc(4_000_000));
  await made.a.flush();
  assert.ok(made.a.mtu > 1400, `${made.a.mtu}`);
  await finish(made);
});

check("statistics are numbers", async (UDX) => {
  const made = connected(UDX);
  made.b.resume();
  made.a.write(Buffer.alloc(100_000));
  await made.a.flush();
  for (const name of [
    "rtt",
    "cwnd",
    "inflight",
    "rtoCount",
    "retransmits",
    "fastRecoveries",
    "bbrState",
    "bbrBandwidth",
    "bytesTransmitted",
    "packetsTransmitted",
    "bytesReceived",
    "packetsReceived",
  ]) {
    assert.equal(typeof made.a[name], "number", name);
  }
  assert.ok(made.a.cwnd >= 4);
  await finish(made);
});

check("many streams share two sockets", async (UDX) => {
  const made = pair(UDX);
  const all = [];
  for (let i = 0; i < 50; i++) {
    const a = made.udx.createStream(100 + i);
    const b = made.udx.createStream(200 + i);
    a.connect(made.sockets[0], 200 + i, made.ports[1], "127.0.0.1");
    b.connect(made.sockets[1], 100 + i, made.ports[0], "127.0.0.1");
    all.push([a, b]);
  }
  const received = all.map(([, b]) => gather(b, 20_000));
  all.forEach(([a], i) => {
    a.write(Buffer.alloc(20_000, i));
  });
  const bytes = await Promise.all(received);
  bytes.forEach((got, i) => {
    assert.equal(
      got.every((byte) => byte === i),
      true,
    );
  });
  for (const [a, b] of all) {
    a.on("error", () => {});
    b.on("error", () => {});
    a.destroy();
    b.destroy();
  }
  await finish(made);
});

check("an error thrown by a message listener is seen", async (UDX) => {
  // Not swallowed: whatever the runtime does with errors of listeners, it does.
  const udx = new UDX();
  const [a, b] = [udx.createSocket(), udx.createSocket()];
  b.bind(0, "127.0.0.1");
  const before = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  const seen = once(process, "uncaughtException");
  b.once("message", () => {
    throw new Error("mistake");
  });
  a.trySend(Buffer.from("x"), b.address().port);
  assert.equal((await seen)[0].message, "mistake");
  for (const listener of before) process.on("uncaughtException", listener);
  await a.close();
  await b.close();
});

module.exports = { checks };

async function main() {
  const UDX = require(process.argv[2]);
  for (const [name, run] of Object.entries(checks)) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error("took too long")), DEADLINE_MS + 2000);
    });
    let error = null;
    try {
      await Promise.race([run(UDX), late]);
    } catch (caught) {
      error = caught.stack ?? String(caught);
    }
    clearTimeout(timer);
    process.stdout.write(`${JSON.stringify({ name, error })}\n`);
  }
  process.exit(0);
}

if (require.main === module) void main();

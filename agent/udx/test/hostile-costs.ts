/**
 * What hostile peers cost: CPU and memory of a victim process, printed.
 *
 *     bun test/hostile-costs.ts [--json]
 *
 * The victim is our UDX in a process of its own, with one stream to an honest peer here. Packets are
 * forged with everything an attacker could know: the stream's id, and numbers near the right ones.
 *
 * @module
 */

import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { UDX } from "../index.ts";
import {
  encodeHeader,
  HEADER_BYTES,
  TYPE_DATA,
  TYPE_DESTROY,
  TYPE_SACK,
  writeU32,
} from "../packet.ts";
import { SeededRandom } from "../seeded-random.ts";
import type { UDXSocket } from "../socket.ts";
import type { UDXStream } from "../stream.ts";
import { PeerProcess } from "./peer-process.ts";

export interface HostileCost {
  readonly case: string;
  /** Packets that the victim's socket received meanwhile. */
  readonly packets: number;
  readonly cpu_ms: number;
  readonly cpu_us_per_packet: number;
  readonly memory_mb: number;
  readonly note: string;
  /** Whether the honest stream still carries bytes; null where that says nothing. */
  readonly alive: boolean | null;
}

const VICTIM: string = join(import.meta.dir, "..", "udx.cjs");
const BATCH = 32;

class Scene implements AsyncDisposable {
  readonly victim: PeerProcess;
  readonly udx: UDX;
  readonly socket: UDXSocket;
  readonly stream: UDXStream;
  readonly port: number;
  readonly #raw: import("bun").udp.Socket<"buffer">;

  private constructor(
    victim: PeerProcess,
    udx: UDX,
    socket: UDXSocket,
    stream: UDXStream,
    port: number,
    raw: import("bun").udp.Socket<"buffer">,
  ) {
    this.victim = victim;
    this.udx = udx;
    this.socket = socket;
    this.stream = stream;
    this.port = port;
    this.#raw = raw;
  }

  static async open(options: object = {}): Promise<Scene> {
    const victim = await PeerProcess.start(process.execPath, VICTIM);
    const { port } = await victim.ask("open", { id: 1, options });
    const udx = new UDX();
    const socket = udx.createSocket();
    socket.bind(0, "127.0.0.1");
    const stream = udx.createStream(2);
    stream.on("error", () => {});
    stream.connect(socket, 1, port as number, "127.0.0.1");
    await victim.ask("connect", { id: 1, remoteId: 2, port: socket.address()?.port });
    const raw = await Bun.udpSocket({ hostname: "127.0.0.1", socket: { error: () => {} } });
    return new Scene(victim, udx, socket, stream, port as number, raw);
  }

  /** Sends what `forge` writes, `count` times, not faster than the victim can receive. */
  async flood(count: number, forge: (i: number) => Uint8Array): Promise<void> {
    for (let sent = 0; sent < count; sent += BATCH) {
      const batch: (Uint8Array | number | string)[] = [];
      for (let i = sent; i < Math.min(sent + BATCH, count); i++) {
        batch.push(forge(i), this.port, "127.0.0.1");
      }
      this.#raw.sendMany(batch);
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
  }

  async alive(): Promise<boolean> {
    const reading = this.victim.ask("read", { id: 1, bytes: 5, hash: false });
    this.stream.write("alive");
    return Promise.race([
      reading.then((read) => (read.bytes as number) >= 5),
      Bun.sleep(5000).then(() => false),
    ]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stream.destroy();
    this.#raw.close();
    await Promise.all([this.victim[Symbol.asyncDispose](), this.socket.close()]);
  }
}

async function measure(
  name: string,
  run: (scene: Scene) => Promise<string>,
  options: { readonly stream?: object; readonly skipsAlive?: boolean } = {},
): Promise<HostileCost> {
  await using scene = await Scene.open(options.stream);
  const usage = async (): Promise<{ cpuMs: number; rss: number; packets: number }> => {
    const { cpuMs, rss, packets } = await scene.victim.ask("usage");
    return { cpuMs: cpuMs as number, rss: rss as number, packets: packets as number };
  };
  await scene.alive();
  const before = await usage();
  const note = await run(scene);
  const after = await usage();
  const packets = after.packets - before.packets;
  const cpu = after.cpuMs - before.cpuMs;
  return {
    case: name,
    packets,
    cpu_ms: Math.round(cpu),
    cpu_us_per_packet: Number(((cpu * 1000) / Math.max(packets, 1)).toPrecision(3)),
    memory_mb: Math.round((after.rss - before.rss) / 1e5) / 10,
    note,
    alive: options.skipsAlive === true ? null : await scene.alive(),
  };
}

function header(type: number, streamId: number, seq: number, ack: number, body = 0): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + body);
  encodeHeader(bytes, type, streamId, 1_000_000, seq, ack);
  return bytes;
}

type HostileCase = () => Promise<HostileCost | null>;

/**
 * @param scale - 1 is 100,000 packets a flood and a gigabyte a stream; less is for a test.
 * @returns all that could be measured: without Hyperswarm one is missing
 */
export async function hostileCosts(
  scale: number,
  log: (cost: HostileCost) => void,
): Promise<HostileCost[]> {
  const attempts = Math.round(10_000 * scale);
  const cases: readonly HostileCase[] = [
    ...floodCases(Math.round(100_000 * scale), attempts),
    ...byteCases(Math.round(1_000_000_000 * scale), Math.min(4000, 40_000 * scale)),
    () => connectionAttempts(attempts),
    () => slowLoris(Math.round(1000 * scale), Math.max(2, Math.round(Math.min(100 * scale, 50)))),
  ];
  const costs: HostileCost[] = [];
  for (const measureCase of cases) {
    const cost = await measureCase();
    if (cost === null) continue;
    costs.push(cost);
    log(cost);
  }
  return costs;
}

/** Packets that somebody forges who isn't the peer. */
function floodCases(count: number, attempts: number): HostileCase[] {
  const random = new SeededRandom(1);
  return [
    () =>
      measure(`${count} packets of random bytes`, async (scene) => {
        const bytes = new Uint8Array(200);
        await scene.flood(count, () => {
          for (let at = 0; at < bytes.length; at += 4)
            writeU32(bytes, at, random.integer(0, 2 ** 32));
          return bytes.slice();
        });
        return "each is a message of the socket";
      }),
    () =>
      measure(`${count} packets for streams that aren't there`, async (scene) => {
        await scene.flood(count, (i) => header(TYPE_DATA, 1000 + i, 0, 0, 100));
        return "each is a message of the socket";
      }),
    () =>
      measure(`${attempts} connection attempts that the firewall refuses`, async (scene) => {
        const { port } = await scene.victim.ask("listen", { id: 77 });
        const from = scene.udx.createSocket();
        from.bind(0, "127.0.0.1");
        for (let i = 0; i < attempts; i++) {
          from.trySend(header(TYPE_DATA, 77, 0, 0, 100), port as number, "127.0.0.1");
          if (i % BATCH === 0) await new Promise((resolve) => setTimeout(resolve, 0));
        }
        await from.close();
        const { asked } = await scene.victim.ask("asked");
        return `the firewall was asked ${asked} times`;
      }),
    () =>
      measure(`${count} resets with numbers outside the window`, async (scene) => {
        await scene.flood(count, () =>
          header(TYPE_DESTROY, 1, 20_000 + random.integer(0, 2 ** 31 - 30_000), 0),
        );
        return "the stream lives";
      }),
    () =>
      measure(`${count} old acknowledgements`, async (scene) => {
        await scene.flood(count, () => header(0, 1, 0, 0));
        return "";
      }),
    () =>
      measure(
        `${count} acknowledgements with 50 forged blocks, bytes in flight`,
        async (scene) => {
          scene.stream.pause();
          await scene.victim.ask("write", { id: 1, seed: 1, bytes: 1_000_000, end: false });
          await scene.flood(count, () => {
            const bytes = header(TYPE_SACK, 1, 1, random.integer(0, 100), 400);
            for (let at = HEADER_BYTES; at < bytes.length; at += 8) {
              const start = random.integer(0, 3000);
              writeU32(bytes, at, start);
              writeU32(bytes, at + 4, start + random.integer(1, 3000));
            }
            return bytes;
          });
          return "";
        },
        { skipsAlive: true },
      ),
    () =>
      measure(`${count} packets ahead of a gap that is never filled`, async (scene) => {
        await scene.flood(count, (i) => header(TYPE_DATA, 1, 2 + ((i * 2) % 60_000), 0, 1400));
        return "held up to two windows, the rest dropped";
      }),
  ];
}

/** A peer that keeps to the protocol and means no good. */
function byteCases(total: number, silentMs: number): HostileCase[] {
  return [
    () =>
      measure(`a peer that sends ${total / 1e6} MB, to a reader that reads`, async (scene) => {
        const reading = scene.victim.ask("read", { id: 1, bytes: total, hash: false });
        await writeBytes(scene.stream, total, () => false);
        await reading;
        return "";
      }),
    () =>
      measure(
        `a peer that would send ${total / 1e6} MB, to one that doesn't read`,
        async (scene) => {
          await scene.victim.ask("pause", { id: 1 });
          const deadline = performance.now() + 4000;
          const sent = await writeBytes(scene.stream, total, () => performance.now() > deadline);
          return `${(sent / 1e6).toFixed(1)} MB were taken by the sender's own queue and the window`;
        },
        { skipsAlive: true },
      ),
    () =>
      measure(
        "a peer that never reads what we write for 4 s",
        async (scene) => {
          scene.stream.pause();
          void scene.victim
            .ask("write", { id: 1, seed: 1, bytes: total, end: false })
            .catch(() => {});
          await Bun.sleep(silentMs);
          return `${(scene.stream.bytesReceived / 1e6).toFixed(1)} MB were sent`;
        },
        { skipsAlive: true },
      ),
  ];
}

/** Many streams that carry next to nothing. */
function slowLoris(count: number, rounds: number): Promise<HostileCost> {
  return measure(
    `slow loris: ${count} streams, a byte every 100 ms each, for 5 s`,
    async (scene) => {
      const { port, first } = await scene.victim.ask("accept", {
        count,
        port: scene.socket.address()?.port,
      });
      const streams: UDXStream[] = [];
      for (let i = 0; i < count; i++) {
        const id = (first as number) + i;
        const stream = scene.udx.createStream(id);
        stream.on("error", () => {});
        stream.connect(scene.socket, id, port as number, "127.0.0.1");
        streams.push(stream);
      }
      for (let round = 0; round < rounds; round++) {
        for (const stream of streams) stream.write("x");
        await Bun.sleep(100);
      }
      for (const stream of streams) stream.destroy();
      return "";
    },
  );
}

interface Dht {
  connect(publicKey: Buffer, options: object): Connection;
  destroy(options: object): Promise<void>;
}

interface Connection {
  on(event: string, listener: () => void): void;
  destroy(): void;
}

/** Of them, so many at once. */
const ATTEMPTS_AT_ONCE = 32;

/**
 * Strangers that connect to a Hyperswarm server, each with a key of its own, and go again: through the
 * DHT, Noise and UDX. Null where Hyperswarm isn't installed.
 */
async function connectionAttempts(count: number): Promise<HostileCost | null> {
  const require = createRequire(import.meta.url);
  let createDht: (new (options: object) => Dht) & { keyPair(): object };
  let root: string;
  try {
    createDht = require("hyperdht");
    root = join(dirname(require.resolve("hyperdht/package.json")), "../..");
  } catch {
    return null;
  }
  await using victim = await PeerProcess.start(process.execPath, VICTIM);
  const topic = "ab".repeat(32);
  const { bootstrap, publicKey } = await victim.ask("swarm", { topic, server: true, root });
  const dht = new createDht({ bootstrap, host: "127.0.0.1" });
  let opened = 0;
  const attempt = (): Promise<void> =>
    new Promise((resolve) => {
      const connection = dht.connect(Buffer.from(publicKey as string, "hex"), {
        keyPair: createDht.keyPair(),
      });
      connection.on("open", () => {
        opened++;
        connection.destroy();
      });
      connection.on("error", () => {});
      connection.on("close", resolve);
    });
  await attempt();
  const before = await victim.ask("usage", { collect: true });
  let left = count;
  await Promise.all(
    Array.from({ length: Math.min(ATTEMPTS_AT_ONCE, count) }, async () => {
      while (left-- > 0) await attempt();
    }),
  );
  const after = await victim.ask("usage", { collect: true });
  const cpu = (after.cpuMs as number) - (before.cpuMs as number);
  const packets = (after.packets as number) - (before.packets as number);
  // hyperdht keeps each handshake for 10 s. A test on small inputs doesn't wait for that.
  let later = "";
  if (count >= 1000) {
    await Bun.sleep(12_000);
    const { rss } = await victim.ask("usage", { collect: true });
    later = `; ${Math.round(((rss as number) - (before.rss as number)) / 1e6)} MB after 12 s`;
  }
  // Another one still gets in.
  const was = opened;
  await attempt();
  await dht.destroy({ force: true });
  return {
    case: `${count} strangers that connect to a Hyperswarm server, and go`,
    packets,
    cpu_ms: Math.round(cpu),
    cpu_us_per_packet: Number(((cpu * 1000) / Math.max(packets, 1)).toPrecision(3)),
    memory_mb: Math.round(((after.rss as number) - (before.rss as number)) / 1e5) / 10,
    note: `${(cpu / count).toFixed(2)} ms each, with the DHT nodes of the test${later}`,
    alive: opened > was,
  };
}

/** Writes until `bytes` or until `stops`, and says how much the stream took. */
async function writeBytes(stream: UDXStream, bytes: number, stops: () => boolean): Promise<number> {
  const block = Buffer.alloc(65_536, 1);
  let sent = 0;
  while (sent < bytes && !stops()) {
    sent += block.length;
    if (stream.write(block)) continue;
    let drained = false;
    stream.once("drain", () => {
      drained = true;
    });
    while (!drained && !stops()) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return sent;
}

function aliveWord(alive: boolean | null): string {
  if (alive === null) return "-    ";
  return alive ? "alive" : "DEAD ";
}

if (import.meta.main) {
  const json = process.argv.includes("--json");
  const costs = await hostileCosts(1, (cost) => {
    if (json) return;
    console.log(
      `${cost.case.padEnd(66)} ${String(cost.packets).padStart(8)} packets ` +
        `${String(cost.cpu_ms).padStart(6)} ms ${String(cost.cpu_us_per_packet).padStart(6)} us/packet ` +
        `${String(cost.memory_mb).padStart(6)} MB ${aliveWord(cost.alive)}  ${cost.note}`,
    );
  });
  if (json) console.log(JSON.stringify({ hostile: costs }));
}

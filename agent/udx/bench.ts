/**
 * UDX in TypeScript under Bun against udx-native under Node, in the same run:
 *
 *     bun bench.ts [--json] [--runs 5] [--only TEXT] [--small]
 *
 * Each run has two fresh processes of the same kind on this machine's loopback; ours and native runs
 * alternate, and medians are compared. Throughput is timed from the first byte received to the last.
 * Set-up, handshakes and a first hashed transfer are outside of what is timed.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { cpus, release, totalmem } from "node:os";
import { join } from "node:path";
import { PeerProcess, REAL_VERSION, realOrSkip } from "./test/peer-process.ts";
import type { Shape } from "./test/shaping-proxy.ts";

interface Side {
  readonly name: string;
  readonly runtime: string;
  readonly udxModule: string;
  readonly root: string;
}

interface Case {
  readonly name: string;
  readonly unit: string;
  /** Whether more is better. */
  readonly more: boolean;
  readonly run: (side: Side, round: number) => Promise<Measured>;
}

interface Measured {
  readonly value: number;
  /** Of what was done, not of how fast. */
  readonly checksum: string;
}

export interface CaseResult {
  readonly case: string;
  readonly unit: string;
  readonly ours: number;
  readonly peer: number;
  readonly peer_name: string;
  readonly peer_version: string;
  /** Above 1, ours is better. */
  readonly ratio: number;
  readonly ours_spread: readonly [number, number];
  readonly peer_spread: readonly [number, number];
  readonly checksum: string;
}

export interface BenchResult {
  readonly bench: "udx";
  readonly machine: Record<string, unknown>;
  readonly cases: readonly CaseResult[];
  readonly loopback_ratio: number | null;
  readonly rtt_ratio: number | null;
  readonly worst_loss_ratio: number | null;
}

const HERE: string = import.meta.dir;
const MBIT_50_BYTES_PER_MS = 6250;

type Proxy = import("bun").Subprocess<"pipe", "pipe", "inherit">;

/** Two peers with a connected stream between them, through a shaping proxy if there is a shape. */
class Pair implements AsyncDisposable {
  readonly a: PeerProcess;
  readonly b: PeerProcess;
  readonly #proxy: Proxy | null;

  private constructor(a: PeerProcess, b: PeerProcess, proxy: Proxy | null) {
    this.a = a;
    this.b = b;
    this.#proxy = proxy;
  }

  static async open(side: Side, secure: boolean, shape: Shape | null): Promise<Pair> {
    const [a, b] = await Promise.all([
      PeerProcess.start(side.runtime, side.udxModule),
      PeerProcess.start(side.runtime, side.udxModule),
    ]);
    const options = { framed: secure };
    const [portA, portB] = [
      (await a.ask("open", { id: 1, options })).port as number,
      (await b.ask("open", { id: 2, options })).port as number,
    ];
    let proxy: Proxy | null = null;
    let [fromA, fromB] = [portB, portA];
    if (shape !== null) {
      proxy = Bun.spawn(
        [process.execPath, join(HERE, "test/shaping-proxy.ts"), JSON.stringify(shape)],
        { stdin: "pipe", stdout: "pipe", stderr: "inherit" },
      );
      const reader = proxy.stdout.getReader();
      const { value } = await reader.read();
      const ports = JSON.parse(new TextDecoder().decode(value)) as { a: number; b: number };
      [fromA, fromB] = [ports.a, ports.b];
      proxy.stdin.write(`${JSON.stringify({ a: portA, b: portB })}\n`);
      proxy.stdin.flush();
    }
    await a.ask("connect", { id: 1, remoteId: 2, port: fromA });
    await b.ask("connect", { id: 2, remoteId: 1, port: fromB });
    if (secure) {
      const { root } = side;
      await Promise.all([
        a.ask("secure", { id: 1, initiator: true, root }),
        b.ask("secure", { id: 2, initiator: false, root }),
      ]);
    }
    return new Pair(a, b, proxy);
  }

  /** Moves bytes from a to b, and gives their checksum. */
  async checked(bytes: number): Promise<string> {
    const reading = this.b.ask("read", { id: 2, bytes });
    const { sha256 } = await this.a.ask("write", { id: 1, seed: 1, bytes, end: false });
    const read = await reading;
    if (read.sha256 !== sha256) throw new Error("other bytes arrived than were sent");
    return (sha256 as string).slice(0, 16);
  }

  /** MB/s from a to b. */
  async throughput(bytes: number): Promise<number> {
    const reading = this.b.ask("read", { id: 2, bytes, hash: false });
    await this.a.ask("write", { id: 1, seed: 1, bytes, end: false, hash: false });
    const { ms, first } = (await reading) as unknown as { ms: number; first: number };
    return bytes / 1000 / (ms - first);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#proxy?.kill();
    await Promise.all([this.a[Symbol.asyncDispose](), this.b[Symbol.asyncDispose]()]);
    await this.#proxy?.exited;
  }
}

function createCases(small: boolean): Case[] {
  const scale = small ? 0.05 : 1;
  const bulk = Math.round(100_000_000 * scale);
  const cases: Case[] = [
    {
      name: "encrypted stream, loopback",
      unit: "MB/s",
      more: true,
      async run(side) {
        await using pair = await Pair.open(side, true, null);
        const checksum = await pair.checked(2_000_000);
        return { checksum, value: await pair.throughput(bulk) };
      },
    },
    {
      name: "raw stream, loopback",
      unit: "MB/s",
      more: true,
      async run(side) {
        await using pair = await Pair.open(side, false, null);
        const checksum = await pair.checked(2_000_000);
        return { checksum, value: await pair.throughput(bulk) };
      },
    },
    {
      name: "raw stream, loopback, receive buffers of 208 KiB",
      unit: "MB/s",
      more: true,
      async run(side) {
        await using pair = await Pair.open(side, false, null);
        for (const [peer, id] of [
          [pair.a, 1],
          [pair.b, 2],
        ] as const) {
          await peer.ask("receiveBuffer", { id, bytes: 106_496 });
        }
        const checksum = await pair.checked(2_000_000);
        return { checksum, value: await pair.throughput(bulk) };
      },
    },
    {
      name: "round trip of 200 encrypted bytes, p50",
      unit: "us",
      more: false,
      async run(side) {
        await using pair = await Pair.open(side, true, null);
        const checksum = await pair.checked(100_000);
        await pair.b.ask("echo", { id: 2 });
        const count = Math.round(20_000 * scale);
        await pair.a.ask("ping", { id: 1, count: 2000, bytes: 200 });
        const { p50 } = await pair.a.ask("ping", { id: 1, count, bytes: 200 });
        return { checksum, value: p50 as number };
      },
    },
    {
      name: "CPU of both sides, encrypted stream",
      unit: "ms/MB",
      more: false,
      async run(side) {
        await using pair = await Pair.open(side, true, null);
        const checksum = await pair.checked(2_000_000);
        const cpu = async (): Promise<number> =>
          ((await pair.a.ask("usage")).cpuMs as number) +
          ((await pair.b.ask("usage")).cpuMs as number);
        const before = await cpu();
        await pair.throughput(bulk);
        return { checksum, value: (await cpu()) / (bulk / 1e6) - before / (bulk / 1e6) };
      },
    },
  ];
  const idleStreams = small ? 200 : 2000;
  cases.push({
    name: `memory of an idle stream, of ${idleStreams}`,
    unit: "KB",
    more: false,
    async run(side) {
      await using peer = await PeerProcess.start(side.runtime, side.udxModule);
      await peer.ask("idle", { count: 100, keepaliveMs: 5000 });
      const before = (await peer.ask("usage", { collect: true })).rss as number;
      await peer.ask("idle", { count: idleStreams / 2, keepaliveMs: 5000 });
      const after = (await peer.ask("usage", { collect: true })).rss as number;
      return { checksum: checksumOf("idle"), value: (after - before) / 1000 / idleStreams };
    },
  });
  cases.push({
    name: `CPU of ${idleStreams} idle streams, half of them with a 5 s keepalive`,
    unit: "%",
    more: false,
    async run(side) {
      await using peer = await PeerProcess.start(side.runtime, side.udxModule);
      await peer.ask("idle", { count: idleStreams / 2, keepaliveMs: 5000 });
      await Bun.sleep(1000);
      const before = (await peer.ask("usage")).cpuMs as number;
      const started = performance.now();
      await Bun.sleep(small ? 500 : 6000);
      const after = (await peer.ask("usage")).cpuMs as number;
      const percent = ((after - before) / (performance.now() - started)) * 100;
      return { checksum: checksumOf("idle"), value: Math.max(percent, 0.01) };
    },
  });
  for (const rttMs of [50, 200]) {
    for (const loss of [0.001, 0.01, 0.05]) {
      const bytes = Math.round((rttMs === 50 ? 40_000_000 : 20_000_000) * scale);
      cases.push(
        shapedCase(`${loss * 100} % loss, ${rttMs} ms round trip`, bytes, {
          delayMs: rttMs / 2,
          loss,
        }),
      );
    }
  }
  cases.push(
    shapedCase("50 Mbit/s, 1 % loss, 40 ms round trip", Math.round(20_000_000 * scale), {
      delayMs: 20,
      loss: 0.01,
      bytesPerMs: MBIT_50_BYTES_PER_MS,
      queueBytes: MBIT_50_BYTES_PER_MS * 100,
    }),
  );
  return cases;
}

function shapedCase(name: string, bytes: number, shape: Shape): Case {
  return {
    name,
    unit: "MB/s",
    more: true,
    async run(side, round) {
      await using pair = await Pair.open(side, false, { ...shape, seed: 100 + round });
      const checksum = await pair.checked(20_000);
      return { checksum, value: await pair.throughput(bytes) };
    },
  };
}

function checksumOf(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

const round3 = (value: number): number => Number(value.toPrecision(3));

export interface BenchOptions {
  readonly runs: number;
  /** Only cases whose names hold this. */
  readonly only?: string;
  /** Sizes for a test of the bench itself. */
  readonly small?: boolean;
  readonly log?: (line: string) => void;
}

/** Null when the real udx-native can't be had. */
export async function bench(options: BenchOptions): Promise<BenchResult | null> {
  const root = realOrSkip("the bench against udx-native");
  if (root === null) return null;
  const ours: Side = {
    name: "ours",
    runtime: process.execPath,
    udxModule: join(HERE, "udx.cjs"),
    root: join(HERE, "../.."),
  };
  const peer: Side = {
    name: "udx-native",
    runtime: "node",
    udxModule: join(root, "node_modules/udx-native"),
    root,
  };
  const results: CaseResult[] = [];
  for (const one of createCases(options.small === true)) {
    if (options.only !== undefined && !one.name.includes(options.only)) continue;
    const values: { ours: number[]; peer: number[] } = { ours: [], peer: [] };
    const checksums = new Set<string>();
    for (let round = 0; round < options.runs; round++) {
      for (const key of round % 2 === 0
        ? (["ours", "peer"] as const)
        : (["peer", "ours"] as const)) {
        const measured = await one.run(key === "ours" ? ours : peer, round);
        values[key].push(measured.value);
        checksums.add(measured.checksum);
      }
    }
    if (checksums.size !== 1) throw new Error(`${one.name}: checksums differ`);
    const [oursMedian, peerMedian] = [median(values.ours), median(values.peer)];
    const spread = (all: readonly number[]): [number, number] => [
      round3(Math.min(...all)),
      round3(Math.max(...all)),
    ];
    const result: CaseResult = {
      case: one.name,
      unit: one.unit,
      ours: round3(oursMedian),
      peer: round3(peerMedian),
      peer_name: "udx-native, Node",
      peer_version: REAL_VERSION,
      ratio: round3(one.more ? oursMedian / peerMedian : peerMedian / oursMedian),
      ours_spread: spread(values.ours),
      peer_spread: spread(values.peer),
      checksum: [...checksums][0] ?? "",
    };
    results.push(result);
    options.log?.(
      `${result.case.padEnd(62)} ${String(result.ours).padStart(7)} ${String(result.peer).padStart(7)} ` +
        `${result.unit.padEnd(6)} ${String(result.ratio).padStart(6)}   ` +
        `[${result.ours_spread.join(" to ")}] [${result.peer_spread.join(" to ")}]`,
    );
  }
  const ratioOf = (text: string): number | null =>
    results.find((result) => result.case.includes(text))?.ratio ?? null;
  const lossy = results.filter((result) => result.case.includes("% loss"));
  return {
    bench: "udx",
    machine: {
      cpu: cpus()[0]?.model,
      cores: cpus().length,
      memory_gb: Math.round(totalmem() / 1e9),
      os: `${process.platform} ${release()}`,
      bun: Bun.version,
      node: Bun.spawnSync(["node", "--version"]).stdout.toString().trim(),
      runs: options.runs,
    },
    cases: results,
    loopback_ratio: ratioOf("encrypted stream, loopback"),
    rtt_ratio: ratioOf("round trip of"),
    worst_loss_ratio: lossy.length === 0 ? null : Math.min(...lossy.map((result) => result.ratio)),
  };
}

if (import.meta.main) {
  const argv = process.argv.slice(2);
  const argument = (flag: string): string | undefined => {
    const at = argv.indexOf(flag);
    return at < 0 ? undefined : argv[at + 1];
  };
  const json = argv.includes("--json");
  const only = argument("--only");
  const result = await bench({
    runs: Number(argument("--runs") ?? 5),
    small: argv.includes("--small"),
    ...(only === undefined ? {} : { only }),
    log: json ? (line) => console.error(line) : (line) => console.log(line),
  });
  if (result === null) process.exit(json ? 1 : 0);
  if (json) console.log(JSON.stringify(result));
  else {
    const { loopback_ratio, rtt_ratio, worst_loss_ratio } = result;
    console.log(JSON.stringify({ loopback_ratio, rtt_ratio, worst_loss_ratio }));
  }
}

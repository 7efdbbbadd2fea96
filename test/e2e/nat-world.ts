/**
 * Two nodes behind a NAT of their own each, in network namespaces; run as a process of its own in fresh mount, pid
 * and network namespaces (`natWorld`), so that nothing of it is left when it ends.
 *
 *     a ── nat-a ──┐                          192.168.1.2 ── 192.168.1.1 | 203.0.113.101
 *                  bridge ── six DHT nodes    203.0.113.11 … 16
 *     b ── nat-b ──┘                          192.168.1.2 ── 192.168.1.1 | 203.0.113.102
 *
 * Both NATs masquerade, keep the port where they can, and drop what nobody inside has asked for: the usual
 * home router. Prints one line of JSON.
 *
 * @module
 */

import type { NetOptions } from "../../agent/net/messages.ts";
import { startBootstrap } from "../../agent/swarm/bootstrap.ts";
import { missingProgram } from "../real.ts";
import { until } from "../until.ts";
import { unshareOptions } from "./hidden-tree.ts";
import { NetPeer } from "./net-cluster.ts";

export interface NatResult {
  /** Whether a ping is answered: by a DHT node, and by the node behind a NAT that it wasn't punched for. */
  readonly isAnswered: { readonly open: boolean; readonly behindNat: boolean };
  readonly paths: readonly string[];
  readonly addresses: readonly string[];
  readonly founds: readonly string[];
  readonly connectedMs: number;
  /** Rows that b has of a. */
  readonly rows: number;
}

const namespaces = [
  "unshare",
  unshareOptions,
  "-n",
  "--pid",
  "--fork",
  "--kill-child",
  "--mount-proc",
];
const rules = (outside: string) => `
table ip patina {
  chain postrouting {
    type nat hook postrouting priority 100;
    oifname "${outside}" masquerade
  }
  chain forward {
    type filter hook forward priority 0; policy drop;
    iifname != "${outside}" accept
    ct state established,related accept
  }
  chain input {
    type filter hook input priority 0;
    iifname "${outside}" drop
  }
}
`;

/** The command that plays the world and prints a `NatResult`. */
export function natWorld(): string[] {
  return [...namespaces, process.execPath, import.meta.path];
}

/** Undefined if namespaces with NATs can be made here, else why not. */
export function missingNat(): string | undefined {
  for (const program of ["unshare", "ip", "nft"]) {
    const missing = missingProgram(program);
    if (missing !== undefined) return missing;
  }
  const script =
    "ip link add outside type veth peer name inside && ip link add name bridge0 type bridge && mount -t tmpfs none /run && " +
    "ip netns add probe && nft -f -";
  const { exitCode, stderr } = Bun.spawnSync([...namespaces, "sh", "-c", script], {
    stdin: Buffer.from(rules("outside")),
    stderr: "pipe",
  });
  return exitCode === 0 ? undefined : `no NAT can be made here: ${stderr.toString().trim()}`;
}

function run(command: string, input = ""): void {
  const ran = Bun.spawnSync(command.split(" "), { stdin: Buffer.from(input), stderr: "pipe" });
  if (ran.exitCode !== 0) throw new Error(`${command}: ${ran.stderr}`);
}

function makeWorld(dhtHosts: readonly string[]): void {
  run("mount -t tmpfs none /run");
  run("ip link set lo up");
  run("ip link add br0 type bridge");
  for (const host of dhtHosts) run(`ip addr add ${host}/24 dev br0`);
  run("ip link set br0 up");
  for (const [name, outside] of [
    ["a", "203.0.113.101"],
    ["b", "203.0.113.102"],
  ] as const) {
    const nat = `nat-${name}`;
    run(`ip netns add ${name}`);
    run(`ip netns add ${nat}`);
    run(`ip link add out-${name} type veth peer name out netns ${nat}`);
    run(`ip link set out-${name} master br0 up`);
    run(`ip -n ${nat} link add in type veth peer name eth netns ${name}`);
    run(`ip -n ${nat} addr add ${outside}/24 dev out`);
    run(`ip -n ${nat} addr add 192.168.1.1/24 dev in`);
    run(`ip -n ${name} addr add 192.168.1.2/24 dev eth`);
    for (const link of [`${nat} link set lo`, `${nat} link set out`, `${nat} link set in`]) {
      run(`ip -n ${link} up`);
    }
    run(`ip -n ${name} link set lo up`);
    run(`ip -n ${name} link set eth up`);
    run(`ip -n ${name} route add default via 192.168.1.1`);
    run(`ip netns exec ${nat} sysctl -qw net.ipv4.ip_forward=1`);
    run(`ip netns exec ${nat} nft -f -`, rules("out"));
  }
}

/** Whether a DHT node at this address answers somebody whom it has never sent anything to. */
async function isAnswered(host: string, port: number): Promise<boolean> {
  let isAnswered = false;
  const socket = await Bun.udpSocket({
    hostname: "203.0.113.16",
    socket: {
      data() {
        isAnswered = true;
      },
    },
  });
  for (let i = 0; i < 5; i++) {
    socket.send(pingRequest, port, host);
    await Bun.sleep(50);
  }
  socket.close();
  return isAnswered;
}

/** A ping of dht-rpc: version 3 and request; flags, 4: internal; u16 id; address of the receiver, 6 bytes; command 0. */
const pingRequest = Uint8Array.of(0x03, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0);

async function play(): Promise<NatResult> {
  const dhtHosts = [11, 12, 13, 14, 15, 16].map((last) => `203.0.113.${last}`);
  makeWorld(dhtHosts);
  const bootstrap = dhtHosts.map((host) => `${host}:49737`);
  // All at once: each waits for the others.
  const starts = dhtHosts.map((host) => startBootstrap({ host, port: 49_737, bootstrap }));
  for (const started of await Promise.all(starts)) {
    if (started.kind === "failed") throw new Error(started.why);
  }
  const node = (name: string): NetPeer => {
    const options: NetOptions = {
      nodeSeed: Uint8Array.from(new Bun.CryptoHasher("sha256").update(name).digest()),
      name,
      region: `at-${name}`,
      zone: "zone",
      cluster: {
        topic: new Uint8Array(32).fill(1),
        admissionSecret: new Uint8Array(32).fill(2),
      },
      host: "0.0.0.0",
      port: 0,
      bootstrap,
      isBootstrap: false,
      incarnation: 1,
    };
    return new NetPeer(name, options, ["ip", "netns", "exec", name]);
  };
  const startedMs = performance.now();
  await using a = node("a");
  await using b = node("b");
  const { port } = await b.listening();
  type Peers = { path: string; address: string; found: string }[];
  const peersOf = async (one: NetPeer) => ((await one.status()).peers ?? []) as unknown as Peers;
  await until("they meet", async () => (await peersOf(a)).length === 1, 60_000);
  await until("both know", async () => (await peersOf(b)).length === 1);
  const connectedMs = Math.round(performance.now() - startedMs);
  a.tell({ kind: "write", name: "row", count: 20, everyMs: 10, lane: 0 });
  await until("the rows", () => b.received().size === 20);
  const peers = [...(await peersOf(a)), ...(await peersOf(b))];
  return {
    isAnswered: {
      open: await isAnswered(dhtHosts[0] as string, 49_737),
      behindNat: await isAnswered("203.0.113.102", port),
    },
    paths: peers.map(({ path }) => path),
    addresses: peers.map(({ address }) => address.split(":")[0] ?? ""),
    founds: peers.map(({ found }) => found).sort(),
    connectedMs,
    rows: b.received().size,
  };
}

if (import.meta.main) {
  console.log(JSON.stringify(await play()));
  process.exit(0);
}

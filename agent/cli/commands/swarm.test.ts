import { expect, test } from "bun:test";
import type { PeerId } from "../../../core/node/border.ts";
import { snakeCased } from "../../config/snake-case.ts";
import type { SwarmStatus } from "../../net/messages.ts";
import type { PeerStatus } from "../../swarm/peer-status.ts";
import { formatSwarm } from "./swarm.ts";

const nowMs = 1_800_000_000_000;
const peer = (more: Partial<PeerStatus>): PeerStatus => ({
  peer: "0123456789abcdef".repeat(4) as PeerId,
  name: "edge-1",
  region: "fra",
  address: "192.0.2.7:7700",
  found: "topic",
  path: "direct",
  sinceMs: nowMs - 61_000,
  rttMs: 12.34,
  framesSent: 1,
  framesReceived: 1,
  bytesSent: 1_530_000,
  bytesReceived: 999,
  bytesLeft: 0,
  cwndBytes: 45_000,
  packetsSent: 1000,
  packetsLost: 15,
  retransmits: 9,
  ...more,
});

test("the swarm as people read it", () => {
  const status = {
    key: "ab".repeat(32) as PeerId,
    host: "192.0.2.1",
    port: 7700,
    bootstrap: [],
    isBootstrap: false,
    peers: [
      peer({ name: undefined, region: undefined, found: "inbound", path: "punched" }),
      peer({}),
      peer({ name: "a\u001b[2J", found: "members", rttMs: 0.4, bytesSent: 999_600 }),
    ],
    connecting: 1,
    known: 9,
    counters: {
      admitted: 3,
      refused: { full: 2 },
      datagramsSent: 10,
      datagramsReceived: 20,
      simulatedLoss: 0,
    },
    restarts: 1,
  } as unknown as SwarmStatus;
  expect(`\n${formatSwarm(snakeCased(status), nowMs)}\n`).toBe(`
key        ${"ab".repeat(32)}
address    192.0.2.1:7700
bootstrap  none
peers      3, 1 connecting, 9 known from the topic
datagrams  10 sent, 20 received
refused    2 × full
restarts   1 of the net thread

peer       region  address         reached                   since  rtt ms  lost   resent  cwnd   sent    received
─────────  ──────  ──────────────  ────────────────────────  ─────  ──────  ─────  ──────  ─────  ──────  ────────
01234567…          192.0.2.7:7700  it dialled, hole punched  61 s   12.3    1.5 %       9  45 kB  1.5 MB  999 B
a\\x1b[2J   fra     192.0.2.7:7700  for its region            61 s   0.4     1.5 %       9  45 kB  1.0 MB  999 B
edge-1     fra     192.0.2.7:7700  by topic                  61 s   12.3    1.5 %       9  45 kB  1.5 MB  999 B
`);
});

test("without a swarm it says why", () => {
  expect(formatSwarm({ kind: "unavailable", why: "the net thread is down" }, nowMs)).toBe(
    "the net thread is down",
  );
  expect(formatSwarm({ kind: "stands-alone" }, nowMs)).toStartWith("this agent stands alone");
});

/**
 * `patina swarm`: this node's own line, a table of its peers, and what was refused.
 *
 * @module
 */

import type { SqlValue } from "../../../core/row/value.ts";
import type { SnakeCased } from "../../config/snake-case.ts";
import type { SwarmStatus } from "../../net/messages.ts";
import type { PeerStatus } from "../../swarm/peer-status.ts";
import { clientOf, readyAnswerMsMax } from "../agent-client.ts";
import type { GlobalOptions } from "../global-options.ts";
import { print } from "../output.ts";
import { cellText, formatTable } from "../table.ts";

export async function swarm(options: GlobalOptions): Promise<void> {
  const { text, report } = await clientOf(options).report("/v1/swarm", readyAnswerMsMax);
  print(options.json ? text : formatSwarm(report, Date.now()));
}

/** What `/v1/swarm` answers when there is no swarm to tell of. */
type NoSwarm =
  | { readonly kind: "stands-alone" }
  | { readonly kind: "unavailable"; readonly why: string };

/** For people; `nowMs` is the wall clock. */
export function formatSwarm(answer: SnakeCased<SwarmStatus> | NoSwarm, nowMs: number): string {
  if (!("peers" in answer)) {
    return answer.kind === "stands-alone"
      ? "this agent stands alone: no cluster.file, or swarm.enabled is false"
      : answer.why;
  }
  const { counters } = answer;
  const peers = answer.peers.toSorted((a, b) => nameOf(a).localeCompare(nameOf(b)));
  const refused = Object.entries(counters.refused).map(([why, count]) => `${count} × ${why}`);
  const begins = answer.bootstrap.length === 0 ? "none" : answer.bootstrap.join(", ");
  const lines = [
    `key        ${answer.key}`,
    `address    ${answer.host}:${answer.port}${answer.is_bootstrap ? " (and a bootstrap)" : ""}`,
    `bootstrap  ${begins}`,
    `peers      ${peers.length}, ${answer.connecting} connecting, ${answer.known} known from the topic`,
    `datagrams  ${counters.datagrams_sent} sent, ${counters.datagrams_received} received`,
    ...(refused.length > 0 ? [`refused    ${cellText(refused.join(", "))}`] : []),
    ...(answer.restarts > 0 ? [`restarts   ${answer.restarts} of the net thread`] : []),
  ];
  if (peers.length > 0)
    lines.push(
      "",
      formatTable(
        columns,
        peers.map((peer) => row(peer, nowMs)),
      ),
    );
  return lines.join("\n");
}

const columns = [
  ...["peer", "region", "address", "reached", "since", "rtt ms"],
  ...["lost", "resent", "cwnd", "sent", "received"],
] as const;

function row(peer: SnakeCased<PeerStatus>, nowMs: number): SqlValue[] {
  const lost = peer.packets_sent === 0 ? 0 : (100 * peer.packets_lost) / peer.packets_sent;
  return [
    nameOf(peer),
    peer.region ?? "",
    peer.address,
    `${reached[peer.found]}${peer.path === "punched" ? ", hole punched" : ""}`,
    duration(nowMs - peer.since_ms),
    peer.rtt_ms.toFixed(1),
    `${lost.toFixed(1)} %`,
    peer.retransmits,
    size(peer.cwnd_bytes),
    size(peer.bytes_sent),
    size(peer.bytes_received),
  ];
}

const reached: Readonly<Record<PeerStatus["found"], string>> = {
  topic: "by topic",
  configuration: "as configured",
  members: "for its region",
  remembered: "as before",
  inbound: "it dialled",
};

/** Before its hello, the begin of its key. */
function nameOf({ name, peer }: SnakeCased<PeerStatus>): string {
  return name ?? `${peer.slice(0, 8)}…`;
}

function size(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = bytes / 1000;
  let unit = 0;
  for (; value >= 999.5 && unit < units.length - 1; unit++) value /= 1000;
  return `${value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`;
}

function duration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800
    ? `${Math.round(seconds / 3600)} h`
    : `${Math.round(seconds / 86_400)} d`;
}

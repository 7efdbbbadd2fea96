/**
 * What the net thread counts, as metrics: the facts of `patina swarm`.
 *
 * @module
 */

import { counter, counters, gauge, type Metric, type Sample } from "../api/exposition.ts";
import { snakeCased } from "../config/snake-case.ts";
import type { NetAnswer, SwarmStatus } from "../net/messages.ts";

/** @param answer undefined: the agent stands alone, and has no network */
export function netMetrics(answer: NetAnswer | undefined): Metric[] {
  if (answer === undefined) return [];
  const isUp = "node" in answer;
  const up = gauge("patina_net_up", "1 if the net thread answers.", isUp);
  return isUp ? [up, ...threadMetrics(answer), ...nodeMetrics(answer)] : [up];
}

function threadMetrics({
  peers,
  connecting,
  known,
  counters: counted,
  restarts,
}: SwarmStatus): Metric[] {
  const refused = Object.values(counted.refused).reduce((sum, count) => sum + count, 0);
  const ofPeers = (value: (peer: SwarmStatus["peers"][number]) => number): Sample[] =>
    peers.map((peer) => ({
      labels: { peer: peer.peer, node: peer.name ?? "" },
      value: value(peer),
    }));
  return [
    counter("patina_net_restarts_total", "Times the net thread was started again.", restarts),
    gauge("patina_peers", "Admitted neighbours.", peers.length),
    gauge("patina_peers_connecting", "Dialled, or in the handshake.", connecting),
    gauge("patina_peers_known", "Known from the topic, connected or not.", known),
    counter(
      "patina_connections_admitted_total",
      "Connections that proved membership.",
      counted.admitted,
    ),
    counter(
      "patina_connections_refused_total",
      "Closed before they did; patina swarm has the reasons.",
      refused,
    ),
    counters("patina_datagrams_total", "Of all streams and the DHT.", "direction", {
      sent: counted.datagramsSent,
      received: counted.datagramsReceived,
    }),
    {
      name: "patina_peer_rtt_seconds",
      type: "gauge",
      help: "Smoothed round trip of the transport.",
      samples: ofPeers(({ rttMs }) => rttMs / 1000),
    },
    {
      name: "patina_peer_unsent_bytes",
      type: "gauge",
      help: "Handed to the stream, which hasn't sent it yet.",
      samples: ofPeers(({ bytesLeft }) => bytesLeft),
    },
  ];
}

function nodeMetrics({ node }: SwarmStatus): Metric[] {
  const { applyBytes, storeLagMs, isStuck, bytesSent, bytesReceived } = node;
  return [
    gauge(
      "patina_net_merge_queue",
      "Changesets and row blocks that wait in the net thread.",
      node.applyBodies,
    ),
    gauge("patina_net_merge_queue_bytes", "What these take.", applyBytes.normal + applyBytes.bulk),
    gauge(
      "patina_store_lag_seconds",
      "How long the store thread has owed its oldest answer to the net thread.",
      storeLagMs / 1000,
    ),
    gauge("patina_store_stuck", "1 while the store thread doesn't answer the net thread.", isStuck),
    // All of them, so that none is forgotten when another is counted.
    counters(
      "patina_node_events_total",
      "What the node machine counts.",
      "event",
      snakeCased(node.counters),
    ),
    counters(
      "patina_frame_bytes_sent_total",
      "By kind of frame.",
      "kind",
      bytesSent as Record<string, number>,
    ),
    counters(
      "patina_frame_bytes_received_total",
      "By kind of frame.",
      "kind",
      bytesReceived as Record<string, number>,
    ),
  ];
}

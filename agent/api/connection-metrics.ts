/**
 * How many clients are connected, and how many found no room: by the address at which they came, `unix` for the socket.
 *
 * @module
 */

import { counters, gauges, type Metric } from "./exposition.ts";
import type { ConnectionCounts, HttpServer } from "./http-server.ts";

/** @param servers by the address of each */
export function connectionMetrics(servers: ReadonlyMap<string, HttpServer>): Metric[] {
  const of = (what: keyof ConnectionCounts): Record<string, number> =>
    Object.fromEntries([...servers].map(([at, { connections }]) => [at, connections[what]]));
  return [
    gauges("patina_http_connections", "Open, by listener.", "listener", of("open")),
    counters(
      "patina_http_connections_refused_total",
      "Closed as they came: too many were open.",
      "listener",
      of("refused"),
    ),
    counters(
      "patina_http_connections_closed_for_others_total",
      "Closed without a request, for others that came.",
      "listener",
      of("closedForOthers"),
    ),
  ];
}

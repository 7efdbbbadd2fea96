/**
 * By how much two replicas differ, as far as their roots and walks tell, and what is cheapest then: to find the rows
 * and name them, or to take whole ranges, or everything.
 *
 * @module
 */

import type { Exchange } from "./exchange.ts";
import type { Task } from "./repair-task.ts";

/** A peer with so many times the rows is streamed from at once: at most half of what comes is here already. */
const mostlyMissing = 2;
/** A side with so many times fewer rows takes all there is, in ranges; the other asks it nothing. */
const nearlyEmpty = 8;
/** A stream that broke off is gone on with while so large a share of the peer's rows isn't here. */
const restShareMin = 0.01;
/** Everything is streamed if so many nodes were looked into, with so few rows each, and so many differ. */
const mostlyNodesMin = 64;
const mostlyRowsMax = 8;
const mostlyShare = 0.6;
/** Where so many children of a node differ on average, and most rows are missing here, they are taken whole. */
const childrenPerFetch = 8;

type Rows = Pick<Exchange, "rowsOwn" | "rowsPeer">;

/**
 * What to do where the roots differ. Rows are spread evenly over the ranges: where most are missing here a walk would
 * only find that out.
 *
 * @param isBrokenOff A stream from this peer broke off lately.
 * @param mayStream Everything can be streamed from it now.
 * @returns undefined where the peer is nearly empty: it takes for itself what it lacks.
 */
export function actOnRoots(
  { rowsOwn, rowsPeer }: Rows,
  isBrokenOff: boolean,
  mayStream: boolean,
): "stream" | "fetch" | "walk" | undefined {
  const isRest = isBrokenOff && rowsPeer - rowsOwn > restShareMin * rowsPeer;
  if (mayStream && (isRest || rowsPeer > mostlyMissing * rowsOwn)) return "stream";
  if (rowsPeer > nearlyEmpty * rowsOwn) return "fetch";
  return rowsOwn <= nearlyEmpty * rowsPeer ? "walk" : undefined;
}

/**
 * What to do with the nodes in which a walk found a difference.
 *
 * @param walked The walk: the parents that were looked into.
 * @param differing How many of their children differ.
 * @param listRowsMax Nodes that hold more rows are walked, not listed.
 */
export function actOnWalk(
  exchange: Rows & Pick<Exchange, "hasListed">,
  walked: Pick<Task, "level" | "nodes">,
  differing: number,
  mayStream: boolean,
  listRowsMax: number,
): "stream" | "walk" | "fetch" | "list" {
  const { rowsOwn, rowsPeer } = exchange;
  const level = walked.level + 1;
  const parents = walked.nodes.length;
  const rowsPerNode = Math.max(rowsOwn, rowsPeer) / 16 ** level;
  if (mayStream && isMostlyDifferent(exchange, parents, differing, rowsPerNode)) return "stream";
  if (level < 4 && rowsPerNode > listRowsMax) return "walk";
  // Most of it is missing here: naming the rows first would only cost more.
  const isMissing = rowsPeer > mostlyMissing * rowsOwn && differing > childrenPerFetch * parents;
  return isMissing ? "fetch" : "list";
}

/**
 * Most rows are missing or different here: of the nodes looked into, in which few rows stand, most differ.
 * Naming them would cost about as much as sending everything.
 */
function isMostlyDifferent(
  { rowsOwn, rowsPeer, hasListed }: Rows & Pick<Exchange, "hasListed">,
  parents: number,
  differing: number,
  rowsPerNode: number,
): boolean {
  if (rowsPerNode > mostlyRowsMax || parents < mostlyNodesMin) return false;
  if (hasListed || rowsPeer * 2 < rowsOwn) return false;
  // With n rows to a node on average, 1 - e^-n of the nodes hold any.
  const holding = parents * 16 * (1 - Math.exp(-rowsPerNode));
  return differing > mostlyShare * holding;
}

/**
 * By how much two replicas differ, as far as their roots and walks tell, and what is cheapest then: to find the rows
 * and name them, or to take whole ranges, or everything. What is decided is put among the exchange's tasks.
 *
 * @module
 */

import { unreachable } from "../../assert.ts";
import { nodesMax } from "../../change/frame.ts";
import type { TreeNodes } from "../border.ts";
import type { NodeTuning } from "../options.ts";
import type { Exchange } from "./exchange.ts";
import { fetchAll, nodesOf, pushParts, streamAll, type Task, walkRoot } from "./repair-task.ts";

/** Nodes in one walk: its answer is 32 KiB. */
const nodesPerWalk = 256;
const nodesPerList = 1024;
/** Entries that one list is meant to bring, of recent rows and of all. */
const entriesPerList = 4000;
const entriesPerScan = 50_000;

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

/** What {@link actOnRoots} and {@link actOnWalk} decide. */
type RootsAct = "stream" | "fetch" | "walk";
type WalkAct = "stream" | "walk" | "fetch" | "list";

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
): RootsAct | undefined {
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
): WalkAct {
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

/** Puts what the roots have decided among the tasks. */
export function planRoots(
  { rowsPeer, tasks }: Exchange,
  act: RootsAct,
  { rangeRowsMax }: NodeTuning,
): void {
  switch (act) {
    case "stream":
      tasks.push(streamAll);
      return;
    case "fetch": {
      const fetch = fetchAll(rowsPeer, rangeRowsMax);
      pushParts(tasks, fetch, nodesOf(rangeRowsMax, rowsPeer, fetch.level));
      return;
    }
    case "walk":
      tasks.push(walkRoot);
      return;
    default:
      unreachable(act);
  }
}

/** Puts what a walk has decided among the tasks. @param differing The nodes that it found. */
export function planWalked(
  exchange: Exchange,
  act: WalkAct,
  differing: TreeNodes,
  { rangeRowsMax }: NodeTuning,
): void {
  const { rowsPeer, tasks } = exchange;
  const { level } = differing;
  switch (act) {
    case "stream":
      tasks.length = 0;
      tasks.push(streamAll);
      return;
    case "walk":
      pushParts(tasks, { act, ...differing, recentOnly: false }, nodesPerWalk);
      return;
    case "fetch": {
      const nodesPerTask = nodesOf(rangeRowsMax, rowsPeer, level);
      pushParts(tasks, { act, ...differing, recentOnly: false }, nodesPerTask);
      return;
    }
    case "list": {
      if (exchange.skipsRecent) {
        exchange.unexplainedLevel = level;
        for (const node of differing.nodes) exchange.unexplained.push(node);
        return;
      }
      const nodesPerTask = nodesOf(entriesPerList, rowsOfLarger(exchange), level);
      const list: Task = { act, ...differing, recentOnly: true };
      pushParts(tasks, list, Math.min(nodesPerList, nodesPerTask));
      return;
    }
    default:
      unreachable(act);
  }
}

/**
 * A list in full of nodes that recent rows didn't explain. Each is a scan on both sides: as much as possible in one, the
 * rest next time. It begins anywhere: were it always with the first, nodes that can't be mended (what the peer has can't be
 * written here, or not be read there) would keep those behind them from ever being listed.
 *
 * @param random From 0 up to 1.
 */
export function scanOf(exchange: Exchange, random: () => number): Task {
  const { unexplained, unexplainedLevel: level } = exchange;
  const nodes = unexplained.splice(0);
  const task = (nodes: number[]): Task => ({ act: "list", level, nodes, recentOnly: false });
  const count = Math.min(nodesMax, nodesOf(entriesPerScan, rowsOfLarger(exchange), level));
  if (nodes.length <= count) return task(nodes);
  const from = Math.floor(random() * nodes.length);
  return task([...nodes.slice(from), ...nodes.slice(0, from)].slice(0, count));
}

function rowsOfLarger({ rowsOwn, rowsPeer }: Rows): number {
  return Math.max(rowsOwn, rowsPeer);
}

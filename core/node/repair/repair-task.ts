/**
 * What an exchange of repair does one after the other, and how it is cut into messages of a size.
 *
 * @module
 */

import type { RowId } from "../../row/digest.ts";

/**
 * Compare the children of these nodes, list these nodes, or fetch all rows under them: by ranges, or in one
 * stream of everything.
 */
export interface Task {
  readonly act: "walk" | "list" | "fetch" | "stream";
  readonly level: number;
  readonly nodes: readonly number[];
  readonly recentOnly: boolean;
}

export const walkRoot: Task = { act: "walk", level: 0, nodes: [0], recentOnly: false };
export const streamAll: Task = { act: "stream", level: 0, nodes: [0], recentOnly: false };

/** Fetches everything by ranges of about `rowsMax` rows, of a peer that has `rows`. */
export function fetchAll(rows: number, rowsMax: number): Task {
  let level = 0;
  while (level < 4 && rows / 16 ** level > rowsMax) level++;
  const nodes = Array.from({ length: 16 ** level }, (_, node) => node);
  return { act: "fetch", level, nodes, recentOnly: false };
}

/** The node at `level` that a row lies under: the first hex digits of its id. */
export function nodeOfRow(id: RowId, level: number): number {
  return level === 0 ? 0 : Number.parseInt(id.slice(0, level), 16);
}

/** How many nodes of `level` hold about `rowsMax` rows, of `rows` in all. */
export function nodesOf(rowsMax: number, rows: number, level: number): number {
  return Math.max(1, Math.floor((rowsMax * 16 ** level) / Math.max(1, rows)));
}

export function equalNodes(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((node, i) => node === b[i]);
}

/** Cuts a task into parts of so many nodes, the first of which is done first: tasks are done from the end. */
export function pushParts(tasks: Task[], task: Task, nodesPerTask: number): void {
  for (let end = task.nodes.length; end > 0; end -= nodesPerTask) {
    tasks.push({ ...task, nodes: task.nodes.slice(Math.max(0, end - nodesPerTask), end) });
  }
}

/**
 * The one door of all benchmarks: `npm run bench -- NAME [--json]`.
 *
 * A benchmark compares with a peer or a baseline in the same run, because machines are noisy: ratios count,
 * absolute figures don't. Set-up stays outside of what is measured, input is seeded, and a checksum says that
 * both sides did the same work.
 *
 * @module
 */

import { cpus } from "node:os";

export interface BenchCase {
  readonly case: string;
  readonly unit: string;
  readonly ours: number;
  readonly peer: number | null;
  readonly peer_name: string | null;
  readonly peer_version: string | null;
  /** Above 1 means that ours is better; null without a peer. */
  readonly ratio: number | null;
  /** Of the end state; must not change from run to run. */
  readonly checksum: string;
}

export interface BenchResult {
  readonly cases: readonly BenchCase[];
  /** What it comes to, by field: what scripts and documents quote. */
  readonly summary: Readonly<Record<string, number | string | null>>;
  /** What bounds it, what is not measured: printed below the table. */
  readonly notes?: readonly string[];
  /** Why nothing may be concluded from this run: the machine was too busy to measure on. */
  readonly voided?: string;
}

/** Beside `--small` and `--json`, which all have. */
export interface BenchOption {
  /** With its dashes. */
  readonly name: string;
  /** What follows it: `N` or a unit for a number, `a|b` for a choice, any other word for any text. Undefined: nothing. */
  readonly value?: string;
  /** For `--help`, with the default. */
  readonly what: string;
}

export interface Bench {
  readonly name: string;
  /** One line for the list. */
  readonly what: string;
  readonly options?: readonly BenchOption[];
  /** @param small Small inputs that run inside the tests, so that the bench keeps working. */
  run(options: { readonly small: boolean; readonly args: readonly string[] }): Promise<BenchResult>;
}

export function machine(): Record<string, string | number> {
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    platform: `${process.platform}-${process.arch}`,
    bun: Bun.version,
  };
}

/** A figure that nothing is compared with. */
export function plainCase(name: string, unit: string, ours: number, checksum: string): BenchCase {
  const noPeer = { peer: null, peer_name: null, peer_version: null, ratio: null };
  return { case: name, unit, ours, ...noPeer, checksum };
}

/** Median of a non-empty list. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The `q` quantile (0..1) by nearest rank. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] as number;
}

export function printTable(name: string, result: BenchResult): void {
  const rows = result.cases.map((item) => [
    item.case,
    figure(item.ours),
    item.unit,
    item.peer === null ? "" : `${figure(item.peer)} (${item.peer_name} ${item.peer_version})`,
    item.ratio === null ? "" : `${item.ratio.toFixed(2)} ×`,
  ]);
  const head = ["case", "ours", "unit", "peer", "ratio"];
  const widths = head.map((title, i) =>
    Math.max(title.length, ...rows.map((row) => (row[i] as string).length)),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] as number))
      .join("  ")
      .trimEnd();
  console.log(`${name}: ${Object.values(machine()).join(", ")}\n`);
  console.log(line(head));
  for (const row of rows) console.log(line(row));
  for (const [field, value] of Object.entries(result.summary)) console.log(`${field}: ${value}`);
  for (const note of result.notes ?? []) console.log(note);
}

function figure(value: number): string {
  return value >= 1000 ? Math.round(value).toLocaleString("en") : value.toPrecision(3);
}

/**
 * Histories of a few sites that write the same few rows, some of which hear of each other: what tests of
 * order, repetition and time are made from.
 *
 * @module
 */

import fc from "fast-check";
import type { Changeset } from "../../core/change/changeset.ts";
import { HlcClock } from "../../core/clock/hlc-clock.ts";
import { hlcZero, type Site, siteOfHex } from "../../core/clock/stamp.ts";
import { Digester } from "../../core/row/digest.ts";
import { encodeKey } from "../../core/row/key.ts";
import { stampOfRow } from "../../core/row/row-state.ts";
import { MapStore } from "./map-store.ts";

/** When histories begin, ms since 1970: not at a slot border. */
export const startMs = 1_764_000_000_321;

export function createDigester(): Digester {
  return new Digester(
    (input) => new Bun.CryptoHasher("sha256").update(input).digest() as unknown as Uint8Array,
    new Uint8Array(32).fill(7),
  );
}

export function siteOf(index: number): Site {
  return siteOfHex((index + 1).toString(16).padStart(32, "0"));
}

export function keyOf(index: number): Uint8Array {
  return encodeKey([index]) as Uint8Array;
}

/** One act of one site. */
export type Act =
  | {
      readonly kind: "put";
      readonly site: number;
      readonly row: number;
      readonly column: string;
      readonly value: number;
      readonly laterMs: number;
    }
  | {
      readonly kind: "delete";
      readonly site: number;
      readonly row: number;
      readonly laterMs: number;
    }
  /** The site applies one of the changesets made so far. */
  | { readonly kind: "hear"; readonly site: number; readonly which: number };

const sites = 3;
const rows = 4;

export function act(): fc.Arbitrary<Act> {
  const site = fc.nat(sites - 1);
  const row = fc.nat(rows - 1);
  // Many stamps a slot, and some that are alone in theirs.
  const laterMs = fc.oneof(fc.nat(3), fc.nat(400), fc.nat(2500));
  return fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant("put" as const),
        site,
        row,
        column: fc.constantFrom("x", "y"),
        value: fc.nat(3),
        laterMs,
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant("delete" as const), site, row, laterMs }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ kind: fc.constant("hear" as const), site, which: fc.nat(1000) }),
    },
  );
}

export interface History {
  readonly changesets: readonly Changeset[];
  /** Wall clock after the last act. */
  readonly endMs: number;
}

/** Runs the acts on one store a site. */
export function runHistory(acts: readonly Act[]): History {
  const digester = createDigester();
  const stores = Array.from({ length: sites }, () => new MapStore(digester));
  const clocks = Array.from({ length: sites }, (_, i) => new HlcClock(siteOf(i), hlcZero));
  const changesets: Changeset[] = [];
  let nowMs = startMs;
  for (const step of acts) {
    const store = stores[step.site] as MapStore;
    const clock = clocks[step.site] as HlcClock;
    if (step.kind === "hear") {
      const heard = changesets[step.which % Math.max(1, changesets.length)];
      if (heard === undefined) continue;
      store.merge(heard.rows);
      for (const row of heard.rows) clock.observe(stampOfRow(row));
      continue;
    }
    nowMs += step.laterMs;
    const ref = { table: "t", key: keyOf(step.row) };
    const { changeset } = store.commit(
      [
        step.kind === "delete"
          ? { kind: "delete", ...ref }
          : { kind: "put", ...ref, values: new Map([[step.column, step.value]]) },
      ],
      clock.next(nowMs),
    );
    if (changeset !== undefined) changesets.push(changeset);
  }
  return { changesets, endMs: nowMs };
}

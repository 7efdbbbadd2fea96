import { expect, test } from "bun:test";
import { siteOf } from "../../test/model/history.ts";
import type { Entry } from "../change/frame.ts";
import type { RowId } from "../row/digest.ts";
import { compareEntries } from "./entry-comparison.ts";

/** @param id Its first digits, which say where in the tree it is. */
function entry(id: string, ms: number, digest = "same"): Entry {
  const stamp = { ms, count: 0, site: siteOf(0) };
  return { id: id.padEnd(32, "0") as RowId, stamp, digest: digest as Entry["digest"] };
}

const live = { live: true, cut: 0 };
const atCut = { live: false, cut: 10 };
const [before, after] = [9999, 10_000];

/** First digits of what is wanted and offered, among nodes of level 1. */
function compare(
  own: readonly Entry[],
  theirs: readonly Entry[],
  moment: typeof live,
  isComplete = false,
): [want: string[], offer: string[]] {
  const byId = new Map(own.map((one) => [one.id, one]));
  const { want, offer } = compareEntries(byId, theirs, moment, 1, isComplete);
  const short = (ids: readonly RowId[]) => ids.map((id) => id.slice(0, 2));
  return [short(want), short(offer)];
}

test("a row that differs goes both ways, one that a side lacks one way, and equal ones don't", () => {
  const own = [entry("01", 1), entry("02", 1, "ours"), entry("03", 1)];
  const theirs = [entry("01", 1), entry("02", 1, "theirs"), entry("04", 1)];
  expect(compare(own, theirs, live)).toEqual([
    ["02", "04"],
    ["02", "03"],
  ]);
  // Equal stamps say nothing, and other ones don't either.
  expect(compare([entry("01", 1)], [entry("01", 2)], live)).toEqual([[], []]);
});

test("a row above the cut is left out, whether or not the peer has it", () => {
  const own = [entry("01", before, "ours"), entry("02", after, "ours"), entry("03", after)];
  const theirs = [entry("01", before, "theirs"), entry("02", before, "theirs")];
  expect(compare(own, theirs, atCut)).toEqual([["01"], ["01"]]);
  expect(compare([entry("03", before), entry("04", after)], [], atCut)).toEqual([[], ["03"]]);
  expect(compare([entry("03", before), entry("04", after)], [], live)).toEqual([[], ["03", "04"]]);
});

test("of a node that differs and in which no row below the cut does, those above it are offered once all were named", () => {
  const own = [entry("01", after), entry("11", after), entry("21", after), entry("22", before)];
  // In node 1 a row explains it, in node 2 as well.
  const theirs = [entry("12", before)];
  expect(compare(own, theirs, atCut, true)).toEqual([["12"], ["22", "01"]]);
  expect(compare(own, theirs, atCut, false)).toEqual([["12"], ["22"]]);
  // One that the peer has as it was explains nothing.
  expect(compare([entry("01", after, "ours")], [entry("01", before, "old")], atCut, true)).toEqual([
    [],
    ["01"],
  ]);
});

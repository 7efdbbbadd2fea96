import { expect, test } from "bun:test";
import { siteOf } from "../../test/model/history.ts";
import { encodeChangeset } from "../change/changeset.ts";
import { encodeRowBlock } from "../change/row-block.ts";
import { decodeKey, encodeKey } from "../row/key.ts";
import type { RowState } from "../row/row-state.ts";
import { type ChangesetBody, type OpenBody, openChangeset, openRows } from "./apply-bodies.ts";

const limitMs = 10_000;
const aheadText = (ms: number) => `${ms} is ahead`;

function row(key: string, ms: number, cellMs = ms, value = "up"): RowState {
  const stamp = (at: number) => ({ ms: at, count: 0, site: siteOf(1) });
  const cells = [{ column: "a", stamp: stamp(cellMs), value }];
  return { table: "t", key: encodeKey([key]) as Uint8Array, clock: { ...stamp(ms), cl: 1 }, cells };
}

function changeset(ms: number, rows: readonly RowState[]) {
  const bytes = encodeChangeset({ stamp: row("", ms).clock, lane: 1, rows });
  return openChangeset(7, bytes, limitMs, aheadText);
}

const large = "u".repeat(40_000);

test("a changeset is taken up to the limit; beyond it, in its own stamp or in any cell, all of it is refused", () => {
  const rows = [row("x", 1), row("y", limitMs), row("z", 3)];
  const opened = changeset(limitMs, rows) as ChangesetBody;
  expect([opened.body, opened.isSmall, opened.left, opened.stamp.ms]).toEqual([
    7,
    true,
    3,
    limitMs,
  ]);
  expect(opened.read(2)).toEqual(rows.slice(0, 2));
  expect([opened.left, opened.read(2), opened.left]).toEqual([1, rows.slice(2), 0]);
  const refused = { kind: "ahead", why: "10001 is ahead" };
  expect(changeset(limitMs + 1, [row("x", 1)])).toEqual(refused as never);
  expect(changeset(1, [row("x", 1), row("y", 1, limitMs + 1)])).toEqual(refused as never);
});

test("a large changeset is read piece by piece, and refused by the piece that is ahead", () => {
  const rows = [row("x", 1, 1, large), row("y", 1), row("z", 1, limitMs + 1)];
  const opened = changeset(1, rows) as ChangesetBody;
  expect([opened.isSmall, opened.left]).toEqual([false, 3]);
  expect(opened.read(2)).toEqual(rows.slice(0, 2));
  expect(opened.left).toBe(1);
  expect(opened.read(1)).toEqual({ kind: "ahead", why: "10001 is ahead" });
});

test("of rows that repair brought those are taken that aren't ahead, and the others are told by their worst", () => {
  const rows = [
    row("x", limitMs),
    row("y", limitMs + 5),
    row("z", 1, limitMs + 9),
    row("v", limitMs + 1),
    row("w", 3),
  ];
  const { body, refused } = openRows(7, encodeRowBlock(rows), limitMs, aheadText);
  expect(refused).toEqual({ body: 7, kind: "ahead", why: "3 of 5 rows: 10009 is ahead", rows: 3 });
  expect([body?.body, body?.stamp, body?.left]).toEqual([7, undefined, 2]);
  expect([body?.read(1), body?.left]).toEqual([[rows[0] as RowState], 1]);
  expect([body?.read(5), body?.left]).toEqual([[rows[4] as RowState], 0]);
  expect(openRows(7, encodeRowBlock([row("x", limitMs)]), limitMs, aheadText)).not.toHaveProperty(
    "refused",
  );
});

test("rows that repair brought are all read, whatever their order in this turn", () => {
  const keys = ["a", "b", "c", "d", "e"];
  const block = encodeRowBlock(keys.map((key) => row(key, 1)));
  const orders = [0, 1, 2, 3].map((turn) => {
    const body = openRows(7, block, limitMs, aheadText, turn).body as OpenBody;
    return (body.read(5) as RowState[]).map(({ key }) => decodeKey(key)?.[0]).join("");
  });
  expect(orders).toEqual(["abcde", "edcba", "deabc", "cbaed"]);
});

test("what is malformed is refused", () => {
  const bytes = new Uint8Array([9, 9]);
  expect(openChangeset(7, bytes, limitMs, aheadText)).toMatchObject({ kind: "malformed" });
  expect(openRows(7, bytes, limitMs, aheadText)).toMatchObject({
    refused: { body: 7, kind: "malformed" },
  });
});

import { expect, test } from "bun:test";
import { decodeRowBlock } from "../change/row-block.ts";
import { siteOfHex } from "../clock/stamp.ts";
import type { RowIndex } from "../index/row-index.ts";
import type { StoreReply } from "../node/border.ts";
import type { Digester, RowId } from "../row/digest.ts";
import { encodeKey } from "../row/key.ts";
import type { RowState } from "../row/row-state.ts";
import { RowAnswers, rowAnswersDefaults } from "./row-answers.ts";
import type { RowRef } from "./row-store.ts";

test("rows with large values are read a few at a time, and sent in blocks of about a megabyte", () => {
  const stamp = { ms: 1, count: 0, site: siteOfHex("0".repeat(32)) };
  const value = "x".repeat(300_000);
  const keyOf = (id: RowId) => encodeKey([id]) as Uint8Array;
  const readTogether: number[] = [];
  const readRows = (refs: readonly RowRef[]): RowState[] => {
    readTogether.push(refs.length);
    return refs.map((ref) => ({
      ...ref,
      clock: { ...stamp, cl: 1 },
      cells: [{ column: "value", stamp, value }],
    }));
  };
  const index = { recent: { get: (id: RowId) => ({ ref: { table: "t", key: keyOf(id) } }) } };
  const answers = new RowAnswers(
    index as unknown as RowIndex,
    {} as Digester,
    () => undefined,
    readRows,
    () => undefined,
    rowAnswersDefaults,
    1,
  );
  const ids = Array.from({ length: 100 }, (_, i) => `${i}` as RowId);
  const replies: StoreReply[] = [];
  answers.rowsById({ kind: "rows", ticket: 1, ids }, 0, replies);
  // The first block goes at once, and each of the others in a turn of its own.
  expect(replies).toHaveLength(1);
  while (answers.isSending) answers.tick(0, replies);
  let rows = 0;
  for (const reply of replies) {
    if (reply.kind !== "rows") continue;
    expect(reply.block.length).toBeLessThan(2 * rowAnswersDefaults.blockBytesMax);
    const decoded = decodeRowBlock(reply.block);
    if (decoded.kind === "rows") rows += decoded.rows.length;
  }
  expect(rows).toBe(100);
  expect(replies.at(-1)).toMatchObject({ last: true });
  expect(Math.max(...readTogether)).toBeLessThan(5);
});

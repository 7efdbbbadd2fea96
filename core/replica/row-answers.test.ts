import { expect, test } from "bun:test";
import { frameBytesMax } from "../change/frame.ts";
import { decodeRowBlock } from "../change/row-block.ts";
import { siteOfHex } from "../clock/stamp.ts";
import type { RowIndex } from "../index/row-index.ts";
import type { StoreReply } from "../node/border.ts";
import type { Digester, RowId } from "../row/digest.ts";
import { decodeKey, encodeKey } from "../row/key.ts";
import { joinRows, type RowState } from "../row/row-state.ts";
import type { RowRef, ScannedRow } from "../row-store.ts";
import { blockBytesMax, RowAnswers, rowAnswersDefaults } from "./row-answers.ts";

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
    expect(reply.block.length).toBeLessThan(2 * blockBytesMax);
    const decoded = decodeRowBlock(reply.block);
    if (decoded.kind === "rows") rows += decoded.rows.length;
  }
  expect(rows).toBe(100);
  expect(replies.at(-1)).toMatchObject({ last: true });
  expect(Math.max(...readTogether)).toBeLessThan(5);
});

test("a row that several hosts have made larger than a frame comes in pieces by its id, and in no stream", () => {
  const stamp = { ms: 1, count: 0, site: siteOfHex("0".repeat(32)) };
  const value = new Uint8Array(7 * 1024 * 1024);
  const small = (name: string): RowState => ({
    table: "t",
    key: encodeKey([name]) as Uint8Array,
    clock: { ...stamp, cl: 1 },
    cells: [],
  });
  const cells = Array.from({ length: 10 }, (_, i) => ({ column: `c${i}`, stamp, value }));
  const large: RowState = { ...small("large"), cells };
  // As a scan meets them: after small ones it reads more at once.
  const rows = [small("a"), small("b"), large, large, small("c")];
  const index = { recent: { get: () => ({ ref: { table: "t", key: large.key } }) } };
  const answers = new RowAnswers(
    index as unknown as RowIndex,
    {} as Digester,
    (position, rowsMax) => {
      const at = Number(position?.after ?? 0);
      const end = Math.min(rows.length, at + rowsMax);
      const scanned = rows.slice(at, end).map((row) => ({ ...row, id: "0" as RowId }));
      const next = end === rows.length ? undefined : { part: 0, after: end };
      return { rows: scanned as unknown as ScannedRow[], next };
    },
    (refs) => refs.map(({ key }) => rows.find((row) => row.key === key)),
    () => ({ block: new Uint8Array(frameBytesMax), next: undefined }),
    rowAnswersDefaults,
    1,
  );
  const rowsOf = (block: Uint8Array): readonly RowState[] => {
    const decoded = decodeRowBlock(block);
    return decoded.kind === "rows" ? decoded.rows : [];
  };
  const streamed: unknown[] = [];
  let cursor: Uint8Array | undefined = new Uint8Array(0);
  while (cursor !== undefined) {
    const replies: StoreReply[] = [];
    const request = { kind: "stream-rows", ticket: 1, level: 0, nodes: [0], cursor } as const;
    answers.streamRows(request, 0, replies);
    const reply = replies[0] as Extract<StoreReply, { kind: "streamed" }>;
    streamed.push(...rowsOf(reply.block).map(({ key }) => decodeKey(key)?.[0]));
    cursor = reply.cursor;
  }
  expect(streamed).toEqual(["a", "b", "c"]);

  const replies: StoreReply[] = [];
  answers.rowsById({ kind: "rows", ticket: 2, ids: ["0" as RowId] }, 0, replies);
  while (answers.isSending) answers.tick(0, replies);
  let joined: RowState | undefined;
  for (const [at, reply] of replies.entries()) {
    if (reply.kind !== "rows") throw new Error(reply.kind);
    expect(reply.last).toBe(at === replies.length - 1);
    expect(reply.block.length).toBeLessThan(frameBytesMax / 2);
    for (const row of rowsOf(reply.block)) {
      joined = joined === undefined ? row : joinRows(joined, row).state;
    }
  }
  expect(joined?.cells.map(({ column }) => column)).toEqual(cells.map(({ column }) => column));
});

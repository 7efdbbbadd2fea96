import { expect, test } from "bun:test";
import { createDigester, keyOf as keyOfRow } from "../../test/model/history.ts";
import { MapStore } from "../../test/model/map-store.ts";
import { ByteWriter } from "../bytes/writer.ts";
import { frameBytesMax } from "../change/frame.ts";
import { decodeRowBlock, encodeRowBlock, RowBlockWriter } from "../change/row-block.ts";
import { siteOfHex } from "../clock/stamp.ts";
import { RowIndex } from "../index/row-index.ts";
import type { StoreReply, Ticket, TreeNodes } from "../node/border.ts";
import { type Digester, type RowId, rangeOfRow } from "../row/digest.ts";
import { decodeKey, encodeKey } from "../row/key.ts";
import { joinRows, type RowState } from "../row/row-state.ts";
import type { RowRef, ScannedRow } from "../row-store.ts";
import {
  blockBytesMax,
  placesBytesMax,
  RowAnswers,
  type RowAnswersOptions,
  rowAnswersDefaults,
} from "./row-answers.ts";

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

test("a stream of some nodes sends large values in such blocks, too, and goes on after each", () => {
  const stamp = { ms: 1, count: 0, site: siteOfHex("0".repeat(32)) };
  const rows = Array.from({ length: 20 }, (_, i): RowState => {
    const cells = [{ column: "value", stamp, value: "x".repeat(300_000) }];
    return { table: "t", key: encodeKey([i]) as Uint8Array, clock: { ...stamp, cl: 1 }, cells };
  });
  const answers = new RowAnswers(
    {} as RowIndex,
    {} as Digester,
    (position, rowsMax) => {
      const at = Number(position?.after ?? 0);
      const end = Math.min(rows.length, at + rowsMax);
      // Every other row is of another node.
      const idOf = (row: number) => `${row % 2}`.padEnd(32, "0");
      const scanned = rows.slice(at, end).map((row, i) => ({ ...row, id: idOf(at + i) }));
      const next = end === rows.length ? undefined : { part: 0, after: end };
      return { rows: scanned as unknown as ScannedRow[], next };
    },
    (refs) => refs.map(({ key }) => rows.find((row) => row.key === key)),
    () => undefined,
    rowAnswersDefaults,
    1,
  );
  const streamed: unknown[] = [];
  let cursor: Uint8Array | undefined = new Uint8Array(0);
  for (let blocks = 0; cursor !== undefined; blocks++) {
    expect(blocks).toBeLessThan(10);
    const replies: StoreReply[] = [];
    const request = { kind: "stream-rows", ticket: 1, level: 1, nodes: [0], cursor } as const;
    answers.streamRows(request, 0, replies);
    const reply = replies[0] as Extract<StoreReply, { kind: "streamed" }>;
    expect(reply.block.length).toBeLessThan(2 * blockBytesMax);
    const decoded = decodeRowBlock(reply.block);
    if (decoded.kind === "rows")
      streamed.push(...decoded.rows.map(({ key }) => decodeKey(key)?.[0]));
    cursor = reply.cursor;
  }
  expect(streamed).toEqual(Array.from({ length: 10 }, (_, i) => 2 * i));
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

const digester = createDigester();
const everything = { live: true, cut: 0, level: 0, nodes: [0] } as const;
const rowId = (row: number) => digester.rowId("t", keyOfRow(row));

/** Answers of a store whose row `i` is stamped at second `i`; the last two are the recent ones. */
class Asked {
  readonly store = new MapStore(digester);
  readonly index = new RowIndex(digester, 100, { keepMs: 600_000, rowsMax: 2 });
  readonly answers: RowAnswers;
  nowMs = 0;
  #life = 1;

  constructor(rows: number, options: Partial<RowAnswersOptions> = {}) {
    this.index.finishRebuild();
    for (let row = 0; row < rows; row++) this.merge(row, row * 1000);
    this.answers = new RowAnswers(
      this.index,
      digester,
      (position, rowsMax) => this.store.scan(position, rowsMax),
      (refs) => this.store.read(refs),
      (position, rowsMax, bytesMax) => {
        const [block, writer] = [new RowBlockWriter(), new ByteWriter()];
        const next = this.store.writeRows(position, rowsMax, bytesMax, block);
        block.finish(writer);
        return { block: writer.finish(), next };
      },
      {
        ...{ ...rowAnswersDefaults, scanRowsPerTick: 2, blockRowsMax: 2, scanQuestionsMax: 5 },
        ...options,
      },
      this.#life,
    );
  }

  merge(row: number, ms: number): void {
    const stamp = { ms, count: 0, site: siteOfHex("0".repeat(32)) };
    const state = { table: "t", key: keyOfRow(row), clock: { ...stamp, cl: 1 }, cells: [] };
    const merged = this.store.merge([state]);
    this.index.mergedAll(merged, 0, 1, false, () => false, this.nowMs);
  }

  /** What a call replies, which has a list of its own as each has. */
  calls(call: (replies: StoreReply[]) => void): StoreReply[] {
    const replies: StoreReply[] = [];
    call(replies);
    return replies;
  }

  tick(): StoreReply[] {
    this.nowMs += rowAnswersDefaults.scanPauseMs;
    return this.calls((replies) => this.answers.tick(this.nowMs, replies));
  }

  /** All that comes until nothing is open. */
  rest(): StoreReply[] {
    const replies: StoreReply[] = [];
    while (this.answers.open > 0) replies.push(...this.tick());
    return replies;
  }

  end(): StoreReply[] {
    return this.calls((replies) => this.answers.end(replies, ++this.#life));
  }

  list(recentOnly: boolean, moment = { live: true, cut: 0 }): StoreReply[] {
    const request = { kind: "list", ticket: 1, recentOnly, ...everything, ...moment } as const;
    return this.calls((replies) => this.answers.list(request, this.nowMs, replies));
  }

  compare(recentOnly: boolean): StoreReply[] {
    const asked = { kind: "compare", ticket: 2, recentOnly, entries: [], ...everything } as const;
    return this.calls((replies) => this.answers.compare(asked, this.nowMs, replies));
  }

  rowsById(rows: readonly number[], atOnce: boolean, ticket: Ticket = 3): StoreReply[] {
    const request = { kind: "rows", ticket, ids: rows.map(rowId), atOnce } as const;
    return this.calls((replies) => this.answers.rowsById(request, this.nowMs, replies));
  }

  /** From a cursor on: the rows of one block, and where it goes on. */
  stream(cursor: Uint8Array): { readonly rows: number[]; readonly next: Uint8Array | undefined } {
    const request = { kind: "stream-rows", ticket: 5, level: 0, nodes: [0], cursor } as const;
    const replies = this.calls((to) => this.answers.streamRows(request, this.nowMs, to));
    expect(replies).toHaveLength(1);
    const [reply] = replies as [StoreReply];
    if (reply.kind !== "streamed") return { rows: [], next: undefined };
    const decoded = decodeRowBlock(reply.block);
    const rows = decoded.kind === "rows" ? decoded.rows.map(({ clock }) => clock.ms / 1000) : [];
    return { rows, next: reply.cursor };
  }

  rowsByRange(ticket: Ticket = 4, nodes: TreeNodes = everything): StoreReply[] {
    const request = { kind: "range-rows", ticket, ...nodes } as const;
    return this.calls((replies) => this.answers.rowsByRange(request, this.nowMs, replies));
  }
}

/** Numbers of the rows that a list names. */
const listed = (replies: readonly StoreReply[]) =>
  replies.flatMap((reply) =>
    reply.kind === "listed" ? reply.entries.map(({ stamp }) => stamp.ms / 1000) : [],
  );

/** Numbers of the rows that were sent. */
const sent = (replies: readonly StoreReply[]) =>
  replies.flatMap((reply) => {
    if (reply.kind !== "rows") return [];
    const decoded = decodeRowBlock(reply.block);
    return decoded.kind === "rows" ? decoded.rows.map(({ clock }) => clock.ms / 1000) : [];
  });

const offered = (replies: readonly StoreReply[]) =>
  replies.flatMap((reply) => (reply.kind === "compared" ? reply.offer : []));

test("a list is of what changed lately, at once, or by a scan of all that the moment covers", () => {
  const asked = new Asked(5);
  expect(listed(asked.list(true))).toEqual([3, 4]);
  expect(listed(asked.list(true, { live: false, cut: 4 }))).toEqual([3]);
  expect(asked.answers.open).toBe(0);
  expect(asked.list(false)).toEqual([]);
  expect(listed(asked.rest())).toEqual([0, 1, 2, 3, 4]);
  expect(asked.list(false, { live: false, cut: 3 })).toEqual([]);
  expect(listed(asked.rest())).toEqual([0, 1, 2]);
});

// Else a host that lacks what isn't recent any more would find no difference, for ever.
test("a comparison is with what changed lately, at once, or with all rows", () => {
  const asked = new Asked(5);
  expect(offered(asked.compare(true))).toEqual([3, 4].map(rowId));
  expect(asked.compare(false)).toEqual([]);
  expect(offered(asked.rest())).toEqual([0, 1, 2, 3, 4].map(rowId));
});

test("rows that a list or a comparison has met are sent at once, and others are looked for", () => {
  for (const meet of ["list", "compare"] as const) {
    const asked = new Asked(5);
    expect(sent(asked.rowsById([3, 4], true))).toEqual([3, 4]);
    expect(asked.rowsById([0, 4], true)).toEqual([{ kind: "unavailable", ticket: 3, why: "scan" }]);
    const { answers } = asked;
    expect([answers.knows([3, 4].map(rowId)), answers.knows([0, 4].map(rowId))]).toEqual([
      true,
      false,
    ]);
    expect(asked.rowsById([4, 0, 0, 99], false)).toEqual([]);
    expect(sent(asked.rest())).toEqual([4, 0]);
    asked[meet](false);
    asked.rest();
    expect(answers.knows([0, 4].map(rowId))).toBe(true);
    expect(sent(asked.rowsById([1, 0], true))).toEqual([1, 0]);
  }
});

test("rows are sent as they are when they are sent", () => {
  const asked = new Asked(5);
  const first = asked.rowsById([3, 4], true);
  asked.merge(4, 9000);
  expect([sent(first), sent(asked.rowsById([3, 4], true))]).toEqual([
    [3, 4],
    [3, 9],
  ]);
});

test("a stream of everything goes on at its cursor up to the last row, in one life of the store", () => {
  const asked = new Asked(5);
  const blocks: number[][] = [];
  const cursors: Uint8Array[] = [];
  for (let cursor: Uint8Array | undefined = new Uint8Array(0); cursor !== undefined; ) {
    const { rows, next } = asked.stream(cursor);
    blocks.push(rows);
    cursor = next;
    if (next !== undefined) cursors.push(next);
  }
  expect(blocks).toEqual([[0, 1], [2, 3], [4]]);
  asked.end();
  expect(asked.stream(cursors[0] as Uint8Array)).toEqual({ rows: [], next: undefined });
  expect(asked.stream(new Uint8Array(0)).rows).toEqual([0, 1]);
});

test("where rows are is noted of so many ranges and so many fetches, and the oldest is forgotten", () => {
  const ranges = [0, 1, 2, 3, 4].map((row) => rangeOfRow(rowId(row))).sort((a, b) => a - b);
  const isAtOnce = (asked: Asked, at: number) => {
    asked.rowsByRange(4, { level: 4, nodes: [ranges[at] as number] });
    const atOnce = asked.answers.open === 0;
    expect(sent(asked.rest()).length).toBe(atOnce ? 0 : 1);
    return atOnce;
  };
  const asked = new Asked(5, { windowRowsMax: 3 });
  expect([0, 2, 1, 3, 3].map((at) => isAtOnce(asked, at))).toEqual([
    false,
    true,
    true,
    false,
    true,
  ]);
  // Each of its own range only.
  const narrow = new Asked(5, { windowRowsMax: 0 });
  expect([0, 1, 2, 3, 1, 4].map((at) => isAtOnce(narrow, at))).toEqual([
    false,
    false,
    false,
    false,
    true,
    false,
  ]);
  expect([isAtOnce(narrow, 4), isAtOnce(narrow, 0)]).toEqual([true, false]);
  narrow.nowMs += 60_000;
  expect(isAtOnce(narrow, 4)).toBe(false);
});

test("whoever asks for one scan too many is told so at once", () => {
  const asked = new Asked(5);
  for (let ticket = 10; ticket < 15; ticket++) asked.rowsById([0], false, ticket);
  const busy = (ticket: Ticket) => [{ kind: "unavailable", ticket, why: "busy" }];
  expect([asked.list(false), asked.compare(false)] as unknown).toEqual([busy(1), busy(2)]);
  expect(asked.rowsById([1], false) as unknown).toEqual(busy(3));
  expect(asked.rowsByRange() as unknown).toEqual(busy(4));
  // What needs none isn't kept waiting.
  expect([listed(asked.list(true)), sent(asked.rowsById([4], false))]).toEqual([[3, 4], [4]]);
  expect(sent(asked.rest())).toEqual([0, 0, 0, 0, 0]);
});

// Or the line of questions would wait for its answer for ever.
test("when the store has become another each question under way is ended, and what is asked then is answered", () => {
  const asked = new Asked(6);
  asked.list(false);
  asked.compare(false);
  asked.rowsById([0], false);
  asked.rowsByRange();
  asked.rowsByRange(5);
  asked.tick();
  // This one waits for the next scan.
  asked.rowsById([3], false, 6);
  expect(asked.end()).toEqual(
    [1, 2, 3, 4, 5, 6].map((ticket) => ({ kind: "unavailable", ticket, why: "busy" })),
  );
  expect([asked.answers.open, asked.rest()]).toEqual([0, []]);
  asked.rowsByRange();
  while (!asked.answers.isSending) asked.tick();
  expect(asked.end()).toEqual([{ kind: "rows", ticket: 4, block: encodeRowBlock([]), last: true }]);
  expect(asked.answers.open).toBe(0);
  asked.list(false);
  expect(listed(asked.rest())).toEqual([0, 1, 2, 3, 4, 5]);
});

// A key may have 64 KiB: as many places as of rows with short ones would be three gigabytes.
test("of rows with long keys a list leaves as many places as a bound of bytes has room for", () => {
  const keyBytes = 60_000;
  const clock = { ms: 1, count: 0, site: siteOfHex("0".repeat(32)), cl: 1 };
  const rows = Array.from({ length: 1000 }, (_, row): ScannedRow => {
    const state = { table: "t", key: new Uint8Array(keyBytes), clocks: { clock, cells: [] } };
    return { ...state, id: row.toString(16).padStart(32, "0") as RowId };
  });
  const answers = new RowAnswers(
    new RowIndex(digester, 100),
    digester,
    () => ({ rows, next: undefined }),
    () => [],
    () => undefined,
    rowAnswersDefaults,
    1,
  );
  const list = { kind: "list", ticket: 1, recentOnly: false, ...everything } as const;
  for (let lists = 0; lists < 3; lists++) {
    answers.list(list, 0, []);
    answers.tick(0, []);
    const known = rows.filter(({ id }) => answers.knows([id]));
    expect(known.length).toBe(Math.floor(placesBytesMax / keyBytes));
    expect(known).toEqual(rows.slice(-known.length));
  }
});

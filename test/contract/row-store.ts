/**
 * What every `RowStore` promises, written once as a function of the implementation.
 *
 * The model is `joinRows`: a store must hold what folding the rows with it gives, whatever its own way.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { bytesToHex } from "../../core/bytes/hex.ts";
import { ByteWriter } from "../../core/bytes/writer.ts";
import { decodeRowBlock, RowBlockWriter } from "../../core/change/row-block.ts";
import type { Site, Stamp } from "../../core/clock/stamp.ts";
import type { ClockState, Digester } from "../../core/row/digest.ts";
import { encodeKey } from "../../core/row/key.ts";
import { joinRows, type RowState, stampOfRow } from "../../core/row/row-state.ts";
import type { SqlValue } from "../../core/row/value.ts";
import type {
  MergedRow,
  RowRef,
  RowStore,
  ScannedRow,
  ScanPosition,
} from "../../core/row-store.ts";
import { rowState, sites } from "../generators/rows.ts";
import { createDigester } from "../model/history.ts";

/** Of a property, on a machine that is busy with everything else. */
const timeoutMs = 120_000;

export interface OpenedStore {
  readonly store: RowStore;
  close(): void;
}

/** What a merge did to a row, as plain objects: a store may hold clocks in a form of its own. */
function told({ table, key, id, before, incoming, after, changed, conflict }: MergedRow) {
  const states = {
    before: before && plain(before),
    incoming: plain(incoming),
    after: plain(after),
  };
  return { table, key, id, ...states, changed, conflict };
}

function plain({ clock, cells }: ClockState): ClockState {
  return { clock, cells };
}

/** As one merge, as a transaction of several pieces, or as one that was prepared and had to begin again. */
function mergeInPieces(store: RowStore, rows: readonly RowState[], draw: number): MergedRow[] {
  if (draw % 3 === 0) return store.merge(rows);
  const at = draw % (rows.length + 1);
  if (draw % 3 === 1) {
    const prepared = store.prepareMerge();
    prepared.add(rows.slice(0, at));
    prepared.add(rows.slice(at));
    prepared.finish();
    const vain = store.beginMerge();
    vain.addPrepared(prepared, 0, at);
    vain.rollback();
    const transaction = store.beginMerge();
    transaction.addPrepared(prepared, 0, at);
    transaction.addPrepared(prepared, at, prepared.length);
    const merged = transaction.commit();
    prepared.end();
    return merged;
  }
  const transaction = store.beginMerge();
  transaction.add(rows.slice(0, at));
  transaction.add(rows.slice(at));
  return transaction.commit();
}

/** @param open Makes an empty store that computes digests with the digester given. */
export function rowStoreContract(name: string, open: (digester: Digester) => OpenedStore): void {
  const digester = createDigester();
  const within = <T>(body: (store: RowStore) => T): T => {
    const opened = open(digester);
    try {
      return body(opened.store);
    } finally {
      opened.close();
    }
  };

  describe(name, () => {
    test("a row that was never heard of is held as it came", () =>
      within((store) => {
        const row = rowOf("i-1", at(5), 1, { status: "up", port: 80 });
        const clocks = digester.clocksOf(row);
        expect(store.merge([row]).map(told)).toEqual([
          {
            ...refOf(row),
            id: digester.rowId(row.table, row.key),
            before: undefined,
            incoming: clocks,
            after: clocks,
            changed: true,
            conflict: false,
          },
        ]);
        expect(store.read([refOf(row), { ...refOf(row), table: "services" }])).toEqual([
          row,
          undefined,
        ]);
      }));

    test("what is older changes nothing, and is told all the same", () =>
      within((store) => {
        const up = rowOf("i-1", at(5), 1, { status: "up" });
        const down = rowOf("i-1", at(5), 1, { status: ["down", at(9)] });
        store.merge([down]);
        const [merged] = store.merge([up]);
        expect(told(merged as MergedRow)).toEqual({
          ...refOf(up),
          id: digester.rowId(up.table, up.key),
          before: digester.clocksOf(down),
          incoming: digester.clocksOf(up),
          after: digester.clocksOf(down),
          changed: false,
          conflict: false,
        });
        expect(store.read([refOf(up)])).toEqual([down]);
      }));

    test("a newer delete stays, however many lives an older row had", () =>
      within((store) => {
        const deleted = rowOf("i-1", at(9), 2, {});
        const flapping = rowOf("i-1", at(8), 7, { status: "up" });
        store.merge([flapping]);
        store.merge([deleted]);
        expect(store.merge([flapping])[0]?.changed).toBe(false);
        expect(store.read([refOf(deleted)])).toEqual([deleted]);
      }));

    test("a tombstone keeps the cells that are newer, and they show in the next life if still newer", () =>
      within((store) => {
        const born = rowOf("i-1", at(1), 1, { a: 1, b: 2 });
        const written = rowOf("i-1", at(1), 1, { a: 1, b: ["late", at(9)] });
        const deleted = rowOf("i-1", at(5), 2, {});
        store.merge([born, deleted, written]);
        expect(store.read([refOf(born)])).toEqual([rowOf("i-1", at(5), 2, { b: ["late", at(9)] })]);
        const again = rowOf("i-1", at(7), 3, { a: 3, b: 4 });
        store.merge([again]);
        expect(store.read([refOf(born)])).toEqual([
          rowOf("i-1", at(7), 3, { a: 3, b: ["late", at(9)] }),
        ]);
      }));

    test("two values under one stamp: the larger wins, and it is told", () =>
      within((store) => {
        const one = rowOf("i-1", at(5), 1, { a: "x", b: 7 });
        const other = rowOf("i-1", at(5), 1, { a: "y", b: 6 });
        store.merge([one]);
        const [merged] = store.merge([other]);
        expect([merged?.changed, merged?.conflict]).toEqual([true, true]);
        expect(store.read([refOf(one)])).toEqual([rowOf("i-1", at(5), 1, { a: "y", b: 7 })]);
        const [again] = store.merge([other]);
        expect([again?.changed, again?.conflict]).toEqual([false, true]);
      }));

    test("two writers' columns of one row under one stamp are both kept", () =>
      within((store) => {
        const born = rowOf("i-1", at(1), 1, { a: 1, b: 1 });
        const one = rowOf("i-1", at(1), 1, { a: [2, at(5, 0)], b: 1 });
        const other = rowOf("i-1", at(1), 1, { a: 1, b: [2, at(5, 0)] });
        store.merge([born, one, other]);
        expect(store.read([refOf(born)])).toEqual([
          rowOf("i-1", at(1), 1, { a: [2, at(5, 0)], b: [2, at(5, 0)] }),
        ]);
      }));

    test("one row many times in one merge: each step is told", () =>
      within((store) => {
        const steps = [1, 2, 3].map((ms) => rowOf("i-1", at(1), 1, { a: [ms, at(ms)] }));
        const merged = store.merge(steps);
        const clocks = steps.map((step) => digester.clocksOf(step));
        expect(merged.map(told).map(({ before, after }) => [before, after])).toEqual([
          [undefined, clocks[0]],
          [clocks[0], clocks[1]],
          [clocks[1], clocks[2]],
        ] as never);
      }));

    test("a merge in pieces is one merge, and tells the same", () => {
      const steps = [
        rowOf("i-1", at(1), 1, { a: 1 }),
        rowOf("i-2", at(2), 1, { a: 2 }),
        rowOf("i-1", at(1), 1, { a: [3, at(3)] }),
        rowOf("i-2", at(4), 2, {}),
      ];
      const refs = steps.slice(0, 2).map(refOf);
      const { merged, rows } = within((store) => ({
        merged: store.merge(steps),
        rows: store.read(refs),
      }));
      within((store) => {
        const transaction = store.beginMerge();
        transaction.add(steps.slice(0, 2));
        transaction.add([]);
        transaction.add(steps.slice(2));
        expect(transaction.commit().map(told)).toEqual(merged.map(told));
        transaction.rollback();
        expect(store.read(refs)).toEqual(rows);
      });
    });

    test("a merge that is rolled back between its pieces leaves nothing behind", () =>
      within((store) => {
        const born = rowOf("i-1", at(1), 1, { a: 1 });
        store.merge([born]);
        const transaction = store.beginMerge();
        transaction.add([rowOf("i-1", at(1), 1, { a: [2, at(2)] }), rowOf("i-2", at(2), 1, {})]);
        transaction.add([rowOf("i-1", at(3), 2, {})]);
        transaction.rollback();
        expect(store.read([refOf(born), refOf(rowOf("i-2", at(2), 1, {}))])).toEqual([
          born,
          undefined,
        ]);
        expect(scanAll(store, 2).map(refOf)).toEqual([refOf(born)]);
        const [again] = store.merge([rowOf("i-2", at(2), 1, {})]);
        expect([again?.before, again?.changed]).toEqual([undefined, true]);
      }));

    // Replicas that saw the same rows agree, in whatever order, grouping and however often; and on
    // what the join says.
    test(
      "merging is joining",
      () => {
        const keys = ["i-1", "i-2", 5, "5"].map((value) => encodeKey([value]) as Uint8Array);
        const row = () => fc.constantFrom(...keys).chain((key) => rowState({ key }));
        fc.assert(
          fc.property(
            fc.array(row(), { minLength: 1, maxLength: 12 }),
            fc.infiniteStream(fc.nat(1000)),
            (rows, draws) => {
              const draw = (): number => draws.next().value as number;
              const model = new Map<string, RowState>();
              for (const state of rows) {
                const id = digester.rowId(state.table, state.key);
                const held = model.get(id);
                model.set(id, held === undefined ? state : joinRows(held, state).state);
              }
              const refs = [...model.values()].map(refOf);
              const digests = [...model.values()].map((state) =>
                digester.rowDigest(
                  digester.rowId(state.table, state.key),
                  digester.clocksOf(state),
                ),
              );
              const orders = [rows, rows.toReversed(), shuffled([...rows, ...rows], draw)];
              for (const order of orders) {
                within((store) => {
                  const last = new Map<string, unknown>();
                  for (let i = 0; i < order.length; ) {
                    const size = 1 + (draw() % 3);
                    const steps = order.slice(i, i + size);
                    for (const merged of mergeInPieces(store, steps, draw()).map(told)) {
                      // Every merge goes on from where the one before had ended.
                      expect(merged.before).toEqual(last.get(merged.id) as never);
                      if (!merged.changed) expect(merged.after).toEqual(merged.before as never);
                      last.set(merged.id, merged.after);
                    }
                    i += size;
                  }
                  expect(store.read(refs)).toEqual([...model.values()]);
                  const scanned = scanAll(store, 2);
                  expect(
                    refs.map((ref) => {
                      const id = digester.rowId(ref.table, ref.key);
                      const found = scanned.filter((one) => one.id === id);
                      expect(found.map((one) => refOf(one))).toEqual([ref]);
                      return digester.rowDigest(id, (found[0] as (typeof scanned)[0]).clocks);
                    }),
                  ).toEqual(digests);
                  expect(scanned.length).toBe(refs.length);
                  expectNewer(store, scanned);
                  expectDigests(store, scanned, digester);
                  expectBlocks(store, scanned);
                });
              }
            },
          ),
          { numRuns: 60 },
        );
      },
      timeoutMs,
    );

    // What `RowIndex` does while it is rebuilt (core/index/row-index.ts), with sets instead of sums.
    test(
      "a scan and merges at the same time count every row once, as it is",
      () => {
        const keys = Array.from({ length: 6 }, (_, i) => encodeKey([`i-${i}`]) as Uint8Array);
        const row = () => fc.constantFrom(...keys).chain((key) => rowState({ key }));
        fc.assert(
          fc.property(
            fc.array(row(), { minLength: 4, maxLength: 16 }),
            fc.array(fc.array(row(), { maxLength: 4 }), { minLength: 1, maxLength: 6 }),
            fc.integer({ min: 1, max: 4 }),
            (first, later, page) => {
              within((store) => {
                store.merge(first);
                const counted = new Map<string, unknown>();
                const touched = new Set<string>();
                let position: ScanPosition | undefined;
                let isDone = false;
                for (let step = 0; !isDone; step++) {
                  const { rows, next } = store.scan(position, page);
                  for (const { id, clocks } of rows) {
                    if (touched.has(id)) continue;
                    expect(counted.has(id)).toBe(false);
                    counted.set(id, clocks);
                  }
                  position = next;
                  isDone = next === undefined;
                  for (const merged of store.merge(later[step] ?? [])) {
                    const { id, before, after } = told(merged);
                    const isScanned =
                      isDone || (position !== undefined && store.isPassed(position, merged));
                    if (!touched.has(id)) {
                      touched.add(id);
                      if (before !== undefined) {
                        expect(counted.has(id)).toBe(isScanned);
                        if (!isScanned) counted.set(id, before);
                      }
                    }
                    expect(counted.get(id)).toEqual(before as never);
                    counted.set(id, after);
                  }
                }
                const now = scanAll(store, 100).map(({ id, clocks }) => [id, clocks] as const);
                expect(counted).toEqual(new Map(now));
              });
            },
          ),
          { numRuns: 60 },
        );
      },
      timeoutMs,
    );
  });
}

/** The quick scan finds what a whole one finds, and the places that it gives are those of the rows. */
function expectNewer(store: RowStore, scanned: readonly ScannedRow[]): void {
  const msOf = (row: ScannedRow) => stampOfRow(row.clocks).ms;
  for (const since of [0, ...scanned.map(msOf)]) {
    const newer: { place: ScanPosition; ms: number }[] = [];
    let position: ScanPosition | undefined;
    do {
      position = store.scanNewer(position, 2, since, (part, after, ms) =>
        newer.push({ place: { part, after }, ms }),
      );
    } while (position !== undefined);
    const wanted = scanned.filter((row) => msOf(row) >= since);
    expect(store.rowsAt(newer.map(({ place }) => place))).toEqual(wanted);
    expect(newer.map(({ ms }) => ms)).toEqual(wanted.map(msOf));
  }
}

/** Ids, digests and stamps come out the same, with and without objects, at any border between the two. */
function expectDigests(store: RowStore, scanned: readonly ScannedRow[], digester: Digester): void {
  const told = ({ id, clocks }: ScannedRow) => {
    const { ms, count } = stampOfRow(clocks);
    return [id, { ...digester.rowDigest(id, clocks), ms, count }] as const;
  };
  const wanted = new Map(scanned.map(told));
  for (const beforeMs of [0, 1002, Number.POSITIVE_INFINITY]) {
    const found = new Map<string, object>();
    let position: ScanPosition | undefined;
    do {
      const { columns, rows, next } = store.scanDigests(
        position,
        3,
        (_, lastMs) => lastMs < beforeMs,
      );
      for (let row = 0; row < columns.count; row++) {
        const [a, b, c, d] = columns.digests.slice(row * 4) as unknown as [
          number,
          number,
          number,
          number,
        ];
        const [ms, count] = [columns.stampMs[row] as number, columns.stampCount[row] as number];
        expect(ms).toBeLessThan(beforeMs);
        found.set(bytesToHex(columns.ids, row * 16, row * 16 + 16), { a, b, c, d, ms, count });
      }
      for (const row of rows) found.set(...told(row));
      position = next;
    } while (position !== undefined);
    expect(found).toEqual(wanted);
  }
}

/** Blocks of a scan have the rows that `read` gives, wherever they end. */
function expectBlocks(store: RowStore, scanned: readonly ScannedRow[]): void {
  const wanted = store.read(scanned.map(refOf));
  const block = new RowBlockWriter();
  for (const [rowsMax, bytesMax] of [
    [1, 1000],
    [3, 40],
    [100, 100_000],
  ] as const) {
    const found: RowState[] = [];
    let position: ScanPosition | undefined;
    do {
      block.clear();
      position = store.writeRows(position, rowsMax, bytesMax, block);
      const writer = new ByteWriter(64);
      block.finish(writer);
      const decoded = decodeRowBlock(writer.finish());
      const rows = decoded.kind === "rows" ? decoded.rows : [];
      expect(rows.length).toBeLessThanOrEqual(rowsMax);
      found.push(...rows);
    } while (position !== undefined);
    expect(found).toEqual(wanted as RowState[]);
  }
}

/** All rows of a store, read in pages. */
function scanAll(store: RowStore, page: number) {
  const rows = [];
  let position: ScanPosition | undefined;
  do {
    const found = store.scan(position, page);
    expect(found.rows.length).toBeLessThanOrEqual(page);
    rows.push(...found.rows);
    position = found.next;
  } while (position !== undefined);
  return rows;
}

function shuffled<T>(items: readonly T[], draw: () => number): T[] {
  return items
    .map((item) => ({ item, rank: draw() }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ item }) => item);
}

function at(ms: number, site = 1): Stamp {
  return { ms: 1000 + ms, count: 0, site: sites[site] as Site };
}

/** @param cells By column: a value under the row's stamp, or [value, stamp]. */
function rowOf(
  key: string,
  stamp: Stamp,
  cl: number,
  cells: Record<string, SqlValue | readonly [SqlValue, Stamp]>,
): RowState {
  return {
    table: "instances",
    key: encodeKey([key]) as Uint8Array,
    clock: { ...stamp, cl },
    cells: Object.entries(cells)
      .map(([column, cell]) =>
        Array.isArray(cell)
          ? { column, stamp: cell[1] as Stamp, value: cell[0] as SqlValue }
          : { column, stamp, value: cell as SqlValue },
      )
      .sort((a, b) => (a.column < b.column ? -1 : 1)),
  };
}

function refOf({ table, key }: RowRef): RowRef {
  return { table, key };
}

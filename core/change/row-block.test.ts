import { expect, test } from "bun:test";
import fc from "fast-check";
import { bytesToHex } from "../bytes/hex.ts";
import { ByteWriter } from "../bytes/writer.ts";
import type { Site } from "../clock/stamp.ts";
import { encodeKey } from "../row/key.ts";
import { decodeRowBlock, RowBlockWriter } from "./row-block.ts";

const site = "0".repeat(32) as Site;

/** Rows as [table, columns]. */
type Block = readonly (readonly [string, readonly string[]])[];

function write(into: RowBlockWriter, block: Block): string {
  into.clear();
  for (const [table, columns] of block) {
    into.row(table, new Uint8Array([1]), { ms: 1, count: 0, site }, 1, columns.length);
    for (const column of columns) {
      into.cell(column, 1, 0, site);
      into.body.u8(0);
    }
  }
  const writer = new ByteWriter();
  into.finish(writer);
  return bytesToHex(writer.finish());
}

const columns = fc.subarray(["a", "b", "c", "d", "e"]);
const block = fc.array(fc.tuple(fc.constantFrom("t", "u", "v"), columns), { maxLength: 4 });

test("what a writer has of tables of blocks before changes no byte", () => {
  fc.assert(
    fc.property(fc.array(block, { maxLength: 8 }), (blocks) => {
      const kept = new RowBlockWriter();
      expect(blocks.map((rows) => write(kept, rows))).toEqual(
        blocks.map((rows) => write(new RowBlockWriter(), rows)),
      );
    }),
    { numRuns: 2000 },
  );
});

test("of many tables, and of many columns, nothing is kept that would change a byte", () => {
  const many = Array.from({ length: 200 }, (_, i) => `c${1000 + i}`);
  const kept = new RowBlockWriter();
  for (let round = 0; round < 3; round++) {
    const tables = Array.from({ length: 100 }, (_, i) => [`t${i}`, ["a", "b"]] as const);
    for (const rows of [tables, [["t", many]], [["t", many.slice(round)]]] as Block[]) {
      expect(write(kept, rows)).toBe(write(new RowBlockWriter(), rows));
    }
  }
});

/** A block as bytes, of one table `t` with columns `a` and `b`, and three stamps: of the 1st, 2nd and 3rd millisecond. */
interface Made {
  readonly version?: number;
  readonly stampSite?: number;
  readonly tableName?: string;
  readonly columnNames?: readonly string[];
  readonly rows?: readonly MadeRow[];
  readonly rowCount?: number;
  readonly after?: readonly number[];
}

interface MadeRow {
  readonly table?: number;
  readonly flags?: number;
  readonly key?: Uint8Array;
  readonly stamp?: number;
  readonly cl?: number;
  /** Column and stamp; each is NULL. */
  readonly cells?: readonly (readonly [number, number])[];
}

function madeBlock(made: Made): Uint8Array {
  const { columnNames = ["a", "b"], rows = [{}] } = made;
  const writer = new ByteWriter();
  writer.u8(made.version ?? 1);
  writer.varint(1);
  writer.hex(site);
  writer.varint(3);
  for (const ms of [1, 2, 3]) {
    writer.u48(ms);
    writer.u16(0);
    writer.varint(made.stampSite ?? 0);
  }
  writer.varint(1);
  writer.text(made.tableName ?? "t");
  writer.varint(columnNames.length);
  for (const name of columnNames) writer.text(name);
  writer.varint(made.rowCount ?? rows.length);
  for (const row of rows) {
    const { key = encodeKey(["k"]) as Uint8Array, cells = [[0, 1]] } = row;
    writer.varint(row.table ?? 0);
    writer.u8(row.flags ?? 0);
    writer.varint(key.length);
    writer.bytes(key);
    writer.varint(row.stamp ?? 1);
    writer.varint(row.cl ?? 1);
    writer.varint(cells.length);
    for (const [column, stamp] of cells) {
      writer.varint(column);
      writer.varint(stamp);
      writer.u8(0);
    }
  }
  writer.bytes(new Uint8Array(made.after ?? []));
  return writer.finish();
}

test("what is no row as it has to be makes its block malformed", () => {
  const cells = [
    [0, 1],
    [1, 2],
  ] as const;
  const rows = [{}, { cl: 2, cells: [] }, { cells }, { stamp: 2, cells: [[1, 2]] as const }];
  const decoded = decodeRowBlock(madeBlock({ rows }));
  if (decoded.kind === "malformed") throw new Error(decoded.why);
  const clocks = decoded.rows.map(({ clock, cells }) => [
    ...[clock.ms, clock.cl],
    ...cells.flatMap(({ column, stamp }) => [column, stamp.ms]),
  ]);
  // Clocks of one stamp that differ in nothing but their causal length are two.
  expect(clocks).toEqual([
    [2, 1, "a", 2],
    [2, 2],
    [2, 1, "a", 2, "b", 3],
    [3, 1, "b", 3],
  ]);
  const row = (one: MadeRow): Made => ({ rows: [{}, one] });
  const refused: readonly [Made, string][] = [
    [{ version: 0 }, "row block: version 1, got 0"],
    [{ version: 2 }, "row block: version 1, got 2"],
    [{ stampSite: 1 }, "stamp site: index below 1, got 1"],
    [{ tableName: "T" }, "table name: a name in ASCII lower case"],
    [{ tableName: "" }, "table name: a name in ASCII lower case"],
    [{ columnNames: ["a", "B"] }, "column name: a name in ASCII lower case"],
    [{ rowCount: 20 }, "rows: 20 don't fit in"],
    [{ rowCount: 0 }, "row block"],
    [{ after: [0] }, "row block"],
    [row({ table: 1 }), "row table: index below 1, got 1"],
    [row({ flags: 1 }), "row flags: 0 in version 1, got 1"],
    [row({ key: new Uint8Array([]) }), "key: not a canonical key"],
    [row({ key: new Uint8Array([1, 0]) }), "key: not a canonical key"],
    [row({ key: new Uint8Array([1, 3, 2, 0x6b]) }), "key: not a canonical key"],
    [row({ stamp: 3 }), "row stamp: index below 3, got 3"],
    [row({ cl: 0 }), "causal length: at least 1, got 0"],
    [row({ cells: [[2, 1]] }), "cell column: index below 2, got 2"],
    [row({ cells: [[0, 3]] }), "cell stamp: index below 3, got 3"],
    [row({ cells: [...cells, [1, 2]] }), 'cells: ascending by column, got "b" after "b"'],
    [row({ cells: [...cells].reverse() }), 'cells: ascending by column, got "a" after "b"'],
    // A cell that is older than its row's life is of another one.
    [row({ cells: [[0, 0]] }), 'cell "a": stamp below its row\'s'],
  ];
  for (const [made, why] of refused) {
    const got = decodeRowBlock(madeBlock(made));
    const told = { made, why: got.kind === "malformed" ? got.why : "nothing" };
    expect(told).toEqual({ made, why: expect.stringContaining(why) });
  }
});

import { expect, test } from "bun:test";
import fc from "fast-check";
import { bytesToHex } from "../bytes/hex.ts";
import { ByteWriter } from "../bytes/writer.ts";
import type { Site } from "../clock/stamp.ts";
import { RowBlockWriter } from "./row-block.ts";

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

import { expect, test } from "bun:test";
import fc from "fast-check";
import { RawText, Real, type SqlValue } from "../../core/row/value.ts";
import { openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { NotUtf8Error, sqlValuesToJson } from "../api/json-writer.ts";
import { LineWriter } from "./line-writer.ts";

function value(): fc.Arbitrary<SqlValue> {
  return fc.oneof(
    fc.string({ unit: "binary" }),
    fc.string({ unit: "grapheme-ascii", maxLength: 300 }),
    fc.constantFrom('"', "\\", "\n", "\u007f", "\u2028", "é", "🎈", "", "a".repeat(20_000)),
    fc.maxSafeInteger(),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.double({ noNaN: true }).map((real) => new Real(real)),
    fc.uint8Array(),
    fc.constant(null),
  );
}

test("a row's bytes are those of the JSON writer", () => {
  using database = openDatabase("/lines.db", { vfs: new MemoryVfs() });
  const lines = new LineWriter();
  fc.assert(
    fc.property(fc.array(value(), { minLength: 1, maxLength: 5 }), fc.nat(), (values, number) => {
      using statement = database.prepare(`SELECT ${values.map(() => "?").join(",")}`);
      statement.bindAll(values);
      statement.step();
      const wanted = `{"row":[${number},${sqlValuesToJson(statement.row())}]}\n`;
      lines.row(number, statement);
      expect(lines.length).toBe(Buffer.byteLength(wanted));
      expect(Buffer.from(lines.take()).toString()).toBe(wanted);
    }),
    { numRuns: 50 },
  );
});

test("a row with TEXT that isn't UTF-8 is refused, and leaves nothing behind", () => {
  using database = openDatabase("/lines.db", { vfs: new MemoryVfs() });
  using statement = database.prepare("SELECT 'before', ?");
  statement.bind(1, new RawText(new Uint8Array([0x61, 0xff])));
  statement.step();
  const lines = new LineWriter();
  lines.ascii("x\n");
  expect(() => lines.row(1, statement)).toThrow(NotUtf8Error);
  expect(Buffer.from(lines.take()).toString()).toBe("x\n");
});

import { expect, test } from "bun:test";
import fc from "fast-check";
import { ByteWriter } from "../../bytes/writer.ts";
import {
  decodeClockLogRow,
  type LoggedTable,
  readClockLog,
  writeClockLogRow,
} from "./clock-log.ts";

const clock = fc.option(fc.uint8Array({ minLength: 1, maxLength: 600 }), { freq: 4 });
const tables = fc
  .uniqueArray(fc.string({ unit: "binary", minLength: 1, maxLength: 80 }), { maxLength: 3 })
  .chain((names) =>
    fc.tuple(
      ...names.map((name) =>
        fc
          .array(fc.tuple(fc.maxSafeInteger(), clock), { minLength: 1, maxLength: 5 })
          .map((entries): LoggedTable => ({ name, fresh: new Map(entries) })),
      ),
    ),
  );

function encoded(logged: readonly LoggedTable[]): Uint8Array {
  const writer = new ByteWriter(64);
  writeClockLogRow(writer, logged);
  return writer.finish();
}

test("a log row says what was written, and a part of one says nothing", () => {
  fc.assert(
    fc.property(tables, fc.nat(), (logged, at) => {
      const bytes = encoded(logged);
      const wanted = new Map(logged.map(({ name, fresh }) => [name, fresh]));
      expect(decodeClockLogRow(bytes)).toEqual(wanted as ReturnType<typeof decodeClockLogRow>);
      const cut = decodeClockLogRow(bytes.subarray(0, at % bytes.length));
      // Between two tables it is one of fewer.
      if (cut !== undefined)
        for (const [name, clocks] of cut) expect(clocks).toEqual(wanted.get(name) as typeof clocks);
    }),
  );
});

test("decoding never throws, whatever the bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      for (const input of [bytes, Uint8Array.of(1, ...bytes)]) decodeClockLogRow(input);
    }),
    { examples: [[Uint8Array.of(1, 1, 97, 0xff, 0xff, 0xff, 0xff, 0x0f)]], numRuns: 500 },
  );
});

test("of a log the newest clocks of each row count, and nothing before a row that is damaged", () => {
  const row = (...entries: [number, number | null][]) =>
    encoded([
      {
        name: "t",
        fresh: new Map(entries.map(([id, c]) => [id, c === null ? null : Uint8Array.of(c)])),
      },
    ]);
  const oldest = row([1, 10], [2, 20], [3, 30]);
  const newest = row([1, 11], [2, null]);
  const clocks = (...rows: unknown[]) => {
    const { tables: read, rows: count } = readClockLog(rows);
    return [count, [...(read.get("t") ?? [])].map(([id, c]) => [id, c?.[0] ?? null])];
  };
  expect(clocks(newest, oldest)).toEqual([
    2,
    [
      [1, 11],
      [2, null],
      [3, 30],
    ],
  ]);
  // What is damaged may have said that the clock table has row 3's clocks again.
  expect(clocks(newest, Uint8Array.of(9), oldest)).toEqual([
    1,
    [
      [1, 11],
      [2, null],
    ],
  ]);
  expect(clocks(null, oldest)).toEqual([0, []]);
});

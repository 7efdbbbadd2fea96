import { expect, test } from "bun:test";
import { openMemory } from "../../../test/generators/sqlite-store.ts";
import { ClockRows } from "./clock-rows.ts";

// One statement takes 64, 16, 4 or 1.
test("any number of rows is written, over what is there at their rowids", () => {
  for (const count of [0, 1, 3, 4, 21, 64, 65, 149]) {
    using db = openMemory();
    db.exec("CREATE TABLE patina_clock_t (id INTEGER PRIMARY KEY, clock BLOB NOT NULL, held BLOB)");
    db.exec("INSERT INTO patina_clock_t VALUES (1, x'00', x'01'), (-7, x'00', NULL)");
    using rows = new ClockRows(db, "t");
    const all = Array.from({ length: count }, (_, i) => ({
      rowid: i === 2 ? -9223372036854775808n : i,
      clock: Uint8Array.of(i, 1),
    }));
    rows.put(all, 1, count);
    const written = new Map<number | bigint, unknown[]>([
      [1, [Uint8Array.of(0), Uint8Array.of(1)]],
      [-7, [Uint8Array.of(0), null]],
    ]);
    for (const { rowid, clock } of all.slice(1)) written.set(rowid, [clock, null]);
    expect(
      new Map(db.all("SELECT * FROM patina_clock_t").map(([id, ...row]) => [id, row])),
    ).toEqual(written as never);
  }
});

test("the clocks of one row are replaced, and a row that has none gets none", () => {
  using db = openMemory();
  db.exec("CREATE TABLE patina_clock_t (id INTEGER PRIMARY KEY, clock BLOB NOT NULL, held BLOB)");
  db.exec("INSERT INTO patina_clock_t VALUES (1, x'00', x'01'), (2, x'00', NULL)");
  using rows = new ClockRows(db, "t");
  rows.replace(1, Uint8Array.of(5));
  rows.replace(3, Uint8Array.of(6));
  expect(db.all("SELECT * FROM patina_clock_t ORDER BY id")).toEqual([
    [1, Uint8Array.of(5), null],
    [2, Uint8Array.of(0), null],
  ]);
});

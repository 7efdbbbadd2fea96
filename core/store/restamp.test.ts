import { expect, test } from "bun:test";
import { SqliteNode } from "../../test/generators/sqlite-store.ts";
import { createDigester, siteOf } from "../../test/model/history.ts";
import { HlcClock } from "../clock/hlc-clock.ts";
import type { Stamp } from "../clock/stamp.ts";
import { encodeKey } from "../row/key.ts";
import type { RowState } from "../row/row-state.ts";
import { MapStore } from "./map-store.ts";
import { restamp, restampMs } from "./restamp.ts";
import type { RowStore } from "./row-store.ts";

const nowMs = 1_764_000_000_000;
const far = nowMs + 400_000_000_000;
const limit = nowMs + restampMs;
const [own, former, other] = [siteOf(0), siteOf(1), siteOf(2)];
const isOwn = (site: string): boolean => site === own || site === former;
const at = (ms: number, site = own): Stamp => ({ ms, count: 0, site });

function row(key: string, clock: Stamp, cells: Record<string, Stamp>, cl = 1): RowState {
  return {
    ...{ table: "t", key: encodeKey([key]) as Uint8Array, clock: { ...clock, cl } },
    cells: Object.entries(cells).map(([column, stamp]) => ({ column, stamp, value: "up" })),
  };
}

const rows: RowState[] = [
  row("all", at(far), { a: at(far), b: at(far + 5) }),
  row("of an earlier site", at(far, former), { a: at(far, former) }),
  // What may have been accepted stays, and what comes after it comes after it.
  row("below", at(limit), { a: at(limit), b: at(far) }),
  row("deleted", at(far), {}, 2),
  row("somebody else's cell", at(far), { a: at(far + 9, other), b: at(far) }),
  row("somebody else's row", at(far, other), { a: at(far + 9) }),
  row("sound", at(nowMs - 5), { a: at(nowMs - 5, other) }),
];

const sqlite = new SqliteNode("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a, b)", {
  digester: createDigester(),
});
const stores: [string, RowStore, HlcClock][] = [
  ["map", new MapStore(createDigester()), new HlcClock(own, at(far + 5))],
  ["sqlite", sqlite.store, sqlite.clock],
];

for (const [name, store, clock] of stores) {
  test(`own clocks beyond the limit get one stamp a row, all others stay: ${name}`, () => {
    clock.observe(at(far + 5));
    store.merge(rows);
    const done = restamp(store, clock, { nowMs, isOwn });
    expect(done).toMatchObject({ rows: 5, leftMs: far + 9 });
    // After everything kept, and no later than that.
    const fresh = { ms: limit, count: 1, site: own };
    expect(clock.last).toEqual({ ms: limit, count: 1 });
    expect(store.read(rows)).toEqual([
      row("all", fresh, { a: fresh, b: fresh }),
      row("of an earlier site", fresh, { a: fresh }),
      row("below", at(limit), { a: at(limit), b: fresh }),
      row("deleted", fresh, {}, 2),
      row("somebody else's cell", fresh, { a: at(far + 9, other), b: fresh }),
      row("somebody else's row", at(far, other), { a: at(far + 9) }),
      row("sound", at(nowMs - 5), { a: at(nowMs - 5, other) }),
    ]);
    // Told at once, but for the row that nobody would take; a tombstone among them is urgent.
    expect(
      done.changesets.map(({ stamp, lane, rows: told }) => [stamp, lane, told.length]),
    ).toEqual([[fresh, 0, 4]]);
    expect(restamp(store, clock, { nowMs, isOwn })).toMatchObject({ rows: 0, changesets: [] });
  });
}

test("the stored HLC is set back in the same transaction, and what is shown stays", () => {
  expect(sqlite.db.all("SELECT k, a, b FROM t ORDER BY k").length).toBe(6);
  const [hlc] = sqlite.db.all("SELECT hex(value) FROM patina_state WHERE name = 'hlc'")[0] ?? [];
  expect(Number.parseInt(String(hlc).slice(0, 12), 16)).toBe(limit);
  expect(sqlite.strays()).toEqual([]);
});

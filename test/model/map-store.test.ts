import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Stamp } from "../../core/clock/stamp.ts";
import type { SqlValue } from "../../core/row/value.ts";
import { createDigester, keyOf, siteOf, startMs } from "./history.ts";
import { type LocalWrite, MapStore } from "./map-store.ts";

const digester = createDigester();
const row = { table: "t", key: keyOf(1) };

function at(ms: number): Stamp {
  return { ms: startMs + ms, count: 0, site: siteOf(0) };
}

function put(values: Record<string, SqlValue>, key = 1): LocalWrite {
  return { kind: "put", table: "t", key: keyOf(key), values: new Map(Object.entries(values)) };
}

const gone: LocalWrite = { kind: "delete", ...row };

/** The clock of the only row and its cells as `column@ms=value`. */
function shape(store: MapStore): string {
  const [state] = store.read([row]);
  if (state === undefined) return "none";
  const cells = state.cells.map(
    ({ column, stamp, value }) => `${column}@${stamp.ms - startMs}=${value}`,
  );
  return [`cl ${state.clock.cl}@${state.clock.ms - startMs}`, ...cells].join(" ");
}

test("a commit is net: one row, one state, one stamp", () => {
  const store = new MapStore(digester);
  const { changeset, merged } = store.commit([put({ x: 1, y: 1 }), put({ x: 2 })], at(1));
  expect(changeset?.rows.length).toBe(1);
  expect(merged).toMatchObject([{ before: undefined, changed: true, conflict: false }]);
  expect(shape(store)).toBe("cl 1@1 x@1=2 y@1=1");
});

test("a cell set to the value it has leaves no trace, also by way of another value", () => {
  const store = new MapStore(digester);
  store.commit([put({ x: 1, y: 1 })], at(1));
  expect(store.commit([put({ x: 1 })], at(2))).toEqual({ changeset: undefined, merged: [] });
  expect(store.commit([put({ x: 5 }), put({ x: 1 })], at(3)).changeset).toBe(undefined);
  store.commit([put({ x: 1, y: 2 })], at(4));
  expect(shape(store)).toBe("cl 1@1 x@1=1 y@4=2");
});

test("delete and insert in one commit net to an update, insert and delete to nothing", () => {
  const store = new MapStore(digester);
  expect(store.commit([put({ x: 1 }), gone], at(1)).changeset).toBe(undefined);
  expect(shape(store)).toBe("none");
  store.commit([put({ x: 1, y: 1 })], at(2));
  store.commit([gone, put({ x: 2, y: 1 })], at(3));
  expect(shape(store)).toBe("cl 1@2 x@3=2 y@2=1");
  store.commit([gone], at(4));
  expect(shape(store)).toBe("cl 2@4");
  expect(store.commit([gone], at(5)).changeset).toBe(undefined);
  store.commit([put({ x: 3 })], at(6));
  expect(shape(store)).toBe("cl 3@6 x@6=3");
  expect(store.valuesOf(row)).toEqual(new Map([["x", 3]]));
});

test("a changeset merged elsewhere gives the same state, and clocks computed anew are those kept", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({ key: fc.nat(2), x: fc.option(fc.nat(2)), y: fc.nat(2), kill: fc.nat(4) }),
        { maxLength: 20 },
      ),
      (steps) => {
        const store = new MapStore(digester);
        const other = new MapStore(digester);
        steps.forEach(({ key, x, y, kill }, i) => {
          const write: LocalWrite =
            kill === 0 ? { kind: "delete", table: "t", key: keyOf(key) } : put({ x, y }, key);
          const { changeset } = store.commit([write], at(i));
          if (changeset !== undefined) other.merge(changeset.rows);
        });
        expect([...other.states()]).toEqual([...store.states()]);
        for (const { key, clocks, table } of store.scan(undefined, 100).rows) {
          const [state] = store.read([{ table, key }]);
          expect(state && digester.clocksOf(state)).toEqual(clocks);
        }
      },
    ),
    { seed: 5 },
  );
});

test("a copy goes its own way", () => {
  const store = new MapStore(digester);
  store.commit([put({ x: 1 })], at(1));
  const disk = store.copy();
  store.commit([put({ x: 2 }), put({ x: 1 }, 2)], at(2));
  expect([disk.size, shape(disk)]).toEqual([1, "cl 1@1 x@1=1"]);
  disk.commit([gone], at(3));
  expect(shape(store)).toBe("cl 1@1 x@2=2");
});

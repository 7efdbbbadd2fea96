/**
 * All histories of small scopes (`search.ts`), not some that were drawn. `PATINA_TEST_SCOPE_DEEPER=1` takes each of them
 * a step further, and ten times as long.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { decodeChangeset, encodeChangeset } from "../../core/change/changeset.ts";
import { isLive } from "../../core/clock/row-clock.ts";
import type { RowState } from "../../core/row/row-state.ts";
import { type Commit, type ScopeHost, SqliteHost } from "./hosts.ts";
import { columns } from "./said.ts";
import { scopes, sqliteScope, worldOf } from "./scopes.ts";
import { search } from "./search.ts";
import type { Statement } from "./statements.ts";

const deeper = Number(process.env.PATINA_TEST_SCOPE_DEEPER ?? 0);
const timeoutMs = deeper === 0 ? 120_000 : 3_600_000;

for (const scope of scopes(deeper)) {
  test(
    scope.name,
    () => {
      const { states, transitions } = search(scope);
      // Else it looks no further than its first steps.
      expect(states).toBeGreaterThan(40);
      expect(transitions).toBeGreaterThan(2 * states);
    },
    timeoutMs,
  );
}

// A search that finds nothing may be looking at nothing.

/** A host that doesn't know what its statements name: "down" that is said again leaves no trace. */
class Mumbling extends SqliteHost {
  override write(statement: Statement, key: string, nowMs: number): Commit | undefined {
    return super.write({ ...statement, names: [] }, key, nowMs);
  }
}

/** What it hears goes through `change` first. */
function hearing(change: (row: RowState, nowMs: number) => RowState[]) {
  return class extends SqliteHost {
    override hear(bytes: Uint8Array, nowMs: number): void {
      const decoded = decodeChangeset(bytes);
      if (decoded.kind === "malformed") throw new Error(decoded.why);
      const { changeset } = decoded;
      const rows = changeset.rows.flatMap((row) => change(row, nowMs));
      if (rows.length > 0) super.hear(encodeChangeset({ ...changeset, rows }), nowMs);
    }
  };
}

/** Whatever comes last wins. */
const Gullible = hearing((row, ms) => {
  const late = { ms, count: 0 };
  const cells = row.cells.map((cell) => ({ ...cell, stamp: { ...cell.stamp, ...late } }));
  return [{ ...row, clock: { ...row.clock, ...late }, cells }];
});

const Sentimental = hearing((row) => (isLive(row.clock) ? [row] : []));

/** It takes a row that it hears of for the first time. */
const Miscounting = hearing((row) => [
  { ...row, clock: { ...row.clock, cl: 2 - (row.clock.cl % 2) } },
]);

const faults: readonly [string, new (index: number, has: typeof columns) => ScopeHost, RegExp][] = [
  ["doesn't stamp again what is said again", Mumbling, /down.*\n.*down[\s\S]*says something/],
  ["takes what came last for what was said last", Gullible, /hears changeset[\s\S]*holds cl/],
  ["doesn't hear of deletes", Sentimental, /delete[\s\S]*hears[\s\S]*, not cl 2/],
  ["doesn't count lives", Miscounting, /delete[\s\S]*hears[\s\S]*holds cl 1.*, not cl 3/],
];

for (const [what, Host, found] of faults) {
  test(
    `the search finds a host that ${what}`,
    () => {
      const createWorld = worldOf(2, (index) =>
        index === 0 ? new Host(index, columns) : new SqliteHost(index, columns),
      );
      expect(() => search({ ...sqliteScope, createWorld })).toThrow(found);
    },
    timeoutMs,
  );
}

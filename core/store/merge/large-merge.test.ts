import { expect, test } from "bun:test";
import fc from "fast-check";
import { sites, sqlValue } from "../../../test/generators/rows.ts";
import { shownRows } from "../../../test/generators/shown-rows.ts";
import { SqliteNode } from "../../../test/generators/sqlite-store.ts";
import { createDigester } from "../../../test/model/history.ts";
import type { Stamp } from "../../clock/stamp.ts";
import { encodeKey } from "../../row/key.ts";
import type { RowState } from "../../row/row-state.ts";
import type { SqlValue } from "../../row/value.ts";

const schema = `
CREATE TABLE t (
  k INTEGER PRIMARY KEY, a TEXT NOT NULL DEFAULT 'none', b INTEGER DEFAULT 3, c REAL, d,
  g TEXT AS (lower(a) || coalesce(b, 'x')) VIRTUAL, CHECK (b < 10), CHECK (a <> 'up')
);
CREATE INDEX t_a ON t (length(a), b) WHERE d IS NOT NULL;
CREATE TABLE w (k BLOB PRIMARY KEY, a NUMERIC, b BLOB) WITHOUT ROWID;
`;

// The most rows that a commit may have, all at once, with values that fit nowhere.
test("100,000 odd rows of any table are taken in one merge, and again, and in the other order", () => {
  const digester = createDigester();
  using node = new SqliteNode(schema, { digester });
  const values = fc.sample(sqlValue(), { numRuns: 997, seed: 1 });
  const value = (n: number) => values[n % values.length] as SqlValue;
  const stampOf = (n: number): Stamp => ({
    ...{ ms: 1000 + (n % 7), count: n % 3, site: sites[n % sites.length] as Stamp["site"] },
  });
  const rows = Array.from({ length: 100_000 }, (_, n): RowState => {
    const clock = { ...stampOf(n), cl: n % 10 === 0 ? 2 : 1 };
    const [table, columns] = (
      [
        ["t", ["a", "b", "c", "d", "g"]],
        ["w", ["a", "b", "unknown"]],
        ["elsewhere", ["a"]],
      ] as const
    )[n % 3] as readonly [string, readonly string[]];
    // Integers, texts and blobs: some are no key of their table.
    const part = [n, `key ${n}`, new Uint8Array([n >> 16, n >> 8, n])][
      n % 4 === 0 ? 1 + (n % 2) : 0
    ];
    return {
      ...{ table, key: encodeKey([part as SqlValue]) as Uint8Array, clock },
      cells:
        clock.cl === 2
          ? []
          : columns.map((column, i) => ({ column, stamp: clock, value: value(n * 5 + i) })),
    };
  });
  const merged = node.store.merge(rows);
  expect(merged.filter(({ changed }) => changed).length).toBe(rows.length);
  const { schema: planned } = node.store;
  for (const name of ["t", "w"]) {
    const shown = node.db.all(`SELECT count(*) FROM ${name}`);
    expect(shown).toEqual([[shownRows(planned, name, rows).length]]);
  }
  const some = rows.filter((_, n) => n % 60 === 3);
  expect(node.db.all("SELECT k, a, b, c, d FROM t WHERE k % 60 = 3 ORDER BY k")).toEqual(
    shownRows(planned, "t", some),
  );
  const isAgain = node.store.merge(rows.toReversed()).some(({ changed }) => changed);
  expect(isAgain).toBe(false);
  expect(node.strays()).toEqual([]);
  node.db.exec("PRAGMA ignore_check_constraints = ON");
  expect(node.db.all("PRAGMA integrity_check")).toEqual([["ok"]]);
}, 120_000);

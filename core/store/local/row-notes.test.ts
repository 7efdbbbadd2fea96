/** Rows that come one after the other aren't noted one by one. What becomes of them must not depend on it. */

import { expect, test } from "bun:test";
import fc from "fast-check";
import { SqliteNode } from "../../../test/generators/sqlite-store.ts";

const schema = `
  CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, v);
  CREATE TABLE i (id INTEGER PRIMARY KEY, v);
`;

let keys = 0;
const rowid = fc.integer({ min: 1, max: 12 });
const count = fc.integer({ min: 1, max: 5 });
const statement = fc.oneof(
  { weight: 4, arbitrary: count.map((rows) => `INSERT INTO i (v) VALUES ${values("(0)", rows)}`) },
  count.map((rows) => `INSERT INTO t (k, v) VALUES ${values("('@', 0)", rows)}`),
  rowid.map((id) => `INSERT OR IGNORE INTO i VALUES (${id}, 1), (${id + 1}, 1), (${id + 2}, 1)`),
  rowid.map((id) => `REPLACE INTO i VALUES (${id}, 2), (${id + 1}, 2)`),
  rowid.map((id) => `INSERT INTO i VALUES (${id}, 3) ON CONFLICT DO UPDATE SET v = v + 1`),
  // Fails at its last row: those before it were told, and are taken back.
  rowid.map((id) => `INSERT INTO i SELECT value, 4 FROM json_each('[13, 14, 15, 16, ${id}]')`),
  rowid.map((id) => `UPDATE i SET v = v + 1 WHERE id >= ${id}`),
  rowid.map((id) => `UPDATE OR IGNORE i SET id = id + 1 WHERE id = ${id}`),
  rowid.map((id) => `DELETE FROM i WHERE id IN (${id}, ${id + 1})`),
  fc.constantFrom("SAVEPOINT s", "ROLLBACK TO s", "RELEASE s"),
);

function values(row: string, rows: number): string {
  return new Array(rows).fill(row).join(", ");
}

test("what is sent of runs of inserts, whatever else is done to them, is what there is", () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(statement, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 4 }),
      fc.boolean(),
      (transactions, isRolledBack) => {
        using one = new SqliteNode(schema);
        using other = new SqliteNode(schema, { site: 1 });
        transactions.forEach((statements, at) => {
          one.store.begin();
          for (const sql of statements) {
            try {
              one.db.exec(sql.replaceAll("@", () => `k${keys++}`));
            } catch {
              // A key that is there, or a savepoint that isn't.
            }
          }
          if (isRolledBack && at === 0) one.store.rollback();
          else {
            const result = one.store.commit(1_000 + at);
            expect(result.kind).toBe("committed");
            if (result.kind === "committed" && result.changeset !== undefined) {
              other.store.merge(result.changeset.rows);
            }
          }
          for (const table of ["t", "i"]) expect(other.table(table)).toEqual(one.table(table));
          expect([one.strays(), other.strays()]).toEqual([[], []]);
        });
      },
    ),
    { numRuns: 40 },
  );
});

test("a row that is counted where another had moved, which was taken back, has nothing of that one", () => {
  using wide = new SqliteNode("CREATE TABLE i (id INTEGER PRIMARY KEY, v, later)", { site: 1 });
  using node = new SqliteNode(schema);
  wide.store.begin();
  wide.db.exec("INSERT INTO i VALUES (1, 'a', 'held here')");
  const said = wide.store.commit(1000);
  node.store.merge((said.kind === "committed" && said.changeset?.rows) || []);
  node.store.begin();
  node.db.exec("SAVEPOINT s; UPDATE i SET id = 5 WHERE id = 1; ROLLBACK TO s");
  node.db.exec("INSERT INTO i VALUES (4, 'b'), (5, 'a'), (6, 'c')");
  const result = node.store.commit(2000);
  const rows = (result.kind === "committed" && result.changeset?.rows) || [];
  expect(rows.map(({ cells }) => cells.map(({ column }) => column))).toEqual([["v"], ["v"], ["v"]]);
});

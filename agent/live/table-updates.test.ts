import { expect, test } from "bun:test";
import { SqliteNode, schemaOf } from "../../test/generators/sqlite-store.ts";
import { tableChanges } from "./table-changes.ts";
import { TableUpdates } from "./table-updates.ts";

const schema = schemaOf('CREATE TABLE "Öd" (k TEXT NOT NULL PRIMARY KEY, n INTEGER)');

test("keys are told in the order of commits, with what became of their rows, and nothing of rows that only moved", () => {
  using node = new SqliteNode(schema);
  let last = 0;
  const updates = new TableUpdates(
    (table) => schema.tables.has(table),
    () => ++last,
  );
  const lines: string[] = [];
  // SQLite folds ASCII letters, and no others.
  expect(updates.subscribe("öd", () => {})).toMatchObject({ kind: "refused", status: 400 });
  const outcome = updates.subscribe("ÖD", (event) => {
    lines.push(event.kind === "end" ? "end" : Buffer.from(event.bytes).toString());
  });
  expect([outcome.kind, updates.hasListeners]).toEqual(["subscribed", true]);
  const local = { tables: new Set(["Öd"]), moved: new Set(["Öd"]) };
  node.store.watch({
    committing: (merged) => updates.changed(tableChanges(merged, local, () => true)),
    committed() {},
  });
  node.write(`INSERT INTO "Öd" VALUES ('a', 1), ('b', 2)`);
  node.write(`UPDATE "Öd" SET n = 3 WHERE k = 'a'`, `DELETE FROM "Öd" WHERE k = 'b'`);
  node.write(`INSERT OR REPLACE INTO "Öd" VALUES ('a', 3)`);
  updates.unsubscribe(last);
  node.write(`DELETE FROM "Öd"`);
  expect(lines.map((text) => text.trim().split("\n").sort())).toEqual([
    ['{"notify":["update",["a"]]}', '{"notify":["update",["b"]]}'],
    ['{"notify":["delete",["b"]]}', '{"notify":["update",["a"]]}'],
  ]);
});

import { expect, test } from "bun:test";
import { SqliteNode } from "../../../test/generators/sqlite-store.ts";
import { siteOf } from "../../../test/model/history.ts";
import { siteToBytes } from "../../row/digest.ts";
import { StoredOrdinals } from "./ordinals.ts";

// Rows are sent by these bytes: another site's would put its stamp under a row.
test("a number that a rollback took back stands for what gets it next, in bytes too", () => {
  using node = new SqliteNode("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL)");
  const ordinals = new StoredOrdinals(node.db);
  const lives = new Set([ordinals.life]);
  const taken: number[][] = [];
  for (const [n, column] of [
    [7, "first"],
    [8, "second"],
  ] as const) {
    node.db.exec("BEGIN");
    const [site, name] = [ordinals.siteOrdinal(siteOf(n)), ordinals.columnOrdinal(column)];
    taken.push([site, name]);
    expect(ordinals.siteBytes(site)).toEqual(siteToBytes(siteOf(n)));
    expect(Buffer.from(ordinals.columnText(name)).toString()).toEndWith(column);
    node.db.exec("ROLLBACK");
    ordinals.forget();
    lives.add(ordinals.life);
    expect([ordinals.site(site), ordinals.column(name)]).toEqual([undefined, undefined]);
  }
  expect(taken[0]).toEqual(taken[1] as number[]);
  expect(lives.size).toBe(3);
});

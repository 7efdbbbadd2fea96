import { expect, test } from "bun:test";
import { createPlainAgent } from "../../test/contract/plain-agent.ts";

const schema = `
CREATE TABLE open (id INTEGER NOT NULL PRIMARY KEY, n INTEGER, name TEXT, key);
CREATE TABLE secret (id INTEGER NOT NULL PRIMARY KEY, n INTEGER);
CREATE INDEX secret_n ON secret (n);
`;

// The authorizer is never asked about `secret` here.
const sql = "SELECT open.id FROM open JOIN secret USING (n)";

test.each([
  sql,
  "SELECT count(*) FROM open JOIN patina_changes USING (key)",
  "SELECT count(*) FROM open NATURAL JOIN pragma_table_list",
  "SELECT count(*) FROM open JOIN pragma_table_info('secret') USING (name)",
  "SELECT count(*) FROM open NATURAL JOIN pragma_table_list, json_each('[1]')",
])("a token for some tables doesn't reach another by %s", async (sql) => {
  using agent = createPlainAgent(schema);
  const access = { mayWrite: true, tables: new Set(["open"]) };
  const text = (sql: string) => ({ sql, parameters: undefined });
  const why = { kind: "refused", status: 403 };
  const { service } = agent;
  expect(await service.query(text(sql), undefined, access)).toMatchObject(why);
  expect(
    await service.subscribe(text(sql), { from: undefined, skipRows: false }, () => {}, access),
  ).toMatchObject(why);
  const write = text(`UPDATE open SET n = 1 WHERE id IN (${sql})`);
  expect(await service.transact([write], undefined, access)).toMatchObject(why);
  for (const fine of ["SELECT n FROM open", "EXPLAIN SELECT n FROM open"]) {
    expect((await service.query(text(fine), undefined, access)).kind).toBe("rows");
  }
});

test.each([
  "SELECT o.id, j.value FROM open o JOIN open p USING (n) JOIN json_each(o.key) j",
  "SELECT count(*) FROM open NATURAL JOIN (SELECT value AS n FROM json_tree('[1, [2]]'))",
])("beside USING and NATURAL, lists in JSON are nobody's table: %s", async (sql) => {
  using agent = createPlainAgent(schema);
  const access = { mayWrite: true, tables: new Set(["open"]) };
  const text = { sql, parameters: undefined };
  const { service } = agent;
  expect((await service.query(text, undefined, access)).kind).toBe("rows");
  expect(
    (await service.subscribe(text, { from: undefined, skipRows: false }, () => {}, access)).kind,
  ).toBe("subscribed");
  expect(
    service.live.describe().map(({ tables }) => tables.filter((name) => name !== "open")),
  ).toEqual([[expect.stringMatching(/^json_(each|tree)$/)]]);
});

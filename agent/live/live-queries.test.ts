import { expect, test } from "bun:test";
import { inserted, nextTurn, openLive, rowOf } from "../../test/contract/live-bare.ts";

const rows = { skipRows: false };
const row = (id: number) => `{"row":[${id},[${id}]]}`;
const change = (id: number, changeId: number) => `{"change":["insert",${id},[${id}],${changeId}]}`;
/** Without what the end of the rows took. */
const timeless = (lines: readonly string[]) =>
  lines.map((line) => line.replace(/"time":[^,]*,/, ""));
const head = '{"columns":["id"]}';
const eoq = (changeId: number) => `{"eoq":{"change_id":${changeId}}}`;

test("a new subscription isn't told again of a commit that its rows have in them", async () => {
  const { subscribe, commit, told } = openLive();
  // Of another one, so that commits are noted.
  await subscribe("SELECT n FROM t");
  commit(inserted(1, "a"), { t: [rowOf(1)] });
  const { lines } = await subscribe("SELECT id FROM t", rows);
  const count = await subscribe("SELECT count(*) FROM t");
  await told();
  commit(inserted(2, "a"), { t: [rowOf(2)] });
  await told();
  expect(timeless(lines)).toEqual([head, row(1), eoq(0), change(2, 1)]);
  expect(count.lines).toEqual(['{"change":["update",1,[2],1]}']);
});

test("who comes to one that is there finds what was committed, and hears of it no more", async () => {
  for (const sql of ["SELECT id FROM t", "SELECT DISTINCT id FROM t"]) {
    const { subscribe, commit, told } = openLive();
    const first = await subscribe(sql);
    commit(inserted(1, "a"), { t: [rowOf(1)] });
    const second = await subscribe(sql, rows);
    expect(first.lines).toEqual([change(1, 1)]);
    await told();
    commit(inserted(2, "a"), { t: [rowOf(2)] });
    await told();
    expect(first.lines).toEqual([change(1, 1), change(2, 2)]);
    expect(timeless(second.lines)).toEqual([head, row(1), eoq(1), change(2, 2)]);
  }
});

test("who comes back after everybody was gone finds what was committed meanwhile", async () => {
  for (const sql of ["SELECT id FROM t", "SELECT DISTINCT id FROM t"]) {
    const { live, subscribe, commit, told } = openLive();
    const first = await subscribe(sql);
    live.unsubscribe(first.subscriber, 0);
    commit(inserted(1, "a"), { t: [rowOf(1)] });
    await told();
    commit(inserted(2, "a"), { t: [rowOf(2)] });
    const lines: string[] = [];
    await live.attach(first.id, { from: undefined, skipRows: false }, (event) => {
      if (event.kind !== "lines") return;
      lines.push(...Buffer.from(event.bytes).toString().trim().split("\n"));
    });
    await told();
    expect(timeless(lines)).toEqual([head, row(1), row(2), eoq(2)]);
  }
});

test("who asks while a transaction is open waits for its end, and sees nothing of it", async () => {
  const { database, live, subscribe, commit, told } = openLive();
  const first = await subscribe("SELECT id FROM t");
  commit(inserted(1, "a"), { t: [rowOf(1)] });
  await told();
  database.exec(`BEGIN; ${inserted(2, "b")}`);
  const asked = ["", " WHERE n = 0"].map((where) => subscribe(`SELECT id FROM t${where}`, rows));
  const attached: string[] = [];
  const attaching = live.attach(first.id, { from: undefined, skipRows: false }, (event) => {
    if (event.kind === "lines") attached.push(Buffer.from(event.bytes).toString());
  });
  for (let turn = 0; turn < 10; turn++) await nextTurn();
  expect([live.listenerCount, attached]).toEqual([1, []]);
  database.exec("ROLLBACK");
  for (const { lines } of await Promise.all(asked)) {
    expect(timeless(lines).slice(0, 2)).toEqual([head, row(1)]);
    expect(lines).toHaveLength(3);
  }
  await attaching;
  expect(attached.join("")).toContain(`${row(1)}\n{"eoq"`);
});

test("who comes to one while a transaction is open has nobody look at what may be taken back", async () => {
  const { database, live, subscribe, commit, told } = openLive();
  database.exec(inserted(1, "a"));
  // As many as share one look for whom a row concerns.
  const names = ["w", "x", "y", "z"];
  const all = await Promise.all(
    names.map((name) => subscribe(`SELECT id FROM t WHERE name = '${name}'`)),
  );
  commit("UPDATE t SET name = 'x' WHERE id = 1", { t: [rowOf(1)] });
  database.exec("BEGIN; UPDATE t SET name = 'y' WHERE id = 1");
  const attaching = live.attach(all[0]?.id as string, { from: 0, skipRows: true }, () => {});
  for (let turn = 0; turn < 3; turn++) await nextTurn();
  database.exec("ROLLBACK");
  expect((await attaching).kind).toBe("subscribed");
  await told();
  expect(all.map(({ lines }) => lines)).toEqual([[], [change(1, 1)], [], []]);
});

test("after another schema what waited isn't told twice, and what comes is told", async () => {
  for (const sql of [
    "SELECT id FROM t",
    "SELECT DISTINCT id FROM t",
    "SELECT id FROM t WHERE n IN (0) LIMIT 9",
  ]) {
    const { database, live, subscribe, commit, told } = openLive();
    const { lines } = await subscribe(sql);
    commit(inserted(1, "a"), { t: [rowOf(1)] });
    database.exec("ALTER TABLE t ADD COLUMN more TEXT");
    live.schemaChanged();
    await told();
    expect(lines).toEqual([change(1, 1)]);
    commit(inserted(2, "a"), { t: [rowOf(2)] });
    await told();
    expect(lines).toEqual([change(1, 1), change(2, 2)]);
    expect(live.describe()[0]?.looked).toBe(2);
  }
});

test("another schema concerns those who read what has changed in it, and nobody else", async () => {
  const { database, live, subscribe, commit, told } = openLive();
  const sqls = [
    "SELECT id FROM u",
    "SELECT count(*) FROM u",
    "SELECT id FROM t",
    "SELECT count(*) FROM t",
    "SELECT t.id, u.id FROM t LEFT JOIN u ON u.id = t.n",
    "SELECT * FROM t",
  ];
  const all = await Promise.all(sqls.map((sql) => subscribe(sql)));
  const looked = () => live.describe().map((one) => one.looked);
  database.exec("CREATE TABLE more (id INTEGER PRIMARY KEY)");
  live.schemaChanged();
  expect(live.isBehind).toBe(false);
  database.exec("CREATE INDEX t_n ON t (n)");
  live.schemaChanged();
  await told();
  expect(looked()).toEqual([0, 0, 1, 1, 1, 1]);
  // A view may be of any table.
  database.exec("CREATE VIEW v AS SELECT id FROM u");
  live.schemaChanged();
  await told();
  expect(looked()).toEqual([1, 1, 2, 2, 2, 2]);
  // Other columns: what was told leads to nothing. And rows may be others that nobody told of.
  database.exec(`ALTER TABLE t ADD COLUMN more TEXT; ${inserted(1, "a")}`);
  live.schemaChanged();
  await told();
  expect(live.count).toBe(5);
  commit("INSERT INTO t (id, n) VALUES (2, 7)", { t: [rowOf(2)] });
  await told();
  expect(all.map(({ lines }) => lines)).toEqual([
    [],
    [],
    [change(1, 1), change(2, 2)],
    ['{"change":["update",1,[1],1]}', '{"change":["update",1,[2],2]}'],
    ['{"change":["insert",1,[1,null],1]}', '{"change":["insert",2,[2,null],2]}'],
    ['{"error":"the schema changed, and with it this query\'s columns: subscribe again"}', "end"],
  ]);
});

test("under another schema urgent news goes first, and who asks waits for nobody", async () => {
  // In each turn one is looked at.
  const { database, live, subscribe, commit } = openLive({ turnMsMax: 1e-6 });
  const names = Array.from({ length: 9 }, (_, i) => `n${i}`);
  const byName = (name: string) => `SELECT id FROM t WHERE name = '${name}'`;
  const all = await Promise.all(names.map((name) => subscribe(byName(name))));
  database.exec("CREATE INDEX t_n ON t (n)");
  live.schemaChanged();
  const looked = () => live.describe().map((one) => one.looked);
  expect(looked()).toEqual(names.map(() => 0));
  // The first is one that shares its statements with the others.
  const fresh = await subscribe(byName("n3"), rows);
  expect(timeless(fresh.lines)).toEqual([head, eoq(0)]);
  expect(looked().map((n) => n > 0)).toEqual(names.map((name) => name === "n3"));
  commit(inserted(1, "n5"), { t: [rowOf(1)] });
  live.tell(true);
  while (all[5]?.lines.length === 0) await nextTurn();
  expect(looked().filter((n) => n > 0).length).toBeLessThan(5);
  while (live.isBehind) await nextTurn();
  expect(looked().every((n) => n > 0)).toBe(true);
  expect(all.map(({ lines }) => lines.length)).toEqual(
    names.map((name) => (name === "n5" ? 1 : 0)),
  );
});

test("a table that has another key now is read by that, and rows keep their ids as far as they look the same", async () => {
  const { database, keys, live, subscribe, commit, told } = openLive();
  const sqls = ["SELECT name FROM t", "SELECT count(*) FROM t WHERE name IN ('a', 'b')"];
  const all = await Promise.all(sqls.map((sql) => subscribe(sql)));
  commit([1, 2, 3].map((id) => inserted(id, id === 3 ? "c" : "a")).join("; "), {
    t: [1, 2, 3].map((id) => rowOf(id)),
  });
  await told();
  for (const { lines } of all) lines.length = 0;
  database.exec(
    "DROP TABLE t; CREATE TABLE t (n INTEGER NOT NULL PRIMARY KEY, name TEXT, id INTEGER)",
  );
  database.exec("INSERT INTO t VALUES (7, 'a', 1), (9, 'a', 1)");
  keys.set("t", ["n"]);
  live.schemaChanged();
  await told();
  // Nothing is left to look at.
  const looked = () => live.describe().map((one) => one.looked);
  const before = looked();
  await Promise.all(sqls.map((sql) => subscribe(sql)));
  expect(looked()).toEqual(before);
  commit("INSERT INTO t VALUES (8, 'b', 1)", { t: [rowOf(8)] });
  await told();
  commit("DELETE FROM t WHERE name = 'a'", { t: [rowOf(7), rowOf(9)] });
  await told();
  expect(all.map(({ lines }) => lines)).toEqual([
    [
      '{"change":["delete",3,["c"],4]}',
      '{"change":["insert",4,["b"],5]}',
      '{"change":["delete",2,["a"],6]}',
      '{"change":["delete",1,["a"],7]}',
    ],
    ['{"change":["update",1,[3],2]}', '{"change":["update",1,[1],3]}'],
  ]);
});

test("what a query was found by under another schema is given back", async () => {
  const { database, keys, live, subscribe, told } = openLive();
  await subscribe("SELECT name FROM t WHERE n = 7");
  database.exec(
    "DROP TABLE t; CREATE TABLE t (id INTEGER, name TEXT NOT NULL PRIMARY KEY, n INTEGER)",
  );
  keys.set("t", ["name"]);
  live.schemaChanged();
  await told();
  expect(database.all("SELECT patina_v1 FROM temp.patina_parameter")).toEqual([[7], ["7"]]);
  expect(live.describe().map(({ how }) => how)).toEqual(["keyed"]);
  // All rows, those of one key, and who is concerned by one.
  const compiled = "SELECT count(*) FROM sqlite_stmt WHERE sql LIKE ?";
  expect(database.all(compiled, "% t WHERE%")).toEqual([[3]]);
});

test("what can't be counted group by group under another schema is run again, and goes on", async () => {
  const { database, live, subscribe, commit, told } = openLive();
  database.exec("CREATE INDEX t_name ON t (name)");
  live.schemaChanged();
  const { lines } = await subscribe("SELECT name, count(*) FROM t GROUP BY name");
  const how = () => live.describe().map((one) => one.how);
  expect(how()).toEqual(["grouped"]);
  database.exec("DROP INDEX t_name");
  live.schemaChanged();
  await told();
  expect(how()).toEqual(["rerun"]);
  const compiled = "SELECT count(*) FROM sqlite_stmt WHERE sql LIKE ?";
  expect(database.all(compiled, "%GROUP BY name")).toEqual([[1]]);
  commit(inserted(1, "a"), { t: [rowOf(1)] });
  await told();
  expect(lines).toEqual(['{"change":["insert",1,["a",1],1]}']);
});

test("the only group that becomes another one is found as that from then on", async () => {
  const { database, live, subscribe, told } = openLive();
  database.exec(`CREATE INDEX t_name ON t (name); ${inserted(1, "a")}`);
  live.schemaChanged();
  const write = async (sql: string): Promise<void> => {
    database.exec(`BEGIN; ${sql}`);
    const row = rowOf(1);
    const commit = { changes: () => new Map([["t", [row]]]), rows: undefined };
    live.committing(commit);
    database.exec("COMMIT");
    live.committed(commit);
    await told();
  };
  const { lines } = await subscribe("SELECT name, count(nullif(n, 0)) FROM t GROUP BY name");
  expect(live.describe().map(({ how }) => how)).toEqual(["grouped"]);
  await write("UPDATE t SET name = 'b' WHERE id = 1");
  await write("UPDATE t SET n = 7 WHERE id = 1");
  expect(lines).toEqual(['{"change":["update",1,["b",0],1]}', '{"change":["update",1,["b",1],2]}']);
});

test("who asks for what ends under another schema gets it as it is now; who comes back to it is told", async () => {
  for (const sql of ["SELECT * FROM t", "SELECT *, count(*) FROM t"]) {
    const { database, live, subscribe } = openLive();
    const first = await subscribe(sql);
    const idle = await subscribe(`${sql} WHERE n = 0`);
    live.unsubscribe(idle.subscriber, 0);
    database.exec("ALTER TABLE t ADD COLUMN more TEXT");
    live.schemaChanged();
    for (const where of ["", " WHERE n = 0"]) {
      const fresh = await subscribe(sql + where, rows);
      expect(fresh.lines[0]).toContain('"n","more"');
    }
    expect(first.lines.at(-1)).toBe("end");
    const options = { from: undefined, skipRows: false };
    expect(await live.attach(first.id, options, () => {})).toMatchObject({ status: 404 });
    expect(live.count).toBe(2);
  }
});

test("who asks for what another thread runs sees nothing of a transaction that is open when that ends", async () => {
  const steps = [Promise.withResolvers<void>(), Promise.withResolvers<void>()] as const;
  const lookBudget = { rerun: { ms: 0, bytes: 0 }, lookUpMs: 0 };
  const { database, keys, live, subscribe, commit, told } = openLive(
    { lookBudget },
    {
      async *rerun(_query, _known, onLent) {
        onLent();
        steps[0].resolve();
        await steps[1].promise;
        yield [];
      },
    },
  );
  const sql = "SELECT name FROM t";
  const first = await subscribe(sql);
  commit(inserted(1, "a"), { t: [rowOf(1)] });
  live.tell(true);
  await steps[0].promise;
  const second = subscribe(sql, rows);
  // It is another query by then, and no run's of the first one.
  database.exec(
    "DROP TABLE t; CREATE TABLE t (n INTEGER NOT NULL PRIMARY KEY, name TEXT, id INTEGER)",
  );
  database.exec("INSERT INTO t VALUES (7, 'b', 1)");
  keys.set("t", ["n"]);
  live.schemaChanged();
  database.exec("BEGIN; INSERT INTO t VALUES (8, 'never', 1)");
  steps[1].resolve();
  for (let turn = 0; turn < 3; turn++) await nextTurn();
  database.exec("ROLLBACK");
  expect(timeless((await second).lines)).toEqual([
    '{"columns":["name"]}',
    '{"row":[1,["b"]]}',
    eoq(1),
  ]);
  await told();
  expect(first.lines).toEqual(['{"change":["insert",1,["b"],1]}']);
});

test("a run that is given up while a transaction is open has nobody look at what may be taken back", async () => {
  const steps = [Promise.withResolvers<void>(), Promise.withResolvers<void>()] as const;
  const lookBudget = { rerun: { ms: 0, bytes: 0 }, lookUpMs: 1000 };
  const { database, live, subscribe, commit, told } = openLive(
    { lookBudget },
    {
      async *rerun(_query, _known, onLent) {
        onLent();
        steps[0].resolve();
        await steps[1].promise;
        yield [];
      },
    },
  );
  // As many as share one look for whom a row concerns.
  const all = await Promise.all(
    ["w", "x", "y", "z"].map((name) => subscribe(`SELECT id FROM t WHERE name = '${name}'`)),
  );
  const count = await subscribe("SELECT count(*) FROM t");
  commit(inserted(1, "a"), { t: [rowOf(1)] });
  live.tell(true);
  await steps[0].promise;
  live.unsubscribe(count.subscriber, 0);
  live.sweep(1e9);
  commit("UPDATE t SET name = 'x'", { t: [rowOf(1)] });
  database.exec("BEGIN; UPDATE t SET name = 'y'");
  steps[1].resolve();
  for (let turn = 0; turn < 3; turn++) await nextTurn();
  database.exec("ROLLBACK");
  await told();
  expect(all.map(({ lines }) => lines)).toEqual([[], [change(1, 1)], [], []]);
});

test("what another thread finds out while a transaction is open is told after that", async () => {
  const steps = [Promise.withResolvers<void>(), Promise.withResolvers<void>()] as const;
  const lookBudget = { rerun: { ms: 0, bytes: 0 }, lookUpMs: 0 };
  const { database, live, subscribe, commit, told } = openLive(
    { lookBudget },
    {
      async *rerun(_query, _known, onLent) {
        onLent();
        steps[0].resolve();
        await steps[1].promise;
        yield [{ identity: "[1]", cells: "[1]" }];
        yield { gone: new Uint32Array([0]), chars: 3, runMs: 0 };
      },
    },
  );
  const { lines } = await subscribe("SELECT count(*) FROM t");
  commit(inserted(1, "a"), { t: [rowOf(1)] });
  live.tell(true);
  await steps[0].promise;
  database.exec(`BEGIN; ${inserted(2, "never")}`);
  steps[1].resolve();
  for (let turn = 0; turn < 10; turn++) await nextTurn();
  expect(lines).toEqual([]);
  database.exec("ROLLBACK");
  await told();
  expect(lines).toEqual(['{"change":["update",1,[1],1]}']);
});

test("who asks which tables one reads while a transaction is open has nobody look at it", async () => {
  const { database, live, subscribe, told } = openLive();
  const { id, lines } = await subscribe("SELECT count(*) FROM t");
  database.exec("CREATE INDEX t_n ON t (n)");
  live.schemaChanged();
  database.exec(`BEGIN; ${inserted(1, "never")}`);
  const known = live.whenKnown(id);
  await nextTurn();
  database.exec("ROLLBACK");
  await known;
  await told();
  expect(lines).toEqual([]);
});

test("which tables one reads under another schema is known before anybody comes to it", async () => {
  const { database, live, subscribe, commit, told } = openLive();
  database.exec("CREATE VIEW v AS SELECT id FROM t");
  const { id } = await subscribe("SELECT id FROM v");
  expect(live.tablesOf(id)).toEqual(new Set(["t"]));
  database.exec("DROP VIEW v; CREATE VIEW v AS SELECT id FROM u");
  live.schemaChanged();
  await live.whenKnown(id);
  expect(live.tablesOf(id)).toEqual(new Set(["u"]));
  // And what it read before concerns it no more.
  const looked = () => live.describe()[0]?.looked;
  const before = looked();
  commit(inserted(1, "a"), { t: [rowOf(1)] });
  await told();
  expect(looked()).toBe(before);
});

test("a value is found in a column of no type, as it was written", async () => {
  const { database, subscribe, commit, told } = openLive();
  database.exec("DROP TABLE t; CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, name, n)");
  const values = ["1", "'1'", "2", "'2'", "3"];
  const all = await Promise.all(
    values.map((value) => subscribe(`SELECT id FROM t WHERE n = ${value}`)),
  );
  commit("INSERT INTO t VALUES (1, 'a', 1), (2, 'a', '2')", { t: [rowOf(1), rowOf(2)] });
  await told();
  expect(all.map(({ lines }) => lines)).toEqual([
    [change(1, 1)],
    [],
    [],
    ['{"change":["insert",1,[2],1]}'],
    [],
  ]);
});

test("a client's column that is named as keys and members are here is neither", async () => {
  const { subscribe, commit, told } = openLive();
  const wanted = [0, 1, 2, 3, 7];
  const ofMember = wanted.map((n) => `SELECT id AS "Patina_Member" FROM t WHERE n = ${n}`);
  const sqls = ["SELECT n AS patina_key_0 FROM t", ...ofMember];
  const all = await Promise.all(sqls.map((sql) => subscribe(sql)));
  commit("INSERT INTO t VALUES (5, 'a', 7)", { t: [rowOf(5)] });
  await told();
  const inserts = ['{"change":["insert",1,[7],1]}', '{"change":["insert",1,[5],1]}'];
  expect(all.map(({ lines }) => lines[0])).toEqual([
    inserts[0],
    ...wanted.map((n) => (n === 7 ? inserts[1] : undefined)),
  ]);
});

test("where an index is of some rows, or of what no column is, any change of a row that counts is one", async () => {
  for (const index of ["t (n) WHERE name = 'a'", "t (n + 1)"]) {
    const { database, subscribe, commit, told } = openLive();
    database.exec(`CREATE INDEX some ON ${index}; ${inserted(1, "a")}`);
    const { lines } = await subscribe("SELECT name, n FROM t WHERE name = 'a' ORDER BY n LIMIT 1");
    commit("UPDATE t SET n = 7", { t: [rowOf(1, "t", "n")] });
    await told();
    expect(lines).toEqual(['{"change":["update",1,["a",7],1]}']);
  }
});

test("when some are wanted no more, the others go on, whatever they shared", async () => {
  const { live, subscribe, commit, told, database } = openLive();
  const names = ["a", "b", "c", "d", "e", "f"];
  const byName = (name: string) => subscribe(`SELECT id FROM t WHERE name = '${name}'`);
  const [, gone, ...kept] = await Promise.all(names.map(byName));
  const otherShape = await subscribe("SELECT id FROM t WHERE n = 0");
  const counts = ["a", "b"].map((name) => `SELECT count(*) FROM t WHERE name IN ('${name}', 'f')`);
  const [goneCount, keptCount] = await Promise.all(counts.map((sql) => subscribe(sql)));
  for (const one of [gone, otherShape, goneCount]) live.unsubscribe(one?.subscriber as number, 0);
  live.sweep(1e9);
  expect(live.count).toBe(6);
  commit(inserted(1, "f"), { t: [rowOf(1)] });
  await told();
  expect(kept.map(({ lines }) => lines)).toEqual([[], [], [], [change(1, 1)]]);
  expect(keptCount?.lines).toEqual(['{"change":["update",1,[1],1]}']);
  for (const one of [...kept, keptCount]) live.unsubscribe(one?.subscriber as number, 0);
  live.sweep(1e9);
  // Of the first, who is still there.
  expect(live.describe().map((one) => one.shares_statements_with)).toEqual([0]);
  expect(database.all("SELECT patina_v1 FROM temp.patina_parameter")).toEqual([["a"]]);
});

test("a first row without an order is told of anew when the index that it is read by changes", async () => {
  const { database, subscribe, commit, told } = openLive();
  database.exec(`CREATE INDEX t_n ON t (n, name); ${inserted(1, "a")}; ${inserted(2, "b")}`);
  const { lines } = await subscribe("SELECT name FROM t INDEXED BY t_n LIMIT 1");
  commit("UPDATE t SET n = 7 WHERE id = 1", { t: [rowOf(1, "t", "n")] });
  await told();
  expect(lines).toEqual(['{"change":["update",1,["b"],1]}']);
});

test("a row that matches on the left no more is told, whatever its key is", async () => {
  for (const key of ["1.5", "9e300", "2"]) {
    const { database, subscribe, commit, told } = openLive();
    database.exec("DROP TABLE t; CREATE TABLE t (id REAL NOT NULL PRIMARY KEY, name TEXT)");
    database.exec(`INSERT INTO t VALUES (${key}, 'a'); INSERT INTO u VALUES (7, 'a', 1)`);
    const { lines } = await subscribe("SELECT u.n FROM t LEFT JOIN u ON u.name = t.name");
    commit("UPDATE u SET name = 'b'", { u: [rowOf(7, "u", "name")] });
    await told();
    expect(lines).toEqual(['{"change":["insert",2,[null],1]}', '{"change":["delete",1,[1],2]}']);
  }
});

test("a column's collation counts, on whichever side of = it stands", async () => {
  const { database, subscribe, commit, told } = openLive();
  database.exec("DROP TABLE t");
  database.exec(
    "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, name TEXT COLLATE NOCASE, n INTEGER)",
  );
  const names = ["A", "b", "c", "d", "e"];
  const all = await Promise.all(
    names.map((name) => subscribe(`SELECT id FROM t WHERE '${name}' = name`)),
  );
  commit(inserted(1, "a"), { t: [rowOf(1)] });
  await told();
  expect(all.map(({ lines }) => lines)).toEqual([[change(1, 1)], [], [], [], []]);
});

test("who was idle for ten minutes is kept, and no longer", async () => {
  const { live, subscribe } = openLive();
  const { subscriber } = await subscribe("SELECT id FROM t");
  await subscribe("SELECT n FROM t");
  live.unsubscribe(subscriber, 1000);
  live.sweep(601_000);
  expect(live.count).toBe(2);
  live.sweep(601_001);
  expect(live.count).toBe(1);
});

test("many that are wanted no more are forgotten some at a time", async () => {
  const { live, subscribe } = openLive();
  const all = [];
  for (let n = 0; n < 500; n++) all.push(await subscribe(`SELECT id FROM t WHERE n = ${n}`));
  for (const { subscriber } of all) live.unsubscribe(subscriber, 0);
  const counts = [live.count];
  // One of them has come back.
  await live.attach(all[450]?.id as string, { from: undefined, skipRows: true }, () => {});
  for (let sweeps = 0; sweeps < 4; sweeps++) {
    live.sweep(1e9);
    counts.push(live.count);
  }
  expect(counts).toEqual([500, 300, 100, 1, 1]);
});

test("many rows are handed to a reader in turns, and none to one that has gone", async () => {
  const { database, live, subscribe, told } = openLive();
  database.exec(
    "INSERT INTO t (id) WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 6000) SELECT x FROM c",
  );
  await subscribe("SELECT id FROM t");
  const [stays, goes] = await Promise.all([1, 2].map(() => subscribe("SELECT id FROM t", rows)));
  const begun = goes?.lines.length ?? 0;
  expect(begun).toBeLessThan(6000);
  live.unsubscribe(goes?.subscriber as number, 0);
  while (stays?.lines.at(-1)?.startsWith('{"eoq"') !== true) await nextTurn();
  await told();
  expect([stays.lines.length, goes?.lines.length]).toEqual([6002, begun]);
}, 60_000);

test("of a table without a key it isn't known which rows changed", async () => {
  const { database, subscribe, commit, told } = openLive();
  database.exec("CREATE TABLE bare (n INTEGER)");
  const { lines } = await subscribe("SELECT count(*) FROM bare WHERE n = 1");
  commit("INSERT INTO bare VALUES (1), (2)", { bare: "unknown" });
  await told();
  expect(lines).toEqual(['{"change":["update",1,[1],1]}']);
});

test("a part of a key names no row", async () => {
  const { database, keys, subscribe, commit, told } = openLive();
  database.exec("CREATE TABLE p (a INTEGER NOT NULL, b INTEGER NOT NULL, n, PRIMARY KEY (a, b))");
  database.exec("INSERT INTO p VALUES (1, 1, 'x'), (1, 2, 'y')");
  keys.set("p", ["a", "b"]);
  const [part, whole] = await Promise.all(
    ["a, n", "a, b, n"].map((columns) => subscribe(`SELECT DISTINCT ${columns} FROM p`)),
  );
  commit("UPDATE p SET n = 'z' WHERE b = 2", { p: "unknown" });
  await told();
  expect(part?.lines).toEqual([
    '{"change":["insert",3,[1,"z"],1]}',
    '{"change":["delete",2,[1,"y"],2]}',
  ]);
  expect(whole?.lines).toEqual(['{"change":["update",2,[1,2,"z"],1]}']);
});

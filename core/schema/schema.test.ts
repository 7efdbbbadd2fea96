import { expect, test } from "bun:test";
import { openMemory, problemsOf, schemaOf } from "../../test/generators/sqlite-store.ts";
import { problemToText, type TableRules } from "./schema.ts";
import { planSchema } from "./schema-plan.ts";
import { readSchema } from "./schema-reader.ts";

/** The only problem of a schema, without the file's name. */
function problemOf(sql: string, rules: Record<string, TableRules> = {}): string {
  const problems = problemsOf(sql, rules);
  expect(problems.length).toBe(1);
  return (problems[0] as string).replace("test.sql:", "");
}

test("a schema is read: names, keys, defaults, affinities", () => {
  const schema = schemaOf(
    `-- services
     CREATE TABLE IF NOT EXISTS "Services" (
       ID TEXT NOT NULL PRIMARY KEY,
       [Port] INTEGER NOT NULL DEFAULT '80',
       ratio REAL DEFAULT -1,
       label DEFAULT "",
       at DATETIME,
       up TEXT AS (lower(label)) VIRTUAL
     );
     CREATE TABLE w (a TEXT, b INTEGER, v, PRIMARY KEY (b, a)) WITHOUT ROWID;
     CREATE TABLE local (x TEXT UNIQUE, y TEXT DEFAULT CURRENT_TIMESTAMP) STRICT;`,
    { local: { replicated: false }, services: { urgent: "port IS NULL" } },
  );
  const services = schema.tables.get("services");
  expect(services).toMatchObject({
    name: "services",
    sqlName: "Services",
    withoutRowid: false,
    rowidAlias: false,
    rowidName: "rowid",
    replicated: true,
    urgent: "port IS NULL",
    file: "test.sql",
    line: 2,
  });
  expect(services?.keyColumns.map(({ name }) => name)).toEqual(["id"]);
  expect(
    services?.valueColumns.map(({ name, affinity, notNull, defaultValue }) => [
      name,
      affinity,
      notNull,
      defaultValue,
    ]),
  ).toEqual([
    ["at", "NUMERIC", false, null],
    ["label", "BLOB", false, ""],
    ["port", "INTEGER", true, 80],
    ["ratio", "REAL", false, { real: -1 } as never],
  ]);
  expect(schema.tables.get("w")?.keyColumns.map(({ name }) => name)).toEqual(["b", "a"]);
  expect(schema.tables.get("local")?.replicated).toBe(false);
  expect(schema.shapes).toEqual([
    {
      table: "services",
      columns: [
        { name: "id", type: "TEXT", default: null, key: 1 },
        { name: "port", type: "INTEGER", default: "'80'", key: 0 },
        { name: "ratio", type: "REAL", default: "-1", key: 0 },
        { name: "label", type: "", default: '""', key: 0 },
        { name: "at", type: "DATETIME", default: null, key: 0 },
      ],
    },
    {
      table: "w",
      columns: [
        { name: "a", type: "TEXT", default: null, key: 2 },
        { name: "b", type: "INTEGER", default: null, key: 1 },
        { name: "v", type: "", default: null, key: 0 },
      ],
    },
  ]);
});

test("implicit integer ids are warned of", () => {
  const { warnings } = schemaOf("CREATE TABLE t (id INTEGER PRIMARY KEY)");
  expect(warnings.map(problemToText)).toEqual([
    expect.stringMatching(/^test.sql:1: table t: SQLite hands out/),
  ]);
});

const key = "k TEXT PRIMARY KEY NOT NULL";

/** A table whose key has so many columns. */
function keyOf(columns: number): string {
  const names = Array.from({ length: columns }, (_, i) => `k${i}`);
  return `CREATE TABLE t (${names.join(" INT, ")} INT, PRIMARY KEY (${names})) WITHOUT ROWID`;
}

const refusals: [what: string, sql: string, why: RegExp][] = [
  ["STRICT", `CREATE TABLE t (${key}) STRICT`, /STRICT/],
  ["no primary key", "CREATE TABLE t (a)", /needs a PRIMARY KEY/],
  ["a key that may be NULL", "CREATE TABLE t (k TEXT PRIMARY KEY)", /^1: t\.k: SQLite allows NULL/],
  [
    "a key of two columns, one of which may be NULL",
    "CREATE TABLE t (a TEXT NOT NULL,\n b INT,\n PRIMARY KEY (a, b))",
    /^2: t\.b: SQLite allows NULL/,
  ],
  [
    "a key of more columns than a key may have",
    keyOf(65),
    /at most 64 columns in the PRIMARY KEY, got 65/,
  ],
  ["a key without a type", "CREATE TABLE t (k PRIMARY KEY NOT NULL)", /needs a type/],
  [
    "a key that isn't BINARY",
    "CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY NOT NULL)",
    /COLLATE NOCASE/,
  ],
  [
    "a key that isn't BINARY, WITHOUT ROWID",
    "CREATE TABLE t (k TEXT COLLATE rtrim, PRIMARY KEY (k)) WITHOUT ROWID",
    /COLLATE rtrim/i,
  ],
  [
    "a key that isn't BINARY in the constraint",
    "CREATE TABLE t (k TEXT NOT NULL, PRIMARY KEY (k COLLATE NOCASE))",
    /COLLATE NOCASE/,
  ],
  [
    "a column of the key that compares otherwise than the key",
    "CREATE TABLE t (k TEXT COLLATE NOCASE, PRIMARY KEY (k COLLATE BINARY)) WITHOUT ROWID",
    /^1: t\.k: COLLATE NOCASE/,
  ],
  ["AUTOINCREMENT", "CREATE TABLE t (k INTEGER PRIMARY KEY AUTOINCREMENT)", /AUTOINCREMENT/],
  ["UNIQUE", `CREATE TABLE t (${key}, u UNIQUE)`, /UNIQUE/],
  ["UNIQUE as a constraint", `CREATE TABLE t (${key}, u, UNIQUE (u, k))`, /UNIQUE/],
  [
    "a unique index",
    `CREATE TABLE t (${key}, u);\nCREATE UNIQUE INDEX x ON t (u)`,
    /^2: index x: UNIQUE/,
  ],
  ["FOREIGN KEY", `CREATE TABLE t (${key}, f REFERENCES t (k))`, /FOREIGN KEY/],
  [
    "FOREIGN KEY as a constraint",
    `CREATE TABLE t (${key}, f, FOREIGN KEY (f) REFERENCES t (k))`,
    /FOREIGN KEY/,
  ],
  [
    "NOT NULL without a default",
    `CREATE TABLE t (${key},\n n NOT NULL)`,
    /^2: t\.n: NOT NULL needs a DEFAULT/,
  ],
  [
    "NOT NULL with a default of NULL",
    `CREATE TABLE t (${key}, n NOT NULL DEFAULT NULL)`,
    /NOT NULL needs a DEFAULT/,
  ],
  [
    "a default that tells the time",
    `CREATE TABLE t (${key}, n DEFAULT CURRENT_TIMESTAMP)`,
    /is no literal/,
  ],
  ["a default that is computed", `CREATE TABLE t (${key}, n DEFAULT (1 + 1))`, /is no literal/],
  [
    "a default that is drawn",
    `CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL DEFAULT (hex(randomblob(16))))`,
    /is no literal/,
  ],
  [
    "JSON in a virtual column",
    `CREATE TABLE t (${key},\n j TEXT AS (json_extract(k, '$.a')))`,
    /^2: t\.j: json_extract can't stand alone in a generated column of .*: write CASE WHEN json_valid\(k\) THEN/,
  ],
  [
    "an arrow in a stored column",
    `CREATE TABLE t (${key}, j TEXT AS (k ->> '$.a') STORED)`,
    /->> can't stand/,
  ],
  [
    "a generated column that is NOT NULL",
    `CREATE TABLE t (${key}, g TEXT AS (k) NOT NULL)`,
    /can't be NOT NULL/,
  ],
  [
    "JSON in an index",
    `CREATE TABLE t (${key}, j);\nCREATE INDEX x ON t (\n json_extract(j, '$.a'))`,
    /^3: index x: json_extract can't/,
  ],
  [
    "JSON in a partial index",
    `CREATE TABLE t (${key}, j);\nCREATE INDEX x ON t (j) WHERE json_type(j) = 'text'`,
    /json_type can't/,
  ],
  [
    "arithmetic in an index",
    `CREATE TABLE t (${key}, j); CREATE INDEX x ON t (j + 1)`,
    /\+ can't stand/,
  ],
  ["abs in an index", `CREATE TABLE t (${key}, j); CREATE INDEX x ON t (abs(j))`, /abs can't/],
  [
    "LIKE in an index",
    `CREATE TABLE t (${key}, j); CREATE INDEX x ON t (j LIKE 'a%')`,
    /LIKE can't/,
  ],
  [
    "CAST in an index",
    `CREATE TABLE t (${key}, j); CREATE INDEX x ON t (CAST(j AS TEXT))`,
    /CAST can't/,
  ],
  [
    "JSON in a generated column whose type has a parenthesis",
    `CREATE TABLE t (${key}, j VARCHAR(10) AS (json_extract(k, '$.a')))`,
    /json_extract can't stand/,
  ],
  [
    "|| of a generated column in an index",
    `CREATE TABLE t (${key}, g TEXT AS (k || k)); CREATE INDEX x ON t (g || k)`,
    /^1: index x: g can't stand/,
  ],
  [
    "a generated column of generated columns",
    `CREATE TABLE t (${key}, g TEXT AS (k || k), h TEXT AS (g || g))`,
    /^1: t\.h: g can't stand/,
  ],
  [
    "endless ||",
    `CREATE TABLE t (${key}); CREATE INDEX x ON t (${"k || ".repeat(11)}k)`,
    /more than 10/,
  ],
  [
    "a trigger",
    `CREATE TABLE t (${key}); CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; SELECT 2; END`,
    /triggers would run again/,
  ],
  ["names of Patina's", "CREATE TABLE patina_t (k TEXT PRIMARY KEY NOT NULL)", /kept for Patina/],
  ["names of SQLite's", "CREATE TABLE SQLite_t (k TEXT PRIMARY KEY NOT NULL)", /kept for Patina/],
  [
    "the name of a PRAGMA's function",
    "CREATE VIEW pragma_table_list AS SELECT 1",
    /kept for Patina/,
  ],
  [
    "an index with a name of Patina's",
    `CREATE TABLE t (${key}); CREATE INDEX Patina_x ON t (k)`,
    /kept for Patina/,
  ],
  ["a table without a name", `CREATE TABLE "" (${key})`, /^1: a name of 1 to/],
  [
    "a table's name that is too long",
    `CREATE TABLE ${"ä".repeat(513)} (${key})`,
    /^1: a name of 1 to/,
  ],
  [
    "a column without a name",
    `CREATE TABLE t (${key},\n "")`,
    /^2: t\.: a column name of 1 to 1024/,
  ],
  [
    "a column's name that is too long",
    `CREATE TABLE t (${key},\n ${"ä".repeat(513)})`,
    /^2: t\.ä+: a column name of 1 to 1024 bytes is wanted$/,
  ],
  [
    "all names of the rowid taken",
    `CREATE TABLE t (${key}, rowid, _rowid_, oid)`,
    /names of the rowid/,
  ],
  [
    "as many columns as SQLite has",
    `CREATE TABLE t (${key}, ${Array.from({ length: 1999 }, (_, i) => `c${i}`)})`,
    /its rowid is one/,
  ],
  ["CREATE TABLE AS", "CREATE TABLE t AS SELECT 1", /columns are wanted in parentheses/],
  ["temporary tables", `CREATE TEMP TABLE t (${key})`, /not temporary/],
  ["virtual tables", "CREATE VIRTUAL TABLE t USING fts5(x)", /CREATE TABLE, CREATE INDEX/],
  ["other statements", "INSERT INTO t VALUES (1)", /CREATE TABLE, CREATE INDEX/],
  ["another database", `CREATE TABLE other.t (${key})`, /plain name/],
  [
    "a syntax error",
    "\ufeffCREATE TABLE t (\n /* ä */ k TEXT PRIMARY KEY NOT NULL,\n,)",
    /^3: .*syntax error/,
  ],
  ["an unfinished statement", "CREATE TABLE t (k TEXT", /incomplete/],
  ["a view of nothing", "CREATE VIEW v AS SELECT * FROM nowhere", /no such table/],
  ["an index on nothing", "CREATE INDEX x ON nowhere (a)", /no such table/],
  [
    "the same name twice",
    `CREATE TABLE t (${key});\nCREATE TABLE IF NOT EXISTS T (a)`,
    /^2: t is already defined at test\.sql:1$/,
  ],
];

for (const [what, sql, why] of refusals) {
  test(`refused: ${what}`, () => {
    expect(problemOf(sql)).toMatch(why);
  });
}

test("a local table may have all of that but a trigger", () => {
  const sql = `CREATE TABLE t (a TEXT UNIQUE, f REFERENCES t (a), d DEFAULT CURRENT_TIMESTAMP, n NOT NULL,
      j AS (json_extract(a, '$'))); CREATE UNIQUE INDEX x ON t (abs(d))`;
  expect(problemsOf(sql, { t: { replicated: false } })).toEqual([]);
  expect(problemsOf(sql).length).toBeGreaterThan(5);
});

test("names of 1,024 bytes are taken, and keys of 64 columns", () => {
  expect(problemsOf(keyOf(64))).toEqual([]);
  expect(problemsOf(`CREATE TABLE ${"ä".repeat(512)} (${key}, ${"ä".repeat(512)})`)).toEqual([]);
});

test("accepted: what can't fail", () => {
  expect(
    problemsOf(`
      CREATE TABLE t ("k" TEXT, n INTEGER NOT NULL DEFAULT +5, h DEFAULT 0x1f, b BLOB DEFAULT x'00ff',
        w TEXT DEFAULT bare, y DEFAULT TRUE, z DEFAULT (-3), "check" TEXT,
        g TEXT AS (CASE WHEN n IS NOT NULL AND n > -1 THEN coalesce(w, 'x') || upper("check") ELSE substr(k, 1, 2) END),
        PRIMARY KEY (k)) WITHOUT ROWID;
      CREATE INDEX y ON t (g);
      CREATE INDEX x ON t (lower(k) COLLATE NOCASE DESC, n, length(w) = 3) WHERE n IN (1, 2) OR w BETWEEN 'a' AND 'b';
      CREATE VIEW v AS SELECT json_extract(k, '$.a') FROM t;
    `),
  ).toEqual([]);
});

test("the columns that an urgent rule reads are known, whichever way it reads them", () => {
  const sql = `CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, Status TEXT, weight INTEGER, "odd name" TEXT,
      info TEXT, state TEXT AS (CASE WHEN json_valid(info) THEN json_extract(info, '$.state') END),
      both TEXT AS (lower(status) || "odd name") STORED);
    CREATE TABLE other (k TEXT PRIMARY KEY NOT NULL, weight INTEGER);
    CREATE VIEW heavy AS SELECT k FROM t WHERE weight > 5`;
  const columnsOf = (urgent: string) =>
    schemaOf(sql, { t: { urgent } }).tables.get("t")?.urgentColumns;
  expect(columnsOf("status <> 'up'")).toEqual(["status"]);
  expect(columnsOf("STATUS <> 'weight' OR [Weight] = 0 -- info")).toEqual(["status", "weight"]);
  expect(columnsOf('`odd name` IS NULL OR "odd name" = k')).toEqual(["odd name"]);
  expect(columnsOf("state IS NOT 'up'")).toEqual(["info"]);
  expect(columnsOf("both <> 'up'")).toEqual(["odd name", "status"]);
  expect(columnsOf("1")).toEqual([]);
  expect(columnsOf("k > 'm' AND rowid > 1")).toEqual([]);
  expect(columnsOf("EXISTS (SELECT 1 FROM other WHERE other.weight > 0)")).toEqual([]);
  expect(columnsOf("EXISTS (SELECT 1 FROM other o WHERE o.k = status)")).toEqual(["status"]);
  expect(columnsOf("k IN heavy")).toEqual(["weight"]);
  expect(schemaOf(sql).tables.get("t")?.urgentColumns).toEqual([]);
});

test("urgent rules are checked", () => {
  const sql = `CREATE TABLE t (${key}, status); CREATE TABLE l (a)`;
  const rules = (urgent: string) => problemsOf(sql, { t: { urgent }, l: { replicated: false } });
  expect(rules("status <> 'up' AND k IN (SELECT k FROM t)")).toEqual([]);
  expect(rules("stat <> 'up'")).toEqual(["[tables.t] urgent: no such column: stat"]);
  expect(rules("")).toEqual(["[tables.t] urgent: an expression is wanted, got nothing"]);
  expect(rules("1) FROM t; DROP TABLE t; --")[0]).toContain("one expression is wanted");
  expect(rules("1), (2")[0]).toContain("one expression is wanted");
  expect(rules("status <> ?")).toEqual(["[tables.t] urgent: it can't have parameters, got ?"]);
  expect(rules("1, 2")[0]).toContain("[tables.t] urgent");
  expect(problemsOf(sql, { l: { replicated: false, urgent: "a" } })).toEqual([
    "[tables.l] urgent: the table is not replicated",
  ]);
  expect(problemsOf(sql, { l: { replicated: false }, x: {} })).toEqual([
    "[tables.x]: no schema file creates a table of that name",
  ]);
});

test("files are one schema; every problem is told with its file and line", () => {
  using scratch = openMemory();
  const read = readSchema(
    scratch,
    [
      {
        name: "a.sql",
        text: "CREATE INDEX x ON t (a);\n\n/* a\n comment; */ CREATE TABLE t (\n  k TEXT PRIMARY KEY\n);",
      },
      { name: "b.sql", text: "CREATE TABLE u (k, PRIMARY KEY (k));" },
    ],
    new Map(),
  );
  expect(read.kind === "refused" && read.problems.map(({ file, line }) => [file, line])).toEqual([
    ["a.sql", 1],
    ["a.sql", 5],
    ["b.sql", 1],
    ["b.sql", 1],
  ]);
});

/** Applies a plan and plans again, which must find nothing to do. */
function planned(before: string, after: string): readonly string[] | string[] {
  using db = openMemory();
  db.exec(before);
  const plan = planSchema(db, schemaOf(after));
  if (plan.kind === "refused") return plan.problems.map(problemToText);
  for (const statement of plan.statements) db.exec(statement);
  expect(planSchema(db, schemaOf(after))).toMatchObject({ kind: "plan", statements: [] });
  return plan.statements;
}

test("columns in another order than the file's are warned about, as the next host has the file's", () => {
  using db = openMemory();
  db.exec(`CREATE TABLE t (${key}, a, b)`);
  const warnings = (sql: string) => {
    const plan = planSchema(db, schemaOf(sql));
    return plan.kind === "plan" ? plan.warnings.map(problemToText) : plan;
  };
  expect(warnings(`CREATE TABLE t (${key}, a, b)`)).toEqual([]);
  expect(warnings(`CREATE TABLE t (${key}, a, b, c, d)`)).toEqual([]);
  const why =
    "its columns are here in the order k, a, b, c, and not in the file's as on a host that starts empty: name them in INSERT and SELECT, and write new ones last";
  expect(warnings(`\nCREATE TABLE t (${key}, a, c, b)`)).toEqual([`test.sql:2: table t: ${why}`]);
});

test("a local table's FOREIGN KEY is warned about: nobody enforces it", () => {
  const sql = `CREATE TABLE t (${key}, a REFERENCES t (id) ON DELETE CASCADE)`;
  const { warnings } = schemaOf(sql, { t: { replicated: false } });
  expect(warnings.map(problemToText)).toEqual([
    "test.sql:1: table t: FOREIGN KEY is not enforced, and nothing is done ON DELETE or ON UPDATE: see to it in your statements",
  ]);
});

test("the plan adds tables, columns, indexes and views, and drops indexes and views", () => {
  const before = `CREATE TABLE "T" (${key}, a); CREATE INDEX x ON t (a); CREATE INDEX y ON t (a); CREATE VIEW v AS SELECT a FROM t`;
  expect(planned("", `CREATE TABLE t (${key})`)).toEqual([`CREATE TABLE t (${key})`]);
  expect(planned(before, before)).toEqual([]);
  expect(
    planned(
      before,
      `create table t (${key},\n  B INTEGER DEFAULT 5 -- why\n, a, g AS (b || a));
       CREATE INDEX y ON T(A); create index x on t (a, b); CREATE VIEW v AS SELECT b FROM t; CREATE TABLE u (${key});`,
    ),
  ).toEqual([
    'DROP INDEX "x"',
    'DROP VIEW "v"',
    'ALTER TABLE "t" ADD COLUMN B INTEGER DEFAULT 5',
    'ALTER TABLE "t" ADD COLUMN g AS (b || a)',
    `CREATE TABLE u (${key})`,
    "create index x on t (a, b)",
    "CREATE VIEW v AS SELECT b FROM t",
  ]);
  expect(planned(before, `CREATE TABLE t (${key}, a)`)).toEqual([
    'DROP INDEX "x"',
    'DROP INDEX "y"',
    'DROP VIEW "v"',
  ]);
});

test("what the database has is the same if the file says IF NOT EXISTS", () => {
  const unless = " IF NOT EXISTS";
  const all = (unlessThere: string) => `CREATE TABLE${unlessThere} t (${key}, a);
    CREATE TABLE${unlessThere} l (a); CREATE UNIQUE INDEX${unlessThere} u ON l (a);
    CREATE INDEX${unlessThere} x ON t (a); CREATE VIEW${unlessThere} v AS SELECT a FROM t`;
  const rules = { l: { replicated: false } };
  for (const [before, after] of [
    ["", unless],
    [unless, ""],
  ] as const) {
    using db = openMemory();
    db.exec(all(before));
    expect(planSchema(db, schemaOf(all(after), rules))).toMatchObject({ statements: [] });
  }
});

test("the plan tells which tables are new to replication, and which have got columns", () => {
  using db = openMemory();
  const clocks = "(id INTEGER PRIMARY KEY, clock, held)";
  db.exec(`CREATE TABLE t (${key}); CREATE TABLE patina_clock_t ${clocks}`);
  db.exec(`CREATE TABLE u (${key}); CREATE TABLE patina_clock_u ${clocks}`);
  db.exec(`CREATE TABLE taken_over (${key}); CREATE TABLE l (${key})`);
  const after = `CREATE TABLE t (${key}); CREATE TABLE u (${key}, a); CREATE TABLE taken_over (${key});
    CREATE TABLE l (${key}, a); CREATE TABLE made (${key}); CREATE TABLE m (${key})`;
  const rules = { l: { replicated: false }, m: { replicated: false } };
  expect(planSchema(db, schemaOf(after, rules))).toMatchObject({
    adopted: ["taken_over", "made"],
    grown: ["u", "l"],
  });
});

// A UNIQUE one would refuse what peers send, as one of any other name would.
test("indexes of other programs go, whatever they are named, if they stand on a table of the files", () => {
  const before = `CREATE TABLE t (${key}, a); CREATE UNIQUE INDEX patina_a ON t (a);
    CREATE TABLE other (a); CREATE INDEX other_a ON other (a)`;
  expect(planned(before, `CREATE TABLE t (${key}, a)`)).toEqual(['DROP INDEX "patina_a"']);
});

test("the plan refuses what would drop or change data", () => {
  const before = `CREATE TABLE t (${key}, a INTEGER, b)`;
  const refused = (after: string) => planned(before, after).join("\n");
  expect(refused(`CREATE TABLE t (${key}, a INTEGER)`)).toMatch(
    /^test.sql:1: table t: column b can't be dropped/,
  );
  expect(refused(`CREATE TABLE t (${key}, a TEXT, b)`)).toMatch(/column a can't be changed/);
  expect(refused(`CREATE TABLE t (${key}, a INTEGER DEFAULT 1, b)`)).toMatch(
    /column a can't be changed/,
  );
  expect(refused(`CREATE TABLE t (${key}, a INTEGER, b) WITHOUT ROWID`)).toMatch(
    /constraints or options/,
  );
  expect(refused(`CREATE TABLE t (${key}, a INTEGER, b, CHECK (a > 1))`)).toMatch(
    /constraints or options/,
  );
  expect(refused(`CREATE TABLE t (${key}, a INTEGER, b, g AS (a) STORED)`)).toMatch(
    /make it VIRTUAL/,
  );
  const own = `${before}; CREATE TABLE patina_clock_t (id INTEGER PRIMARY KEY, clock, held)`;
  expect(planned(own, "").join()).toMatch(/a replicated table can't be dropped/);
  using db = openMemory();
  db.exec(own);
  expect(planSchema(db, schemaOf(before, { t: { replicated: false } }))).toMatchObject({
    kind: "refused",
    problems: [{ why: expect.stringContaining("can't become local") }],
  });
  db.exec("CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END");
  expect(planSchema(db, schemaOf(before))).toMatchObject({
    kind: "refused",
    problems: [{ why: expect.stringContaining("trigger x") }],
  });
  expect(planned(`CREATE VIEW t AS SELECT 1; CREATE TABLE i (${key})`, before).join()).toMatch(
    /has a view of that name/,
  );
  expect(planned("CREATE VIRTUAL TABLE t USING dbstat", before).join()).toMatch(
    /in a form that Patina doesn't know/,
  );
  const other = `CREATE TABLE x (${key})`;
  expect(planned(other, `${before}; CREATE INDEX x ON t (a)`)).toEqual([
    "index x: the database has a table of that name",
  ]);
  expect(planned(other, `${before}; CREATE VIEW x AS SELECT a FROM t`)).toEqual([
    "view x: the database has a table of that name",
  ]);
});

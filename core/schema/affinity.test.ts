import { expect, test } from "bun:test";
import fc from "fast-check";
import { sqlValue } from "../../test/generators/rows.ts";
import { openMemory } from "../../test/generators/sqlite-store.ts";
import { canonicalKeyValue } from "../row/key.ts";
import { equalValues, RawText, Real, type SqlValue } from "../row/value.ts";
import {
  type Affinity,
  affinityOfType,
  isKeptByAffinity,
  isKeyKept,
  shownKeyValue,
} from "./affinity.ts";

const types: readonly string[] = [
  "BLOB",
  "TEXT",
  "VARCHAR(10)",
  "NUMERIC",
  "DECIMAL(1, 2)",
  "DATETIME",
  "INTEGER",
  "BIGINT",
  "REAL",
  "DOUBLE PRECISION",
  "FLOATING POINT",
  "CHARINT",
];

/** Text near what SQLite reads as a number. */
function numberLike(): fc.Arbitrary<string> {
  const blank = fc.constantFrom("", " ", "\t\n", "\v", "\f\r", "\u00a0", "\0");
  const sign = fc.constantFrom("", "+", "-", "--");
  const digits = fc.constantFrom(
    "",
    "0",
    "5",
    "007",
    "9223372036854775808",
    "1".repeat(400),
    "0x1f",
    "1_0",
  );
  const exponent = fc.constantFrom("", "e", "e5", "E-5", "e+999", "e1.5", "e 5");
  return fc
    .tuple(blank, sign, digits, fc.constantFrom("", "."), digits, exponent, blank)
    .map((parts) => parts.join(""));
}

const value = () => fc.oneof({ weight: 2, arbitrary: sqlValue() }, numberLike());

const examples: [SqlValue][] = [
  [new Real(2 ** 51)],
  [new Real(2 ** 63)],
  [new Real(2 ** 63 - 1024)],
  [new Real(-(2 ** 63))],
  [new Real(-(2 ** 63) + 1024)],
  ["5\0x"],
  ["\x005"],
  [new RawText(new Uint8Array([0x35, 0, 0xff]))],
  [new RawText(new Uint8Array([0x35, 0xff, 0]))],
  [new Real(-0)],
  [new Real(Number.NEGATIVE_INFINITY)],
  [2n ** 53n + 1n],
  ["inf"],
  ["nan"],
  [""],
  ["."],
  ["1e"],
];

for (const type of types) {
  const affinity: Affinity = affinityOfType(type);

  test(`a ${type} column keeps what isKeptByAffinity says`, () => {
    using db = openMemory();
    db.exec(`CREATE TABLE t (v ${type})`);
    fc.assert(
      fc.property(value(), (stored) => {
        db.run("DELETE FROM t");
        db.run("INSERT INTO t VALUES (?)", stored);
        const shown = db.all("SELECT v FROM t")[0]?.[0] as SqlValue;
        expect([stored, isKeptByAffinity(affinity, stored)]).toEqual([
          stored,
          equalValues(shown, stored),
        ]);
      }),
      { numRuns: 400, examples },
    );
  }, 120_000);

  for (const key of [`k ${type} NOT NULL PRIMARY KEY`, `k ${type} PRIMARY KEY) WITHOUT ROWID --`]) {
    test(`a key column ${key} keeps what isKeyKept says, and shows what shownKeyValue says`, () => {
      using db = openMemory();
      db.exec(`CREATE TABLE t (${key}\n)`.replace(/--\n\)$/, ""));
      const isRowid = key === "k INTEGER NOT NULL PRIMARY KEY";
      fc.assert(
        fc.property(
          value().filter((one) => one !== null),
          (stored) => {
            const wanted = canonicalKeyValue(stored);
            const kept = isKeyKept(affinity, isRowid, wanted);
            db.run("DELETE FROM t");
            let shown: SqlValue | undefined;
            try {
              db.run("INSERT INTO t VALUES (?)", wanted);
              shown = db.all("SELECT k FROM t")[0]?.[0] as SqlValue;
            } catch (error) {
              // Only a rowid refuses, and only what is no integer.
              expect([isRowid, kept, (error as Error).message]).toEqual([
                true,
                false,
                "datatype mismatch",
              ]);
              return;
            }
            expect([wanted, kept]).toEqual([wanted, equalValues(canonicalKeyValue(shown), wanted)]);
            if (!kept) return;
            expect(shown).toEqual(shownKeyValue(affinity, wanted) as never);
            // The key finds its row.
            expect(db.all("SELECT count(*) FROM t WHERE k = ?", wanted)).toEqual([[1]]);
          },
        ),
        { numRuns: 300, examples: examples as never },
      );
    }, 120_000);
  }
}

test("the affinity of a declared type is SQLite's", () => {
  using db = openMemory();
  const probes: SqlValue[] = ["5", 5, new Real(5), new Real(5.5)];
  // Of those at the end other capitals are letters of ASCII: SQLite doesn't know them.
  const odd = ["", "ANY", "CLOB", "blobby", "strINg", "xREALx", "\ufb02oat", "po\u0131nt"];
  for (const type of [...types, ...odd]) {
    db.exec(`CREATE TABLE p (v ${type})`);
    for (const probe of probes) db.run("INSERT INTO p VALUES (?)", probe);
    const declared = db.all("SELECT typeof(v) FROM p");
    db.exec(`DROP TABLE p; CREATE TABLE p (v ${affinityOfType(type)})`);
    for (const probe of probes) db.run("INSERT INTO p VALUES (?)", probe);
    expect([type, db.all("SELECT typeof(v) FROM p")]).toEqual([type, declared]);
    db.exec("DROP TABLE p");
  }
});

// A host that merged half a megabyte of digits stood still for an hour, and each of its peers did.
test("a long text that begins as a number takes no longer than others", () => {
  using db = openMemory();
  const many = "5".repeat(20_000);
  const texts = ["", ".", ".5", "e", "e5", " "].flatMap((middle) =>
    ["", "x", " x"].map((end) => many + middle + many + end),
  );
  db.exec("CREATE TABLE t (v NUMERIC)");
  const beganMs = performance.now();
  for (const text of [...texts, `${" ".repeat(20_000)}x`, `5${" ".repeat(20_000)}x`]) {
    db.run("DELETE FROM t");
    db.run("INSERT INTO t VALUES (?)", text);
    const isKept = db.all("SELECT typeof(v) FROM t")[0]?.[0] === "text";
    expect(isKeptByAffinity("NUMERIC", text)).toBe(isKept);
  }
  expect(performance.now() - beganMs).toBeLessThan(2000);
});

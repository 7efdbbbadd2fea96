import { expect, test } from "bun:test";
import { openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { TokenSchemas } from "./token-schema.ts";

test("a table that isn't the token's is told by its name, however long that is", () => {
  using source = openDatabase("/a.db", { vfs: new MemoryVfs() });
  source.exec("CREATE TABLE own (n); CREATE TABLE other (n)");
  const schemas = new TokenSchemas(source);
  const tables = new Set(["own"]);
  const problem = (sql: string) => schemas.problem(tables, sql, "read");
  expect(problem("SELECT n FROM own")).toBeUndefined();
  // For 40 s the name was held against what may stand behind it.
  const long = " in ".repeat(62_000);
  for (const name of ["other", "none", "Not There", "x in y", long]) {
    const beganMs = performance.now();
    for (const written of [`"${name}"`, `main."${name}"`]) {
      expect(problem(`SELECT n FROM ${written}`)).toEqual({
        kind: "foreign",
        table: name.toLowerCase(),
      });
    }
    expect(performance.now() - beganMs).toBeLessThan(5000);
  }
  expect(problem("SELECT m FROM own")).toMatchObject({ kind: "refused" });
  schemas.clear();
});

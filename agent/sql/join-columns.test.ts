import { expect, test } from "bun:test";
import { openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { SqlGuard } from "./guard.ts";
import { joinsTooManyColumns } from "./join-columns.ts";
import { PreparedStatements } from "./prepared.ts";

const names = (count: number): string => Array.from({ length: count }, () => "a").join();

// Unrefused, it is the end of the process's SQLite: "Maximum call stack size exceeded".
test("a join over ten thousands of columns is refused before SQLite sees it", () => {
  using database = openDatabase("/join.db", { vfs: new MemoryVfs() });
  database.exec("CREATE TABLE t (a)");
  const guard = new SqlGuard(database);
  const prepared = new PreparedStatements(database, guard);
  const get = (sql: string) => guard.within("read", () => prepared.get(sql));
  for (const using of [`USING(${names(60_000)})`, `uSiNg /* ( */ -- )\n (${names(60_000)})`]) {
    expect(() => get(`SELECT 1 FROM t x JOIN t y ${using}`)).toThrow("USING with more than");
  }
  const joins = Array.from({ length: 60 }, (_, i) => ` JOIN t t${i} USING(${names(500)})`).join("");
  expect(() => get(`SELECT 1 FROM t${joins}`)).toThrow("USING with more than");
  expect(get(`SELECT 1 FROM t x JOIN t y USING(${names(500)})`)).toHaveProperty("statement");
  expect(database.all("SELECT 1")).toEqual([[1]]);
});

test("what only looks like it isn't counted", () => {
  const text = `'using (${names(20_000)})'`;
  expect(joinsTooManyColumns(`SELECT ${text}`)).toBe(false);
  expect(joinsTooManyColumns(`SELECT 1 /* using (${names(20_000)}) */`)).toBe(false);
  expect(joinsTooManyColumns(`SELECT using, f(${names(20_000)})`)).toBe(false);
  expect(joinsTooManyColumns(`SELECT ${text} FROM t JOIN t USING (${names(1001)})`)).toBe(true);
});

import { expect, test } from "bun:test";
import { groupedQuery } from "./grouped-query.ts";

const exact = new Set(["id", "service", "status", "odd name", "distinct"]);
const read = (sql: string) =>
  groupedQuery(sql, (table) => (table === "instances" || table === "i t" ? exact : undefined));

test("a table that is counted by columns is run for one group", () => {
  expect(
    read("SELECT service, count(*) FROM instances WHERE status = 'up' GROUP BY service"),
  ).toEqual({
    table: "instances",
    columns: ["service"],
    all: `SELECT service, count(*), "instances"."service" AS patina_key_0 FROM instances WHERE status = 'up' GROUP BY service`,
    one: `SELECT service, count(*), "instances"."service" AS patina_key_0 FROM instances WHERE +(status = 'up') AND "instances"."service" IS ?1 GROUP BY service`,
  });
  expect(
    read(
      `SELECT count(DISTINCT n) AS n, i."odd name" o FROM "i t" AS I GROUP BY I."odd name", service HAVING max(service) > 'a' ORDER BY n;`,
    ),
  ).toEqual({
    table: "i t",
    columns: ["odd name", "service"],
    all: `SELECT count(DISTINCT n) AS n, i."odd name" o, "i"."odd name" AS patina_key_0, "i"."service" AS patina_key_1 FROM "i t" AS I GROUP BY I."odd name", service HAVING max(service) > 'a' ORDER BY n`,
    one: `SELECT count(DISTINCT n) AS n, i."odd name" o, "i"."odd name" AS patina_key_0, "i"."service" AS patina_key_1 FROM "i t" AS I WHERE "i"."odd name" IS ?1 AND "i"."service" IS ?2 GROUP BY I."odd name", service HAVING max(service) > 'a'`,
  });
});

test.each([
  "SELECT service || '!', count(*) + 1, min(status) FROM instances GROUP BY service",
  "SELECT 'one', service IS NOT NULL is_there FROM instances GROUP BY service",
  "SELECT count(*) n FROM instances GROUP BY service HAVING count(*) BETWEEN 1 AND 3 OR service IN ('a')",
  "SELECT count() FROM instances WHERE n = 1 AND note LIKE '%x' GROUP BY service",
  "SELECT count(n + 1), count(DISTINCT lower(note)) FROM instances GROUP BY service",
  "SELECT count(*) FROM instances WHERE note = 'x' COLLATE NOCASE GROUP BY service",
])("%s", (sql) => {
  expect(read(sql)).toBeDefined();
});

// Another row's value, another order's, another group's.
test.each([
  "SELECT service, status FROM instances GROUP BY service",
  "SELECT service, sum(n) FROM instances GROUP BY service",
  "SELECT service, avg(n) FROM instances GROUP BY service",
  "SELECT service, group_concat(status) FROM instances GROUP BY service",
  "SELECT service, max(n) FROM instances GROUP BY service",
  "SELECT service, max(id, service) FROM instances GROUP BY service",
  "SELECT service, count(*) > n FROM instances GROUP BY service",
  "SELECT service, max(status, id) FROM instances GROUP BY service",
  "SELECT service, count(*) FROM instances GROUP BY n",
  "SELECT service, count(*) FROM instances GROUP BY lower(service)",
  "SELECT service, count(*) FROM instances GROUP BY 1",
  "SELECT service, count(*) FROM instances GROUP BY service COLLATE NOCASE",
  "SELECT service, count(*) FROM instances GROUP BY service HAVING status = 'up'",
  "SELECT service, count(*) FROM instances GROUP BY service LIMIT 3",
  "SELECT DISTINCT count(*) FROM instances GROUP BY service",
  'SELECT DISTINCT count(*) FROM instances GROUP BY "distinct"',
  "SELECT service, count(*) FILTER (WHERE n = 1) FROM instances GROUP BY service",
  "SELECT service, count(*) OVER () FROM instances GROUP BY service",
  "SELECT service, count(*) FROM instances WHERE n > (SELECT max(n) FROM instances) GROUP BY service",
  "SELECT service COLLATE NOCASE, count(*) FROM instances GROUP BY service",
  "SELECT service, (SELECT 1) FROM instances GROUP BY service",
  "SELECT service, count(*) FROM instances WHERE id IN ids GROUP BY service",
  "SELECT service, count(*) FROM instances GROUP BY service UNION SELECT 1, 2",
  "SELECT service, count(*) FROM instances JOIN t ON t.id = instances.id GROUP BY service",
  "SELECT service, count(*) FROM instances, t GROUP BY service",
  "SELECT service, count(*) FROM seen GROUP BY service",
  "SELECT * FROM instances GROUP BY service",
  "SELECT instances.* FROM instances GROUP BY service",
  'SELECT service, "count"(*) FROM instances GROUP BY service',
  "SELECT other.service, count(*) FROM instances GROUP BY service",
  "SELECT service, CASE count(*) WHEN 1 THEN note END FROM instances GROUP BY service",
  "SELECT count(*) FROM instances",
  "SELECT count(*) FROM instances HAVING count(*) > 1",
])("%s: is run again", (sql) => {
  expect(read(sql)).toBeUndefined();
});

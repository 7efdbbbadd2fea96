import { expect, test } from "bun:test";
import type { PlannedSchema } from "../../core/schema/schema.ts";
import type { SchemaPlan } from "../../core/schema/schema-plan.ts";
import { migrationProblem } from "./migrations.ts";

const current: PlannedSchema = {
  tables: new Map(),
  indexes: [],
  views: [],
  shapes: [],
  warnings: [],
};
const nothing: SchemaPlan = {
  kind: "plan",
  statements: [],
  adopted: [],
  grown: [],
  reindexed: [],
  warnings: [],
};
const tooSlow = "the statements take too long to compile: write them shorter";

function problemOf(statements: readonly string[], msMax?: number): string | undefined {
  const table = "CREATE TABLE t (n INTEGER NOT NULL PRIMARY KEY)";
  return migrationProblem([table, ...statements], current, () => nothing, msMax);
}

const view = (name: string, count: number): string => {
  const sums = Array.from({ length: count }, (_, i) => `sum(n) OVER (ORDER BY n + ${i})`);
  return `CREATE VIEW ${name} AS SELECT ${sums.join()} FROM t`;
};

// They would take the thread that serves minutes, and systemd would end the agent.
test("statements that take the compiler for long are refused", () => {
  const views = Array.from({ length: 10 }, (_, i) => view(`v${i}`, 700));
  const beganMs = performance.now();
  expect(problemOf(views, 200)).toBe(tooSlow);
  expect(performance.now() - beganMs).toBeLessThan(5000);
  expect(problemOf([view("v", 3)])).toBeUndefined();
}, 120_000);

test("time that is up between two statements is up, too", () => {
  expect(problemOf([], -1)).toBe(tooSlow);
});

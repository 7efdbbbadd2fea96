/**
 * `npm test`: types, style, then every test, and at the end what was skipped.
 *
 * Arguments are passed on to `bun test`: `npm test -- core/row` runs a part.
 *
 * @module
 */

import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dir, "..");
const bin = join(root, "node_modules", ".bin");
const scratch = mkdtempSync(join(tmpdir(), "patina-test-"));
const skipLog = join(scratch, "skipped");
const started = performance.now();

const types = run("types", [join(bin, "tsc"), "-b"]);
const style = run("style", [join(bin, "biome"), "check", "--diagnostic-level=error", "."]);
const built = run("build", [process.execPath, join(root, "agent", "build.ts")]);
const report = join(scratch, "report.xml");
const tests = run("tests", [
  process.execPath,
  "test",
  // One test may run a cluster; each has its own deadlines inside.
  "--timeout=120000",
  "--only-failures",
  "--reporter=junit",
  `--reporter-outfile=${report}`,
  ...process.argv.slice(2),
]);

const skips = existsSync(skipLog) ? readFileSync(skipLog, "utf8").trim().split("\n") : [];
const counts = readCounts(report);
rmSync(scratch, { recursive: true, force: true });
const stages = [types, style, built, tests];
if (skips.length > 0) console.log(`\n${skips.join("\n")}`);
console.log(`\nin ${((performance.now() - started) / 1000).toFixed(0)} s`);
// A stage that failed without a failing test (types, style, a crash) counts as one.
const failedStages = stages.filter((ok) => !ok).length;
const failed = Math.max(counts.failed, failedStages);
console.log(`${counts.passed} passed, ${failed} failed, ${counts.skipped + skips.length} skipped`);
process.exit(failed === 0 && counts.passed > 0 ? 0 : 1);

function run(what: string, command: string[]): boolean {
  console.log(`— ${what}`);
  const { exitCode } = Bun.spawnSync(command, {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, TEST_SKIP_LOG: skipLog },
  });
  if (exitCode !== 0) console.log(`— ${what} failed (exit code ${exitCode})`);
  return exitCode === 0;
}

/** Adds up what the JUnit report says of all its files. */
function readCounts(path: string): { passed: number; failed: number; skipped: number } {
  const whole = existsSync(path) ? /<testsuites [^>]*>/.exec(readFileSync(path, "utf8")) : null;
  if (whole === null) return { passed: 0, failed: 1, skipped: 0 };
  const count = (name: string) => Number(new RegExp(`${name}="(\\d+)"`).exec(whole[0])?.[1] ?? 0);
  const [tests, failures, skipped] = [count("tests"), count("failures"), count("skipped")];
  return { passed: tests - failures - skipped, failed: failures, skipped };
}

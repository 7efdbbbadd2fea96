import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { build } from "../build.ts";
import { REAL_VERSION, realOrSkip } from "./peer-process.ts";
import { TemporaryFolder } from "./temporary-folder.ts";

const OURS = join(import.meta.dir, "..", "udx.cjs");
const CONTRACT = join(import.meta.dir, "api-contract.cjs");

interface Outcome {
  readonly name: string;
  readonly error: string | null;
}

async function runContract(runtime: string, udxModule: string): Promise<Outcome[]> {
  const run = Bun.spawn([runtime, CONTRACT, udxModule], { stdout: "pipe", stderr: "pipe" });
  const [output, errors] = await Promise.all([
    new Response(run.stdout).text(),
    new Response(run.stderr).text(),
  ]);
  await run.exited;
  const outcomes = output
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Outcome);
  if (run.exitCode !== 0) outcomes.push({ name: `exit code ${run.exitCode}`, error: errors });
  return outcomes;
}

/** All passed, and as many as there are. */
function expectAllPassed(outcomes: readonly Outcome[]): void {
  const { checks } = require(CONTRACT) as { checks: Record<string, unknown> };
  expect(outcomes.filter((outcome) => outcome.error !== null)).toEqual([]);
  expect(outcomes.map((outcome) => outcome.name)).toEqual(Object.keys(checks));
}

describe("the documented API of udx-native", () => {
  test("is kept by ours under Bun, over Bun.udpSocket", async () => {
    expectAllPassed(await runContract(process.execPath, OURS));
  }, 120_000);

  test("is kept by ours under Node, over node:dgram", async () => {
    if (Bun.which("node") === null) {
      if (process.env.PATINA_REQUIRE_REAL === "1") throw new Error("there is no node");
      console.log("skipped: there is no node");
      return;
    }
    using folder = new TemporaryFolder();
    const dist = join(folder.path, "udx");
    await build(dist);
    // Where the built file finds streamx.
    await Bun.$`ln -s ${join(import.meta.dir, "../../../node_modules")} ${folder.path}/node_modules`;
    expectAllPassed(await runContract("node", join(dist, "udx.cjs")));
  }, 120_000);

  test(`is what udx-native ${REAL_VERSION} does`, async () => {
    const root = realOrSkip("the contract on udx-native");
    if (root === null) return;
    expectAllPassed(await runContract("node", join(root, "node_modules/udx-native")));
  }, 180_000);
});

/**
 * Every bench on small inputs, so that it keeps working. What it measures is asserted nowhere.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { BenchCase } from "./harness.ts";
import { benches } from "./main.ts";

const root = join(import.meta.dir, "..");
const main = join(import.meta.dir, "main.ts");
const { execPath } = process;
/** Of one benchmark, on a machine with other work. */
const deadlineMs = 230_000;

/** Benches that run the executable. */
const needBinary = new Set(["catch-up", "propagation", "read-under-merge", "store"]);

for (const [name, load] of Object.entries(benches)) {
  test(
    `bench ${name} runs on small inputs`,
    async () => {
      if (needBinary.has(name) && !existsSync(join(root, "dist", "patina"))) {
        const { exitCode, stderr } = Bun.spawnSync([execPath, join(root, "agent", "build.ts")]);
        expect({ exitCode, stderr: exitCode === 0 ? "" : stderr.toString() }).toEqual({
          exitCode: 0,
          stderr: "",
        });
      }
      const bench = await load();
      expect(bench.name).toBe(name);
      // In a process of its own: benchmarks set priorities, and leave nothing behind if they are ended.
      await using process = Bun.spawn([execPath, main, name, "--small", "--json"], {
        stdout: "pipe",
        stderr: "pipe",
        timeout: deadlineMs,
      });
      const [line, said, code] = await Promise.all([
        process.stdout.text(),
        process.stderr.text(),
        process.exited,
      ]);
      // A void measurement works as well: this machine was busy.
      const worked = code === 0 || code === 3;
      expect({ worked, code, said: worked ? "" : said }).toEqual({ worked: true, code, said: "" });
      const { cases } = JSON.parse(line) as { cases: BenchCase[] };
      expect(cases.length).toBeGreaterThan(0);
      for (const item of cases) {
        expect(item.ours).toBeGreaterThan(0);
        expect(item.checksum).not.toBe("");
        // Above 1 is better, whatever the unit: a case with a peer has a ratio.
        expect(item.ratio === null).toBe(item.peer === null);
      }
    },
    deadlineMs + 10_000,
  );
}

test("the merge bench does the same work whoever runs it: its checksums are known", async () => {
  const { cases } = await (await import("./merge.ts")).merge.run({
    small: true,
    args: ["--batch", "100"],
  });
  // The last two change nothing.
  expect(Object.fromEntries(cases.map((item) => [item.case, item.checksum]))).toEqual({
    "new × 100": "1e781d310d597b01",
    "win × 100": "81af0ca60ecf5c1f",
    "narrow × 100": "f1b0359a8555a12e",
    "tie × 100": "e0c62ccce24aef89",
    "stale × 100": "e0c62ccce24aef89",
    "dup × 100": "e0c62ccce24aef89",
  });
});

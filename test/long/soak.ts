/**
 * What the long tests share: agents from the executable, checks that are counted, and how to wait without failing.
 *
 * @module
 */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { startTestAgent, type TestAgent, type TestAgentOptions } from "../agent-process.ts";

export const repository: string = join(import.meta.dir, "..", "..");

/** An agent from the executable of this tree, or from the one that `PATINA_TEST_BINARY` names. */
export function startBuiltAgent(options: TestAgentOptions): Promise<TestAgent> {
  const binary = process.env.PATINA_TEST_BINARY ?? join(repository, "dist", "patina");
  return startTestAgent({ ...options, binary });
}

/** Checks that go on after one of them failed, each a line. */
export class Checks {
  #passed = 0;
  #failed = 0;

  check(isTrue: boolean, what: string): void {
    if (isTrue) this.#passed++;
    else this.#failed++;
    console.log(`${isTrue ? "ok" : "FAILED"}: ${what}`);
  }

  /** Prints the count. @returns the exit code; that there was no check is a failure */
  end(): number {
    console.log(`${this.#passed} passed, ${this.#failed} failed`);
    return this.#failed === 0 && this.#passed > 0 ? 0 : 1;
  }
}

const pollMs = 20;

/** Whether it became true in time. */
export async function isTrueWithin(
  deadlineMs: number,
  isTrue: () => boolean | Promise<boolean>,
): Promise<boolean> {
  const endMs = performance.now() + deadlineMs;
  while (!(await isTrue())) {
    if (performance.now() > endMs) return false;
    await Bun.sleep(pollMs);
  }
  return true;
}

export function residentMib(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
}

export function descriptorCount(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

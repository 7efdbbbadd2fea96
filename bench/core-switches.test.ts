import { expect, test } from "bun:test";
import { addUp, type CoreRun, runsOf } from "./core-switches.ts";

// As perf prints them, names with spaces too.
const printed = `
         patina  7209 [000]  1.0: not one of them
         patina  7209/7209  [000] 100.002000000: PERF_RECORD_SWITCH_CPU_WIDE OUT          next pid/tid:  7209/7213
     patina net  7209/7213  [000] 100.002000000: PERF_RECORD_SWITCH_CPU_WIDE IN           prev pid/tid:  7209/7209
        swapper     0/0     [001] 100.002500000: PERF_RECORD_SWITCH_CPU_WIDE IN           prev pid/tid:  7300/7300
     patina net  7209/7213  [000] 100.003000000: PERF_RECORD_SWITCH_CPU_WIDE OUT preempt  next pid/tid:  7209/7209
         patina  7209/7209  [000] 100.003000000: PERF_RECORD_SWITCH_CPU_WIDE IN           prev pid/tid:  7209/7213
        swapper     0/0     [000] 100.005500000: PERF_RECORD_SWITCH_CPU_WIDE IN           prev pid/tid:  7209/7209
`;

test("a thread has its core until the next one has it", () => {
  const [first, second] = runsOf(printed);
  expect(first).toEqual([
    { name: "patina net", pid: 7209, fromMs: 100_002, toMs: 100_003 },
    { name: "patina", pid: 7209, fromMs: 100_003, toMs: 100_005.5 },
    { name: "swapper", pid: 0, fromMs: 100_005.5, toMs: 100_005.5 },
  ]);
  expect(second?.map(({ name }) => name)).toEqual(["swapper"]);
});

test("what each had between two moments is added up", () => {
  const [runs] = runsOf(printed);
  const into = new Map<string, number>();
  const label = ({ name }: CoreRun) => name;
  addUp(runs as CoreRun[], 100_002.5, 100_004, label, into);
  addUp(runs as CoreRun[], 100_005, 100_006, label, into);
  expect([...into]).toEqual([
    ["patina net", 0.5],
    ["patina", 1.5],
    ["swapper", 0],
  ]);
});

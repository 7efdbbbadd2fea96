/**
 * What can befall a cluster, by name. `npm run sim -- --list` prints this list; a test runs each.
 *
 * A scenario draws everything from its seed, throws {@link SimFailure} when something false is seen,
 * and returns what it measured.
 *
 * @module
 */

import {
  allCrash,
  flakyCatchUp,
  late,
  lateAfterLoad,
  mostlyDifferent,
  restart,
} from "./scenarios/catch-up.ts";
import { clockSteps } from "./scenarios/clock-steps.ts";
import { mixed, sqlite } from "./scenarios/drawn-faults.ts";
import { fleet } from "./scenarios/fleet.ts";
import { hostile, mangled } from "./scenarios/hostile.ts";
import { plannedStop } from "./scenarios/members.ts";
import { backlog, credit, echo, flood, urgentFlood } from "./scenarios/overload.ts";
import { asymmetric, partition } from "./scenarios/partitions.ts";
import { hiddenDifference, repairBytesScenario, twoWriters } from "./scenarios/repair.ts";
import type { Measured, Scenario } from "./scenarios/scenario.ts";
import { schemaVersions } from "./scenarios/schema-versions.ts";
import { cutNoise, settledBytes } from "./scenarios/settled-image.ts";
import { trees } from "./scenarios/trees.ts";

export const scenarios: Readonly<Record<string, Scenario>> = {
  mixed,
  sqlite,
  late,
  "late-after-load": lateAfterLoad,
  "flaky-catch-up": flakyCatchUp,
  restart,
  partition,
  asymmetric,
  "repair-bytes": repairBytesScenario,
  "hidden-difference": hiddenDifference,
  "mostly-different": mostlyDifferent,
  "schema-versions": schemaVersions,
  "all-crash": allCrash,
  "cut-noise": cutNoise,
  "settled-bytes": settledBytes,
  "two-writers": twoWriters,
  "planned-stop": plannedStop,
  credit,
  flood,
  backlog,
  echo,
  "urgent-flood": urgentFlood,
  hostile,
  mangled,
  fleet,
  trees,
  "clock-steps": clockSteps,
};

/** Runs a scenario; a failure says how to run it again. */
export function runScenario(name: string, seed: number, nodes?: number): Measured {
  const scenario = scenarios[name];
  if (scenario === undefined) throw new Error(`no scenario ${name}: see --list`);
  const count = nodes ?? scenario.nodes;
  try {
    return scenario.run({ seed, nodes: count });
  } catch (error) {
    const command = `npm run sim -- --scenario ${name} --nodes ${count} --seed ${seed}`;
    const why = error instanceof Error ? (error.stack ?? error.message) : String(error);
    throw new Error(`${why}\nrun it again: ${command}`, { cause: error });
  }
}

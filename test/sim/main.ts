/**
 * `npm run sim`: runs a scenario of the simulator and prints what it measured.
 *
 * @module
 */

import { runScenario, scenarios } from "./scenarios.ts";

const help = `npm run sim -- --scenario NAME [--nodes N] [--seed S] [--runs R] [--json]
npm run sim -- --list

  --scenario NAME  what befalls the cluster
  --nodes N        how many nodes; each scenario has its own default
  --seed S         draws everything else; default 1
  --runs R         runs seeds S, S + 1, … and stops at the first that fails
  --json           one JSON object a run, on one line
`;

function main(arguments_: readonly string[]): number {
  const flags = new Map<string, string>();
  for (let i = 0; i < arguments_.length; i++) {
    const flag = arguments_[i] as string;
    const takesValue = ["--scenario", "--nodes", "--seed", "--runs"].includes(flag);
    if (!takesValue && !["--json", "--list", "--help"].includes(flag)) {
      console.error(`unknown argument ${flag}\n\n${help}`);
      return 2;
    }
    flags.set(flag, takesValue ? (arguments_[++i] ?? "") : "");
  }
  if (flags.has("--list")) {
    for (const [name, { about, nodes }] of Object.entries(scenarios)) {
      console.log(`${name.padEnd(14)} ${about} (${nodes} nodes)`);
    }
    return 0;
  }
  const name = flags.get("--scenario");
  if (name === undefined || flags.has("--help")) {
    console.log(help);
    return flags.has("--help") ? 0 : 2;
  }
  if (scenarios[name] === undefined) {
    console.error(`no scenario ${name}; there are: ${Object.keys(scenarios).join(", ")}`);
    return 2;
  }
  const seed = count(flags.get("--seed") ?? "1", "--seed");
  const runs = count(flags.get("--runs") ?? "1", "--runs");
  const nodes = count(flags.get("--nodes") ?? String(scenarios[name].nodes), "--nodes");
  if (seed === undefined || runs === undefined || nodes === undefined) return 2;
  for (let run = 0; run < runs; run++) {
    const startMs = performance.now();
    const head = { scenario: name, nodes, seed: seed + run };
    try {
      const measured = runScenario(name, seed + run, nodes);
      const wallMs = performance.now() - startMs;
      const perSecond = Math.round(((measured.events as number) / wallMs) * 1000);
      const all = { ...head, ok: true, ...measured, wallMs: Math.round(wallMs), perSecond };
      if (flags.has("--json")) console.log(JSON.stringify(all));
      else
        for (const [key, value] of Object.entries(all)) console.log(`${key.padEnd(18)} ${value}`);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      if (flags.has("--json")) console.log(JSON.stringify({ ...head, ok: false, why }));
      console.error(why);
      return 1;
    }
  }
  return 0;
}

function count(text: string, flag: string): number | undefined {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0 && text !== "") return value;
  console.error(`${flag}: a number, got "${text}"`);
  return undefined;
}

process.exitCode = main(process.argv.slice(2));

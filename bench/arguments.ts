/**
 * The command line of a benchmark: what it may say, and what `--help` tells of it. A word that means nothing is
 * refused: a figure measured with a misspelt option would be taken for what it isn't.
 *
 * @module
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Bench, BenchOption } from "./harness.ts";

export type BenchArguments =
  | { readonly kind: "run"; readonly small: boolean; readonly json: boolean }
  | { readonly kind: "help"; readonly text: string }
  | { readonly kind: "refused"; readonly why: string };

const common: readonly BenchOption[] = [
  { name: "--json", what: "one object on one line in place of the table" },
  { name: "--small", what: "small inputs: whether it works, not how fast it is" },
  { name: "--help", what: "this text" },
];

/** @param args what follows the benchmark's name */
export function readArguments(bench: Bench, args: readonly string[]): BenchArguments {
  const options = [...(bench.options ?? []), ...common];
  const given = new Set<string>();
  for (let at = 0; at < args.length; at++) {
    const name = args[at] as string;
    const option = options.find((one) => one.name === name);
    if (option === undefined) {
      const names = options.map((one) => one.name).join(", ");
      return { kind: "refused", why: `${bench.name} has no option "${name}"; it has ${names}` };
    }
    given.add(name);
    if (option.value === undefined) continue;
    const value = args[++at];
    if (value === undefined || !isValue(option.value, value)) {
      const got = value === undefined ? "nothing" : `"${value}"`;
      return { kind: "refused", why: `${name} ${option.value} wanted, got ${got}` };
    }
  }
  if (given.has("--help")) return { kind: "help", text: helpText(bench, options) };
  return { kind: "run", small: given.has("--small"), json: given.has("--json") };
}

/** What follows option `name`; undefined when it isn't given. */
export function optionValue(args: readonly string[], name: string): string | undefined {
  const at = args.indexOf(name);
  return at < 0 ? undefined : args[at + 1];
}

/** The executable: what `--binary` says, or this tree's. @throws Error if there is none */
export function binaryOf(args: readonly string[]): string {
  const binary = optionValue(args, "--binary") ?? join(import.meta.dir, "..", "dist", "patina");
  if (!existsSync(binary)) throw new Error(`${binary} is missing: run npm run build`);
  return binary;
}

/** Units of numbers. */
const numbers: ReadonlySet<string> = new Set(["N", "MS", "PID"]);

function isValue(wanted: string, value: string): boolean {
  if (numbers.has(wanted)) return /^[1-9]\d*$/.test(value);
  if (wanted.includes("|")) return wanted.split("|").includes(value);
  return value !== "" && !value.startsWith("--");
}

function helpText(bench: Bench, options: readonly BenchOption[]): string {
  const heads = options.map(({ name, value }) => (value === undefined ? name : `${name} ${value}`));
  const width = Math.max(...heads.map((head) => head.length));
  const lines = options.map(({ what }, i) => `  ${(heads[i] as string).padEnd(width)}  ${what}`);
  return [
    bench.what,
    "",
    `npm run bench -- ${bench.name} [OPTION …]`,
    "",
    ...lines,
    "",
    "Exit codes: 0 measured, 1 failed, 2 refused, 3 measured but void (stderr says why).",
  ].join("\n");
}

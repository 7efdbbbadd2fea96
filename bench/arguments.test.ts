import { expect, test } from "bun:test";
import { readArguments } from "./arguments.ts";
import type { Bench } from "./harness.ts";
import { benches } from "./main.ts";

const bench: Bench = {
  name: "sums",
  what: "sums of numbers",
  options: [
    { name: "--rows", value: "N", what: "how many; 10" },
    { name: "--only", value: "even|odd", what: "a part of it" },
    { name: "--binary", value: "PATH", what: "the executable" },
    { name: "--memory", what: "without a file" },
  ],
  run: async () => ({ cases: [], summary: {} }),
};

test("what a benchmark takes is run", () => {
  const args = ["--rows", "7", "--memory", "--only", "odd", "--binary", "dist/patina", "--json"];
  expect(readArguments(bench, args)).toEqual({ kind: "run", small: false, json: true });
  expect(readArguments(bench, ["--small"])).toEqual({ kind: "run", small: true, json: false });
});

test("--help runs nothing, and names every option", () => {
  const read = readArguments(bench, ["--rows", "7", "--help"]);
  expect(read.kind).toBe("help");
  const text = read.kind === "help" ? read.text : "";
  for (const words of ["--rows N", "--only even|odd", "--memory", "--json", "sums of numbers"]) {
    expect(text).toContain(words);
  }
});

for (const [args, why] of [
  [["--row", "7"], 'no option "--row"'],
  [["7"], 'no option "7"'],
  [["--rows"], "--rows N wanted, got nothing"],
  [["--rows", "--json"], '--rows N wanted, got "--json"'],
  [["--rows", "0"], '--rows N wanted, got "0"'],
  [["--rows", "1e3"], '--rows N wanted, got "1e3"'],
  [["--only", "both"], '--only even|odd wanted, got "both"'],
  [["--binary", "--json"], '--binary PATH wanted, got "--json"'],
] as const) {
  test(`${args.join(" ")} is refused`, () => {
    const read = readArguments(bench, args);
    expect(read).toEqual({ kind: "refused", why: expect.stringContaining(why) });
  });
}

test("no benchmark takes one option twice, or one that all have", async () => {
  for (const load of Object.values(benches)) {
    const names = ((await load()).options ?? []).map(({ name }) => name);
    const all = [...names, "--json", "--small", "--help"];
    expect(new Set(all).size).toBe(all.length);
  }
});

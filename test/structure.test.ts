/**
 * Dependencies point one way: agent → core, agent → wasm, and core is sans-IO; and never in a circle.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { Glob } from "bun";
import { importCircles } from "./import-circles.ts";

const root = join(import.meta.dir, "..");

/** Every import of every module under `folder`, but of its tests. */
function importsOf(folder: string): { file: string; from: string }[] {
  const imports: { file: string; from: string }[] = [];
  for (const path of new Glob(`${folder}/**/*.ts`).scanSync({ cwd: root })) {
    if (path.endsWith(".test.ts")) continue;
    const text = readFileSync(join(root, path), "utf8");
    for (const match of text.matchAll(/(?:\bfrom|\bimport\(?)\s*"([^"]+)"/g)) {
      const name = match[1] as string;
      const from = name.startsWith(".") ? relative(root, join(root, dirname(path), name)) : name;
      imports.push({ file: path, from });
    }
  }
  return imports;
}

test("core imports core and two pure libraries, nothing else", () => {
  const pure = ["cbor-x/encode", "cbor-x/decode", "@noble/hashes/sha2.js"];
  const imports = importsOf("core");
  expect(imports.length).toBeGreaterThan(10);
  expect(imports.filter(({ from }) => !from.startsWith("core/") && !pure.includes(from))).toEqual(
    [],
  );
});

test("wasm imports core and wasm, nothing of the agent", () => {
  const foreign = importsOf("wasm").filter(({ from }) => /^(agent|test|bench)\//.test(from));
  expect(foreign).toEqual([]);
});

test("the agent doesn't import tests or benches", () => {
  const foreign = importsOf("agent").filter(({ from }) => /^(test|bench)\//.test(from));
  expect(foreign).toEqual([]);
});

/** Folders, and files at a root, each after all that it may import. */
const roomsOf = {
  core: [
    ...["assert.ts", "hash.ts", "bytes", "clock", "row", "change", "database.ts", "row-store.ts"],
    ...["schema", "index", "node", "store", "replica"],
  ],
  "core/node": [
    ...["border.ts", "counters.ts", "queues", "members", "options.ts", "peer.ts", "node-events.ts"],
    ...["world.ts", "hello", "push", "repair", "node-machine.ts"],
  ],
  "core/store": [
    ...["file", "clocks", "tables", "scrub", "store-outcomes.ts", "local", "merge"],
    ...["store-transaction.ts", "local-transaction.ts", "sqlite-store.ts"],
  ],
  agent: [
    ...["version.ts", "start-failure.ts", "host", "api", "sql", "data", "udx", "swarm"],
    ...["config", "log.ts", "secrets", "live", "readers", "net", "wal", "chores", "operations"],
    ...["metrics", "store", "client", "agent-store.ts", "agent-network.ts", "agent-servers.ts"],
    ...["agent.ts", "cli", "main.ts", "build.ts"],
  ],
};

for (const [folder, rooms] of Object.entries(roomsOf)) {
  test(`each room of ${folder} imports only rooms that come before it`, () => {
    const roomOf = (path: string) => path.slice(folder.length + 1).split("/")[0] as string;
    const imports = importsOf(folder).filter(({ from }) => from.startsWith(`${folder}/`));
    const met = new Set(imports.flatMap(({ file, from }) => [roomOf(file), roomOf(from)]));
    expect([...met].filter((room) => !rooms.includes(room))).toEqual([]);
    const backward = imports.filter(
      ({ file, from }) => rooms.indexOf(roomOf(from)) > rooms.indexOf(roomOf(file)),
    );
    expect(backward).toEqual([]);
  });
}

test("of live queries, rows know no queries, and what a query's text says knows no more than rows", () => {
  const outside = (folder: string, allowed: readonly string[]) =>
    importsOf(folder).filter(({ from }) => {
      const isOfLive = from.startsWith("agent/live/");
      return isOfLive && !allowed.some((one) => from.startsWith(one));
    });
  expect(outside("agent/live/rows", ["agent/live/rows/"])).toEqual([]);
  expect(outside("agent/live/plan", ["agent/live/plan/", "agent/live/rows/"])).toEqual([]);
});

// Importing a type counts: who reads one file of a circle has to read them all.
test("no files import each other in a circle", () => {
  const folders = ["core", "wasm", "agent", "test", "bench", "examples"];
  const imports = folders.flatMap(importsOf);
  expect(imports.length).toBeGreaterThan(1000);
  expect(importCircles(imports)).toEqual([]);
});

test("a circle of imports is found", () => {
  const arrows = (text: string) =>
    text.split(" ").map((arrow) => ({ file: arrow[0] as string, from: arrow[1] as string }));
  expect(importCircles(arrows("ab bc cd ca de"))).toEqual([["a", "b", "c"]]);
  expect(importCircles(arrows("ab ac bd cd"))).toEqual([]);
  expect(importCircles(arrows("ab ba bc cd dc"))).toEqual([
    ["c", "d"],
    ["a", "b"],
  ]);
});

test("an import from core into agent, and a use of Bun, don't compile", () => {
  const folder = mkdtempSync(join(tmpdir(), "patina-structure-"));
  try {
    mkdirSync(join(folder, "core"));
    mkdirSync(join(folder, "agent"));
    const settings = JSON.parse(readFileSync(join(root, "core/tsconfig.json"), "utf8"));
    settings.extends = join(root, "tsconfig.base.json");
    settings.compilerOptions.outDir = join(folder, "out");
    writeFileSync(join(folder, "core/tsconfig.json"), JSON.stringify(settings));
    writeFileSync(join(folder, "agent/main.ts"), "export const agent = 1;\n");
    writeFileSync(
      join(folder, "core/wrong.ts"),
      'export { agent } from "../agent/main.ts";\nexport const now: unknown = Bun.nanoseconds();\n',
    );
    const { stdout } = Bun.spawnSync([join(root, "node_modules/.bin/tsc"), "-b", "core"], {
      cwd: folder,
    });
    const output = stdout.toString();
    // Outside of rootDir, or not listed by the project: either way it stops here.
    expect(output).toMatch(/error TS(6059|6307)/);
    expect(output).toContain("Cannot find name 'Bun'");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}, 120_000);

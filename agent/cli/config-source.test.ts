import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { StartFailure } from "../start-failure.ts";
import { loadConfig } from "./config-source.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "patina-config-source-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

test("the system's file is read where none is named, and needn't be there", () => {
  const system = join(folder, "patina.toml");
  expect(loadConfig(undefined, {}, system).node.region).toBe("default");
  writeFileSync(system, '[node]\nregion = "fra"\n');
  expect(loadConfig(undefined, {}, system).node.region).toBe("fra");
  const named = join(folder, "named.toml");
  expect(() => loadConfig(named, {}, system)).toThrow(`${named}: there is no such file`);
});

test("a folder is told in words", () => {
  expect(() => loadConfig(folder)).toThrow(`configuration: ${folder}: it is a folder`);
});

// As in a folder that this user may not enter: an agent would begin with the defaults, alone, in another data directory.
test("a system's file that is there and can't be read is told, and not passed over", () => {
  const system = join(folder, "loop.toml");
  symlinkSync(system, system);
  expect(() => loadConfig(undefined, {}, system)).toThrow(StartFailure);
  expect(() => loadConfig(undefined, {}, system)).toThrow(`configuration: ${system}: ELOOP`);
});

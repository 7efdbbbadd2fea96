import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { problemOf } from "./addon-folder.ts";

const root = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw";
const mount = (point: string, options: string) => `30 22 0:1 / ${point} ${options} - tmpfs none rw`;

test("the mount that holds a folder decides, the later of two on one point", () => {
  const folder = tmpdir();
  const noexec = mount(folder, "rw,nosuid,noexec");
  expect(problemOf(folder, root)).toBeUndefined();
  expect(problemOf(folder, [root, noexec].join("\n"))).toBe(`${folder} is mounted noexec`);
  expect(problemOf(folder, [root, noexec, mount(folder, "rw")].join("\n"))).toBeUndefined();
  // A neighbour whose name begins alike isn't it.
  expect(problemOf(folder, [root, mount(`${folder}2`, "noexec")].join("\n"))).toBeUndefined();
});

test("a full one won't do, unless the addon is there already", () => {
  const folder = mkdtempSync(join(tmpdir(), "patina-addon-"));
  const full = () => problemOf(folder, root, () => 4096);
  expect(full()).toBe(`${folder} is full`);
  writeFileSync(join(folder, ".bun-0-1234.node"), "");
  expect(full()).toBe(`${folder} is full`);
  writeFileSync(join(folder, ".bun-0-1234.node"), "an addon");
  expect(full()).toBeUndefined();
  rmSync(folder, { recursive: true });
});

test("a folder that isn't there can't be used", () => {
  expect(problemOf("/not/there", root)).toBe("/not/there can't be written (ENOENT)");
});

import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openTextFile, readPlainFile, readTextFile } from "./text-file.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "patina-text-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function makePipe(name: string): string {
  const path = join(folder, name);
  expect(Bun.spawnSync(["mkfifo", "-m", "600", path]).exitCode).toBe(0);
  return path;
}

test("a pipe that somebody writes to is read to its end, however slowly it comes", async () => {
  const path = makePipe("config");
  const script = "sleep 0.05; { printf '[node]\\n'; sleep 0.05; printf 'name = 1\\n'; } > \"$0\"";
  const writer = Bun.spawn(["sh", "-c", script, path]);
  expect(openTextFile(path)).toEqual({ text: "[node]\nname = 1\n", mode: 0o600 });
  expect(await writer.exited).toBe(0);
});

test("a pipe that nobody writes to is given up, and never waited for where a file is meant", () => {
  const path = makePipe("tokens");
  expect(() => openTextFile(path, { silenceMsMax: 20 })).toThrow("nobody wrote to it for 0.02 s");
  expect(() => readPlainFile(path)).toThrow(`${path} is no file: remove it`);
});

test("a pipe that was read is waited for only a moment the next time: an agent that serves does that", () => {
  const path = makePipe("schema");
  Bun.spawn(["sh", "-c", 'printf one > "$0"', path]);
  expect(readTextFile(path)).toBe("one");
  expect(() => readTextFile(path)).toThrow("nobody wrote to it for 0.1 s");
});

test("a folder, a device and what is no UTF-8 are refused", () => {
  mkdirSync(join(folder, "sub"));
  expect(() => readTextFile(join(folder, "sub"))).toThrow("EISDIR");
  expect(() => readPlainFile(join(folder, "sub"))).toThrow("is no file");
  expect(() => readTextFile("/dev/zero")).toThrow("larger than 16777216 bytes");
  expect(readTextFile("/dev/null")).toBe("");
  const path = join(folder, "bytes");
  writeFileSync(path, Uint8Array.of(0xff));
  expect(() => readTextFile(path)).toThrow("it is not UTF-8");
});

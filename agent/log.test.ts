import { expect, test } from "bun:test";
import { closeSync, fstatSync, openSync } from "node:fs";
import { createLog, isStderrJournal } from "./log.ts";

test("what goes to the journal begins with the priority, also as JSON, and nothing else does", () => {
  const lineOf = (format: "text" | "json", isJournal: boolean): string => {
    const lines: string[] = [];
    const write = (line: string) => void lines.push(line);
    createLog({ level: "info", format, isJournal, write }).warn("odd", { n: 1 });
    return lines.join("");
  };
  const json = expect.stringMatching(/^<4>\{"time":"[^"]+","level":"warn","text":"odd","n":1\}\n$/);
  expect(lineOf("json", true)).toEqual(json);
  expect(lineOf("text", true)).toBe("<4>odd n=1\n");
  expect(JSON.parse(lineOf("json", false))).toMatchObject({ level: "warn", n: 1 });
  expect(lineOf("text", false)).toMatch(/^20[^ ]+Z warn {2}odd n=1\n$/);
});

test("stderr is the journal's where the variable names the very file", () => {
  const fd = openSync(import.meta.path, "r");
  const { dev, ino } = fstatSync(fd);
  expect(isStderrJournal(`${dev}:${ino}`, fd)).toBe(true);
  expect(isStderrJournal(`${dev}:${ino + 1}`, fd)).toBe(false);
  expect(isStderrJournal(undefined, fd)).toBe(false);
  closeSync(fd);
  expect(isStderrJournal(`${dev}:${ino}`, fd)).toBe(false);
});

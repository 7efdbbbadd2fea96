import { expect, spyOn, test } from "bun:test";
import * as fs from "node:fs";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KeptFile } from "./kept-file.ts";

function createFolder() {
  const path = mkdtempSync(join(tmpdir(), "patina-kept-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
}

test("a file is kept while it is written to, and until it is deleted or replaced", async () => {
  using folder = createFolder();
  const path = join(folder.path, "file");
  writeFileSync(path, "one");
  const file = new KeptFile(path);
  writeFileSync(path, "one and more");
  expect(await file.look()).toBe("kept");
  renameSync(path, `${path}.old`);
  expect(await file.look()).toBe("deleted");
  writeFileSync(path, "another");
  expect(await file.look()).toBe("replaced");
  // Nothing was lost: it is back.
  renameSync(`${path}.old`, path);
  expect(await file.look()).toBe("kept");
  rmSync(path);
  file.renew();
  expect(await file.look()).toBe("kept");
});

test("a file that comes later is known from when it is first seen", async () => {
  using folder = createFolder();
  const path = join(folder.path, "file");
  const file = new KeptFile(path);
  expect(await file.look()).toBe("kept");
  writeFileSync(path, "one");
  expect(await file.look()).toBe("kept");
  rmSync(path);
  expect(await file.look()).toBe("deleted");
});

test("a file in a folder that is gone, or is now a file, is deleted; a folder's link may show another one", async () => {
  using folder = createFolder();
  const at = (...names: string[]) => join(folder.path, ...names);
  for (const name of ["a", "b"]) {
    mkdirSync(at(name));
    writeFileSync(at(name, "file"), name);
  }
  symlinkSync("a", at("link"));
  const direct = new KeptFile(at("a", "file"));
  const linked = new KeptFile(at("link", "file"));
  expect([await direct.look(), await linked.look()]).toEqual(["kept", "kept"]);
  rmSync(at("link"));
  symlinkSync("b", at("link"));
  expect([await direct.look(), await linked.look()]).toEqual(["kept", "replaced"]);
  rmSync(at("a"), { recursive: true });
  expect(await direct.look()).toBe("deleted");
  writeFileSync(at("a"), "");
  expect(await direct.look()).toBe("deleted");
});

test("a file of which the disk can't say anything at first is known from when it is first seen", async () => {
  using folder = createFolder();
  const path = join(folder.path, "file");
  writeFileSync(path, "one");
  const fail = (): never => {
    throw Object.assign(new Error("EIO: i/o error, stat"), { code: "EIO" });
  };
  const fails = spyOn(fs, "statSync").mockImplementation(fail);
  const file = new KeptFile(path);
  fails.mockRestore();
  expect(await file.look()).toBe("kept");
  rmSync(path);
  expect(await file.look()).toBe("deleted");
});

import { afterEach, beforeEach, expect, test } from "bun:test";
import { constants, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  SQLITE_OPEN_CREATE,
  SQLITE_OPEN_READWRITE,
  SQLITE_READONLY_DIRECTORY,
} from "../constants.ts";
import { openDatabase } from "../database.ts";
import { openDescriptor } from "./descriptors.ts";
import { FileVfs } from "./file.ts";
import { type FileSystem, systemFiles } from "./file-system.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "patina-descriptors-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function refusing(code: string, isRefused: (path: string, flags: number) => boolean): FileSystem {
  return {
    ...systemFiles,
    open: (path, flags, mode) => {
      if (!isRefused(path, flags)) return systemFiles.open(path, flags, mode);
      throw Object.assign(new Error(`${code}: refused`), { code });
    },
  };
}

const toWrite = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;

// EPERM is what Linux says of a file that was made immutable.
test.each(["EACCES", "EROFS", "EPERM"])(
  "a file that can't be written (%s) is opened for reading, and one that isn't there is refused",
  (code) => {
    const path = join(folder, "a.db");
    systemFiles.close(openDescriptor(systemFiles, path, toWrite).fd);
    const fs = refusing(code, (_path, flags) => (flags & constants.O_RDWR) !== 0);
    const { fd, readonly } = openDescriptor(fs, path, toWrite);
    systemFiles.close(fd);
    expect(readonly).toBeTrue();
    expect(() => openDescriptor(fs, join(folder, "b.db"), toWrite)).toThrow(
      expect.objectContaining({
        code: SQLITE_READONLY_DIRECTORY,
        message: `create ${join(folder, "b.db")}: ${code}`,
      }),
    );
  },
);

test("what a checkpoint syncs by is opened whole, or nothing of it stays open", () => {
  const path = join(folder, "a.db");
  let opensLeft = Number.POSITIVE_INFINITY;
  const vfs = new FileVfs(
    undefined,
    refusing("EMFILE", () => opensLeft-- <= 0),
  );
  using database = openDatabase(path, { vfs });
  database.exec("PRAGMA journal_mode = WAL; CREATE TABLE t (a)");
  const descriptors = () => readdirSync("/proc/self/fd").length;
  const before = descriptors();
  for (let opens = 0; opens < 3; opens++) {
    opensLeft = opens;
    expect(() => vfs.openCheckpointSync(path)).toThrow("EMFILE");
    expect(descriptors()).toBe(before);
  }
  opensLeft = 3;
  vfs.openCheckpointSync(path).close();
  expect(descriptors()).toBe(before);
});

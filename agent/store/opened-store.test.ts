import { expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { schemaOf } from "../../test/generators/sqlite-store.ts";
import { createStoreThread } from "../../test/generators/store-thread.ts";
import { FileVfs } from "../../wasm/vfs/file.ts";
import { lockDatabaseFile } from "../../wasm/vfs/ofd-lock.ts";
import { DataDirectory } from "../data/data-directory.ts";

// Two that find no `secrets` would each make one, and the one that serves may go by a key that isn't in the file.
test("of two first starts at once on one data directory only the one that has the database makes a digest key", () => {
  const path = mkdtempSync(join(tmpdir(), "patina-first-"));
  try {
    const directory = new DataDirectory(path);
    const others: string[] = [];
    const thread = createStoreThread({
      vfs: new FileVfs(),
      databasePath: directory.databasePath,
      schema: schemaOf(""),
      digestKey: () => {
        // As another process would be answered.
        const fd = openSync(directory.databasePath, "r+");
        others.push(lockDatabaseFile(fd, true).kind);
        closeSync(fd);
        return directory.ownDigestKey();
      },
    });
    thread.stop();
    expect(others).toEqual(["held"]);
  } finally {
    rmSync(path, { recursive: true });
  }
});

import { expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { openWriter } from "./database-files.ts";

// The warm-up's database is at "/warm-up.db": on the read-only root of a hardened unit already asking for a removal fails.
test("a database in memory leaves alone what the disk has at its path", () => {
  const folder = mkdtempSync(join(tmpdir(), "patina-in-memory-"));
  try {
    const path = join(folder, "memory.db");
    const utf16 = Buffer.alloc(4096);
    utf16.write("SQLite format 3\0");
    utf16.writeUInt32BE(2, 56);
    writeFileSync(path, utf16);
    writeFileSync(`${path}.restoring`, "another's");
    const { writer, header } = openWriter(path, new MemoryVfs());
    writer.close();
    expect(header.kind).toBe("new");
    expect(readdirSync(folder).sort()).toEqual(["memory.db", "memory.db.restoring"]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

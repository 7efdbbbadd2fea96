import { expect, test } from "bun:test";
import { type Site, siteOfHex } from "../../core/clock/stamp.ts";
import { createOwnTables } from "../../core/store/file/file-header.ts";
import { openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { ownSitesOf, recordOwnSites } from "./own-sites.ts";

test("a node knows all sites that it was in this file, and none that the file had elsewhere", () => {
  using database = openDatabase("own.db", { vfs: new MemoryVfs() });
  createOwnTables(database);
  const siteOf = (digit: string): Site => siteOfHex(digit.repeat(32));
  const [a, b, c] = [siteOf("a"), siteOf("b"), siteOf("c")];
  const [node, other] = ["01".repeat(32), "02".repeat(32)];
  const record = (key: string, site: Site) => {
    const sites = ownSitesOf(database, key, site);
    recordOwnSites(database, key, sites);
    return [...sites];
  };
  expect(record(node, a)).toEqual([a]);
  expect(record(node, a)).toEqual([a]);
  expect(record(node, b)).toEqual([a, b]);
  expect(record(node, a)).toEqual([b, a]);
  // The file is copied to another host.
  expect(record(other, c)).toEqual([c]);
});

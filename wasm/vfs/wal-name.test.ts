/**
 * A WAL that was just made is only as safe as its name: until the folder is synced, a power cut takes it and all commits
 * in it.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { seededRandom } from "../../bench/seeded-random.ts";
import { FaultyDisk } from "../../test/disk/faulty-disk.ts";
import { type Database, openDatabase } from "../database.ts";
import { FileVfs } from "./file.ts";

const path = "/d/t.db";
/** Each another power cut. */
const seeds = 12;

class World {
  readonly disk: FaultyDisk;
  readonly writer: Database;

  constructor(seed: number) {
    this.disk = new FaultyDisk({ random: seededRandom(seed) });
    this.writer = openDatabase(path, { vfs: new FileVfs(undefined, this.disk) });
    this.writer.exec("CREATE TABLE t (n INTEGER PRIMARY KEY)");
    this.writer.pragma("journal_mode", "wal");
    this.writer.pragma("synchronous", "full");
  }

  rowsAfterPowerCut(): unknown[] {
    this.disk.stop();
    this.writer.close();
    this.disk.restart("power");
    using database = openDatabase(path, { vfs: new FileVfs(undefined, this.disk) });
    return database.all("SELECT n FROM t").flat();
  }
}

test("a name whose sync has failed is synced by the next commit", () => {
  for (let seed = 0; seed < seeds; seed++) {
    const world = new World(seed);
    world.disk.inject({ kind: "error", call: "fsync", after: 0, times: 1, code: "EIO" });
    expect(() => world.writer.exec("INSERT INTO t VALUES (6)")).toThrow("EIO");
    world.writer.exec("INSERT INTO t VALUES (7)");
    expect([seed, world.rowsAfterPowerCut()]).toEqual([seed, expect.arrayContaining([7])]);
  }
});

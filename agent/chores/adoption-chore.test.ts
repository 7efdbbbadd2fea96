import { expect, test } from "bun:test";
import { adoptedAtOnceMax } from "../../core/store/local/adoption.ts";
import { openMemory, SqliteNode, schemaOf } from "../../test/generators/sqlite-store.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { AdoptionChore } from "./adoption-chore.ts";

const never = Number.POSITIVE_INFINITY;
const rows = adoptedAtOnceMax + 1;

/** Tables that were filled before they were replicated, too large to be taken in at the start. */
class World {
  readonly node: SqliteNode;
  readonly chore: AdoptionChore;
  mayWrite = true;
  /** Rows of each commit that was told. */
  readonly told: number[] = [];
  readonly done: unknown[] = [];

  constructor(...names: readonly string[]) {
    const vfs = new MemoryVfs();
    const plain = openMemory(vfs);
    const tables = names.map((name) => `CREATE TABLE ${name} (id INTEGER PRIMARY KEY, v TEXT)`);
    for (const [n, name] of names.entries()) {
      plain.exec(`${tables[n]};
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
        INSERT INTO ${name} SELECT i, 'v' || i FROM n`);
    }
    plain.close();
    this.node = new SqliteNode(schemaOf(tables.join(";\n")), { vfs });
    this.chore = new AdoptionChore(this.node.db, this.node.store, {
      mayWrite: () => this.mayWrite,
      onCommitted: (commit) => this.told.push(commit.merged.length),
      onDone: (progress) => this.done.push(progress),
    });
  }

  /** Until nothing is due, or `slices`. @returns how many it had */
  run(slices = never): number {
    let count = 0;
    for (; this.chore.dueMs <= 5000 && count < slices; count++) this.chore.run(5000);
    return count;
  }

  get toldRows(): number {
    return this.told.reduce((sum, one) => sum + one, 0);
  }
}

test("tables are taken in one after the other, a slice at a time, and each row is told once", () => {
  const names = ["a", "b"];
  const world = new World(...names);
  const { chore } = world;
  expect([chore.tables, chore.progress]).toEqual([names, undefined]);
  expect(world.run(2)).toBe(2);
  expect(world.told.length).toBe(2);
  expect(chore.progress).toMatchObject({ table: "a", rows: world.toldRows, of: rows });
  world.run();
  expect(world.done).toEqual(names.map((table) => ({ table, rows, of: rows, skipped: 0 })));
  expect([chore.tables, chore.progress, chore.dueMs]).toEqual([[], undefined, never]);
  expect(world.toldRows).toBe(2 * rows);
  world.node[Symbol.dispose]();
});

test("a host whose clock may not stamp writes asks again every second, and goes on where it was", () => {
  const world = new World("a");
  world.run(3);
  world.mayWrite = false;
  const { progress } = world.chore;
  world.chore.run(6000);
  expect([world.chore.dueMs, world.told.length]).toEqual([7000, 3]);
  expect(world.chore.progress).toEqual(progress);
  world.mayWrite = true;
  world.chore.run(7000);
  expect(world.told.length).toBe(4);
  world.node[Symbol.dispose]();
});

test("under another schema it begins anew, and rows that are taken in already are told to nobody again", () => {
  const world = new World("a");
  world.run(3);
  const before = world.toldRows;
  expect(before).toBeGreaterThan(0);
  world.chore.schemaChanged();
  expect(world.chore.progress).toBeUndefined();
  world.run();
  expect(world.done).toEqual([{ table: "a", rows, of: rows, skipped: 0 }]);
  expect(world.toldRows).toBe(rows);
  world.node[Symbol.dispose]();
});

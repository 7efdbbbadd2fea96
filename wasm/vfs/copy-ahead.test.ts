import { afterEach, beforeEach, expect, test } from "bun:test";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { type Database, openDatabase } from "../database.ts";
import type { CopyAhead } from "./copy-ahead.ts";
import { FileVfs } from "./file.ts";
import { type FileSystem, systemFiles } from "./file-system.ts";
import type { CheckpointSync } from "./vfs.ts";

let folder: string;
let opened: World[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "patina-copy-ahead-"));
  opened = [];
});

afterEach(() => {
  for (const world of opened) world.close();
  rmSync(folder, { recursive: true });
});

/** A database, one that writes it, one that marks it, and one that makes checkpoints of it. */
class World {
  readonly path: string;
  readonly vfs: FileVfs;
  readonly writer: Database;
  readonly marker: Database;
  readonly copier: Database;
  readonly sync: CheckpointSync;
  readonly calls = { pread: 0, pwrite: 0 };
  readonly #readers: Database[] = [];

  constructor(pageBytes = 4096) {
    this.path = join(folder, `${opened.length}.db`);
    const counting: FileSystem = {
      ...systemFiles,
      pread: (...args) => {
        this.calls.pread++;
        return systemFiles.pread(...args);
      },
      pwrite: (...args) => {
        this.calls.pwrite++;
        return systemFiles.pwrite(...args);
      },
    };
    this.vfs = new FileVfs(undefined, counting);
    this.writer = openDatabase(this.path, { vfs: this.vfs });
    this.writer.pragma("page_size", pageBytes);
    this.writer.pragma("auto_vacuum", "incremental");
    this.writer.pragma("journal_mode", "wal");
    this.writer.pragma("synchronous", "off");
    this.writer.pragma("wal_autocheckpoint", 0);
    this.writer.exec("CREATE TABLE t (n INTEGER PRIMARY KEY, body BLOB)");
    this.marker = openDatabase(this.path, { vfs: this.vfs, readonly: true });
    this.copier = openDatabase(this.path, { vfs: this.vfs });
    this.sync = this.vfs.openCheckpointSync(this.path);
    opened.push(this);
  }

  get frames(): number {
    return Number(this.copier.all("PRAGMA wal_checkpoint(NOOP)")[0]?.[1]);
  }

  /** Some rows a commit. */
  fill(rows: number, bytes = 3000): void {
    const insert = `INSERT INTO t (body) VALUES (randomblob(${bytes}))`;
    for (let i = 0; i < rows; i += 5) {
      this.writer.exec(`BEGIN; ${`${insert};`.repeat(Math.min(5, rows - i))} COMMIT`);
    }
  }

  /** A read transaction, which sees what is committed now. */
  read(): { count(): number; end(): void } {
    const reader = openDatabase(this.path, { vfs: this.vfs, readonly: true });
    this.#readers.push(reader);
    const count = () => Number(reader.all("SELECT count(*) FROM t")[0]?.[0]);
    reader.exec("BEGIN");
    count();
    return { count, end: () => reader.exec("COMMIT") };
  }

  mark(): void {
    this.marker.exec("BEGIN");
    this.marker.all("SELECT 1 FROM sqlite_schema");
  }

  copyAhead(lastFrame = this.frames): CopyAhead | undefined {
    return this.sync.copyAhead(this.copier.module.heap.u8, lastFrame);
  }

  /** @returns frames that are copied now */
  checkpoint(ahead: CopyAhead | undefined): number {
    const make = () => this.copier.checkpoint("PASSIVE");
    return this.sync.withoutSyncs(make, ahead).checkpointedFrames;
  }

  /** The rows of the database file without its WAL, or why they can't be read. */
  rowsOfFile(): string {
    const copy = `${this.path}-copy`;
    copyFileSync(this.path, copy);
    const database = openDatabase(copy, { vfs: new FileVfs() });
    try {
      // A copy in WAL mode would want a WAL.
      database.pragma("locking_mode", "exclusive");
      return `${database.pragma("integrity_check")} ${sumOf(database)}`;
    } finally {
      database.close();
    }
  }

  close(): void {
    this.sync.close();
    for (const database of [...this.#readers, this.marker, this.copier, this.writer])
      database.close();
  }
}

function sumOf(database: Database): string {
  return String(database.all("SELECT count(*), sum(n), max(hex(body)) FROM t")[0]);
}

/** All of it. @returns how many pieces that were */
function copyAll(ahead: CopyAhead | undefined): number {
  for (let pieces = 1; ; pieces++) if (ahead?.copy() !== false) return pieces;
}

test("what was copied ahead the checkpoint neither reads nor writes", () => {
  const world = new World();
  world.fill(100);
  const { frames } = world;
  world.mark();
  const ahead = world.copyAhead();
  expect(copyAll(ahead)).toBeGreaterThan(3);
  const before = { ...world.calls };
  expect(world.checkpoint(ahead)).toBe(frames);
  const { pread, pwrite } = world.calls;
  // The header of the database, at most.
  expect(pread - before.pread).toBeLessThan(3);
  expect(pwrite - before.pwrite).toBe(0);
  expect(world.rowsOfFile()).toBe(`ok ${sumOf(world.writer)}`);
});

test("a page that has a newer frame by then is copied from that", () => {
  const world = new World();
  world.fill(50);
  world.mark();
  const ahead = world.copyAhead();
  copyAll(ahead);
  world.writer.exec("UPDATE t SET body = randomblob(2000) WHERE n % 7 = 0");
  world.marker.exec("COMMIT");
  const reader = world.read();
  expect(world.checkpoint(ahead)).toBe(world.frames);
  expect(world.rowsOfFile()).toBe(`ok ${sumOf(world.writer)}`);
  reader.end();
});

test("nothing is copied that a reader must not see yet", () => {
  const world = new World();
  world.fill(20);
  world.checkpoint(undefined);
  const ofTheFile = world.read();
  world.fill(20);
  // It reads the database alone.
  expect(world.copyAhead()).toBeUndefined();
  ofTheFile.end();
  const older = world.read();
  world.writer.exec("DELETE FROM t WHERE n > 5");
  const ahead = world.copyAhead();
  copyAll(ahead);
  expect(older.count()).toBe(40);
  const { frames } = world;
  expect(world.checkpoint(ahead)).toBeLessThan(frames);
  expect(older.count()).toBe(40);
  older.end();
  expect(world.checkpoint(undefined)).toBe(frames);
  expect(world.rowsOfFile()).toBe(`ok ${sumOf(world.writer)}`);
});

test("each of the marks that SQLite has room for keeps what is younger from being copied", () => {
  for (let held = 0; held < 4; held++) {
    const world = new World();
    const readers = [0, 1, 2, 3].map(() => {
      world.fill(5);
      return { ...world.read(), frames: world.frames };
    });
    const { frames, end } = readers.splice(held, 1)[0] as (typeof readers)[number];
    for (const reader of readers) reader.end();
    world.fill(20);
    const writesOf = (ahead: CopyAhead | undefined): number => {
      const before = world.calls.pwrite;
      copyAll(ahead);
      return world.calls.pwrite - before;
    };
    expect([held, writesOf(world.copyAhead())]).toEqual([held, writesOf(world.copyAhead(frames))]);
    end();
    expect(writesOf(world.copyAhead())).toBeGreaterThan(writesOf(world.copyAhead(frames)));
  }
});

test("frames after the last that is on the disk stay", () => {
  const world = new World();
  world.fill(20);
  const onDisk = world.frames;
  world.fill(20);
  const before = world.calls.pwrite;
  copyAll(world.copyAhead(onDisk));
  const first = world.calls.pwrite - before;
  copyAll(world.copyAhead());
  expect(first).toBeLessThan(world.calls.pwrite - before - first);
});

// Whatever is written, and however much of it was copied ahead: the file has what the mark saw.
for (const pageBytes of [512, 4096, 65_536]) {
  test(`any history, pages of ${pageBytes} bytes`, () => {
    const step = fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({ insert: fc.integer({ min: 1, max: 25 }), bytes: fc.nat(4000) }),
      },
      { weight: 2, arbitrary: fc.record({ update: fc.integer({ min: 2, max: 9 }) }) },
      { weight: 1, arbitrary: fc.record({ remove: fc.integer({ min: 2, max: 4 }) }) },
    );
    const round = fc.record({
      before: fc.array(step, { maxLength: 4 }),
      pieces: fc.nat(20),
      between: fc.array(step, { maxLength: 2 }),
    });
    fc.assert(
      fc.property(fc.array(round, { minLength: 1, maxLength: 4 }), (rounds) => {
        const world = new World(pageBytes);
        const run = (steps: readonly object[]) => {
          for (const one of steps) {
            if ("insert" in one && "bytes" in one)
              world.fill(Number(one.insert), Number(one.bytes));
            if ("update" in one)
              world.writer.exec(`UPDATE t SET body = randomblob(900) WHERE n % ${one.update} = 0`);
            if ("remove" in one) {
              world.writer.exec(`DELETE FROM t WHERE n % ${one.remove} = 0`);
              world.writer.exec("PRAGMA incremental_vacuum");
            }
          }
        };
        for (const { before, pieces, between } of rounds) {
          run(before);
          world.mark();
          const ahead = world.copyAhead();
          for (let piece = 0; piece < pieces && ahead?.copy() === false; piece++);
          run(between);
          world.checkpoint(ahead);
          world.marker.exec("COMMIT");
          world.checkpoint(undefined);
          expect(world.rowsOfFile()).toBe(`ok ${sumOf(world.writer)}`);
        }
      }),
      { numRuns: 8 },
    );
  });
}

test("a WAL of several regions of the wal-index", () => {
  const world = new World(512);
  world.fill(1500, 2900);
  expect(world.frames).toBeGreaterThan(4062 + 4096);
  world.mark();
  const ahead = world.copyAhead();
  copyAll(ahead);
  const before = world.calls.pwrite;
  world.checkpoint(ahead);
  expect(world.calls.pwrite).toBe(before);
  expect(world.rowsOfFile()).toBe(`ok ${sumOf(world.writer)}`);
});

import { expect, test } from "bun:test";
import {
  SQLITE_BUSY,
  SQLITE_CANTOPEN,
  SQLITE_FCNTL_LAST_ERRNO,
  SQLITE_FULL,
  SQLITE_IOERR,
  SQLITE_IOERR_DELETE_NOENT,
  SQLITE_IOERR_SHORT_READ,
  SQLITE_NOTFOUND,
  SQLITE_OK,
  SQLITE_OPEN_CREATE,
  SQLITE_OPEN_MAIN_DB,
  SQLITE_OPEN_READWRITE,
} from "../constants.ts";
import { loadSqlite } from "../module.ts";
import { MemoryVfs } from "./memory.ts";
import type { VfsFile } from "./vfs.ts";
import { VfsError } from "./vfs-error.ts";

const module = loadSqlite();
const { heap, vfs: glue } = module;

/** SQLite's side of an open file: its struct, and a buffer, both in the heap. */
function openOn(vfs: MemoryVfs, path = "/f") {
  glue.acquire(vfs);
  const zName = module.allocateCString(vfs.name);
  const pVfs = module.exports.sqlite3_vfs_find(zName);
  const zPath = module.allocateCString(path);
  const pFile = module.allocate(8);
  const buffer = module.allocate(4096);
  const flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MAIN_DB;
  const code = glue._xOpen(pVfs, zPath, pFile, flags, 0);
  return {
    pVfs,
    pFile,
    zPath,
    buffer,
    code,
    [Symbol.dispose]: () => {
      if (heap.i32[pFile >> 2] !== 0) glue._xClose(pFile);
      glue.release(vfs);
      for (const pointer of [zName, zPath, pFile, buffer]) module.free(pointer);
    },
  };
}

test("a short read is told and its rest is zeros, exactly up to what was asked for", () => {
  using open = openOn(new MemoryVfs());
  heap.u8.fill(0xaa, open.buffer, open.buffer + 16);
  expect(glue._xWrite(open.pFile, open.buffer, 3, 0, 0)).toBe(SQLITE_OK);
  heap.u8.fill(0xbb, open.buffer, open.buffer + 16);
  expect(glue._xRead(open.pFile, open.buffer, 6, 1, 0)).toBe(SQLITE_IOERR_SHORT_READ);
  expect([...heap.bytes(open.buffer, 8)]).toEqual([0xaa, 0xaa, 0, 0, 0, 0, 0xbb, 0xbb]);
  expect(glue._xRead(open.pFile, open.buffer, 4, 0, 1)).toBe(SQLITE_IOERR_SHORT_READ);
  expect([...heap.bytes(open.buffer, 4)]).toEqual([0, 0, 0, 0]);
});

test("offsets and sizes beyond 32 bits arrive whole", () => {
  const offsets: number[] = [];
  using open = openOn(
    new (class extends MemoryVfs {
      override xOpen() {
        const file = {
          shared: null,
          xWrite: (_heap: Uint8Array, _pointer: number, _bytes: number, offset: number) => {
            offsets.push(offset);
          },
          xTruncate: (bytes: number) => offsets.push(bytes),
          xFileSize: () => 3 * 2 ** 32 + 2 ** 31 + 7,
          xClose: () => {},
        };
        return { file: file as unknown as VfsFile, flags: 0 };
      }
    })(),
  );
  glue._xWrite(open.pFile, open.buffer, 1, -1, 1);
  glue._xTruncate(open.pFile, -(2 ** 31), 5);
  expect(offsets).toEqual([2 ** 33 - 1, 5 * 2 ** 32 + 2 ** 31]);
  glue._xFileSize(open.pFile, open.buffer);
  const [low, high] = [heap.i32[open.buffer >> 2], heap.i32[(open.buffer >> 2) + 1]];
  expect([(low as number) >>> 0, high]).toEqual([2 ** 31 + 7, 3]);
});

test("what a VFS throws becomes its code, anything else an I/O error, and is kept once", () => {
  using open = openOn(new MemoryVfs({ bytesMax: 2 }));
  expect(glue._xWrite(open.pFile, open.buffer, 3, 0, 0)).toBe(SQLITE_FULL);
  const full = glue.takeFailure(SQLITE_FULL);
  expect(full).toBeInstanceOf(VfsError);
  expect(glue.takeFailure(SQLITE_FULL)).toBeUndefined();

  using broken = openOn(
    new (class extends MemoryVfs {
      override xOpen(): never {
        throw new TypeError("a bug");
      }
      override xDelete(): never {
        throw new VfsError(SQLITE_IOERR, "no", 28);
      }
    })(),
  );
  expect([broken.code, heap.i32[broken.pFile >> 2]]).toEqual([SQLITE_CANTOPEN, 0]);
  // A failure of another kind than the one asked about is not its cause.
  expect(glue.takeFailure(SQLITE_FULL)).toBeUndefined();
  expect(glue._xDelete(broken.pVfs, broken.zPath, 0)).toBe(SQLITE_IOERR);
  expect(glue._xFileControl(open.pFile, SQLITE_FCNTL_LAST_ERRNO, open.buffer)).toBe(SQLITE_OK);
  expect(heap.i32[open.buffer >> 2]).toBe(28);
  expect(glue._xGetLastError(0, 3, open.buffer)).toBe(28);
  expect(heap.cString(open.buffer)).toBe("no");
});

test("deleting what isn't there, and controls that mean nothing here", () => {
  using open = openOn(new MemoryVfs());
  expect(glue._xDelete(open.pVfs, open.zPath, 0)).toBe(SQLITE_OK);
  expect(glue._xDelete(open.pVfs, open.zPath, 0)).toBe(SQLITE_IOERR_DELETE_NOENT);
  expect(glue._xFileControl(open.pFile, 9999, 0)).toBe(SQLITE_NOTFOUND);
});

test("a new region of the wal-index is zeros, and the same for both connections", () => {
  const vfs = new MemoryVfs();
  using first = openOn(vfs);
  using second = openOn(vfs);
  // Memory that was used before.
  const used = module.allocate(32_768);
  heap.u8.fill(0xcc, used, used + 32_768);
  module.free(used);
  expect(glue._xShmMap(first.pFile, 0, 32_768, 0, first.buffer)).toBe(SQLITE_OK);
  expect(heap.i32[first.buffer >> 2]).toBe(0);
  expect(glue._xShmMap(first.pFile, 0, 32_768, 1, first.buffer)).toBe(SQLITE_OK);
  const region = heap.i32[first.buffer >> 2] as number;
  expect(heap.bytes(region, 32_768).every((byte) => byte === 0)).toBe(true);
  expect(glue._xShmMap(second.pFile, 0, 32_768, 0, second.buffer)).toBe(SQLITE_OK);
  expect(heap.i32[second.buffer >> 2]).toBe(region);
  expect(glue._xShmLock(first.pFile, 0, 1, 2 | 8)).toBe(SQLITE_OK);
  expect(glue._xShmLock(second.pFile, 0, 1, 2 | 4)).toBe(SQLITE_BUSY);
  expect(glue._xShmLock(first.pFile, 0, 1, 1 | 8)).toBe(SQLITE_OK);
  expect(glue._xShmLock(second.pFile, 0, 1, 2 | 4)).toBe(SQLITE_OK);
});

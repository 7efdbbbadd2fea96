import { expect, test } from "bun:test";
import {
  SQLITE_LOCK_EXCLUSIVE as EXCLUSIVE,
  SQLITE_LOCK_NONE as NONE,
  SQLITE_LOCK_PENDING as PENDING,
  SQLITE_LOCK_RESERVED as RESERVED,
  SQLITE_LOCK_SHARED as SHARED,
} from "../constants.ts";
import { createFileHolder, type HeapAllocator, SharedFile } from "./shared-file.ts";

function setUp() {
  return {
    file: new SharedFile(),
    a: createFileHolder(),
    b: createFileHolder(),
    c: createFileHolder(),
  };
}

test("many share, one reserves, and it becomes exclusive when the others are gone", () => {
  const { file, a, b, c } = setUp();
  expect([file.lock(a, SHARED), file.lock(b, SHARED)]).toEqual([true, true]);
  expect([file.isReserved(), file.lock(a, RESERVED), file.isReserved()]).toEqual([
    false,
    true,
    true,
  ]);
  expect([file.lock(b, RESERVED), b.lockLevel]).toEqual([false, SHARED]);
  // A new reader still comes in beside RESERVED, but not beside PENDING.
  expect(file.lock(c, SHARED)).toBe(true);
  file.unlock(c, NONE);
  expect([file.lock(a, EXCLUSIVE), a.lockLevel]).toEqual([false, PENDING]);
  expect([file.lock(c, SHARED), c.lockLevel]).toEqual([false, NONE]);
  file.unlock(b, NONE);
  expect([file.lock(a, EXCLUSIVE), a.lockLevel]).toEqual([true, EXCLUSIVE]);
  file.unlock(a, SHARED);
  expect([file.isReserved(), file.lock(c, SHARED)]).toEqual([false, true]);
});

test("two readers that both want to roll a journal back: one waits", () => {
  const { file, a, b } = setUp();
  file.lock(a, SHARED);
  file.lock(b, SHARED);
  expect([file.lock(a, EXCLUSIVE), file.lock(b, EXCLUSIVE)]).toEqual([false, false]);
  expect([a.lockLevel, b.lockLevel]).toEqual([PENDING, SHARED]);
  file.unlock(b, NONE);
  expect(file.lock(a, EXCLUSIVE)).toBe(true);
});

test("wal-index locks: shared beside shared, exclusive alone, a range all or none", () => {
  const { file, a, b } = setUp();
  expect([file.shmLock(a, 3, 1, false), file.shmLock(b, 3, 1, false)]).toEqual([true, true]);
  expect(file.shmLock(b, 3, 1, true)).toBe(false);
  expect(file.shmLock(b, 2, 3, true)).toBe(false);
  // Nothing of the refused range is held.
  expect(file.shmLock(a, 2, 1, true)).toBe(true);
  file.shmUnlock(a, 2, 1);
  file.shmUnlock(a, 3, 1);
  file.shmUnlock(b, 3, 1);
  expect(file.shmLock(b, 2, 3, true)).toBe(true);
  expect([file.shmLock(a, 4, 1, false), file.shmLock(a, 5, 1, false)]).toEqual([false, true]);
  // Asking again for what is held changes nothing.
  expect([file.shmLock(b, 2, 3, true), file.shmLock(a, 5, 1, false)]).toEqual([true, true]);
  file.shmUnlock(a, 5, 1);
  expect(file.shmLock(b, 5, 1, true)).toBe(true);
});

test("the wal-index is one for all, lasts while anyone has it, and goes with the last", () => {
  const { file, a, b } = setUp();
  const live = new Set<number>();
  let next = 1000;
  const heap: HeapAllocator = {
    allocate: () => {
      next += 8;
      live.add(next);
      return next;
    },
    free: (pointer) => live.delete(pointer),
  };
  expect(file.shmMap(a, heap, 0, 32_768, false)).toBeNull();
  const first = file.shmMap(a, heap, 1, 32_768, true);
  expect([file.shmMap(b, heap, 1, 32_768, false), live.size]).toEqual([first, 2]);
  file.shmLock(a, 0, 1, true);
  file.release(a, heap);
  expect([live.size, file.shmLock(b, 0, 1, true)]).toEqual([2, true]);
  file.release(b, heap);
  expect(live.size).toBe(0);
  expect(file.shmMap(a, { allocate: () => 0, free: () => {} }, 0, 32_768, true)).toBe(0);
});

test("a connection that goes gives back all that it held", () => {
  const { file, a, b } = setUp();
  const heap: HeapAllocator = { allocate: () => 8, free: () => {} };
  file.lock(a, EXCLUSIVE);
  file.shmLock(a, 0, 8, true);
  file.release(a, heap);
  expect([file.lock(b, EXCLUSIVE), file.shmLock(b, 0, 8, true)]).toEqual([true, true]);
});

/**
 * What the WebAssembly build of SQLite asks of its surroundings.
 *
 * The build is Emscripten's, and half of its imports are a file system for the "unix" VFS that it
 * brings along. That VFS is unregistered at load (module.ts): every file goes through a VFS of ours,
 * so these answer "no such call". What remains is clocks, time zone and heap growth, which take a
 * few lines here, where Emscripten's JavaScript would take 480 KB and an asynchronous start.
 *
 * @module
 */

/** How the imports reach the heap, which doesn't exist yet when they are made. */
export interface HeapAccess {
  readonly i32: Int32Array;
  /** Grows the heap to at least this size. False when it can't. */
  grow(bytesMin: number): boolean;
}

/** Emscripten's number for "function not implemented", negated as a syscall returns it. */
const ENOSYS = -52;
/** The same as WASI returns it. */
const WASI_ENOSYS = 52;

const unsupportedSyscalls = [
  "chmod",
  "faccessat",
  "fchmod",
  "fchown32",
  "fcntl64",
  "fstat64",
  "ftruncate64",
  "getcwd",
  "ioctl",
  "lstat64",
  "mkdirat",
  "newfstatat",
  "openat",
  "readlinkat",
  "rmdir",
  "stat64",
  "unlinkat",
  "utimensat",
];

/** The hard limit of this build: it declares 32,768 pages of 64 KiB at most. */
export const heapBytesMax: number = 32_768 * 65_536;

/** Imports by module and name, for `WebAssembly.Instance`. */
export function createImports(
  memory: WebAssembly.Memory,
  heap: HeapAccess,
): Bun.WebAssembly.Imports {
  const env: Bun.WebAssembly.ModuleImports = {
    memory,
    emscripten_date_now: () => Date.now(),
    emscripten_get_now: () => performance.now(),
    emscripten_get_heap_max: () => heapBytesMax,
    emscripten_resize_heap: (bytes: number) => (heap.grow(bytes >>> 0) ? 1 : 0),
    _tzset_js: tzset(heap),
    _localtime_js: localtime(heap),
    _mmap_js: () => ENOSYS,
    _munmap_js: () => ENOSYS,
  };
  for (const name of unsupportedSyscalls) env[`__syscall_${name}`] = () => ENOSYS;
  return {
    env,
    wasi_snapshot_preview1: {
      clock_time_get: (_clock: number, _precision: bigint, result: number) => {
        const nanoseconds = BigInt(Date.now()) * 1_000_000n;
        heap.i32[result >> 2] = Number(nanoseconds & 0xffff_ffffn) | 0;
        heap.i32[(result >> 2) + 1] = Number(nanoseconds >> 32n) | 0;
        return 0;
      },
      // No environment: nothing that SQLite reads from it may change what a replica does.
      environ_sizes_get: (count: number, bytes: number) => {
        heap.i32[count >> 2] = 0;
        heap.i32[bytes >> 2] = 0;
        return 0;
      },
      environ_get: () => 0,
      fd_close: () => WASI_ENOSYS,
      fd_fdstat_get: () => WASI_ENOSYS,
      fd_read: () => WASI_ENOSYS,
      fd_seek: () => WASI_ENOSYS,
      fd_sync: () => WASI_ENOSYS,
      fd_write: () => WASI_ENOSYS,
    },
  };
}

/** `struct tm` of musl for the 'localtime' modifier: nine ints, then the offset in seconds. */
function localtime(heap: HeapAccess): (time: bigint, result: number) => void {
  return (time, result) => {
    const date = new Date(Number(time) * 1000);
    const newYear = Date.UTC(date.getFullYear(), 0, 1);
    const day = Date.UTC(date.getFullYear(), date.getMonth(), date.getDate());
    const at = result >> 2;
    heap.i32[at] = date.getSeconds();
    heap.i32[at + 1] = date.getMinutes();
    heap.i32[at + 2] = date.getHours();
    heap.i32[at + 3] = date.getDate();
    heap.i32[at + 4] = date.getMonth();
    heap.i32[at + 5] = date.getFullYear() - 1900;
    heap.i32[at + 6] = date.getDay();
    heap.i32[at + 7] = Math.round((day - newYear) / 86_400_000);
    heap.i32[at + 8] = 0;
    heap.i32[at + 9] = -date.getTimezoneOffset() * 60;
  };
}

/** Offset, daylight flag and names that nothing in SQLite reads back: all zero. */
function tzset(heap: HeapAccess): (timezone: number, daylight: number) => void {
  return (timezone, daylight) => {
    heap.i32[timezone >> 2] = 0;
    heap.i32[daylight >> 2] = 0;
  };
}

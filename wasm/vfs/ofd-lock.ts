/**
 * Locks of the operating system on a database file, through `fcntl` of the C library: the one thing
 * that this VFS needs and `node:fs` doesn't have.
 *
 * They are *open file description* locks (Linux 3.15, `F_OFD_SETLK` in fcntl(2)). Unlike POSIX
 * record locks they belong to the open file and not to the process: closing some other descriptor of
 * the same file, as any library in this process may, doesn't drop them. They conflict with the
 * record locks of SQLite's own unix VFS, which is the point: a `sqlite3` shell sees them.
 *
 * `struct flock` on 64-bit Linux (the same for glibc and musl, x86-64 and arm64), little-endian:
 *
 * | offset | bytes | field      |                                            |
 * | ------ | ----- | ---------- | ------------------------------------------ |
 * | 0      | 2     | `l_type`   | F_RDLCK 0, F_WRLCK 1, F_UNLCK 2            |
 * | 2      | 2     | `l_whence` | SEEK_SET 0                                 |
 * | 8      | 8     | `l_start`  | first byte                                 |
 * | 16     | 8     | `l_len`    | how many                                   |
 * | 24     | 4     | `l_pid`    | 0; on return of GETLK the holder's         |
 *
 * @module
 */

import { FFIType, ptr, read } from "bun:ffi";
import { SQLITE_IOERR_LOCK } from "../constants.ts";
import { openCLibrary } from "./c-library.ts";
import { VfsError } from "./vfs-error.ts";

const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;
const EACCES = 13;
const EAGAIN = 11;
const flockBytes = 32;

/**
 * The range that SQLite's unix VFS locks (os.h): PENDING_BYTE, RESERVED_BYTE and the 510 bytes of
 * SHARED. Whoever wants to do anything with the file must first lock some of it.
 */
const lockFirstByte = 0x40000000;
const lockBytes = 2 + 510;

type Symbols = {
  fcntl(fd: number, command: number, argument: number): number;
  __errno_location(): number;
};

let symbols: Symbols | null = null;

function library(): Symbols {
  if (symbols !== null) return symbols;
  if (process.platform !== "linux") {
    throw new VfsError(
      SQLITE_IOERR_LOCK,
      `database files need open file description locks, which ${process.platform} lacks: run on Linux`,
    );
  }
  const opened = openCLibrary({
    // It is variadic; on Linux an integer argument is passed as it would be otherwise.
    fcntl: { args: [FFIType.i32, FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
    __errno_location: { args: [], returns: FFIType.ptr },
  });
  if (opened.kind === "missing") {
    const why = `no C library to lock files with: ${opened.reasons.join("; ")}`;
    throw new VfsError(SQLITE_IOERR_LOCK, why);
  }
  symbols = opened.symbols as unknown as Symbols;
  return symbols;
}

export type LockAttempt =
  | { readonly kind: "locked" }
  /** @property pid of the holder, or null: another agent, whose lock belongs to no process. */
  | { readonly kind: "held"; readonly pid: number | null };

/**
 * Locks SQLite's byte range without waiting, until the descriptor is closed.
 *
 * @param exclusive false for a descriptor that is open for reading only
 */
export function lockDatabaseFile(fd: number, exclusive: boolean): LockAttempt {
  const { fcntl, __errno_location } = library();
  // The buffer first, then the view, then the address: Bun moves a small view's bytes when its
  // `.buffer` is touched for the first time, and an address taken before leads nowhere.
  const buffer = new ArrayBuffer(flockBytes);
  const view = new DataView(buffer);
  const address = ptr(buffer);
  const fill = () => {
    view.setInt16(0, exclusive ? F_WRLCK : F_RDLCK, true);
    view.setInt16(2, 0, true);
    view.setBigInt64(8, BigInt(lockFirstByte), true);
    view.setBigInt64(16, BigInt(lockBytes), true);
    view.setInt32(24, 0, true);
  };
  fill();
  if (fcntl(fd, F_OFD_SETLK, address) === 0) return { kind: "locked" };
  const errno = read.i32(__errno_location() as unknown as Parameters<typeof read.i32>[0], 0);
  if (errno !== EAGAIN && errno !== EACCES) {
    throw new VfsError(SQLITE_IOERR_LOCK, `F_OFD_SETLK failed with errno ${errno}`, errno);
  }
  fill();
  const asked = fcntl(fd, F_OFD_GETLK, address);
  const pid = view.getInt32(24, true);
  const known = asked === 0 && view.getInt16(0, true) !== F_UNLCK && pid > 0;
  return { kind: "held", pid: known ? pid : null };
}

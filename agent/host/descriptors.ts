/**
 * How many files and sockets this process may have open. Linux only; elsewhere nothing is known.
 *
 * Source: getrlimit(2).
 *
 * @module
 */

import { dlopen, FFIType, ptr } from "bun:ffi";

const openFilesLimit = 7;

/**
 * What an agent needs for itself: database and WAL in each thread that reads, snapshots, UDP sockets, a backup, a reload.
 * An idle one has some 45 open.
 */
export const ownDescriptors = 64;
/** With fewer it doesn't start: it would answer nobody, or soon fail at whatever comes first. */
export const descriptorsMin = 128;

/** Undefined where nobody can tell. */
export function descriptorsMax(): number | undefined {
  if (process.platform !== "linux") return undefined;
  const limits = new BigUint64Array(2);
  try {
    const { i32, ptr: pointer } = FFIType;
    const { symbols } = dlopen("libc.so.6", {
      getrlimit: { args: [i32, pointer], returns: i32 },
    });
    return symbols.getrlimit(openFilesLimit, ptr(limits)) === 0 ? Number(limits[0]) : undefined;
  } catch {
    // Another C library.
    return undefined;
  }
}

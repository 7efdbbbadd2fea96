/**
 * Lets the calling thread run behind the others of this process where they want the same core: long queries
 * can wait, a "down" can't.
 *
 * Linux keeps the nice value of each thread, and `setpriority(PRIO_PROCESS, 0, …)` is about the caller's
 * (setpriority(2), "C library/kernel differences"). Elsewhere, and where there is no libc to be found, nothing happens.
 *
 * @module
 */

import { dlopen, FFIType } from "bun:ffi";

const libraryNames = [
  "libc.so.6",
  process.arch === "arm64" ? "libc.musl-aarch64.so.1" : "libc.musl-x86_64.so.1",
];
/** A weight of about a tenth of a thread at 0. */
const nice = 10;

export function runBehind(): void {
  if (process.platform !== "linux") return;
  for (const name of libraryNames) {
    try {
      const { symbols } = dlopen(name, {
        setpriority: { args: [FFIType.i32, FFIType.u32, FFIType.i32], returns: FFIType.i32 },
      });
      symbols.setpriority(0, 0, nice);
      return;
    } catch {
      // Not this libc.
    }
  }
}

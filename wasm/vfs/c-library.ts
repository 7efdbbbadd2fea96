/**
 * The C library, for the calls that `node:fs` doesn't have.
 *
 * @module
 */

import { dlopen, type FFIFunction, type Library } from "bun:ffi";

/** Names under which it is found: glibc, then musl (Alpine). */
const names: readonly string[] = [
  "libc.so.6",
  process.arch === "arm64" ? "libc.musl-aarch64.so.1" : "libc.musl-x86_64.so.1",
  "libc.so",
];

/** What Bun says, in words of its own, where it got no memory for code that it makes while it runs. */
const withoutJit = "requires the JIT";

const noCodeMemory =
  "there is no memory for machine code: lift the limit on the address space (ulimit -v, LimitAS=), MemoryDenyWriteExecute= or BUN_JSC_useJIT";

/** @returns the functions; or why none of the names has them */
export function openCLibrary<Functions extends Record<string, FFIFunction>>(
  functions: Functions,
):
  | { readonly kind: "open"; readonly symbols: Library<Functions>["symbols"] }
  | { readonly kind: "missing"; readonly reasons: readonly string[] } {
  const reasons: string[] = [];
  for (const name of names) {
    try {
      return { kind: "open", symbols: dlopen(name, functions).symbols };
    } catch (thrown) {
      const why = thrown instanceof Error ? thrown.message : String(thrown);
      if (why.includes(withoutJit)) return { kind: "missing", reasons: [noCodeMemory] };
      reasons.push(why);
    }
  }
  return { kind: "missing", reasons };
}

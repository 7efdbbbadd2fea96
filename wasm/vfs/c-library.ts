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
      reasons.push(thrown instanceof Error ? thrown.message : String(thrown));
    }
  }
  return { kind: "missing", reasons };
}

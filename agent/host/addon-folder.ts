/**
 * Where Bun unpacks sodium-native's addon from the executable: `$BUN_TMPDIR`, `$TMPDIR` or `/tmp`, which on a
 * hardened host may be read-only or mounted `noexec`. Then another folder, the data directory, takes its
 * place. (Bun itself sees to it that a file already there is its own: owner, mode and size.)
 *
 * Linux only; elsewhere Bun's choice stands.
 *
 * @module
 */

import { dlopen, FFIType, ptr } from "bun:ffi";
import { accessSync, constants, readFileSync, realpathSync } from "node:fs";

export type AddonFolder =
  | { readonly kind: "ready" }
  /** Loading the addon would fail, in the words of the dynamic linker. */
  | { readonly kind: "refused"; readonly why: string };

const isCompiled = Bun.main.startsWith("/$bunfs/");

/** To be called before the addon is loaded for the first time. `fallback`: used if the usual folder won't do. */
export function prepareAddonFolder(fallback: string | undefined): AddonFolder {
  if (!isCompiled || process.platform !== "linux") return { kind: "ready" };
  const usual = process.env.BUN_TMPDIR || process.env.TMPDIR || "/tmp";
  const mounts = readFileSync("/proc/self/mountinfo", "utf8");
  const usualProblem = problemOf(usual, mounts);
  if (usualProblem === undefined) return { kind: "ready" };
  const fallbackProblem = fallback === undefined ? undefined : problemOf(fallback, mounts);
  if (fallback !== undefined && fallbackProblem === undefined) {
    // Bun reads the environment itself; what is set in `process.env` doesn't reach that.
    const libc = dlopen("libc.so.6", {
      setenv: { args: [FFIType.ptr, FFIType.ptr, FFIType.i32], returns: FFIType.i32 },
    });
    const name = Buffer.from("BUN_TMPDIR\0");
    const value = Buffer.from(`${realpathSync(fallback)}\0`);
    libc.symbols.setenv(ptr(name), ptr(value), 1);
    libc.close();
    // For the next call here, and for children.
    process.env.BUN_TMPDIR = fallback;
    return { kind: "ready" };
  }
  const problems = [usualProblem, fallbackProblem].filter((problem) => problem !== undefined);
  const why =
    "libsodium is unpacked from the executable to a temporary folder and loaded from there, but " +
    `${problems.join(", and ")}. Set BUN_TMPDIR to a folder where files can be written and executed.`;
  return { kind: "refused", why };
}

/** Why nothing can be loaded from `folder`; undefined if it can. */
export function problemOf(folder: string, mountinfo: string): string | undefined {
  let real: string;
  try {
    real = realpathSync(folder);
    accessSync(real, constants.W_OK | constants.X_OK);
  } catch (error) {
    return `${folder} can't be written (${(error as NodeJS.ErrnoException).code})`;
  }
  return optionsOf(real, mountinfo).includes("noexec") ? `${folder} is mounted noexec` : undefined;
}

/** Options of the mount that holds `path`: proc_pid_mountinfo(5), fields 5 (mount point) and 6 (options). */
function optionsOf(path: string, mountinfo: string): readonly string[] {
  let bestLength = -1;
  let options = "";
  for (const line of mountinfo.split("\n")) {
    const fields = line.split(" ");
    const point = fields[4]?.replace(/\\(\d{3})/g, (_, octal) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    if (point === undefined) continue;
    const holds = path === point || path.startsWith(point === "/" ? "/" : `${point}/`);
    // Of two mounts on one point the later hides the earlier.
    if (holds && point.length >= bestLength) {
      bestLength = point.length;
      options = fields[5] ?? "";
    }
  }
  return options.split(",");
}

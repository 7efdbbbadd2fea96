/**
 * Where Bun unpacks sodium-native's addon from the executable: `$BUN_TMPDIR`, `$TMPDIR` or `/tmp`, which on a
 * hardened host may be read-only or mounted `noexec`, and on any host full. Then another folder takes its
 * place: the data directory, or /dev/shm. (Bun itself sees to it that a file already there is its own: owner, mode and size.)
 *
 * Linux only; elsewhere Bun's choice stands.
 *
 * @module
 */

import { dlopen, FFIType, ptr } from "bun:ffi";
import {
  accessSync,
  constants,
  lstatSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statfsSync,
} from "node:fs";
import { join } from "node:path";

export type AddonFolder =
  | { readonly kind: "ready" }
  /** Loading the addon would fail. */
  | { readonly kind: "refused"; readonly why: string };

const isCompiled = Bun.main.startsWith("/$bunfs/");
/** Memory, on most hosts: there is room also where the disk is full. */
const sharedMemory = "/dev/shm";
/** Twice what it takes. */
const addonBytes = 2 * 1024 * 1024;

/** To be called before the addon is loaded for the first time. `fallback`: used if the usual folder won't do. */
export function prepareAddonFolder(fallback: string | undefined): AddonFolder {
  if (!isCompiled || process.platform !== "linux") return { kind: "ready" };
  const usual = process.env.BUN_TMPDIR || process.env.TMPDIR || "/tmp";
  const mounts = readMounts();
  const problems: string[] = [];
  for (const folder of [usual, ...(fallback === undefined ? [] : [fallback]), sharedMemory]) {
    const problem = problemOf(folder, mounts);
    if (problem === undefined) {
      if (folder !== usual) unpackTo(folder);
      return { kind: "ready" };
    }
    problems.push(problem);
  }
  const why =
    "libsodium is unpacked from the executable to a temporary folder and loaded from there, but " +
    `${problems.join(", and ")}. Set BUN_TMPDIR to a folder where files can be written and executed.`;
  return { kind: "refused", why };
}

/** Bun reads the environment itself; what is set in `process.env` doesn't reach that. */
function unpackTo(folder: string): void {
  const libc = dlopen("libc.so.6", {
    setenv: { args: [FFIType.ptr, FFIType.ptr, FFIType.i32], returns: FFIType.i32 },
  });
  const name = Buffer.from("BUN_TMPDIR\0");
  const value = Buffer.from(`${realpathSync(folder)}\0`);
  libc.symbols.setenv(ptr(name), ptr(value), 1);
  libc.close();
  // For the next call here, and for children.
  process.env.BUN_TMPDIR = folder;
}

/** Without /proc nobody can tell how it is mounted. */
function readMounts(): string {
  try {
    return readFileSync("/proc/self/mountinfo", "utf8");
  } catch {
    return "";
  }
}

/** Why nothing can be loaded from `folder`; undefined if it can. */
export function problemOf(
  folder: string,
  mountinfo: string,
  roomBytes: (folder: string) => number = roomIn,
): string | undefined {
  let real: string;
  try {
    real = realpathSync(folder);
    accessSync(real, constants.W_OK | constants.X_OK);
  } catch (error) {
    return `${folder} can't be written (${(error as NodeJS.ErrnoException).code})`;
  }
  if (optionsOf(real, mountinfo).includes("noexec")) return `${folder} is mounted noexec`;
  return roomBytes(real) >= addonBytes || hasAddon(real) ? undefined : `${folder} is full`;
}

function roomIn(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}

/** Bun has unpacked one there before, as this user. Should it be another release's, loading tells. */
function hasAddon(folder: string): boolean {
  const isOurs = (name: string): boolean => {
    const stat = lstatSync(join(folder, name), { throwIfNoEntry: false });
    return stat?.isFile() === true && stat.uid === process.getuid?.() && stat.size > 0;
  };
  return readdirSync(folder).some((name) => /^\.bun-.*\.node$/.test(name) && isOurs(name));
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

/**
 * How many files and sockets this process has open, how many it may have, and a way to take in no more over TCP.
 *
 * A server accepts whatever the kernel has connected, and who has no descriptor left accepts nothing, on no socket. So
 * the kernel is told to connect nobody: a filter on the listening socket that drops every packet (`ret 0` of classic
 * BPF). Who is connected has a socket of its own and doesn't notice; who isn't tries again for some seconds.
 *
 * Linux only; elsewhere nothing is known, and nothing is done.
 *
 * Source: socket(7), SO_ATTACH_FILTER and SO_ACCEPTCONN; getrlimit(2); Linux's `Documentation/networking/filter.rst`.
 *
 * @module
 */

import { dlopen, FFIType, ptr } from "bun:ffi";
import { readdirSync, statSync } from "node:fs";

const folder = "/proc/self/fd";
const openFilesLimit = 7;
const socketLevel = 1;
const attachFilter = 26;
const detachFilter = 27;
const acceptsConnections = 30;
const protocol = 38;
const receiveBuffer = 8;
const tcp = 6;

/** Undefined where nobody can tell. Since Linux 6.2 that needs none itself. */
export function countDescriptors(): number | undefined {
  try {
    // Since Linux 6.2; before, it was 0.
    const { size } = statSync(folder);
    return size > 0 ? size : readdirSync(folder).length;
  } catch {
    return undefined;
  }
}

/** Undefined where nobody can tell. */
export function descriptorsMax(): number | undefined {
  const limits = new BigUint64Array(2);
  return libc()?.getrlimit(openFilesLimit, ptr(limits)) === 0 ? Number(limits[0]) : undefined;
}

/** The TCP sockets on which this process listens. To be asked while there are descriptors left. */
export function tcpListeners(): readonly number[] {
  const calls = libc();
  if (calls === undefined) return [];
  const value = new DataView(new ArrayBuffer(8));
  const length = new DataView(new ArrayBuffer(8));
  const option = (fd: number, name: number): number => {
    length.setUint32(0, 4, true);
    const code = calls.getsockopt(fd, socketLevel, name, ptr(value), ptr(length));
    return code === 0 ? value.getInt32(0, true) : -1;
  };
  return readdirSync(folder)
    .map(Number)
    .filter((fd) => option(fd, acceptsConnections) === 1 && option(fd, protocol) === tcp);
}

/** The kernel connects nobody to them, or does again. Needs no descriptor. */
export function pauseListeners(listeners: readonly number[], isPaused: boolean): void {
  const calls = libc();
  if (calls === undefined) return;
  // struct sock_filter { u16 code; u8 jt, jf; u32 k }: BPF_RET | BPF_K, 0 bytes are kept.
  const filter = new DataView(new ArrayBuffer(8));
  filter.setUint16(0, 6, true);
  // struct sock_fprog { u16 len; struct sock_filter *filter }
  const program = new DataView(new ArrayBuffer(16));
  program.setUint16(0, 1, true);
  program.setBigUint64(8, BigInt(ptr(filter)), true);
  const name = isPaused ? attachFilter : detachFilter;
  for (const fd of listeners) {
    calls.setsockopt(fd, socketLevel, name, ptr(program), program.byteLength);
  }
}

/** What the kernel keeps for who reads later, of each connection that is accepted from now on. */
export function setReceiveBuffer(listeners: readonly number[], bytes: number): void {
  const calls = libc();
  const value = new DataView(new ArrayBuffer(8));
  // Linux takes twice as much, for its own needs.
  value.setInt32(0, bytes / 2, true);
  for (const fd of listeners) calls?.setsockopt(fd, socketLevel, receiveBuffer, ptr(value), 4);
}

type Calls = ReturnType<typeof open>;

let opened: Calls | undefined;

function libc(): Calls | undefined {
  if (process.platform !== "linux") return undefined;
  try {
    opened ??= open();
  } catch {
    // Another C library.
  }
  return opened;
}

function open() {
  const { i32, u32, ptr: pointer } = FFIType;
  return dlopen("libc.so.6", {
    getrlimit: { args: [i32, pointer], returns: i32 },
    getsockopt: { args: [i32, i32, i32, pointer, pointer], returns: i32 },
    setsockopt: { args: [i32, i32, i32, pointer, u32], returns: i32 },
  }).symbols;
}

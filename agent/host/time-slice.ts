/**
 * How long Linux lets a thread run before it lets another one: who asks for less is let in sooner.
 *
 * A thread that wakes gets a processor that is taken only when who has it has had its *slice*, 2.8 ms by default, or has
 * a longer one. (Beside three busy threads on two cores, one that sleeps 2 ms and works 1 waited 3.8 ms in one of ten times,
 * and 0.07 with a slice of 0.1.) Nobody gets more of the processor for it, and it takes no right to ask.
 *
 * Kernels before 6.12 ignore it. Where there is no such call (another C library or processor) nothing happens,
 * nor to a thread in real time. Threads that are made later inherit it.
 *
 * Source: sched_setattr(2); EEVDF in Linux's `kernel/sched/fair.c`. `struct sched_attr`:
 *
 * | offset | bytes | what                                                  |
 * | ------ | ----- | ----------------------------------------------------- |
 * | 0      | 4     | size of the structure: 48                             |
 * | 4      | 4     | policy: 0 for ordinary threads                        |
 * | 8      | 16    | flags, niceness, priority in real time                |
 * | 24     | 8     | `sched_runtime`: of an ordinary thread its slice, ns  |
 * | 32     | 16    | of no meaning here                                    |
 *
 * @module
 */

import { dlopen, FFIType, ptr } from "bun:ffi";

/** Who carries news between hosts: others wait for it, and it has little to do each time. The shortest that there is. */
export const netSliceMs = 0.1;
/** Who answers and merges. */
export const storeSliceMs = 0.5;
/** Who computes for long, and lets the others in. */
export const readerSliceMs = 10;

const attrBytes = 48;
const policyAt = 4;
const runtimeAt = 24;
const nsPerMs = 1_000_000;
/** sched_setattr and sched_getattr. */
const callsByArch: Readonly<Record<string, readonly [set: number, get: number]>> = {
  x64: [314, 315],
  arm64: [274, 275],
};

/** For the calling thread. @param ms from 0.1 to 100 @returns whether it was taken */
export function askForSlice(ms: number): boolean {
  const calls = callsByArch[process.arch];
  if (process.platform !== "linux" || calls === undefined) return false;
  try {
    const { symbols } = dlopen("libc.so.6", {
      syscall: {
        args: [FFIType.i64, FFIType.i64, FFIType.ptr, FFIType.i64, FFIType.i64],
        returns: FFIType.i64,
      },
    });
    const [set, get] = calls;
    const attr = new DataView(new ArrayBuffer(attrBytes));
    if (Number(symbols.syscall(get, 0, ptr(attr), attrBytes, 0)) !== 0) return false;
    if (attr.getUint32(policyAt, true) !== 0) return false;
    attr.setUint32(0, attrBytes, true);
    attr.setBigUint64(runtimeAt, BigInt(Math.round(ms * nsPerMs)), true);
    return Number(symbols.syscall(set, 0, ptr(attr), 0, 0)) === 0;
  } catch {
    return false;
  }
}

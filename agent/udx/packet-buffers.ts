/**
 * Buffers of full packets, used again: a stream makes a hundred thousand of them a second, and a new
 * typed array takes longer than all else that is done for a packet here.
 *
 * @module
 */

export interface PacketBuffers {
  allocate(bytes: number): Uint8Array;
  release(bytes: Uint8Array): void;
}

/** Smaller ones aren't worth keeping. */
const KEPT_BYTES_MIN = 1000;
/** Of each size; there are few sizes, one for each path MTU. 512 buffers are 750 kB. */
const KEPT_MAX = 512;

const freeBySize: Map<number, Uint8Array[]> = new Map();

/** Shared by all streams of a thread. */
export const packetBuffers: PacketBuffers = {
  allocate(bytes) {
    return freeBySize.get(bytes)?.pop() ?? new Uint8Array(bytes);
  },

  release(bytes) {
    if (bytes.length < KEPT_BYTES_MIN) return;
    const free = freeBySize.get(bytes.length);
    if (free === undefined) freeBySize.set(bytes.length, [bytes]);
    else if (free.length < KEPT_MAX) free.push(bytes);
  },
};

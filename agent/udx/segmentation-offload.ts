/**
 * Many datagrams of one size by one system call: UDP generic segmentation offload (Linux 4.18 and
 * later), by `sendmsg` through bun:ffi. It takes about half of what `sendmmsg` takes, since the
 * network stack is passed through once for all of them.
 *
 * The kernel cuts one buffer into datagrams of the size in a control message; only the last may be
 * shorter. What is passed to it, in one block of memory:
 *
 * | offset | size | what                                                            |
 * |-------:|-----:|-----------------------------------------------------------------|
 * |      0 |   56 | struct msghdr: name, namelen, iov, iovlen, control, controllen  |
 * |     64 |   16 | struct iovec: the arena, and how many bytes of it               |
 * |     96 |   28 | struct sockaddr_in or sockaddr_in6                              |
 * |    128 |   24 | struct cmsghdr (SOL_UDP, UDP_SEGMENT) and a u16, the size       |
 *
 * The layout is that of 64-bit little-endian Linux; elsewhere there is no offload.
 *
 * @module
 */

/** Largest UDP payload, which all segments of a call share. */
const ARENA_BYTES = 65_507;
/** UDP_MAX_SEGMENTS of older kernels. */
const SEGMENTS_MAX = 64;

const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const AF_INET = 2;
const AF_INET6 = 10;
const EAGAIN = 11;
const MSG_DONTWAIT = 0x40;

const NAME = 96;
const VECTOR = 64;
const CONTROL = 128;
const CONTROL_BYTES = 24;

type Pointer = import("bun:ffi").Pointer;
type Batch = readonly (Uint8Array | number | string)[];

interface Library {
  sendmsg(fd: number, message: number, flags: number): number;
  errno(): number;
}

interface Memory {
  readonly library: Library;
  readonly block: DataView;
  readonly blockAddress: number;
  readonly arena: Uint8Array;
}

let memory: Memory | null | undefined;

function load(): Memory | null {
  if (memory !== undefined) return memory;
  memory = null;
  if (typeof Bun === "undefined" || process.platform !== "linux") return memory;
  if (process.arch !== "x64" && process.arch !== "arm64") return memory;
  try {
    const { dlopen, ptr, read } = require("bun:ffi") as typeof import("bun:ffi");
    const { symbols } = dlopen("libc.so.6", {
      sendmsg: { args: ["i32", "ptr", "i32"], returns: "int64_t" },
      __errno_location: { args: [], returns: "ptr" },
    });
    // ArrayBuffers of their own, and first: a small typed array moves when its `buffer` is asked for.
    const block = new ArrayBuffer(CONTROL + CONTROL_BYTES);
    const arena = new ArrayBuffer(ARENA_BYTES);
    const view = new DataView(block);
    const blockAddress = ptr(block);
    view.setBigUint64(0, BigInt(blockAddress + NAME), true);
    view.setBigUint64(16, BigInt(blockAddress + VECTOR), true);
    view.setBigUint64(24, 1n, true);
    view.setBigUint64(32, BigInt(blockAddress + CONTROL), true);
    view.setBigUint64(40, BigInt(CONTROL_BYTES), true);
    view.setBigUint64(VECTOR, BigInt(ptr(arena)), true);
    view.setBigUint64(CONTROL, 18n, true);
    view.setInt32(CONTROL + 8, SOL_UDP, true);
    view.setInt32(CONTROL + 12, UDP_SEGMENT, true);
    memory = {
      library: {
        sendmsg: (fd, message, flags) => Number(symbols.sendmsg(fd, message as Pointer, flags)),
        errno: () => read.i32(symbols.__errno_location() as Pointer),
      },
      block: view,
      blockAddress,
      arena: new Uint8Array(arena),
    };
  } catch {
    // Another C library: no offload.
  }
  return memory;
}

/** An IPv4 address as a number, or -1. */
function parseIPv4(host: string): number {
  const parts = host.split(".");
  if (parts.length !== 4) return -1;
  let value = 0;
  for (const part of parts) {
    const byte = Number(part);
    if (!(byte >= 0 && byte <= 255)) return -1;
    value = value * 256 + byte;
  }
  return value;
}

/** One for each socket, since a socket's family and interface decide whether it works. */
export class SegmentationOffload {
  readonly #fd: number;
  readonly #family: 4 | 6;
  #works: boolean;
  #host = "";
  #hostNumber = -1;

  constructor(fd: number, family: 4 | 6) {
    this.#fd = fd;
    this.#family = family;
    this.#works = fd >= 0 && load() !== null;
  }

  get works(): boolean {
    return this.#works;
  }

  /**
   * How many datagrams of the batch (bytes, port, host, ...) from `at` on fit one call: those to the
   * same place that are of one size, and one shorter after them.
   */
  run(batch: Batch, at: number): number {
    if (!this.#works) return 1;
    const size = (batch[at] as Uint8Array).length;
    const port = batch[at + 1];
    const host = batch[at + 2] as string;
    if (host !== this.#host) {
      this.#host = host;
      this.#hostNumber = parseIPv4(host);
    }
    // IPv6 destinations are rare, and go the other way.
    if (this.#hostNumber < 0 || size === 0) return 1;
    const max = Math.min(SEGMENTS_MAX, Math.floor(ARENA_BYTES / size));
    let count = 1;
    for (let i = at + 3; i < batch.length && count < max; i += 3) {
      const next = (batch[i] as Uint8Array).length;
      if (next > size || next === 0 || batch[i + 1] !== port || batch[i + 2] !== host) break;
      count++;
      if (next < size) break;
    }
    return count;
  }

  /**
   * Sends `count` datagrams from `at` on, where `run` gave that count.
   * @returns false when none was sent, and they have to go otherwise: the system's buffer is full, or
   *   the interface can't. In the second case it isn't tried again.
   */
  send(batch: Batch, at: number, count: number): boolean {
    const shared = load();
    if (shared === null) return false;
    const { block, arena, library, blockAddress } = shared;
    let bytes = 0;
    for (let i = at; i < at + count * 3; i += 3) {
      const datagram = batch[i] as Uint8Array;
      arena.set(datagram, bytes);
      bytes += datagram.length;
    }
    this.#setName(block, batch[at + 1] as number);
    block.setUint32(VECTOR + 8, bytes, true);
    block.setUint16(CONTROL + 16, (batch[at] as Uint8Array).length, true);
    const sent = library.sendmsg(this.#fd, blockAddress, MSG_DONTWAIT);
    if (sent === bytes) return true;
    // Otherwise EIO or EINVAL.
    if (library.errno() !== EAGAIN) this.#works = false;
    return false;
  }

  #setName(block: DataView, port: number): void {
    if (this.#family === 4) {
      block.setUint32(8, 16, true);
      block.setUint16(NAME, AF_INET, true);
      block.setUint16(NAME + 2, port, false);
      block.setUint32(NAME + 4, this.#hostNumber, false);
      block.setBigUint64(NAME + 8, 0n, true);
      return;
    }
    block.setUint32(8, 28, true);
    block.setUint16(NAME, AF_INET6, true);
    block.setUint16(NAME + 2, port, false);
    block.setUint32(NAME + 4, 0, true);
    // ::ffff:a.b.c.d
    block.setBigUint64(NAME + 8, 0n, true);
    block.setUint32(NAME + 16, 0xffff, false);
    block.setUint32(NAME + 20, this.#hostNumber, false);
    block.setUint32(NAME + 24, 0, true);
  }
}

/**
 * Options of a socket, by `setsockopt` through bun:ffi: `Bun.udpSocket` has no way to set them. Best effort:
 * where the C library can't be loaded (musl, Windows, Node) nothing happens.
 *
 * - Kernel buffer sizes. Without them pacing keeps bursts below what default buffers hold.
 * - Bun has Linux tell ICMP errors (IP_RECVERR). The kernel then fails the next send on the socket, to
 *   whomever that goes: each packet to a port where nobody listens any more costs one to somebody else.
 *
 * @module
 */

interface SocketOptions {
  get(fd: number, name: number): number;
  set(fd: number, name: number, value: number): void;
  /** At another level than the socket's own. */
  clear(fd: number, level: number, name: number): void;
}

/** Linux: IPPROTO_IP and IP_RECVERR, IPPROTO_IPV6 and IPV6_RECVERR. */
const RECEIVE_ERRORS = [
  [0, 11],
  [41, 25],
] as const;

const LINUX = { level: 1, receive: 8, send: 7, libraries: ["libc.so.6"] };
const DARWIN = { level: 0xffff, receive: 0x1002, send: 0x1001, libraries: ["libSystem.dylib"] };

let loaded: SocketOptions | null | undefined;

function constants(): typeof LINUX {
  return process.platform === "darwin" ? DARWIN : LINUX;
}

function load(): SocketOptions | null {
  if (loaded !== undefined) return loaded;
  loaded = null;
  if (typeof Bun === "undefined" || process.platform === "win32") return loaded;
  const { level, libraries } = constants();
  for (const library of libraries) {
    try {
      // Not an import: Node bundles of this module must not see bun:ffi.
      const { dlopen, ptr } = require("bun:ffi") as typeof import("bun:ffi");
      const { symbols } = dlopen(library, {
        setsockopt: { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" },
        getsockopt: { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" },
      });
      // The ArrayBuffers come first: a small typed array moves when its `buffer` is first asked for.
      const value = new DataView(new ArrayBuffer(64));
      const length = new DataView(new ArrayBuffer(64));
      loaded = {
        get(fd, name) {
          length.setUint32(0, 4, true);
          if (symbols.getsockopt(fd, level, name, ptr(value), ptr(length)) !== 0) return -1;
          return value.getInt32(0, true);
        },
        set(fd, name, size) {
          // Linux takes what it can; others refuse more than they allow.
          for (let bytes = size; bytes >= 65_536; bytes >>>= 1) {
            value.setInt32(0, bytes, true);
            if (symbols.setsockopt(fd, level, name, ptr(value), 4) === 0) return;
          }
        },
        clear(fd, otherLevel, name) {
          value.setInt32(0, 0, true);
          // An IPv4 socket has no options of IPv6: then that fails, and nothing is to be done.
          symbols.setsockopt(fd, otherLevel, name, ptr(value), 4);
        },
      };
      return loaded;
    } catch {
      // Another C library: the next name, or none.
    }
  }
  return loaded;
}

/** Bytes, or -1. */
export function getSocketBuffer(fd: number, direction: "receive" | "send"): number {
  const options = fd < 0 ? null : load();
  return options === null ? -1 : options.get(fd, constants()[direction]);
}

export function setSocketBuffer(fd: number, direction: "receive" | "send", bytes: number): void {
  if (fd < 0) return;
  load()?.set(fd, constants()[direction], bytes);
}

/** ICMP errors don't fail what is sent to others any more. */
export function ignoreIcmpErrors(fd: number): void {
  if (fd < 0 || process.platform !== "linux") return;
  for (const [level, name] of RECEIVE_ERRORS) load()?.clear(fd, level, name);
}

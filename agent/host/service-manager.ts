/**
 * What systemd wants to hear of a service: that it serves, how it is, that its thread still turns, and that it stops.
 *
 * Each message is a datagram of `NAME=value` lines to the socket that `NOTIFY_SOCKET` names. Best effort: nothing is thrown,
 * and a message that can't be sent at once is dropped. (Neither Bun nor Node has sockets of this kind, hence `bun:ffi`.)
 *
 * Source: sd_notify(3), sd_watchdog_enabled(3); `struct sockaddr_un` in unix(7):
 *
 * | offset | bytes  | what                                                                     |
 * | ------ | ------ | ------------------------------------------------------------------------ |
 * | 0      | 2      | family: 1                                                                |
 * | 2      | to 108 | path and a NUL; or NUL and an abstract name, which begins with @ in text |
 *
 * @module
 */

import { dlopen, FFIType, ptr } from "bun:ffi";

const familyUnix = 1;
/** SOCK_DGRAM, and SOCK_CLOEXEC. */
const datagram = 2 | 0x80000;
/** MSG_DONTWAIT, MSG_NOSIGNAL. */
const atOnce = 0x40 | 0x4000;
const pathBytesMax = 108;

export type Environment = Readonly<Record<string, string | undefined>>;

export class ServiceManager {
  /** A sign of life is wanted at least so often, ms; undefined: never. */
  readonly watchdogMs: number | undefined;
  readonly #send: (message: Uint8Array) => void;

  private constructor(send: (message: Uint8Array) => void, watchdogMs: number | undefined) {
    this.#send = send;
    this.watchdogMs = watchdogMs;
  }

  /** Undefined where nobody wants to be told, or where that can't be done (another C library). */
  static of(environment: Environment): ServiceManager | undefined {
    const address = addressOf(environment.NOTIFY_SOCKET ?? "");
    if (address === undefined || process.platform !== "linux") return undefined;
    const send = senderTo(address);
    return send && new ServiceManager(send, watchdogMsOf(environment));
  }

  /** @param assignments such as `READY: "1"`; a value's newlines become spaces */
  tell(assignments: Readonly<Record<string, string>>): void {
    const lines = Object.entries(assignments).map(
      ([name, value]) => `${name}=${value.replaceAll("\n", " ")}\n`,
    );
    this.#send(Buffer.from(lines.join("")));
  }
}

/** @returns undefined for what isn't a path, nor an abstract name (`vsock:…`) */
function addressOf(name: string): Uint8Array | undefined {
  const isAbstract = name.startsWith("@");
  if (!isAbstract && !name.startsWith("/")) return undefined;
  const path = Buffer.from(isAbstract ? `\0${name.slice(1)}` : `${name}\0`);
  if (path.length > pathBytesMax) return undefined;
  const address = Buffer.alloc(2 + path.length);
  address.writeUInt16LE(familyUnix, 0);
  path.copy(address, 2);
  return address;
}

function senderTo(address: Uint8Array): ((message: Uint8Array) => void) | undefined {
  const { i32, i64, ptr: pointer } = FFIType;
  try {
    const { symbols } = dlopen("libc.so.6", {
      socket: { args: [i32, i32, i32], returns: i32 },
      sendto: { args: [i32, pointer, i64, i32, pointer, i32], returns: i64 },
    });
    const socket = symbols.socket(familyUnix, datagram, 0);
    if (socket < 0) return undefined;
    return (message) => {
      symbols.sendto(socket, ptr(message), message.length, atOnce, ptr(address), address.length);
    };
  } catch {
    return undefined;
  }
}

function watchdogMsOf(environment: Environment): number | undefined {
  const { WATCHDOG_USEC: usec = "", WATCHDOG_PID: pid } = environment;
  // Set for another process of the same environment.
  if (pid !== undefined && pid !== String(process.pid)) return undefined;
  return /^[1-9]\d*$/.test(usec) ? Number(usec) / 1000 : undefined;
}

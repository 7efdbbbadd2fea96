/**
 * The end of systemd's notify protocol at which systemd listens, for tests.
 *
 * @module
 */

import { dlopen, FFIType, ptr } from "bun:ffi";

const { i32, i64, ptr: pointer } = FFIType;
const { symbols } = dlopen("libc.so.6", {
  socket: { args: [i32, i32, i32], returns: i32 },
  bind: { args: [i32, pointer, i32], returns: i32 },
  recv: { args: [i32, pointer, i64, i32], returns: i64 },
  close: { args: [i32], returns: i32 },
});

const familyUnix = 1;
const datagram = 2;
const dontWait = 0x40;

export class NotifySocket implements Disposable {
  /** All that has come so far, a datagram each. */
  readonly messages: string[] = [];
  readonly #socket: number;

  /** @param name a path, or `@` and an abstract name */
  constructor(name: string) {
    const path = Buffer.from(name.startsWith("@") ? `\0${name.slice(1)}` : `${name}\0`);
    const address = Buffer.concat([Uint8Array.of(familyUnix, 0), path]);
    this.#socket = symbols.socket(familyUnix, datagram, 0);
    if (symbols.bind(this.#socket, ptr(address), address.length) !== 0) {
      throw new Error(`can't bind ${name}`);
    }
  }

  /** Takes what has come, and tells whether one of all has this line. */
  hasLine(line: string): boolean {
    const buffer = Buffer.alloc(4096);
    for (;;) {
      const bytes = Number(symbols.recv(this.#socket, ptr(buffer), buffer.length, dontWait));
      if (bytes < 0) break;
      this.messages.push(buffer.toString("utf8", 0, bytes));
    }
    return this.messages.some((message) => message.split("\n").includes(line));
  }

  [Symbol.dispose](): void {
    symbols.close(this.#socket);
  }
}

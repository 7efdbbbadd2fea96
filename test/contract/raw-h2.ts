/**
 * HTTP/2 by hand: frames as a hostile client may write them, over a plain socket. Bytes go out as they are given, and
 * what comes back is taken apart into frames.
 *
 * Frame (RFC 9113 §4.1): u24 length · u8 type · u8 flags · u31 stream · payload.
 *
 * @module
 */

import { connect, type Socket } from "node:net";
import { HpackDecoder } from "../../agent/api/http2/hpack-decoder.ts";

export const preface: Uint8Array = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

export const frameTypes = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  push: 5,
  ping: 6,
  goaway: 7,
  window: 8,
  continuation: 9,
} as const;

export const endStream = 1;
export const acknowledged = 1;
export const endHeaders = 4;
export const padded = 8;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Uint8Array = new Uint8Array(0),
): Buffer {
  const bytes = Buffer.alloc(9 + payload.length);
  bytes.writeUIntBE(payload.length, 0, 3);
  bytes[3] = type;
  bytes[4] = flags;
  bytes.writeUInt32BE(stream, 5);
  bytes.set(payload, 9);
  return bytes;
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** Each setting is [identifier, value]. */
export function settings(...list: readonly (readonly [number, number])[]): Buffer {
  const payload = Buffer.alloc(list.length * 6);
  for (const [i, [id, value]] of list.entries()) {
    payload.writeUInt16BE(id, i * 6);
    payload.writeUInt32BE(value, i * 6 + 2);
  }
  return frame(frameTypes.settings, 0, 0, payload);
}

export const initialWindowSize = 4;

export function windowUpdate(stream: number, bytes: number): Buffer {
  return frame(frameTypes.window, 0, stream, u32(bytes));
}

export function reset(stream: number, code = 8): Buffer {
  return frame(frameTypes.reset, 0, stream, u32(code));
}

/** A header block without compression: every field a literal that isn't indexed (RFC 7541 §6.2.2). */
export function headerBlock(fields: readonly (readonly [string, string])[]): Buffer {
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.of(0), text(name), text(value)]));
}

/** A string literal as it is. */
function text(value: string): Buffer {
  const bytes = Buffer.from(value, "latin1");
  return Buffer.concat([integer(bytes.length, 7), bytes]);
}

/** RFC 7541 §5.1. */
export function integer(value: number, prefixBits: number, pattern = 0): Buffer {
  const most = 2 ** prefixBits - 1;
  if (value < most) return Buffer.of(pattern | value);
  const bytes = [pattern | most];
  let rest = value - most;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  bytes.push(rest);
  return Buffer.from(bytes);
}

export function requestFields(
  method: string,
  path: string,
  more: readonly (readonly [string, string])[] = [],
): (readonly [string, string])[] {
  return [[":method", method], [":scheme", "http"], [":path", path], [":authority", "x"], ...more];
}

const json = ["content-type", "application/json"] as const;

/** HEADERS of a POST with a JSON body that is to follow. */
export function postHead(stream: number, path: string, flags = endHeaders): Buffer {
  return frame(frameTypes.headers, flags, stream, headerBlock(requestFields("POST", path, [json])));
}

export function post(stream: number, path: string, body: string): Buffer {
  return Buffer.concat([
    postHead(stream, path),
    frame(frameTypes.data, endStream, stream, Buffer.from(body)),
  ]);
}

export function get(stream: number, path: string): Buffer {
  return frame(
    frameTypes.headers,
    endHeaders | endStream,
    stream,
    headerBlock(requestFields("GET", path)),
  );
}

export class RawH2 {
  readonly socket: Socket;
  readonly frames: Frame[] = [];
  isClosed = false;
  #rest: Buffer = Buffer.alloc(0);
  #wake: () => void = () => {};

  constructor(port: number) {
    this.socket = connect(port, "127.0.0.1");
    this.socket.setNoDelay(true);
    this.socket.setMaxListeners(0);
    this.socket.on("error", () => {});
    this.socket.on("data", (bytes: Buffer) => this.#take(bytes));
    this.socket.on("close", () => {
      this.isClosed = true;
      this.#wake();
    });
  }

  /** With the preface and empty settings. */
  static open(port: number, ...first: readonly (readonly [number, number])[]): RawH2 {
    const raw = new RawH2(port);
    raw.send(preface, settings(...first));
    return raw;
  }

  send(...bytes: readonly Uint8Array[]): boolean {
    return this.socket.write(bytes.length === 1 ? (bytes[0] as Uint8Array) : Buffer.concat(bytes));
  }

  of(type: number, stream?: number): Frame[] {
    return this.frames.filter(
      (one) => one.type === type && (stream === undefined || one.stream === stream),
    );
  }

  body(stream: number): string {
    return Buffer.concat(this.of(frameTypes.data, stream).map(({ payload }) => payload)).toString();
  }

  /** Of the answer that is there. The server keeps no table, so each head can be read alone. */
  status(stream: number): string | undefined {
    const [head] = this.of(frameTypes.headers, stream);
    let status: string | undefined;
    new HpackDecoder().decode(
      head?.payload as Buffer,
      0,
      head?.payload.length ?? 0,
      (name, value) => {
        if (name === ":status") status = value;
        return true;
      },
    );
    return status;
  }

  /** Whether the stream has ended, in whatever way. */
  hasEnded(stream: number): boolean {
    return this.frames.some(
      (one) =>
        one.stream === stream &&
        (one.type === frameTypes.reset || (one.type <= 1 && (one.flags & endStream) !== 0)),
    );
  }

  /** The code of a GOAWAY or, with a stream, of its reset; undefined while there is none. */
  code(stream?: number): number | undefined {
    const [found] =
      stream === undefined ? this.of(frameTypes.goaway) : this.of(frameTypes.reset, stream);
    return found?.payload.readUInt32BE(stream === undefined ? 4 : 0);
  }

  async until(isTrue: () => boolean, ms = 60_000): Promise<void> {
    const deadlineMs = performance.now() + ms;
    while (!isTrue()) {
      const restMs = deadlineMs - performance.now();
      if (restMs <= 0) throw new Error(`not within ${ms} ms: ${JSON.stringify(this.frames)}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(restMs, 50));
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  close(): void {
    this.socket.destroy();
  }

  #take(bytes: Buffer): void {
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    while (this.#rest.length >= 9) {
      const length = this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < 9 + length) break;
      this.frames.push({
        type: this.#rest[3] as number,
        flags: this.#rest[4] as number,
        stream: this.#rest.readUInt32BE(5) & 0x7fffffff,
        payload: Buffer.from(this.#rest.subarray(9, 9 + length)),
      });
      this.#rest = this.#rest.subarray(9 + length);
    }
    this.#wake();
  }
}

/** What is used here of streamx, which has no types of its own. */
declare module "streamx" {
  import type { EventEmitter } from "node:events";

  export interface DuplexOptions {
    highWaterMark?: number;
    eagerOpen?: boolean;
    mapWritable?(data: unknown): unknown;
  }

  export type StreamCallback = (error?: Error | null) => void;

  export class Duplex extends EventEmitter {
    constructor(options?: DuplexOptions);
    readonly destroying: boolean;
    readonly destroyed: boolean;
    push(data: Uint8Array | null): boolean;
    read(): Uint8Array | null;
    write(data: Uint8Array | string): boolean;
    end(data?: Uint8Array | string): this;
    destroy(error?: Error | null): void;
    pause(): this;
    resume(): this;
    pipe(destination: unknown): unknown;
    _read(callback: StreamCallback): void;
    _writev(batch: Uint8Array[], callback: StreamCallback): void;
    _final(callback: StreamCallback): void;
    _predestroy(): void;
    _destroy(callback: StreamCallback): void;
    [Symbol.asyncIterator](): AsyncIterator<Uint8Array>;
  }

  export const Writable: { drained(stream: Duplex): Promise<boolean> };
}

/**
 * The reader thread's entry: a Worker with a SQLite of its own, for queries and results that are long. An
 * error that nobody catches ends it, on purpose: the pool sees it and starts another.
 *
 * @module
 */

import { askForSlice, readerSliceMs } from "../host/time-slice.ts";
import type { ToReader } from "./messages.ts";
import { ReaderRunner } from "./reader-runner.ts";

declare const self: Worker;

askForSlice(readerSliceMs);
let runner: ReaderRunner | undefined;
self.onmessage = ({ data: message }: MessageEvent<ToReader>) => {
  if (message.kind !== "start") runner?.onMessage(message);
  else
    runner = new ReaderRunner(message.options, (out, transfer) => self.postMessage(out, transfer));
};

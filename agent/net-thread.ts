/**
 * The net thread's entry: a Worker that holds the net side of one node. It never touches SQLite, so that
 * a store that is stuck for a minute costs no connection and holds up no frame.
 *
 * An error that nobody catches ends the thread, on purpose: the link sees it and starts another.
 *
 * @module
 */

import type { LinkMessage } from "./link.ts";
import { createMachine } from "./net-machine.ts";
import { createNetRunner } from "./net-runner.ts";

declare const self: Worker;

const runner = createNetRunner(
  { post: (message, transfer) => self.postMessage(message, transfer) },
  createMachine,
);
self.onmessage = (event: MessageEvent<LinkMessage>) => runner.onMessage(event.data);

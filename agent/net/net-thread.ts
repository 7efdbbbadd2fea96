/**
 * The net thread's entry: a Worker that holds the net side of one node. It never touches SQLite, so that
 * a store that is stuck for a minute costs no connection and holds up no frame.
 *
 * Urgent messages come on a port of their own, which is looked at before each of the others is taken up: the event
 * loop alone would take them in the order in which they were posted.
 *
 * An error that nobody catches ends the thread, on purpose: the link sees it and starts another.
 *
 * @module
 */

import { type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import { askForSlice, netSliceMs } from "../host/time-slice.ts";
import type { LinkMessage } from "./messages.ts";
import { createMachine } from "./net-machine.ts";
import { createNetRunner } from "./net-runner.ts";

declare const self: Worker;

askForSlice(netSliceMs);
const runner = createNetRunner(
  { post: (message, transfer) => self.postMessage(message, transfer) },
  createMachine,
);
/** The link's first message is the port, the second `start`, which nothing overtakes. */
self.onmessage = ({ data: urgent }: MessageEvent<MessagePort>) => {
  self.onmessage = ({ data: message }: MessageEvent<LinkMessage>) => {
    if (message.kind !== "start") takeAll(urgent);
    runner.onMessage(message);
    if (message.kind === "start") urgent.on("message", (first) => runner.onMessage(first));
  };
};

function takeAll(urgent: MessagePort): void {
  for (;;) {
    const received = receiveMessageOnPort(urgent) as { readonly message: LinkMessage } | undefined;
    if (received === undefined) return;
    runner.onMessage(received.message);
  }
}

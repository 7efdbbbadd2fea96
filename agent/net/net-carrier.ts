/**
 * What carries messages between the link and one net thread: a Worker of this process. A child process could stand in
 * its place.
 *
 * @module
 */

import { prepareAddonFolder } from "../host/addon-folder.ts";
import type { LinkMessage, NetMessage, NetOptions } from "./messages.ts";

/** What carries messages to one net thread: a Worker, or a child process. */
export interface NetCarrier {
  /** Buffers in `transfer` are given away. */
  post(message: LinkMessage, transfer: ArrayBuffer[]): void;
  /** The same, and it is taken up before what else was posted and waits; after `start`, though. */
  postUrgent(message: LinkMessage, transfer: ArrayBuffer[]): void;
  /** Ends it, whatever it does, and resolves when its sockets are free; `onEnd` isn't called after. */
  end(): Promise<void>;
}

export interface NetCarrierHooks {
  readonly onMessage: (message: NetMessage) => void;
  /** It ended though nobody asked: once. */
  readonly onEnd: (why: string) => void;
}

/** Starts what runs `createNetRunner`. Messages posted before it has loaded must reach it. */
export type StartCarrier = (hooks: NetCarrierHooks, options: NetOptions) => NetCarrier;

/** An ended Worker's sockets are free when it has closed; that is waited for so long. */
const closeMs = 1000;

/** The net thread as a Worker of this process; a second entry point of the executable (`build.ts`). */
export const startWorker: StartCarrier = ({ onMessage, onEnd }, { addonFolder }) => {
  const folder = prepareAddonFolder(addonFolder);
  if (folder.kind === "refused") {
    queueMicrotask(() =>
      onMessage({ kind: "report", report: { kind: "failed", why: folder.why } }),
    );
    return { post: () => {}, postUrgent: () => {}, end: async () => {} };
  }
  const worker = new Worker(new URL("./net-thread.ts", import.meta.url), { name: "patina net" });
  const urgent = new MessageChannel();
  worker.postMessage(urgent.port2, [urgent.port2]);
  let isOver = false;
  let why = "ended by itself";
  let onClosed: () => void = () => {};
  const closed = new Promise<void>((resolve) => {
    onClosed = resolve;
  });
  // Both listeners are needed: a Worker that fails without an `error` listener is silent, and `close`
  // comes with code 0 after an unhandled rejection.
  worker.onerror = (event) => {
    why = event.message;
  };
  worker.addEventListener("close", (event) => {
    onClosed();
    if (isOver) return;
    isOver = true;
    onEnd(`${why} (code ${(event as unknown as { code: number }).code})`);
  });
  worker.onmessage = (event: MessageEvent<NetMessage>) => {
    if (!isOver) onMessage(event.data);
  };
  return {
    post: (message, transfer) => worker.postMessage(message, transfer),
    postUrgent: (message, transfer) => urgent.port1.postMessage(message, transfer),
    end: async () => {
      isOver = true;
      urgent.port1.close();
      worker.terminate();
      let timer: ReturnType<typeof setTimeout> | undefined;
      const timeout = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, closeMs);
      });
      await Promise.race([closed, timeout]);
      clearTimeout(timer);
    },
  };
};

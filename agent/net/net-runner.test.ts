import { expect, test } from "bun:test";
import { until } from "../../test/until.ts";
import type { NetMessage, NetOptions } from "./messages.ts";
import type { Machine } from "./net-machine.ts";
import { createNetRunner } from "./net-runner.ts";

const options: NetOptions = {
  ...{ nodeSeed: new Uint8Array(32).fill(9), name: "a", region: "r", zone: "z", incarnation: 1 },
  cluster: { topic: new Uint8Array(32), admissionSecret: new Uint8Array(32) },
  ...{ host: "127.0.0.1", port: 0, bootstrap: [], isBootstrap: false },
};

/** Stops a net side to whose peer so many bytes wait to be sent. */
async function stopWith(waiting: () => number): Promise<void> {
  const messages: NetMessage[] = [];
  const has = (kind: NetMessage["kind"]) => messages.some((message) => message.kind === kind);
  let isStopping = false;
  const machine: Machine = {
    handle: () => {},
    pollTimeout: () => Number.POSITIVE_INFINITY,
    applyBodies: 7,
    snapshot: () => {
      const bytes = isStopping ? waiting() : 0;
      return { peers: [{ waitingBytes: [0, bytes, 5] }], members: [] } as never;
    },
  };
  const runner = createNetRunner({ post: (message) => messages.push(message) }, () => machine);
  runner.onMessage({ kind: "start", options });
  await until("it listens", () => has("report"));
  isStopping = true;
  runner.onMessage({ kind: "stop", untilMs: 0, reason: "test" });
  await until("it has stopped", () => has("stopped"));
}

test("a net side that stops waits for what was committed to leave, and not for ever", async () => {
  const bytes = [3000, 2000, 1000, 0];
  await stopWith(() => bytes.shift() ?? 0);
  expect(bytes).toEqual([]);
  await stopWith(() => 1);
}, 60_000);

// A health check asks for it every few seconds, and a snapshot names every member.
test("what waits to be applied is told without a snapshot", async () => {
  const messages: NetMessage[] = [];
  let snapshots = 0;
  const machine: Machine = {
    handle: () => {},
    pollTimeout: () => Number.POSITIVE_INFINITY,
    applyBodies: 7,
    snapshot: () => {
      snapshots++;
      return { peers: [], members: [] } as never;
    },
  };
  const runner = createNetRunner({ post: (message) => messages.push(message) }, () => machine);
  runner.onMessage({ kind: "start", options });
  await until("it listens", () => messages.some(({ kind }) => kind === "report"));
  const before = snapshots;
  runner.onMessage({ kind: "ask", id: 1, question: { kind: "backlog" } });
  const answer = { kind: "backlog", bodies: 7 };
  expect(messages.at(-1)).toEqual({ kind: "answer", id: 1, answer } as NetMessage);
  expect(snapshots).toBe(before);
  runner.onMessage({ kind: "stop", untilMs: 0, reason: "test" });
  await until("it has stopped", () => messages.some(({ kind }) => kind === "stopped"));
}, 60_000);

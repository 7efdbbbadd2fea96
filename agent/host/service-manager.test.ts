import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NotifySocket } from "../../test/notify-socket.ts";
import { ServiceManager } from "./service-manager.ts";

function withFolder(run: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), "patina-notify-"));
  try {
    run(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("a message is one datagram of lines, to a path or to an abstract name", () =>
  withFolder((folder) => {
    for (const name of [join(folder, "notify"), `@patina-test-${process.pid}`]) {
      using socket = new NotifySocket(name);
      const manager = ServiceManager.of({ NOTIFY_SOCKET: name });
      manager?.tell({ READY: "1", STATUS: "two\nlines" });
      expect(socket.hasLine("READY=1")).toBe(true);
      expect(socket.messages).toEqual(["READY=1\nSTATUS=two lines\n"]);
    }
  }));

test("where nobody listens nothing happens, and a socket that has gone is no fault", () =>
  withFolder((folder) => {
    for (const name of [undefined, "", "relative", "vsock:2:1234", `/${"a".repeat(200)}`]) {
      expect(ServiceManager.of({ NOTIFY_SOCKET: name })).toBeUndefined();
    }
    ServiceManager.of({ NOTIFY_SOCKET: join(folder, "gone") })?.tell({ WATCHDOG: "1" });
  }));

test("signs of life are wanted of the process that WATCHDOG_PID names", () => {
  const of = (environment: Record<string, string>) =>
    ServiceManager.of({ NOTIFY_SOCKET: "@nobody", ...environment })?.watchdogMs;
  expect(of({})).toBeUndefined();
  expect(of({ WATCHDOG_USEC: "3000000" })).toBe(3000);
  expect(of({ WATCHDOG_USEC: "3000000", WATCHDOG_PID: String(process.pid) })).toBe(3000);
  expect(of({ WATCHDOG_USEC: "3000000", WATCHDOG_PID: "1" })).toBeUndefined();
  for (const odd of ["0", "-1", "1e3", "soon"]) expect(of({ WATCHDOG_USEC: odd })).toBeUndefined();
});

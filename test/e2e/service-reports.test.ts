/**
 * What the executable tells a service manager, at the socket that it is given.
 *
 * @module
 */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startTestAgent } from "../agent-process.ts";
import { contractSchema } from "../contract/http.ts";
import { NotifySocket } from "../notify-socket.ts";
import { until } from "../until.ts";
import { builtBinary } from "./built-binary.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "patina-notify-"));
  writeFileSync(join(folder, "schema.sql"), contractSchema);
});
afterAll(() => rmSync(folder, { recursive: true }));

test("an agent says that it serves, lives and stops", async () => {
  const name = join(folder, "notify");
  using socket = new NotifySocket(name);
  const agent = await startTestAgent({
    folder,
    binary: builtBinary(),
    environment: { NOTIFY_SOCKET: name, WATCHDOG_USEC: "300000" },
  });
  await until("it is told to be ready", () => socket.hasLine("READY=1"));
  await until("it stands alone, so it has caught up", () => socket.hasLine("STATUS=ready"));
  await until("signs of life", () => socket.hasLine("WATCHDOG=1"));
  expect(socket.hasLine("STOPPING=1")).toBe(false);

  await agent.stop();
  expect(socket.hasLine("STOPPING=1")).toBe(true);
  expect(socket.messages[0]).toStartWith("READY=1\nSTATUS=");
});

import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startServers } from "./agent-servers.ts";
import type { StoreService } from "./api/store-service.ts";
import { readConfig } from "./config/config.ts";
import { createLog } from "./log.ts";

test("a socket that can't be made is refused with the system's reason, as on a disk without inodes", async () => {
  const folder = mkdtempSync(join(tmpdir(), "patina-servers-"));
  const read = readConfig({
    file: undefined,
    text: undefined,
    environment: {},
    flags: { "api.socket": join(folder, "missing", "patina.sock") },
  });
  if (read.kind !== "config") throw new Error(read.problems.join());
  const starting = startServers({
    config: read.config,
    service: {} as StoreService,
    tokens: undefined,
    owner: { user: undefined, group: undefined },
    log: createLog({ level: "error", format: "text" }),
  });
  await expect(starting).rejects.toMatchObject({
    exitCode: 5,
    message: expect.stringMatching(/^socket .*patina\.sock: .*ENOENT/),
  });
  rmSync(folder, { recursive: true });
});

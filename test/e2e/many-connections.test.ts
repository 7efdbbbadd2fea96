import { expect } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PatinaClient } from "../../agent/client/client.ts";
import { startTestAgent } from "../agent-process.ts";
import { testIf } from "../real.ts";
import { until } from "../until.ts";

const limit = 100;

testIf(
  process.platform === "linux" ? undefined : "it needs Linux",
  "connections that say nothing shut out others of TCP at most, and not for long",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "patina-many-"));
    writeFileSync(join(folder, "schema.sql"), "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL);");
    const agent = await startTestAgent({
      folder,
      arguments: ["--listen", "127.0.0.1:0"],
      environment: { PATINA_API_TOKEN: "false", PATINA_API_CONNECTIONS_MAX: String(limit) },
    });
    const [host, port] = (agent.listen[0] as string).split(":") as [string, string];
    const local = new PatinaClient(agent.socket);
    const answers = async (): Promise<boolean> => {
      const url = `http://${host}:${port}/v1/openapi.json`;
      const request = { signal: AbortSignal.timeout(1000), keepalive: false };
      return fetch(url, request).then(
        ({ status }) => status === 200,
        () => false,
      );
    };
    const sockets: Socket[] = [];
    try {
      await until("TCP is served", answers);
      for (let i = 0; i < 2 * limit; i++) {
        const socket = connect(Number(port), host);
        socket.on("error", () => {});
        sockets.push(socket);
      }
      await until("TCP is paused", async () => agent.log().includes("too many connections"));
      expect(await answers()).toBe(false);
      expect((await local.query("SELECT 1")).rows).toEqual([[1]]);
      for (const socket of sockets) socket.destroy();
      await until("TCP is served again", answers);
      await until("it says so", async () =>
        agent.log().includes("connections are accepted over TCP again"),
      );
    } finally {
      for (const socket of sockets) socket.destroy();
      await agent.stop();
      rmSync(folder, { recursive: true });
    }
  },
  120_000,
);

import { expect } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PatinaClient } from "../../agent/client/client.ts";
import { patinaCommand, runPatina, startTestAgent } from "../agent-process.ts";
import { testIf } from "../real.ts";
import { until } from "../until.ts";

const limit = 100;
const missing = process.platform === "linux" ? undefined : "it needs Linux";

testIf(
  missing,
  "connections that say nothing shut out nobody, streams others of TCP at most",
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
    const open = (says: string): void => {
      const socket = connect(Number(port), host);
      socket.on("error", () => {});
      socket.resume();
      if (says !== "") socket.write(says);
      sockets.push(socket);
    };
    try {
      await until("TCP is served", answers);
      for (let i = 0; i < 2 * limit; i++) open(i % 2 === 0 ? "" : "GET /v1/hea");
      await until("the limit is reached", async () => agent.log().includes("too many connections"));
      await until("others are let in", answers);
      const body = '"SELECT k FROM t"';
      const subscribe = `POST /v1/subscriptions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
      // Those that are refused don't come again.
      await until("there is no room", async () => {
        for (let i = 0; i < limit; i++) open(subscribe);
        return !(await answers());
      });
      expect((await local.query("SELECT 1")).rows).toEqual([[1]]);
      for (const socket of sockets) socket.destroy();
      await until("TCP is served again", answers);
    } finally {
      for (const socket of sockets) socket.destroy();
      await agent.stop();
      rmSync(folder, { recursive: true });
    }
  },
  120_000,
);

testIf(
  missing,
  "connections of the Unix socket leave the agent the files that it needs itself",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "patina-leak-"));
    writeFileSync(join(folder, "schema.sql"), "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL);");
    const binary = join(folder, "patina");
    const command = patinaCommand.map((part) => `'${part}'`).join(" ");
    writeFileSync(binary, `#!/bin/sh\nulimit -n 160\nexec ${command} "$@"\n`, { mode: 0o755 });
    const agent = await startTestAgent({ folder, binary });
    const sockets: Socket[] = [];
    let cut = 0;
    try {
      for (let i = 0; i < 200; i++) {
        const socket = connect(agent.socket);
        socket.on("error", () => {});
        socket.on("close", () => cut++);
        socket.resume();
        sockets.push(socket);
      }
      await until("the last are refused", async () => cut >= 200 - (160 - 64), 30_000, agent.log);
      expect(agent.log()).toContain("too many connections");
      for (const socket of sockets.slice(0, 5)) socket.destroy();
      const args = ["backup", join(folder, "backup.db"), "--socket", agent.socket];
      await until("there is room again", async () => (await runPatina(args)).code === 0);
    } finally {
      for (const socket of sockets) socket.destroy();
      await agent.stop();
      rmSync(folder, { recursive: true });
    }
  },
  120_000,
);

/**
 * The executable serves both versions of HTTP on one TCP port.
 *
 * @module
 */

import { expect } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { missingProgram, testIf } from "../real.ts";
import { builtBinary } from "./built-binary.ts";

testIf(
  missingProgram("curl"),
  "the executable speaks HTTP/1.1 and h2c over TCP",
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "patina-binary-http-"));
    await writeFile(
      join(folder, "schema.sql"),
      "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v TEXT);",
    );
    await writeFile(
      join(folder, "patina.toml"),
      `[node]\ndata_dir = "data"\n[schema]\npaths = ["schema.sql"]\n[api]\nlisten = ["127.0.0.1:0"]\n[[api.tokens]]\nsecret = "of-the-executable"\n`,
    );
    const agent = Bun.spawn([builtBinary(), "agent", "--json", "-c", join(folder, "patina.toml")], {
      cwd: folder,
      stdout: "pipe",
      stderr: "ignore",
    });
    try {
      const { value } = await agent.stdout.getReader().read();
      const { listen } = JSON.parse(Buffer.from(value as Uint8Array).toString());
      for (const [version, spoken] of [
        ["--http1.1", "1.1"],
        ["--http2-prior-knowledge", "2"],
      ] as const) {
        const curl = async (...args: string[]) => {
          const command = [
            "curl",
            "-sS",
            "-m",
            "10",
            version,
            "-w",
            "|%{http_version}|%{http_code}",
          ];
          const child = Bun.spawn([...command, ...args], { stdout: "pipe", stderr: "inherit" });
          return new Response(child.stdout).text();
        };
        const url = `http://${listen[0]}/v1`;
        const json = ["-H", "content-type: application/json"];
        const token = ["-H", "authorization: bearer of-the-executable"];
        const insert = `[["INSERT INTO t VALUES (?, ?)", [${spoken.length}, "x"]]]`;
        // No body: it wouldn't be awaited, and a curl that is still sending one (7.88) takes that for a broken stream.
        expect(await curl(`${url}/queries`, ...json, "-X", "POST")).toBe(`|${spoken}|401`);
        expect(await curl(`${url}/transactions`, ...json, ...token, "-d", insert)).toMatch(
          new RegExp(`"rows_affected":1.*\\|${spoken}\\|200$`),
        );
        // A stream, for a second: its lines come while it is open.
        const live = ["-N", "-m", "1", `${url}/subscriptions`, ...json, ...token];
        expect(await curl(...live, "-d", '"SELECT v FROM t"')).toContain('{"row":[1,["x"]]}');
        // Longer than the store thread has time for: the reader thread is in the executable.
        const count =
          "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 200000) SELECT count(*) FROM c";
        const long = await curl(`${url}/queries`, ...json, ...token, "-d", JSON.stringify(count));
        expect(long).toContain('{"row":[1,[200000]]}');
        const status = JSON.parse((await curl(`${url}/status`, ...token)).split("\n")[0] as string);
        expect(status.reader_thread).toMatchObject({ starts: 1, alive: true });
      }
      agent.kill("SIGTERM");
      expect(await agent.exited).toBe(0);
    } finally {
      agent.kill("SIGKILL");
      await rm(folder, { recursive: true });
    }
  },
  120_000,
);

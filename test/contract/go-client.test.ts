/**
 * A client in another language, by another HTTP/2 library, against the agent.
 *
 * @module
 */

import { expect } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startTestAgent } from "../agent-process.ts";
import { testIf } from "../real.ts";
import { contractSchema } from "./http.ts";

/** HTTP/2 without TLS is in Go's own library since 1.24. */
const missing = (() => {
  if (Bun.which("go") === null) return "go is not installed";
  const version = Bun.spawnSync(["go", "env", "GOVERSION"]).stdout.toString().trim();
  const [, minor] = /^go1\.(\d+)/.exec(version) ?? [];
  return Number(minor) >= 24 ? undefined : `Go 1.24 or later is needed, this is ${version}`;
})();

testIf(
  missing,
  "a Go program (1.24 or later) over h2c finds the contract kept",
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "patina-go-"));
    const token = "a-token-for-the-go-client";
    await writeFile(join(folder, "schema.sql"), contractSchema);
    await writeFile(join(folder, "tokens.toml"), `[[tokens]]\nsecret = "${token}"\n`, {
      mode: 0o600,
    });
    const program = join(folder, "goclient");
    const build = Bun.spawnSync(["go", "build", "-o", program, "."], {
      cwd: join(import.meta.dir, "go-client"),
      // It needs nothing but Go's own library.
      env: { ...process.env, GOFLAGS: "-mod=mod", GOPROXY: "off", GOTOOLCHAIN: "local" },
    });
    expect([build.stderr.toString(), build.exitCode]).toEqual(["", 0]);
    const agent = await startTestAgent({
      folder,
      arguments: ["--listen", "127.0.0.1:0"],
      environment: { PATINA_API_TOKENS_FILE: join(folder, "tokens.toml") },
    });
    try {
      const client = Bun.spawn([program, `http://${agent.listen[0]}`, token], {
        stdout: "pipe",
        stderr: "pipe",
      });
      const output = [
        await new Response(client.stdout).text(),
        await new Response(client.stderr).text(),
      ];
      expect([...output, await client.exited]).toEqual(["ok\n", "", 0]);
    } finally {
      await agent.stop();
      await rm(folder, { recursive: true });
    }
  },
  300_000,
);

/**
 * Corrosion's own Rust client against the executable: `bun test/long/rust-client.ts`.
 *
 * The client is the released crate `corro-client`, unmodified, installed by cargo as its users install it (two to six
 * minutes the first time); `test/contract/rust-client` drives it. It speaks HTTP/2 without TLS, sends no token, and
 * is served by an agent with `api.token = false`, which is killed and stopped under its open streams.
 *
 * @module
 */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { contractSchema } from "../contract/http.ts";
import { repository, startBuiltAgent } from "./soak.ts";

const folder = await mkdtemp(join(tmpdir(), "patina-rust-client-"));
/** Outlives the run when it is named, so that nothing is built twice. */
const target = process.env.CARGO_TARGET_DIR ?? join(folder, "target");

function start(listen: string) {
  return startBuiltAgent({
    folder,
    arguments: ["--listen", listen],
    environment: { PATINA_API_TOKEN: "false" },
  });
}

let passed = 0;
try {
  const crate = join(repository, "test", "contract", "rust-client");
  const build = Bun.spawnSync(["cargo", "build", "--locked", "--quiet"], {
    cwd: crate,
    env: { ...process.env, CARGO_TARGET_DIR: target },
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (build.exitCode !== 0) throw new Error("cargo could not build the client");

  await writeFile(join(folder, "schema.sql"), contractSchema);
  let agent = await start("127.0.0.1:0");
  const [address] = agent.listen as [string];
  const program = join(target, "debug", "patina-contract-rust-client");
  const client = Bun.spawn([program, address, join(folder, "data", "patina.db")], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  let rest = "";
  for await (const chunk of client.stdout) {
    const lines = (rest + Buffer.from(chunk).toString()).split("\n");
    rest = lines.pop() as string;
    for (const line of lines) {
      if (line === "ok") passed = 1;
      else if (line === "kill" || line === "stop") {
        await (line === "kill" ? agent.kill() : agent.stop());
        agent = await start(address);
        client.stdin.write("again\n");
        client.stdin.flush();
      } else throw new Error(`the client says ${line}`);
    }
  }
  await client.exited;
  await agent.stop();
} finally {
  await rm(folder, { recursive: true });
}
console.log(`corro-client 0.2.0-alpha.0: ${passed} passed, ${1 - passed} failed`);
process.exit(passed === 1 ? 0 : 1);

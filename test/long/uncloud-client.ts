/**
 * Uncloud's own Go client of Corrosion, and its cluster store, against the executable:
 * `bun test/long/uncloud-client.ts --source CHECKOUT` (or `PATINA_TEST_UNCLOUD_SOURCE`; of github.com/psviderski/uncloud, as it was at
 * 6b41340f or later).
 *
 * `test/contract/uncloud-client` is built inside a copy of the checkout, because what it drives is internal to Uncloud's
 * module: nothing of that is changed. The tables are Uncloud's own schema, with a guard around `json_extract` in its
 * generated columns, as ARCHITECTURE's "Coming from Corrosion" says. It runs twice: with a token, and with
 * `api.token = false`; and the agent is killed and stopped under its open streams.
 *
 * @module
 */

import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { repository, startBuiltAgent } from "./soak.ts";

const { values: flags } = parseArgs({
  options: { source: { type: "string", default: process.env.PATINA_TEST_UNCLOUD_SOURCE } },
});
const { source } = flags;
if (source === undefined) {
  console.error("uncloud-client: --source PATH, a checkout of github.com/psviderski/uncloud");
  process.exit(2);
}

const folder = await mkdtemp(join(tmpdir(), "patina-uncloud-client-"));
let passed = 0;
let failed = 0;
try {
  const program = await build(source, folder);
  const schema = await Bun.file(join(source, "internal/machine/store/schema.sql")).text();
  for (const token of ["a-token-for-uncloud", undefined]) {
    const home = join(folder, token === undefined ? "without-token" : "with-token");
    await mkdir(home);
    await writeFile(join(home, "schema.sql"), guarded(schema));
    const ok = await drive(program, home, token);
    console.log(`Uncloud's client ${token === undefined ? "without" : "with"} a token: ${ok}`);
    if (ok === "ok") passed++;
    else failed++;
  }
} finally {
  await rm(folder, { recursive: true });
}
console.log(`Uncloud's client: ${passed} passed, ${failed} failed`);
process.exit(passed === 2 ? 0 : 1);

/** Builds the program in a copy of the checkout. @throws if Go can't */
async function build(checkout: string, folder: string): Promise<string> {
  const copy = join(folder, "uncloud");
  await cp(checkout, copy, {
    recursive: true,
    filter: (path) => ![".git", "node_modules", "website"].includes(basename(path)),
  });
  const name = "patina-uncloud-client";
  const main = join(repository, "test", "contract", "uncloud-client", "main.go");
  await cp(main, join(copy, "cmd", name, "main.go"), { recursive: true });
  const program = join(folder, name);
  const { exitCode } = Bun.spawnSync(["go", "build", "-o", program, `./cmd/${name}`], {
    cwd: copy,
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (exitCode !== 0) throw new Error("go could not build Uncloud's client");
  return program;
}

/** Uncloud's schema, whose generated columns would fail where a cell is no JSON. */
function guarded(schema: string): string {
  return schema.replace(
    /AS \((json_extract\((\w+), ('[^']*')\))\)/g,
    "AS (CASE WHEN json_valid($2) THEN $1 END)",
  );
}

/** "ok", or what was wrong. The client's own complaints are on stderr. */
async function drive(program: string, home: string, token: string | undefined): Promise<string> {
  const tokens = join(home, "tokens.toml");
  if (token !== undefined) {
    await writeFile(tokens, `[[tokens]]\nsecret = "${token}"\n`, { mode: 0o600 });
  }
  const environment: Record<string, string> =
    token === undefined ? { PATINA_API_TOKEN: "false" } : { PATINA_API_TOKENS_FILE: tokens };
  const start = (listen: string) =>
    startBuiltAgent({ folder: home, arguments: ["--listen", listen], environment });

  let agent = await start("127.0.0.1:0");
  const [address] = agent.listen as [string];
  const client = Bun.spawn([program, address, ...(token === undefined ? [] : [token])], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  let said = "nothing";
  let rest = "";
  for await (const chunk of client.stdout) {
    const lines = (rest + Buffer.from(chunk).toString()).split("\n");
    rest = lines.pop() as string;
    for (const line of lines) {
      said = line;
      if (line !== "kill" && line !== "stop") continue;
      await (line === "kill" ? agent.kill() : agent.stop());
      agent = await start(address);
      client.stdin.write("again\n");
      client.stdin.flush();
    }
  }
  const code = await client.exited;
  await agent.stop();
  return code === 0 ? said : `it ended with ${code}, and the last that it said was ${said}`;
}

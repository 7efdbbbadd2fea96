import { expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const proxy = join(import.meta.dir, "../../examples/proxy.ts");
const said = `globalThis.fetch = async (url, { timeout }) => {
  console.log(JSON.stringify({ url, timeout }));
  process.exit(0);
};`;

// Five minutes without news ended it: too long for a test to wait.
test("the proxy of examples/ asks for a stream that may be silent", async () => {
  const folder = await mkdtemp(join(tmpdir(), "patina-proxy-"));
  try {
    const preload = join(folder, "said.ts");
    await writeFile(preload, said);
    const run = Bun.spawn([process.execPath, "--preload", preload, proxy, "/nowhere.sock"], {
      stdout: "pipe",
    });
    const asked = JSON.parse(await new Response(run.stdout).text());
    expect(asked).toEqual({ url: "http://patina/v1/subscriptions", timeout: false });
  } finally {
    await rm(folder, { recursive: true });
  }
});

import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { until } from "../until.ts";
import { builtBinary } from "./built-binary.ts";

const examples = join(import.meta.dir, "../../examples");
const script = `
  import { Cluster } from ${JSON.stringify(join(examples, "cluster.ts"))};
  const schema = [${JSON.stringify(join(examples, "schema.sql"))}];
  const cluster = await Cluster.start({ binary: ${JSON.stringify(builtBinary())}, nodes: 2, schema });
  const pids = cluster.nodes.map(({ pid }) => pid);
  console.log(JSON.stringify({ folder: cluster.folder, pids }));
  setInterval(() => {}, 1000);
`;

test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
  "a demo that %s interrupts leaves no agent behind, and no folder",
  async (signal) => {
    const demo = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "pipe" });
    const { value } = await demo.stdout.getReader().read();
    const { folder, pids } = JSON.parse(Buffer.from(value ?? []).toString());
    expect(pids.every(isRunning)).toBe(true);
    demo.kill(signal);
    await demo.exited;
    await until("the agents have ended", async () => !pids.some(isRunning));
    expect(existsSync(folder)).toBe(false);
  },
  60_000,
);

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

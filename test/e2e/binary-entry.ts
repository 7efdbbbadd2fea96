/**
 * A small program to be compiled in the agent's place, for tests of the executable itself.
 *
 * @module
 */

import type { NetReport } from "../../agent/net/messages.ts";

const [command, folder] = process.argv.slice(2);

if (command === "--version") {
  console.log("0");
} else if (command === "environment") {
  console.log(JSON.stringify({ leak: process.env.PATINA_LEAK ?? null }));
} else if (command === "net" || command === "crash") {
  // Two nodes and their bootstrap in one process; ends when each has the other. `crash`: then the first one's
  // net thread dies, and it ends when that is connected again.
  const { prepareAddonFolder } = await import("../../agent/host/addon-folder.ts");
  if (folder !== undefined) prepareAddonFolder(folder);
  const { startNet } = await import("../../agent/net/link.ts");
  const { startBootstrap } = await import("../../agent/swarm/bootstrap.ts");
  const bootstrap = await startBootstrap({ host: "127.0.0.1", port: 0 });
  if (bootstrap.kind === "failed") {
    console.log(bootstrap.why);
    process.exit(6);
  }
  const links = [1, 2].map((seed) =>
    startNet({
      nodeSeed: new Uint8Array(32).fill(seed),
      name: `node-${seed}`,
      region: "r",
      zone: "z",
      cluster: { topic: new Uint8Array(32), admissionSecret: new Uint8Array(32) },
      host: "127.0.0.1",
      port: 0,
      bootstrap: [bootstrap.bootstrap.address],
      isBootstrap: false,
      incarnation: 1,
      testHooks: true,
      ...(folder === undefined ? {} : { addonFolder: folder }),
    }),
  );
  const reports: NetReport[][] = links.map(() => []);
  links.forEach((link, i) => {
    link.onReport((report) => reports[i]?.push(report));
  });
  const until = async (what: string, isSo: () => boolean): Promise<void> => {
    for (const deadline = Date.now() + 60_000; !isSo(); await Bun.sleep(5)) {
      const ends = reports.flat().filter(({ kind }) => kind === "failed");
      if (ends.length > 0 || Date.now() > deadline)
        throw new Error(`${what}: ${JSON.stringify(ends)}`);
    }
  };
  const of = <K extends NetReport["kind"]>(node: number, kind: K) =>
    (reports[node] ?? []).filter(
      (one): one is Extract<NetReport, { kind: K }> => one.kind === kind,
    );
  await until("connected", () => of(0, "connected").length > 0 && of(1, "connected").length > 0);
  console.log("connected");
  if (command === "crash") {
    await links[0]?.ask({ kind: "crash" });
    await until("connected again", () => of(0, "connected").length > 1);
    const [before, after] = of(0, "listening");
    console.log(`crashed ${of(0, "crashed").length}, same port ${before?.port === after?.port}`);
  }
  for (const link of links) await link.stop(0, "done");
  await bootstrap.bootstrap.close();
  process.exit(0);
}

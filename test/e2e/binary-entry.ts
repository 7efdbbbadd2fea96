/**
 * A small program to be compiled in the agent's place, for tests of the executable itself.
 *
 * @module
 */

import type { NetReport } from "../../agent/link.ts";

const [command, folder] = process.argv.slice(2);

if (command === "--version") {
  console.log("0");
} else if (command === "environment") {
  console.log(JSON.stringify({ leak: process.env.PATINA_LEAK ?? null }));
} else if (command === "net") {
  // Two nodes and their bootstrap in one process; ends when each has the other.
  const { prepareAddonFolder } = await import("../../agent/addon-folder.ts");
  if (folder !== undefined) prepareAddonFolder(folder);
  const { startNet } = await import("../../agent/link.ts");
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
      ...(folder === undefined ? {} : { addonFolder: folder }),
    }),
  );
  const connected = links.map(
    (link) =>
      new Promise<NetReport>((resolve, reject) => {
        link.onReport((report) => {
          if (report.kind === "connected") resolve(report);
          if (report.kind === "failed" || report.kind === "crashed") reject(report.why);
        });
      }),
  );
  const reports = await Promise.all(connected);
  console.log(JSON.stringify(reports.map(({ kind }) => kind)));
  for (const link of links) await link.stop(0, "done");
  await bootstrap.bootstrap.close();
  process.exit(0);
}

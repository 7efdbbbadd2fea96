/**
 * `patina bootstrap`: a DHT node by which agents find each other, so that no public network is touched.
 *
 * @module
 */

import { isIPv4 } from "node:net";
import { exitCodes, StartFailure } from "../../start-failure.ts";
import { UsageError } from "../failure.ts";
import type { GlobalOptions } from "../global-options.ts";
import { serviceReports } from "../service-reports.ts";
import { untilSignal } from "../signals.ts";

export async function bootstrap(
  options: GlobalOptions & {
    readonly host: string;
    readonly port: string;
    readonly bootstrap: string;
  },
): Promise<void> {
  const port = Number(options.port);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new UsageError(`--port: 1 to 65535, got ${options.port}`);
  }
  if (!isIPv4(options.host) || options.host === "0.0.0.0") {
    throw new UsageError(`--host: an IPv4 address that the agents reach, got ${options.host}`);
  }
  const others = options.bootstrap.split(",").filter((address) => address !== "");
  const { startBootstrap } = await import("../../swarm/bootstrap.ts");
  const started = await startBootstrap({ host: options.host, port, bootstrap: others });
  if (started.kind === "failed") throw new StartFailure(exitCodes.network, started.why);
  const { address, close } = started.bootstrap;
  // Not `print`: it goes on when nobody reads this any more.
  if (options.json) console.log(JSON.stringify({ bootstrap: address }));
  else console.log(`bootstrap node at ${address}: agents begin with it (swarm.bootstrap)`);
  const reports = serviceReports();
  reports.serving(() => true);
  reports.stopping(await untilSignal());
  await close();
}

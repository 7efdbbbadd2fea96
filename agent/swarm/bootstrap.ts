/**
 * A DHT node that others begin with: a cluster brings its own, so that no public network is touched.
 *
 * It keeps the announcements of a topic and passes handshakes on; it holds no secret of the cluster and
 * isn't a member. Its address must stay the same, because the others are configured with it.
 *
 * @module
 */

import type HyperDHT from "hyperdht";
import { prepareAddonFolder } from "../host/addon-folder.ts";
import { bindFailureText } from "./bind-failure.ts";
import { freeUdpPort } from "./free-port.ts";

export interface BootstrapOptions {
  /** IPv4 address of this host that the others reach; not 0.0.0.0. */
  readonly host: string;
  /** UDP port; exactly this one. 0: any, for tests and demonstrations. */
  readonly port: number;
  /** Other bootstrap nodes, `host:port`; itself among them does no harm. */
  readonly bootstrap?: readonly string[];
}

export interface Bootstrap {
  readonly host: string;
  readonly port: number;
  /** `host:port`. */
  readonly address: string;
  /** DHT nodes it knows. */
  nodes(): readonly string[];
  close(): Promise<void>;
}

export type BootstrapStarted =
  | { readonly kind: "started"; readonly bootstrap: Bootstrap }
  /** Nothing is left bound. */
  | { readonly kind: "failed"; readonly why: string };

/** Starts a bootstrap node; it runs until it is closed. */
export async function startBootstrap(options: BootstrapOptions): Promise<BootstrapStarted> {
  const { host } = options;
  const folder = prepareAddonFolder(undefined);
  if (folder.kind === "refused") return { kind: "failed", why: folder.why };
  // HyperDHT takes no 0 here, because a bootstrap's address is part of what it is.
  const port = options.port === 0 ? await freeUdpPort() : options.port;
  const address = `${host}:${port}`;
  const others = (options.bootstrap ?? []).filter((other) => other !== address);
  let dht: HyperDHT | undefined;
  try {
    // Loads libsodium.
    const { default: DHT } = await import("hyperdht");
    dht = DHT.bootstrapper(port, host, { host, bootstrap: others });
    await dht.fullyBootstrapped();
  } catch (error) {
    await dht?.destroy().catch(() => {});
    return { kind: "failed", why: `bootstrap at ${address}: ${bindFailureText(error)}` };
  }
  const node = dht;
  return {
    kind: "started",
    bootstrap: {
      host,
      port,
      address,
      nodes: () => node.toArray().map((other) => `${other.host}:${other.port}`),
      close: () => node.destroy(),
    },
  };
}

/**
 * HyperDHT as a small cluster needs it, whose DHT is a few bootstrap nodes of its own:
 *
 * - A query ends when every node it asks has answered or was given up after six tries of a second each,
 *   and an announcement or a look-up is several queries. One bootstrap that is down would so keep a
 *   node from its peers for half a minute. Here bootstraps are pinged first and left out while they
 *   don't answer, and queries give up sooner.
 * - Peers whose addresses are configured are tried there before the DHT is asked.
 *
 * @module
 */

import { lookup } from "node:dns/promises";
import { isIPv4 } from "node:net";
import DHT from "hyperdht";
import { bytesToHex } from "../../core/bytes/hex.ts";

export interface ClusterDhtOptions {
  readonly keyPair: HyperKeyPair;
  readonly host: string;
  /** 0 for any. If it is taken, any. */
  readonly port: number;
  /**
   * `host:port`; a host name is resolved anew at each check. `public` stands for the bootstraps of
   * Hyperswarm's public DHT: peers then find each other there, by a topic that tells nothing of the cluster.
   */
  readonly bootstrap: readonly string[];
  readonly firewalled: boolean;
}

/** In the place of a bootstrap's address: the public DHT. */
export const publicDht = "public";
/** Tries after the first, a second each. */
const queryRetries = 2;
/** Waited at most for the first bootstrap to answer before the others, or none, are relied on. */
const firstAnswerMs = 1000;

export class ClusterDht extends DHT {
  /** Where a peer is, by its key in hex. */
  readonly addresses = new Map<string, HyperAddress>();
  /** Told when a bootstrap answers that didn't at the check before. */
  onReturned: (() => void) | undefined;
  readonly #configured: readonly HyperAddress[];
  /** Bootstraps that didn't answer when they were last asked, as configured. */
  readonly #silent = new Set<HyperAddress>();

  /** Throws when a bootstrap isn't `host:port`. */
  constructor(options: ClusterDhtOptions) {
    const { port } = options;
    const bootstrap = bootstrapsOf(options.bootstrap);
    super({ ...options, bootstrap, port: [port, port === 0 ? 0 : port + 1] });
    this.#configured = this.bootstrapNodes;
  }

  override connect(
    publicKey: Uint8Array,
    options: Parameters<DHT["connect"]>[1] = {},
  ): NoiseStream {
    const address = this.addresses.get(bytesToHex(publicKey));
    if (address === undefined) return super.connect(publicKey, options);
    const relayAddresses = [address, ...(options.relayAddresses ?? [])];
    return super.connect(publicKey, { ...options, relayAddresses });
  }

  override query(query: unknown, options: Readonly<Record<string, unknown>> = {}): unknown {
    return super.query(query, { retries: queryRetries, ...options });
  }

  /**
   * Asks the configured bootstraps whether they are there; those that answer are used from now on, or
   * all if none does. Resolves at the first answer or after a second; the check goes on beside.
   */
  checkBootstraps(): Promise<void> {
    const alive: HyperAddress[] = [];
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, firstAnswerMs);
      const checks = this.#configured.map(async (configured) => {
        const { host, port } = configured;
        try {
          const address = isIPv4(host) ? host : (await lookup(host, { family: 4 })).address;
          await this.ping({ host: address, port });
          alive.push({ host: address, port });
        } catch {
          this.#silent.add(configured);
          return;
        }
        this.bootstrapNodes = alive;
        if (this.#silent.delete(configured)) this.onReturned?.();
        clearTimeout(timer);
        resolve();
      });
      void Promise.allSettled(checks).then(() => {
        this.bootstrapNodes = alive.length > 0 ? alive : this.#configured;
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

/** Addresses of the bootstraps as they are configured: `public` is replaced by those of the public DHT. */
export function bootstrapsOf(configured: readonly string[]): string[] {
  return configured.flatMap((one) =>
    // `address@name:port`: the name is looked up at each check.
    one === publicDht ? DHT.BOOTSTRAP.map((node) => node.replace(/^.*@/, "")) : [one],
  );
}

/**
 * The cluster's file: what all hosts of a cluster share and nobody else may know.
 *
 * ```toml
 * version = 1
 * name = "prod"
 * id = "…32 hex digits…"                # public: where peers find each other
 * admission_secret = "…64 hex digits…"  # who holds it is let in
 * digest_key = "…64 hex digits…"        # keys the digests that replicas compare; never changed
 * ```
 *
 * A file that others can read is refused: a secret that leaked isn't one.
 *
 * @module
 */

import { createHash, randomBytes } from "node:crypto";
import { stringify } from "smol-toml";
import { createSecretFile, readSecretFile } from "../host/secret-file.ts";

export interface Cluster {
  readonly name: string;
  /** 32 hex digits. */
  readonly id: string;
  /** 32 bytes. Secret. */
  readonly admissionSecret: Uint8Array;
  /** 32 bytes. Secret. */
  readonly digestKey: Uint8Array;
}

export type ClusterRead =
  | { readonly kind: "cluster"; readonly cluster: Cluster }
  | { readonly kind: "refused"; readonly why: string };

const clusterFileVersion = 1;

/** Writes a new cluster's file. Never over an existing one. */
export function createClusterFile(path: string, name: string): ClusterRead {
  const id = randomBytes(16).toString("hex");
  const text = stringify({
    version: clusterFileVersion,
    name,
    id,
    admission_secret: randomBytes(32).toString("hex"),
    digest_key: randomBytes(32).toString("hex"),
  });
  const head = `# A Patina cluster. Copy this file to every host, with mode 0600, over a connection that nobody reads: whoever has it is a member.\n`;
  const why = createSecretFile(path, `${head}${text}\n`);
  if (why !== undefined) return { kind: "refused", why: `${path}: ${why}` };
  return readClusterFile(path);
}

export function readClusterFile(path: string): ClusterRead {
  const refused = (why: string): ClusterRead => ({ kind: "refused", why: `${path}: ${why}` });
  const read = readSecretFile(path);
  if (read.kind === "missing") {
    return refused("not there: make it with 'patina cluster init', or copy it from another host");
  }
  if (read.kind === "refused") return refused(read.why);
  const file = read.table;
  if (file.version !== clusterFileVersion) {
    return refused(`version ${clusterFileVersion} wanted, got ${file.version}`);
  }
  const hex = (key: string, bytes: number): Uint8Array | undefined => {
    const value = file[key];
    const isHex = typeof value === "string" && new RegExp(`^[0-9a-f]{${bytes * 2}}$`).test(value);
    return isHex ? Uint8Array.from(Buffer.from(value, "hex")) : undefined;
  };
  const id = hex("id", 16);
  const admissionSecret = hex("admission_secret", 32);
  const digestKey = hex("digest_key", 32);
  if (id === undefined) return refused("id: 32 hex digits wanted");
  if (admissionSecret === undefined) return refused("admission_secret: 64 hex digits wanted");
  if (digestKey === undefined) return refused("digest_key: 64 hex digits wanted");
  const name = typeof file.name === "string" ? file.name : "";
  return {
    kind: "cluster",
    cluster: { name, id: Buffer.from(id).toString("hex"), admissionSecret, digestKey },
  };
}

/** Where peers of a cluster find each other: 32 bytes. Knowing it admits nobody. */
export function topicOf(clusterId: string): Uint8Array {
  const hash = createHash("sha256").update("patina topic 1").update(Buffer.from(clusterId, "hex"));
  return Uint8Array.from(hash.digest());
}

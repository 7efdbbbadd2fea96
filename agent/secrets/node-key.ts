/**
 * A node's key: an Ed25519 seed in a file, 64 hex digits, mode 0600. It is what the node *is*: the
 * public key names it to its peers.
 *
 * @module
 */

import { createPrivateKey, createPublicKey, randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { createSecretFile, readSecretText } from "../host/secret-file.ts";

export interface NodeKey {
  /** 32 bytes. Secret. */
  readonly seed: Uint8Array;
  /** 64 hex digits. */
  readonly publicKey: string;
}

export type NodeKeyRead =
  | { readonly kind: "key"; readonly key: NodeKey; readonly isNew: boolean }
  | { readonly kind: "refused"; readonly why: string };

/** Makes a key. Never over an existing file. */
export function createNodeKey(path: string): NodeKeyRead {
  const seed = randomBytes(32);
  const why = createSecretFile(path, `${seed.toString("hex")}\n`);
  if (why !== undefined) return { kind: "refused", why: `${path}: ${why}` };
  return { kind: "key", key: keyOfSeed(Uint8Array.from(seed)), isNew: true };
}

/** Reads the key, or makes it when there is none. */
export function openNodeKey(path: string): NodeKeyRead {
  const read = readNodeKey(path);
  if (read !== undefined) return read;
  const made = createNodeKey(path);
  // Another start has made one meanwhile.
  return made.kind === "refused" && existsSync(path) ? openNodeKey(path) : made;
}

/** Undefined: there is none. */
export function readNodeKey(path: string): NodeKeyRead | undefined {
  const refused = (why: string): NodeKeyRead => ({ kind: "refused", why: `${path}: ${why}` });
  let text: string;
  try {
    text = readSecretText(path).trim();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === "ENOENT" ? undefined : refused(message);
  }
  if (!/^[0-9a-f]{64}$/.test(text)) {
    const then = "a new one is made at the next start, and this node is another one to its peers";
    return refused(`64 hex digits wanted: put it back as it was, or remove it: ${then}`);
  }
  const seed = Uint8Array.from(Buffer.from(text, "hex"));
  return { kind: "key", key: keyOfSeed(seed), isNew: false };
}

/** RFC 8410: the DER head of an Ed25519 private key, before its 32 bytes of seed. */
const pkcs8Head = Buffer.from("302e020100300506032b657004220420", "hex");

export function keyOfSeed(seed: Uint8Array): NodeKey {
  const privateKey = createPrivateKey({
    key: Buffer.concat([pkcs8Head, seed]),
    format: "der",
    type: "pkcs8",
  });
  const der = createPublicKey(privateKey).export({ format: "der", type: "spki" });
  return { seed, publicKey: der.subarray(der.length - 32).toString("hex") };
}

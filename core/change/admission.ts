/**
 * Admission: how two nodes prove to each other that they belong to one cluster.
 *
 * Knowing the topic admits nobody. The first 37 bytes each way on a stream, before any frame:
 *
 * | offset | bytes | field                                                                          |
 * | ------ | ----- | ------------------------------------------------------------------------------ |
 * | 0      | 4     | magic `PATN`                                                                   |
 * | 4      | 1     | version = 1                                                                    |
 * | 5      | 32    | proof                                                                          |
 *
 * proof = HMAC-SHA-256(admission secret, "patina admission 1" ‖ prover's node key 32 ‖ handshake hash 64).
 *
 * The Noise handshake hash binds the proof to this very session, so that it can't be relayed; the
 * prover's own key in it keeps a peer from sending our proof back to us.
 *
 * @module
 */

import { utf8Encode } from "../bytes/utf8.ts";
import { equalConstantTime, hmacSha256, type Sha256 } from "../hash.ts";

export const admissionVersion = 1;
export const admissionBytes = 37;
const magic = utf8Encode("PATN");
const domain = utf8Encode("patina admission 1");

export interface AdmissionSession {
  /** The cluster's admission secret, 32 bytes. */
  readonly secret: Uint8Array;
  /** The Noise handshake hash, the same on both sides, 64 bytes. */
  readonly handshakeHash: Uint8Array;
}

/** The 37 bytes that the node with `nodeKey` sends. */
export function writeAdmission(
  sha256: Sha256,
  session: AdmissionSession,
  nodeKey: Uint8Array,
): Uint8Array {
  const bytes = new Uint8Array(admissionBytes);
  bytes.set(magic);
  bytes[4] = admissionVersion;
  bytes.set(proofOf(sha256, session, nodeKey), 5);
  return bytes;
}

export type AdmissionVerdict =
  | { readonly kind: "admitted" }
  /** Destroy the stream; nothing that follows may be parsed. */
  | { readonly kind: "refused"; readonly why: "not-patina" | "version" | "proof" };

/** Judges the first 37 bytes of a peer whose Noise key is `peerKey`. */
export function judgeAdmission(
  sha256: Sha256,
  session: AdmissionSession,
  peerKey: Uint8Array,
  bytes: Uint8Array,
): AdmissionVerdict {
  if (bytes.length !== admissionBytes || !equalConstantTime(bytes.subarray(0, 4), magic)) {
    return { kind: "refused", why: "not-patina" };
  }
  if (bytes[4] !== admissionVersion) return { kind: "refused", why: "version" };
  const wanted = proofOf(sha256, session, peerKey);
  return equalConstantTime(bytes.subarray(5), wanted)
    ? { kind: "admitted" }
    : { kind: "refused", why: "proof" };
}

function proofOf(sha256: Sha256, session: AdmissionSession, key: Uint8Array): Uint8Array {
  const message = new Uint8Array(domain.length + key.length + session.handshakeHash.length);
  message.set(domain);
  message.set(key, domain.length);
  message.set(session.handshakeHash, domain.length + key.length);
  return hmacSha256(sha256, session.secret, message);
}

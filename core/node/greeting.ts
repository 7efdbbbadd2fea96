/**
 * What a node says of itself at the beginning of a connection, and why it can't talk to a peer that says otherwise.
 *
 * @module
 */

import { featureStream, featureZstd } from "../change/frame.ts";
import { type Hello, protocolVersion } from "../change/hello.ts";
import { type Hlc, siteOfHex } from "../clock/stamp.ts";
import { digestVersion } from "../row/digest.ts";
import type { StoreReply } from "./border.ts";
import type { NodeOptions } from "./options.ts";

export type Identity = Extract<StoreReply, { kind: "identity" }>;

export function ownHello(
  identity: Identity,
  { name, region, zone, incarnation, zstd }: NodeOptions,
  { horizon, now }: { readonly horizon: Hlc; readonly now: Hlc },
): Hello {
  return {
    protocol: [protocolVersion, protocolVersion],
    digests: [digestVersion],
    features: zstd === undefined ? [featureStream] : [featureStream, featureZstd],
    scopes: [0],
    name,
    region,
    zone,
    incarnation,
    site: siteOfHex(identity.site),
    horizon,
    now,
    schema: identity.schema,
    starting: identity.starting,
  };
}

export interface Incompatibility {
  /** Goes after the peer's name. */
  readonly why: string;
  /** The hosts' versions are too far apart, which an operator has to mend. */
  readonly isOfVersion: boolean;
}

/** Why the connection has to be closed; undefined: both can go on. */
export function incompatibilityOf(hello: Hello): Incompatibility | undefined {
  const [lowest, highest] = hello.protocol;
  if (lowest > protocolVersion || highest < protocolVersion) {
    const why = `speaks frames of version ${lowest} to ${highest}, this node ${protocolVersion}`;
    return { why, isOfVersion: true };
  }
  if (!hello.digests.includes(digestVersion)) {
    const why = `computes digests of version ${hello.digests.join(", ")}, this node ${digestVersion}`;
    return { why, isOfVersion: true };
  }
  if (!hello.scopes.includes(0)) return { why: "has no scope in common", isOfVersion: false };
  return undefined;
}

/**
 * What a node says of itself at the beginning of a connection, and why it can't talk to a peer that says otherwise.
 *
 * @module
 */

import { utf8Length } from "../../bytes/utf8.ts";
import { featurePlumtree, featureStream, featureZstd } from "../../change/frame.ts";
import { type Hello, protocolVersion, type TableShape } from "../../change/hello.ts";
import { type Hlc, siteOfHex } from "../../clock/stamp.ts";
import { digestVersion } from "../../row/digest.ts";
import type { StoreReply } from "../border.ts";
import type { NodeOptions } from "../options.ts";

export type Identity = Extract<StoreReply, { kind: "identity" }>;

function featuresOf(hasZstd: boolean, hasIds: boolean): string[] {
  return [featureStream, ...(hasZstd ? [featureZstd] : []), ...(hasIds ? [featurePlumtree] : [])];
}

/** @param identity With {@link shapesTold} of its schema. */
export function ownHello(
  identity: Identity,
  { name, region, zone, incarnation, zstd, sha256 }: NodeOptions,
  { horizon, now }: { readonly horizon: Hlc; readonly now: Hlc },
): Hello {
  return {
    protocol: [protocolVersion, protocolVersion],
    digests: [digestVersion],
    features: featuresOf(zstd !== undefined, sha256 !== undefined),
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

/** Bytes of a hello's schema, about: the other fields and the frame around it have the rest of 64 KiB. */
const schemaBytesMax = 48 * 1024;
/** Characters of a type or a default: a reader takes no more. */
const textMax = 4096;
/** Of a column, beside its texts. */
const columnBytes = 16;

/**
 * What a hello tells of a schema, for the alarm that two of them differ: the first tables, as many as it has room
 * for, and long defaults cut. Two nodes with one schema tell the same.
 */
export function shapesTold(schema: readonly TableShape[]): readonly TableShape[] {
  const told: TableShape[] = [];
  let bytes = 0;
  for (const { table, columns } of schema) {
    const shapes = columns.map(({ name, type, default: value, key }) => ({
      name,
      type: type.slice(0, textMax).toWellFormed(),
      default: value?.slice(0, textMax).toWellFormed() ?? null,
      key,
    }));
    bytes += utf8Length(table) + columnBytes;
    for (const { name, type, default: value } of shapes) {
      bytes += utf8Length(name) + utf8Length(type) + utf8Length(value ?? "") + columnBytes;
    }
    if (bytes > schemaBytesMax) break;
    told.push({ table, columns: shapes });
  }
  return told;
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

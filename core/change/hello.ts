/**
 * Hello: the first frame each way, once both sides have proved membership.
 *
 * A CBOR map (RFC 8949) of at most 64 KiB, because it must grow: a reader takes the keys it knows and
 * skips the rest. Version 1:
 *
 * | key          | value                                                                           |
 * | ------------ | ------------------------------------------------------------------------------- |
 * | `protocol`   | [lowest, highest] frame version spoken; the pair uses the highest both have     |
 * | `digests`    | digest versions computed; no exchange without a common one                      |
 * | `features`   | names of what is spoken beyond version 1: `stream`, `zstd`, `plumtree` (`frame.ts`) |
 * | `scopes`     | scope ids; [0] for now                                                          |
 * | `name`       | the node's name                                                                 |
 * | `region`, `zone` | from its config; a failure domain is a zone                                 |
 * | `site`       | 16 bytes: the site that the node writes as                                      |
 * | `incarnation`| counts the node's starts                                                        |
 * | `horizon`    | 8 bytes, an HLC: tombstones before it are gone (0: none)                        |
 * | `now`        | 8 bytes: the sender's HLC                                                       |
 * | `schema`     | array of [table, [[column, declared type, default as SQL text or null, primary-key position or 0] …]]: a mismatch is an alarm, not a failure |
 * | `starting`   | true until the sender's index is built                                          |
 *
 * @module
 */

import { addExtension, Decoder } from "cbor-x/decode";
import { Encoder } from "cbor-x/encode";
import { ByteReader } from "../bytes/reader.ts";
import { ByteWriter } from "../bytes/writer.ts";
import { type Hlc, readHlc, type Site, writeHlc } from "../clock/stamp.ts";
import { siteFromBytes, siteToBytes } from "../row/digest.ts";

export const protocolVersion = 1;
export const helloBytesMax: number = 64 * 1024;

export interface ColumnShape {
  readonly name: string;
  readonly type: string;
  /** The default as SQL text, null for none. */
  readonly default: string | null;
  /** Position in the primary key from 1, or 0. */
  readonly key: number;
}

export interface TableShape {
  readonly table: string;
  readonly columns: readonly ColumnShape[];
}

export interface Hello {
  readonly protocol: readonly [lowest: number, highest: number];
  readonly digests: readonly number[];
  readonly features: readonly string[];
  readonly scopes: readonly number[];
  readonly name: string;
  readonly region: string;
  readonly zone: string;
  readonly site: Site;
  readonly incarnation: number;
  readonly horizon: Hlc;
  readonly now: Hlc;
  readonly schema: readonly TableShape[];
  readonly starting: boolean;
}

export type HelloDecoded =
  | { readonly kind: "hello"; readonly hello: Hello }
  | { readonly kind: "malformed"; readonly why: string };

// Plain maps: no shared structures, no tags of cbor-x's own, so that any CBOR library reads it.
const encoder = new Encoder({ useRecords: false, mapsAsObjects: true, tagUint8Array: false });
const decoder = new Decoder({ useRecords: false, mapsAsObjects: true });
/** Nothing is one: the library registers what it reads together with what it writes. */
class LargeInteger {}
// They are added up byte by byte: one of 64 KiB takes a second. A hello has none.
for (const tag of [2, 3]) {
  addExtension({
    Class: LargeInteger,
    tag,
    encode: () => null,
    decode: () => new LargeInteger(),
  });
}

export function encodeHello(hello: Hello): Uint8Array {
  const encoded: Uint8Array = encoder.encode({
    protocol: hello.protocol,
    digests: hello.digests,
    features: hello.features,
    scopes: hello.scopes,
    name: hello.name,
    region: hello.region,
    zone: hello.zone,
    site: siteToBytes(hello.site),
    incarnation: hello.incarnation,
    horizon: hlcBytes(hello.horizon),
    now: hlcBytes(hello.now),
    schema: hello.schema.map(({ table, columns }) => [
      table,
      columns.map((column) => [column.name, column.type, column.default, column.key]),
    ]),
    starting: hello.starting,
  });
  // The encoder reuses its buffer.
  return new Uint8Array(encoded);
}

/** Never throws, on any bytes. Unknown keys are skipped. */
export function decodeHello(bytes: Uint8Array): HelloDecoded {
  if (bytes.length > helloBytesMax) {
    return malformed(`hello: at most ${helloBytesMax} bytes, got ${bytes.length}`);
  }
  let map: unknown;
  try {
    map = decoder.decode(bytes.slice());
  } catch (error) {
    return malformed(`hello: not CBOR (${error instanceof Error ? error.message : String(error)})`);
  }
  if (typeof map !== "object" || map === null || Array.isArray(map)) {
    return malformed("hello: a CBOR map");
  }
  const fields = map as Record<string, unknown>;
  const { protocol, digests, features, scopes, name, region, zone, site, incarnation } = fields;
  if (!isArrayOf(protocol, isCount) || protocol.length !== 2) return malformed("hello: protocol");
  if (!isArrayOf(digests, isCount)) return malformed("hello: digests");
  if (!isArrayOf(features, isText)) return malformed("hello: features");
  if (!isArrayOf(scopes, isCount)) return malformed("hello: scopes");
  if (!isText(name) || name === "") return malformed("hello: name");
  if (!isText(region)) return malformed("hello: region");
  if (!isText(zone)) return malformed("hello: zone");
  if (!(site instanceof Uint8Array) || site.length !== 16) return malformed("hello: site");
  if (!isCount(incarnation)) return malformed("hello: incarnation");
  const horizon = hlcOf(fields.horizon);
  if (horizon === undefined) return malformed("hello: horizon");
  const now = hlcOf(fields.now);
  if (now === undefined) return malformed("hello: now");
  const schema = schemaOf(fields.schema);
  if (schema === undefined) return malformed("hello: schema");
  return {
    kind: "hello",
    hello: {
      protocol: [protocol[0] as number, protocol[1] as number],
      digests,
      features,
      scopes,
      name,
      region,
      zone,
      site: siteFromBytes(site),
      incarnation,
      horizon,
      now,
      schema,
      starting: fields.starting === true,
    },
  };
}

function malformed(why: string): HelloDecoded {
  return { kind: "malformed", why };
}

function hlcBytes(hlc: Hlc): Uint8Array {
  const writer = new ByteWriter(8);
  writeHlc(writer, hlc);
  return writer.finish();
}

function hlcOf(value: unknown): Hlc | undefined {
  if (!(value instanceof Uint8Array) || value.length !== 8) return undefined;
  return readHlc(new ByteReader(value), "hlc");
}

function schemaOf(value: unknown): TableShape[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const tables: TableShape[] = [];
  for (const item of value) {
    if (!Array.isArray(item) || !isText(item[0]) || !Array.isArray(item[1])) return undefined;
    const columns: ColumnShape[] = [];
    for (const column of item[1]) {
      if (!Array.isArray(column)) return undefined;
      const [name, type, fallback, key] = column;
      if (!isText(name) || !isText(type) || !isCount(key)) return undefined;
      if (fallback !== null && !isText(fallback)) return undefined;
      columns.push({ name, type, default: fallback, key });
    }
    tables.push({ table: item[0], columns });
  }
  return tables;
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value.length <= 4096;
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isArrayOf<T>(value: unknown, isItem: (item: unknown) => item is T): value is T[] {
  return Array.isArray(value) && value.every(isItem);
}

import { describe, expect, test } from "bun:test";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 as nobleSha256 } from "@noble/hashes/sha2.js";
import fc from "fast-check";
import { rowState, sites, stamp } from "../../test/generators/rows.ts";
import { ByteWriter } from "../bytes/writer.ts";
import type { Site, Stamp } from "../clock/stamp.ts";
import { equalConstantTime, hmacSha256 } from "../hash.ts";
import { Digester } from "../row/digest.ts";
import { encodeKey } from "../row/key.ts";
import { joinRows, type RowState } from "../row/row-state.ts";
import {
  type ClockBlobDecoded,
  decodeClockBlob,
  type Ordinals,
  writeClockBlob,
} from "../store/clocks/clock-blob.ts";
import { judgeAdmission, writeAdmission } from "./admission.ts";
import { decodeChangeset, decodeChangesetHeader, encodeChangeset, type Lane } from "./changeset.ts";
import { decodeFrame, encodeFrame, type Frame } from "./frame.ts";
import { decodeHello, encodeHello, type Hello } from "./hello.ts";
import { decodeRowBlock, encodeRowBlock } from "./row-block.ts";

const lane = () => fc.constantFrom<Lane>(0, 1, 2);
const hex = (digits: number) =>
  fc.uint8Array({ minLength: digits / 2, maxLength: digits / 2 }).map((b) => b.toHex());
const u32 = () => fc.nat({ max: 2 ** 32 - 1 });
const hlc = () =>
  fc.record({ ms: fc.nat({ max: 2 ** 48 - 1 }), count: fc.nat({ max: 2 ** 16 - 1 }) });
const bytes = () => fc.uint8Array({ maxLength: 64 });
const exchange = () =>
  fc.record({
    exchange: u32(),
    answer: fc.boolean(),
    live: fc.boolean(),
    cut: u32(),
    horizon: hlc(),
  });
const entry = () => fc.record({ id: hex(32), stamp: stamp(), digest: hex(16) });
const nodes = (above: number) =>
  fc.integer({ min: above, max: 4 }).chain((level) =>
    fc.record({
      level: fc.constant(level),
      nodes: fc.array(fc.nat({ max: 16 ** (level - above) - 1 }), { maxLength: 4 }),
    }),
  );

function frame(): fc.Arbitrary<Frame> {
  const kind = <K extends string>(name: K) => fc.constant(name);
  return fc.oneof(
    fc.record({ kind: kind("hello"), body: bytes() }),
    fc.record({ kind: kind("push"), lane: lane(), changeset: bytes() }),
    fc.record({
      kind: kind("rows"),
      exchange: u32(),
      last: fc.boolean(),
      horizon: hlc(),
      block: bytes(),
    }),
    exchange().chain((fields) =>
      fc.record({ rows: fc.nat(), fingerprint: hex(32) }).map((rest) => ({
        kind: "root" as const,
        ...fields,
        ...rest,
      })),
    ),
    fc.tuple(exchange(), nodes(1)).chain(([fields, where]) =>
      fc
        .array(hex(16), {
          minLength: fields.answer ? where.nodes.length * 16 : 0,
          maxLength: fields.answer ? where.nodes.length * 16 : 0,
        })
        .map((fingerprints) => ({ kind: "walk" as const, ...fields, ...where, fingerprints })),
    ),
    fc
      .tuple(exchange(), nodes(0), fc.boolean(), fc.boolean(), fc.array(entry(), { maxLength: 4 }))
      .map(([fields, where, recentOnly, more, entries]) => ({
        kind: "list" as const,
        ...fields,
        ...where,
        recentOnly,
        more,
        entries: fields.answer ? entries : [],
      })),
    fc.record({
      kind: kind("fetch"),
      exchange: u32(),
      horizon: hlc(),
      what: fc.oneof(
        fc.record({ by: kind("id"), ids: fc.array(hex(32), { maxLength: 4 }) }),
        nodes(0).map((where) => ({ by: "range" as const, ...where })),
      ),
    }),
    fc.record({
      kind: kind("recent"),
      horizon: hlc(),
      more: fc.boolean(),
      entries: fc.array(entry(), { maxLength: 4 }),
    }),
    fc.record({
      kind: kind("heartbeat"),
      sequence: fc.nat(),
      hlc: hlc(),
      incarnation: fc.nat(),
      storeLag: fc.constantFrom(0 as const, 1 as const, 2 as const, 3 as const),
    }),
    fc.record({ kind: kind("farewell"), why: fc.nat({ max: 255 }) }),
    fc.record({
      kind: kind("ihave"),
      isForAsking: fc.boolean(),
      ids: fc.array(hex(16), { maxLength: 4 }),
    }),
    fc.record({ kind: kind("graft"), ids: fc.array(hex(16), { maxLength: 4 }) }),
    fc.record({ kind: kind("prune"), sites: fc.array(hex(32), { maxLength: 4 }) }),
    fc
      .record({
        exchange: fc.nat(),
        paused: fc.boolean(),
        last: fc.boolean(),
        compressed: fc.boolean(),
        more: fc.nat(9),
        cursor: fc.uint8Array({ maxLength: 40 }),
        block: fc.uint8Array({ maxLength: 40 }),
      })
      .map(({ more, ...frame }) => ({
        ...frame,
        kind: "streamed" as const,
        horizon: { ms: 5, count: 6 },
        blockBytes: frame.block.length + (frame.compressed ? more : 0),
      })),
    fc.record({
      kind: kind("stream"),
      exchange: fc.nat(),
      horizon: fc.constant({ ms: 5, count: 6 }),
      level: fc.constant(2),
      nodes: fc.array(fc.nat(255), { maxLength: 9 }),
      credit: fc.nat(),
      cursor: fc.uint8Array({ maxLength: 40 }),
    }),
    fc.record({ kind: kind("busy"), exchange: u32() }),
    fc.record({ kind: kind("behind"), exchange: u32(), cut: u32() }),
    fc.record({
      kind: kind("stop"),
      untilMs: fc.nat({ max: 2 ** 48 - 1 }),
      reason: fc.string({ maxLength: 40 }),
    }),
    fc.record({
      kind: kind("part"),
      lane: lane(),
      transfer: u32(),
      bytesTotal: fc.nat({ max: 65 * 1024 * 1024 }),
      bytes: bytes(),
    }),
  ) as fc.Arbitrary<Frame>;
}

test("every kind of frame comes back", () => {
  fc.assert(
    fc.property(frame(), (value) => {
      const decoded = decodeFrame(encodeFrame(value));
      expect(decoded).toMatchObject({ kind: "frame", frame: value });
    }),
    { numRuns: 2000 },
  );
});

test("a changeset comes back, and its header alone", () => {
  fc.assert(
    fc.property(stamp(), lane(), fc.array(rowState(), { maxLength: 5 }), (at, on, rows) => {
      const encoded = encodeChangeset({ stamp: at, lane: on, rows });
      expect(decodeChangeset(encoded)).toEqual({
        kind: "changeset",
        changeset: { stamp: at, lane: on, rows },
      });
      expect(decodeChangesetHeader(encoded)).toEqual({ stamp: at, lane: on });
    }),
  );
});

test("no bytes make a decoder throw, not even nearly right ones", () => {
  const right = fc.oneof(
    frame().map((value) => encodeFrame(value)),
    fc.array(rowState(), { maxLength: 3 }).map(encodeRowBlock),
    fc
      .tuple(stamp(), fc.array(rowState(), { maxLength: 3 }))
      .map(([at, rows]) => encodeChangeset({ stamp: at, lane: 1, rows })),
    fc.constant(encodeHello(hello)),
  );
  const nearly = fc
    .tuple(right, fc.nat(), fc.nat({ max: 255 }), fc.boolean())
    .map(([encoded, at, byte, cut]) => {
      const changed = encoded.slice(0, cut ? at % (encoded.length + 1) : encoded.length);
      if (changed.length > 0) changed[at % changed.length] = byte;
      return changed;
    });
  fc.assert(
    fc.property(fc.oneof(nearly, fc.uint8Array({ maxLength: 200 })), (input) => {
      decodeFrame(input);
      decodeChangeset(input);
      decodeChangesetHeader(input);
      decodeRowBlock(input);
      decodeHello(input);
      const blob: ClockBlobDecoded = decodeClockBlob(input, noOrdinals);
      expect(["clocks", "malformed"]).toContain(blob.kind);
    }),
    { numRuns: 5000 },
  );
});

test("an unknown kind is told apart from a malformed frame", () => {
  expect(decodeFrame(new Uint8Array([200, 1, 0, 1, 2, 3]))).toEqual({ kind: "unknown", code: 200 });
  expect(decodeFrame(new Uint8Array([10, 1, 7, 0, 0, 0, 1]))).toEqual({
    kind: "other-scope",
    scope: 7,
  });
  expect(decodeFrame(new Uint8Array([10, 1, 0, 0, 0]))).toEqual({
    kind: "malformed",
    why: "exchange: 4 bytes wanted, 2 left at byte 3",
  });
});

test("a count that the bytes can't hold fails before anything is allocated", () => {
  const writer = new ByteWriter();
  writer.u8(1);
  writer.varint(2 ** 40);
  expect(decodeRowBlock(writer.finish())).toEqual({
    kind: "malformed",
    why: "sites: 1099511627776 don't fit in the 0 bytes left at byte 7",
  });
});

const hello: Hello = {
  protocol: [1, 1],
  digests: [1],
  features: [],
  scopes: [0],
  name: "edge-ams-1",
  region: "ams",
  zone: "ams-a",
  site: sites[1] as Hello["site"],
  incarnation: 3,
  horizon: { ms: 0, count: 0 },
  now: { ms: 1_764_090_000_000, count: 7 },
  schema: [
    {
      table: "services",
      columns: [
        { name: "name", type: "TEXT", default: null, key: 1 },
        { name: "port", type: "INTEGER", default: "80", key: 0 },
      ],
    },
  ],
  starting: true,
};

test("a hello comes back, and keys of later versions are skipped", async () => {
  expect(decodeHello(encodeHello(hello))).toEqual({ kind: "hello", hello });
  const { decode, encode } = await import("cbor-x");
  const newer = { ...decode(encodeHello(hello)), votes: [1, 2, 3] };
  expect(decodeHello(new Uint8Array(encode(newer)))).toEqual({ kind: "hello", hello });
});

test("a hello's large integers, which nothing asks for, aren't added up", async () => {
  const { decode } = await import("cbor-x");
  for (const tag of [0xc2, 0xc3]) expect(decode(Uint8Array.of(tag, 0x41, 1))).toEqual({});
});

test("admission is bound to the session, the prover and the secret", () => {
  const sha256 = (input: Uint8Array) => nobleSha256(input);
  const secret = new Uint8Array(32).fill(1);
  const session = { secret, handshakeHash: new Uint8Array(64).fill(2) };
  const key = new Uint8Array(32).fill(3);
  const proof = writeAdmission(sha256, session, key);
  const judge = (s = session, k = key, p = proof) => judgeAdmission(sha256, s, k, p);
  expect(judge()).toEqual({ kind: "admitted" });
  const refused = { kind: "refused", why: "proof" } as const;
  expect(judge({ ...session, handshakeHash: new Uint8Array(64) })).toEqual(refused);
  expect(judge({ ...session, secret: new Uint8Array(32) })).toEqual(refused);
  // Sent back to its prover by somebody else.
  expect(judge(session, new Uint8Array(32).fill(4))).toEqual(refused);
  expect(judge(session, key, proof.subarray(1))).toEqual({ kind: "refused", why: "not-patina" });
});

test("HMAC-SHA-256 equals noble's", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 100 }),
      fc.uint8Array({ maxLength: 200 }),
      (key, message) => {
        const ours = hmacSha256((input) => nobleSha256(input), key, message);
        expect(equalConstantTime(ours, hmac(nobleSha256, key, message))).toBe(true);
      },
    ),
  );
});

test("the clocks of a row come back from their blob", () => {
  const digester = new Digester((input) => nobleSha256(input), new Uint8Array(32));
  fc.assert(
    fc.property(rowState(), fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }), (row, held) => {
      const clocks = digester.clocksOf(row);
      const stored = {
        clock: clocks.clock,
        cells: clocks.cells.map((cell, i) => ({ ...cell, held: held[i] as boolean })),
      };
      const writer = new ByteWriter();
      writeClockBlob(writer, stored, ordinals);
      expect(decodeClockBlob(writer.finish(), ordinals)).toEqual({ kind: "clocks", ...stored });
    }),
  );
});

const columns = ["a", "b", "c"];
const ordinals: Ordinals = {
  siteOrdinal: (site) => sites.indexOf(site),
  site: (ordinal) => sites[ordinal],
  columnOrdinal: (column) => columns.indexOf(column),
  column: (ordinal) => columns[ordinal],
};
const noOrdinals: Ordinals = {
  siteOrdinal: () => 0,
  site: () => (sites[0] as Stamp["site"]) ?? undefined,
  columnOrdinal: () => 0,
  column: (ordinal) => (ordinal < 3 ? columns[ordinal] : undefined),
};

describe("columns that peers made up, more than a table may have", () => {
  const site = sites[0] as Site;
  const made = (from: number, count: number, ms: number): RowState["cells"] =>
    Array.from({ length: count }, (_, i) => ({
      column: `made-up-${String(from + i).padStart(5, "0")}`,
      stamp: { ms, count: 0, site },
      value: from + i,
    }));
  const row = (key: number, cells: RowState["cells"]): RowState => ({
    table: "instances",
    key: encodeKey([key]) as Uint8Array,
    clock: { ms: 1, count: 0, site, cl: 1 },
    cells,
  });
  /** What a receiver has of a block: pieces of a row are joined. */
  const joined = (block: Uint8Array): RowState[] => {
    const decoded = decodeRowBlock(block);
    if (decoded.kind === "malformed") throw new Error(decoded.why);
    const byKey = new Map<string, RowState>();
    for (const piece of decoded.rows) {
      const key = piece.key.toHex();
      const known = byKey.get(key);
      byKey.set(key, known === undefined ? piece : joinRows(known, piece).state);
    }
    return [...byKey.values()];
  };

  test("in one row are sent in pieces", () => {
    const rows = [row(1, made(0, 4500, 2)), row(2, made(7, 3, 2))];
    expect(joined(encodeRowBlock(rows))).toEqual(rows);
  });

  test("in many rows are sent as several tables of one name", () => {
    const rows = Array.from({ length: 500 }, (_, i) => row(i, made(i * 11, 11 + (i % 3), 2)));
    const [last, before] = [made(5494, 6, 2), made(0, 9, 2)];
    rows.push(row(500, [...before, ...last]));
    expect(joined(encodeRowBlock(rows))).toEqual(rows);
  });
});

import { expect, test } from "bun:test";
import fc from "fast-check";
import { openMemory } from "../../../test/generators/sqlite-store.ts";
import { createDigester } from "../../../test/model/history.ts";
import { ByteWriter } from "../../bytes/writer.ts";
import { type Site, type Stamp, siteOfHex } from "../../clock/stamp.ts";
import type { ClockState } from "../../row/digest.ts";
import { createOwnTables } from "../file/file-header.ts";
import { type StoredClocks, writeClockBlob } from "./clock-blob.ts";
import { EncodedClocks } from "./encoded-clocks.ts";
import { StoredOrdinals } from "./ordinals.ts";

const digester = createDigester();
/** So many that ordinals have one byte or two. */
const sites = Array.from({ length: 140 }, (_, i) => siteOfHex(i.toString(16).padStart(32, "0")));
const columns = Array.from({ length: 140 }, (_, i) => `column ${"x".repeat(i % 7)}${i + 100}`);

const site = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(0, 1) },
  fc.constantFrom(126, 127, 128, 139),
);
const stamp = fc
  .record({ ms: fc.nat(3), count: fc.nat(1), site })
  .map(({ ms, count, site: at }): Stamp => ({ ms, count, site: sites[at] as Site }));
const word = fc.nat(0xffffffff);

/** Mostly of the same few columns and lengths, so that one is like the one before it. */
const clocks = fc
  .record({
    clock: stamp,
    cl: fc.oneof({ weight: 4, arbitrary: fc.constant(1) }, fc.constantFrom(2, 127, 128, 300)),
    columns: fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom<number[]>([0, 1, 2], [0, 1], [0, 2], []) },
      fc.uniqueArray(fc.nat(139), { maxLength: 140 }).map((all) => all.sort((a, b) => a - b)),
    ),
    stamps: fc.array(stamp, { minLength: 3, maxLength: 3 }),
    high: word,
    low: word,
  })
  .map(
    ({ clock, cl, columns: named, stamps, high, low }): StoredClocks => ({
      clock: { ...clock, cl },
      cells: named
        .map((at) => columns[at] as string)
        .sort()
        .map((column, i) => ({
          ...{ column, stamp: stamps[i % 3] as Stamp, held: false },
          hash: { high, low: (low + i) >>> 0 },
        })),
    }),
  );

const step = fc.record({
  clocks,
  /** The same written otherwise, and other things that are hashed between. */
  asObjects: fc.integer({ min: 0, max: 5 }).map((draw) => draw === 0),
  other: fc.constantFrom("none", "none", "none", "id", "input", "value"),
});

// From blob to digest, and what is left of the row before that.
test("the digest of clocks that are bytes is that of the same clocks as objects, whatever was hashed before", () => {
  using db = openMemory();
  createOwnTables(db);
  const ordinals = new StoredOrdinals(db);
  for (const one of sites) ordinals.siteOrdinal(one);
  for (const one of columns) ordinals.columnOrdinal(one);
  const plain = createDigester();
  const encode = (state: StoredClocks): EncodedClocks => {
    const writer = new ByteWriter(64);
    writeClockBlob(writer, state, ordinals);
    return new EncodedClocks(writer.finish(), ordinals, undefined);
  };
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 12 }), (steps) => {
      for (const [at, { clocks: state, asObjects, other }] of steps.entries()) {
        if (other === "id") digester.idWords("t", new Uint8Array([1, at]));
        if (other === "input") digester.newInput(0x01, 200);
        if (other === "value") digester.hashValue("x".repeat(100));
        const id = { first: at, second: 2, third: 3, fourth: 4 };
        const objects: ClockState = { clock: state.clock, cells: state.cells };
        const found = digester.digestOf(id, asObjects ? objects : encode(state));
        expect(found).toEqual(plain.digestOf(id, objects));
      }
    }),
    { numRuns: 1000 },
  );
}, 120_000);

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { cidrMatch, parseAddress } from "./address-range.ts";
import { addClockFunctions, addPureFunctions } from "./functions.ts";

describe("cidr_match", () => {
  test.each([
    ["10.0.0.0/8", "10.255.0.1", true],
    ["10.0.0.0/8", "11.0.0.0", false],
    ["10.1.2.3/8", "10.9.9.9", true],
    ["192.168.4.0/22", "192.168.7.255", true],
    ["192.168.4.0/22", "192.168.8.0", false],
    ["0.0.0.0/0", "255.255.255.255", true],
    ["10.0.0.1", "10.0.0.1", true],
    ["10.0.0.1/32", "10.0.0.2", false],
    ["2001:db8::/32", "2001:db8:ffff::1", true],
    ["2001:db8::/33", "2001:db8:8000::", false],
    ["::/0", "fe80::1", true],
    ["::1", "0:0:0:0:0:0:0:1", true],
    ["fe80::/10", "febf::1", true],
    ["fe80::/10", "fec0::1", false],
    // Another family is outside, but for IPv4 in IPv6's clothes.
    ["::/0", "10.0.0.1", false],
    ["10.0.0.0/8", "::ffff:10.2.3.4", true],
    ["::ffff:10.0.0.0/104", "10.2.3.4", true],
    ["10.0.0.0/8", "::10.2.3.4", false],
    ["64:ff9b::/96", "64:ff9b::192.0.2.33", true],
    ["10.0.0.0/33", "10.0.0.1", undefined],
    ["10.0.0.0/", "10.0.0.1", undefined],
    ["10.0.0.0/-1", "10.0.0.1", undefined],
    ["10.0.0/8", "10.0.0.1", undefined],
    ["10.0.0.0/8", "web.example", undefined],
    ["fe80::%eth0/10", "fe80::1", undefined],
    ["::ffff:10.0.0.0/8", "10.0.0.1", undefined],
    ["", "", undefined],
  ])("%s, %s: %p", (range, address, wanted) => {
    expect(cidrMatch(range, address)).toBe(wanted as boolean);
  });

  // However it is written, an address is the same sixteen bytes.
  test("reads every way to write an IPv6 address", () => {
    const groups = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff })), {
      minLength: 8,
      maxLength: 8,
    });
    fc.assert(
      fc.property(groups, (groups) => {
        const hex = groups.map((group) => group.toString(16));
        const bytes = groups.flatMap((group) => [group >> 8, group & 0xff]);
        const isMapped = bytes.slice(0, 10).every((b) => b === 0) && groups[5] === 0xffff;
        const wanted = Uint8Array.from(isMapped ? bytes.slice(12) : bytes);
        expect(parseAddress(hex.join(":"))).toEqual(wanted);
        // `::` for each run of zeros in turn.
        for (let from = 0; from < 8; from++) {
          for (let to = from + 1; to <= 8 && groups[to - 1] === 0; to++) {
            if (groups.slice(from, to).some((group) => group !== 0)) break;
            const text = `${hex.slice(0, from).join(":")}::${hex.slice(to).join(":")}`;
            expect([text, parseAddress(text)]).toEqual([text, wanted]);
          }
        }
        const dotted = `${hex.slice(0, 6).join(":")}:${bytes.slice(12).join(".")}`;
        expect(parseAddress(dotted)).toEqual(wanted);
      }),
    );
  });
});

test("in SQL: NULL for what is no address, times that don't go back, UUIDs in order", () => {
  using database = openDatabase("/f.db", { vfs: new MemoryVfs({ name: "functions" }) });
  addPureFunctions(database);
  addClockFunctions(database, () => 1_764_100_000_000);
  const one = (sql: string) => database.all(`SELECT ${sql}`)[0]?.[0];
  expect(one("cidr_match('10.0.0.0/8', '10.1.2.3')")).toBe(1);
  expect(one("cidr_match('10.0.0.0/8', '11.1.2.3')")).toBe(0);
  for (const sql of [
    "cidr_match(NULL, '10.0.0.1')",
    "cidr_match('10.0.0.0/8', 10)",
    "cidr_match('x', 'y')",
  ]) {
    expect([sql, one(sql)]).toEqual([sql, null]);
  }
  expect(one("hlc_time()")).toBe(1_764_100_000_000);
  const uuids = database
    .all(
      "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 500) SELECT uuid7() FROM c",
    )
    .map(([uuid]) => String(uuid));
  expect(uuids[0]).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(new Set(uuids).size).toBe(500);
  expect(uuids.toSorted()).toEqual(uuids);
});

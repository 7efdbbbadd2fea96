import { expect, test } from "bun:test";
import { site } from "../../../test/played-node.ts";
import { KnownSites, knownAfterMs, sitesKnownMax } from "./known-sites.ts";

test("a site is known once it was heard again after a while, and stays so however many new ones come", () => {
  const sites = new KnownSites();
  expect([0, 1, knownAfterMs - 1].map((ms) => sites.heard(site(1), ms))).toEqual([
    false,
    false,
    false,
  ]);
  expect(sites.heard(site(1), knownAfterMs)).toBe(false);
  expect(sites.heard(site(1), knownAfterMs)).toBe(true);
  for (let n = 0; n < 20_000; n++) sites.heard(site(1000 + n), knownAfterMs + 1);
  expect(sites.heard(site(1), knownAfterMs + 2)).toBe(true);
  // Of these the first were forgotten, and are new again.
  expect([1000, 20_999].map((n) => sites.heard(site(n), 3 * knownAfterMs))).toEqual([false, false]);
  expect([1000, 20_999].map((n) => sites.heard(site(n), 3 * knownAfterMs))).toEqual([false, true]);
});

test("of too many that are known the one goes that was heard longest ago", () => {
  const sites = new KnownSites();
  const makeKnown = (n: number) => {
    sites.heard(site(n), n);
    sites.heard(site(n), n + knownAfterMs);
  };
  for (let n = 0; n < sitesKnownMax; n++) makeKnown(n);
  expect(sites.heard(site(0), sitesKnownMax)).toBe(true);
  for (let n = 0; n < 10; n++) makeKnown(sitesKnownMax + n);
  expect([0, 1, 10, 11].map((n) => sites.heard(site(n), sitesKnownMax))).toEqual([
    true,
    false,
    false,
    true,
  ]);
});

/**
 * Sites that have been heard of for a while. Changesets aren't signed, so a member may say one in the name of a site that it
 * makes up, a thousand times. What the sites of real hosts say takes turns of its own (`applies.ts`): over whatever stream it
 * comes, it doesn't wait for the thousand.
 *
 * A site is known when it is heard again {@link knownAfterMs} after it was first heard. Both memories are bounded, and are two,
 * so that whatever number of new ones drives out none that is known. Whoever means ill can have sites known, by patience; as many as
 * are remembered, and each has a turn.
 *
 * @module
 */

import type { Site } from "../../clock/stamp.ts";

export const knownAfterMs = 10_000;
/** A fleet has thousands of hosts, each with a site; of more the one that was heard longest ago is new again. */
export const sitesKnownMax = 8192;
/** Of those that are new the first to come are forgotten. */
const sitesNewMax = 4096;

export class KnownSites {
  /** Heard last is last. */
  readonly #known = new Set<Site>();
  /** When each was first heard, the latest last. */
  readonly #firstMs = new Map<Site, number>();

  /** Notes a site. @returns whether it was known before */
  heard(site: Site, elapsedMs: number): boolean {
    if (this.#known.delete(site)) {
      this.#known.add(site);
      return true;
    }
    const firstMs = this.#firstMs.get(site);
    if (firstMs === undefined) {
      this.#firstMs.set(site, elapsedMs);
      if (this.#firstMs.size > sitesNewMax) forgetFirst(this.#firstMs);
    } else if (elapsedMs - firstMs >= knownAfterMs) {
      this.#firstMs.delete(site);
      this.#known.add(site);
      if (this.#known.size > sitesKnownMax) forgetFirst(this.#known);
    }
    return false;
  }
}

function forgetFirst(sites: Set<Site> | Map<Site, number>): void {
  for (const site of sites.keys()) {
    sites.delete(site);
    return;
  }
}

/**
 * Two hosts with one node key (a virtual machine that was cloned, a key file that was copied): to their peers
 * they are one node that comes and goes, for only one stream is kept to a key.
 *
 * They are told by their sites. A node takes a new site when its database is another, and never goes
 * back to one that it had: a key whose site does is the key of two.
 *
 * @module
 */

import type { Site } from "../../clock/stamp.ts";
import type { PeerId } from "../border.ts";

/** Of one key, the last. */
const sitesMax = 4;
/** Of more the one that was heard longest ago is forgotten; if it is the key of two, that shows again as they take turns. */
export const keysMax = 4096;

export class KeySharing {
  /** Latest last, both ways. */
  readonly #sites = new Map<PeerId, Site[]>();

  /** A peer said hello. @returns whether two hosts have its key */
  heard(key: PeerId, site: Site): boolean {
    const sites = this.#sites.get(key) ?? [];
    this.#sites.delete(key);
    this.#sites.set(key, sites);
    if (this.#sites.size > keysMax) this.#sites.delete(this.#sites.keys().next().value as PeerId);
    if (sites.at(-1) === site) return false;
    const at = sites.indexOf(site);
    if (at >= 0) sites.splice(at, 1);
    sites.push(site);
    if (sites.length > sitesMax) sites.shift();
    return at >= 0;
  }
}

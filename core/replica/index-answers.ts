/**
 * Questions that the index answers at once, without a look into the store.
 *
 * @module
 */

import type { Site } from "../clock/stamp.ts";
import { entryOf } from "../index/recent-rows.ts";
import type { RowIndex } from "../index/row-index.ts";
import type { StoreReply, StoreRequest } from "../node/border.ts";
import { driftFewPeersMsMax } from "./drift.ts";

type Asked<Kind extends StoreRequest["kind"]> = Extract<StoreRequest, { kind: Kind }>;

export interface IndexAnswersOptions {
  /** That this life of the file stamps as. */
  readonly site: Site;
  /** Sites that this file wrote as, that one among them. */
  readonly isOwnSite: (site: Site) => boolean;
}

export function answerWalk(request: Asked<"walk">, index: RowIndex): StoreReply {
  const { ticket, live, cut, level, nodes } = request;
  const fingerprints = live
    ? nodes.flatMap((node) => index.live.childFingerprints(level, node))
    : index.image.childFingerprints(cut, level, nodes);
  if (fingerprints === undefined) return { kind: "unavailable", ticket, why: "cut" };
  return { kind: "walked", ticket, fingerprints };
}

export function answerMissing(
  { ticket, entries }: Asked<"missing">,
  index: RowIndex,
  { site }: IndexAnswersOptions,
): StoreReply {
  const missing = entries.filter(({ id, digest, stamp }) => {
    const known = index.recent.get(id);
    // Pushed out of the recent rows by a load: what this very file's life has stamped is here all the same.
    if (known === undefined) return stamp.site !== site;
    return entryOf(id, known.stamp, known.digest).digest !== digest;
  });
  return { kind: "missing", ticket, ids: missing.map(({ id }) => id) };
}

export function answerRecent(
  request: Asked<"recent">,
  index: RowIndex,
  { isOwnSite }: IndexAnswersOptions,
): StoreReply {
  // What is stamped further ahead isn't named: nobody would take it.
  const rows = index.recent.since(request, isOwnSite, driftFewPeersMsMax);
  const entries = rows.map(({ id, stamp, digest }) => entryOf(id, stamp, digest));
  return { kind: "recent", ticket: request.ticket, entries };
}

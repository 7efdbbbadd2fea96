/**
 * The settled image: what two nodes can compare while rows keep changing.
 *
 * Live states of two healthy nodes nearly always differ by what is in flight. So they compare the past:
 * at a *cut* C, the image of a row is the join of all clocks known with stamp ≤ C. That is a function of
 * what is known, never of the order or moment in which it came, so two nodes that know the same clocks
 * have the same image. A cut is a whole second since 1970; cut c covers stamps whose ms is below
 * 1000 c. The last {@link askableCuts} cuts can be asked for.
 *
 * Rows touched lately are kept in *shards* by the beginning of their ids (`image-shard.ts`). A new cut after
 * a second of many changes takes time, and nobody is to wait for all of it: it is made in pieces, shard by
 * shard. Until the last shard has it the cut before stays the newest that can be asked for, with the four
 * before that; shards that are ahead subtract their last step. Then they let go of the oldest cut,
 * in pieces too. Changes come in between as ever: each finds its shard at one cut or the other.
 *
 * Fingerprints: one tree at the newest cut, and for each step between two cuts the ranges that it changed.
 *
 * @module
 */

import type { FingerprintHex } from "../change/frame.ts";
import {
  type Digest,
  type Digester,
  type IdWords,
  type MutableDigest,
  rangeOfWords,
} from "../row/digest.ts";
import { slotMs } from "./clock-part.ts";
import {
  FingerprintTree,
  nodeOfRange,
  rangesOfNode,
  subtractSum,
  sumLanes,
  sumToHex,
  sumToShortHex,
  treeFanOut,
} from "./fingerprint-tree.ts";
import { ImageShard, type TakenRow } from "./image-shard.ts";
import { rangesPerShard, shardCount } from "./range-sums.ts";

/** The newest cut and four before it. */
export const askableCuts = 5;
/** A cut is made this long after its last stamp by the store's HLC. */
export const settleMs = 5000;

/** The newest cut that a store may make whose HLC reads `hlcMs`. */
export function cutAt(hlcMs: number): number {
  return Math.max(0, Math.floor((hlcMs - settleMs) / slotMs));
}

export interface ImageRoot {
  readonly cut: number;
  /** Rows in the image, tombstones too. */
  readonly rows: number;
  /** 32 hex digits. */
  readonly fingerprint: FingerprintHex;
}

export class SettledImage {
  readonly #tree = new FingerprintTree();
  readonly #shards: readonly ImageShard[];
  #cut: number;
  /** The cut that was last asked for: the newest there will be. */
  #aim: number;
  /** While a cut is being made: shards that have made it. Then: shards that have let go of the oldest. */
  #shardsDone = 0;
  #phase: "none" | "making" | "letting-go" = "none";
  #changed = false;
  #mayKeepRows = false;

  /** @param cut The first newest cut. */
  constructor(digester: Digester, cut: number) {
    this.#cut = cut;
    this.#aim = cut;
    this.#shards = Array.from(
      { length: shardCount },
      () => new ImageShard(digester, this.#tree, cut, askableCuts),
    );
  }

  /** The newest cut that can be asked for. */
  get cut(): number {
    return this.#cut;
  }

  get oldestCut(): number {
    return this.#cut - (askableCuts - 1);
  }

  /** Rows that have clocks after the oldest cut: what memory goes by. */
  get touchedRows(): number {
    return this.#shards.reduce((sum, { touchedRows }) => sum + touchedRows, 0);
  }

  /**
   * Takes in clocks of a row, old ones and news alike.
   *
   * @param row `before`: the live state before; undefined for a row never counted here. `incoming`: the clocks
   * that came. `after`: the live state now, the join of both.
   * @param beforeDigest Of `before`. @param afterDigest Of `after`. The caller uses both again.
   */
  take(row: TakenRow, beforeDigest: Digest | undefined, afterDigest: Digest): void {
    this.#mayKeepRows = true;
    const shard = this.#shardOf(rangeOfWords(row.words));
    shard.take(row, beforeDigest, afterDigest);
    this.#changed = shard.takeChanged() || this.#changed;
  }

  /** Reads a little of what is kept of a row, so that it is at hand. The number means nothing. */
  lookAhead(id: IdWords): number {
    return this.#shardOf(rangeOfWords(id)).lookAhead(id);
  }

  /** The live digest of a row that it keeps something of, where its newest image is the live row. False: it doesn't. */
  readLiveDigest(id: IdWords, into: MutableDigest): boolean {
    return this.#shardOf(rangeOfWords(id)).readLiveDigest(id, into);
  }

  /** False where {@link knows} knows of no row at all. Costs nothing, where that costs a row's id. */
  get mayKeepRows(): boolean {
    return this.#mayKeepRows;
  }

  /** Whether it keeps anything of a row: if not, its image at all cuts is the live row. */
  knows(id: IdWords): boolean {
    return this.#shardOf(rangeOfWords(id)).knows(id);
  }

  /** Takes in a row never counted here, all of whose clocks lie before the oldest cut. */
  addSettled(range: number, digest: Digest): void {
    this.#tree.add(range, digest);
    this.#changed = true;
  }

  /**
   * Takes in a row never counted here, all of whose clocks were stamped in one slot after the oldest cut: its
   * image is the live row from that slot's cut on, also where that was made already.
   */
  addOneSlot(id: IdWords, slot: number, digest: Digest): void {
    this.#mayKeepRows = true;
    const shard = this.#shardOf(rangeOfWords(id));
    shard.addOneSlot(id, slot, digest);
    this.#changed = shard.takeChanged() || this.#changed;
  }

  /**
   * Wants the newest cut to become `cut`; a smaller or equal one changes nothing. The caller keeps it below
   * stamps that wait in a queue: what waits when its cut is made is merely late.
   */
  aim(cut: number): void {
    if (cut > this.#aim) this.#aim = cut;
  }

  /** Something is left for {@link work}. */
  get hasWork(): boolean {
    return this.#phase !== "none" || this.#cut < this.#aim;
  }

  /**
   * Works towards the cut that was aimed at: one piece at least, and more until told to stop.
   *
   * @param isOver Told how many rows the piece had.
   */
  work(isOver: (rows: number) => boolean): void {
    while (this.hasWork) {
      if (this.#phase === "none") this.#begin();
      if (isOver(this.#piece())) return;
    }
  }

  /** Moves the newest cut forward to `cut` at once. */
  advance(cut: number): void {
    this.aim(cut);
    this.work(() => false);
  }

  /** True once after a root that can be asked for became another. */
  takeChanged(): boolean {
    const changed = this.#changed;
    this.#changed = false;
    return changed;
  }

  isAskable(cut: number): boolean {
    return cut <= this.#cut && cut >= this.oldestCut && cut > 0;
  }

  /** Roots of the askable cuts, newest first. */
  roots(): ImageRoot[] {
    const sum = new Int32Array(sumLanes);
    this.#tree.readSum(0, 0, sum);
    const roots: ImageRoot[] = [];
    // Shards that are ahead have one step more.
    for (let cut = this.#cut; cut >= this.oldestCut && cut > 0; cut--) {
      for (const shard of this.#shards) {
        const step = shard.step(cut);
        if (step !== undefined) subtractSum(sum, 0, step.total, 0);
      }
      roots.push({ cut, rows: (sum[4] as number) >>> 0, fingerprint: sumToHex(sum, 0) });
    }
    return roots;
  }

  /**
   * The last 8 bytes of the fingerprints of the sixteen children of each node at `level`; undefined when
   * `cut` can't be asked for.
   */
  childFingerprints(
    cut: number,
    level: number,
    nodes: readonly number[],
  ): FingerprintHex[] | undefined {
    if (!this.isAskable(cut)) return undefined;
    // Sums of the children at the newest cut, less what the steps since changed below them.
    const sums = new Int32Array(nodes.length * treeFanOut * sumLanes);
    const scratch = new Int32Array(sumLanes);
    const placeByNode = new Map<number, number>();
    const shards = new Set<ImageShard>();
    nodes.forEach((node, i) => {
      placeByNode.set(node, i);
      for (let child = 0; child < treeFanOut; child++) {
        this.#tree.readSum(level + 1, node * treeFanOut + child, scratch);
        sums.set(scratch, (i * treeFanOut + child) * sumLanes);
      }
      const { lower, upper } = rangesOfNode(level, node);
      for (let range = lower; range < upper; range += rangesPerShard) {
        shards.add(this.#shardOf(range));
      }
    });
    for (const shard of shards) {
      for (let from = cut; from < shard.cut; from++) {
        shard.step(from)?.forEach((range, lanes, at) => {
          const child = nodeOfRange(range, level + 1);
          const place = placeByNode.get(child >>> 4);
          if (place === undefined) return;
          subtractSum(sums, (place * treeFanOut + (child & 15)) * sumLanes, lanes, at);
        });
      }
    }
    const fingerprints: FingerprintHex[] = [];
    for (let i = 0; i < nodes.length * treeFanOut; i++) {
      // A node named twice shares the place of its last mention.
      const place = placeByNode.get(nodes[i >>> 4] as number) as number;
      fingerprints.push(sumToShortHex(sums, (place * treeFanOut + (i & 15)) * sumLanes));
    }
    return fingerprints;
  }

  #shardOf(range: number): ImageShard {
    return this.#shards[(range / rangesPerShard) | 0] as ImageShard;
  }

  #begin(): void {
    if (this.#aim - this.#cut > 2 * askableCuts) this.#skip(this.#aim - askableCuts);
    this.#phase = "making";
    this.#shardsDone = 0;
  }

  /** One shard. @returns rows that it had to do with */
  #piece(): number {
    const shard = this.#shards[this.#shardsDone++] as ImageShard;
    const isMaking = this.#phase === "making";
    const rows = isMaking ? shard.make() : shard.letGo();
    if (this.#shardsDone < this.#shards.length) return rows;
    this.#shardsDone = 0;
    this.#phase = isMaking ? "letting-go" : "none";
    if (isMaking) {
      this.#cut++;
      this.#changed = true;
    } else this.#mayKeepRows = this.touchedRows > 0;
    return rows;
  }

  /**
   * Jumps towards `cut` over cuts that no clock waits for (a host that slept, a clock that was set): they all
   * have today's image.
   */
  #skip(cut: number): void {
    let next = Number.POSITIVE_INFINITY;
    for (const { firstSlot } of this.#shards) next = Math.min(next, firstSlot);
    const target = Math.min(cut, next - 1);
    // A clock that is kept keeps what it did in a step, too.
    if (target - this.#cut < askableCuts) return;
    for (const shard of this.#shards) shard.skip(target);
    this.#cut = target;
    this.#changed = true;
  }
}

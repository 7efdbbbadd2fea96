/**
 * Who is alive, in its plain form: what this node sees on its own streams, told to nobody.
 *
 * ALIVE → SUSPECT after 0.8 s without any frame → DOWN 5 s later and with no open stream. A planned
 * stop says when the node will be back: it is not DOWN before that; and DOWN at once when it says that
 * it isn't coming back. Any frame makes it ALIVE again. SUSPECT and ALIVE alternate at most once in 2 s,
 * so that whoever joins on the table isn't shaken by a link that stutters; DOWN is told at once.
 *
 * A net thread that was started again recalls whom the one before it saw. Who was there and doesn't come back is forgotten
 * after {@link recalledMs}: a row that nobody looks after would say for ever that a dead host is ALIVE.
 *
 * A node that ran late itself (a pause, a loaded machine) can't tell silence from its own sleep: it
 * judges only by the time since it woke (Lifeguard's lesson: Dadgar et al., DSN 2018). Its sleep clears nobody either: a
 * suspect stays one until it speaks, and what it had been one for, awake, still counts. Otherwise on a machine that stutters
 * every few seconds a dead host would be ALIVE again after each of them, and never DOWN.
 *
 * Two nodes may go by one name, by mistake. The table has one row a name: of the node that is most alive, for
 * the end of the one must not take the other, or this very node, out of use.
 *
 * @module
 */

import type { Site } from "../../clock/stamp.ts";
import type { MemberRow, MemberState, PeerId } from "../border.ts";

export interface MemberTimings {
  /** Silence that makes a member suspect. Four heartbeats. */
  readonly suspectMs: number;
  /** Time as a suspect, without an open stream, that makes it down. */
  readonly downMs: number;
  /** Between two changes from SUSPECT to ALIVE or back. */
  readonly flipMs: number;
}

export interface MemberIdentity {
  readonly key: PeerId;
  readonly name: string;
  readonly region: string;
  readonly zone: string;
  readonly incarnation: number;
  readonly site?: Site;
}

interface Member {
  identity: MemberIdentity;
  state: MemberState;
  sinceMs: number;
  /** Step of the store's lag, as of the frame format. */
  storeLag: 0 | 1 | 2 | 3;
  /** The last frame. These five are of the node's elapsed time. */
  heardMs: number;
  /** Since when it is a suspect, and later by what this node has slept since. */
  suspectMs: number;
  flippedMs: number;
  /** Not down before this. */
  restartingUntilMs: number;
  isOpen: boolean;
  isLeaving: boolean;
  /** Forgotten then, unless it comes; undefined for one that came in this life. */
  recalledUntilMs: number | undefined;
}

/** Whoever says that it restarts is waited for so long at most. */
const restartMsMax = 600_000;
/** Those who are recalled have so long to come back: finding each other takes some seconds. */
const recalledMs = 15_000;
const lagNames = ["ok", "1s", "10s", "60s"] as const;
/** Of more, those that are DOWN longest are forgotten: hosts whose names never come back would be kept for ever. */
export const membersMax = 4096;
/** The most alive first. */
const liveliness: readonly MemberState[] = ["ALIVE", "SUSPECT", "UNREACHABLE", "DOWN", "GONE"];

export class Members {
  readonly #timings: MemberTimings;
  readonly #ownName: string;
  readonly #byKey = new Map<PeerId, Member>();
  #judgeFromMs = 0;
  #deadlineMs = Number.POSITIVE_INFINITY;
  #changed = new Set<PeerId>();
  #parted: PeerId[] = [];
  #renamed: PeerId[] = [];

  /** @param ownName This node's: it has a row of its own. */
  constructor(timings: MemberTimings, ownName: string) {
    this.#timings = timings;
    this.#ownName = ownName;
  }

  /** When `check` has something to look at again, elapsed time. May be early, never late. */
  get deadlineMs(): number {
    return this.#deadlineMs;
  }

  rows(): MemberRow[] {
    return this.#shown(this.#byKey.keys());
  }

  state(key: PeerId): MemberState | undefined {
    return this.#byKey.get(key)?.state;
  }

  /** A member said hello, at first or again. */
  joined(identity: MemberIdentity, elapsedMs: number, nowMs: number): void {
    const { key } = identity;
    const member = this.#byKey.get(key);
    if (member === undefined) {
      this.#replace(identity);
      this.#byKey.set(key, {
        identity,
        state: "ALIVE",
        sinceMs: nowMs,
        storeLag: 0,
        heardMs: elapsedMs,
        suspectMs: 0,
        flippedMs: Number.NEGATIVE_INFINITY,
        isOpen: true,
        restartingUntilMs: 0,
        isLeaving: false,
        recalledUntilMs: undefined,
      });
      this.#changed.add(key);
    } else {
      const { name, incarnation, site } = member.identity;
      // Of another database it may be the first start as well.
      if (incarnation !== identity.incarnation || site !== identity.site) {
        this.#changed.add(key);
        member.storeLag = 0;
      }
      member.identity = identity;
      if (name !== identity.name) {
        this.#changed.add(key);
        this.#renamed.push(key);
        this.#nameLeft(name);
      }
      member.isOpen = true;
      member.restartingUntilMs = 0;
      member.isLeaving = false;
      member.recalledUntilMs = undefined;
    }
    this.heard(key, elapsedMs);
  }

  /** Rows that an earlier life of this machine has told, and that stand in the table. Their streams went with it. */
  recall(rows: readonly MemberRow[], elapsedMs: number): void {
    for (const row of rows) {
      const { node: name, key, region, zone, incarnation, state, sinceMs, storeLag, site } = row;
      this.#byKey.set(key, {
        identity: {
          ...{ key, name, region, zone, incarnation },
          ...(site === undefined ? {} : { site }),
        },
        state,
        sinceMs,
        storeLag: lagNames.indexOf(storeLag) as Member["storeLag"],
        heardMs: elapsedMs,
        suspectMs: elapsedMs,
        flippedMs: Number.NEGATIVE_INFINITY,
        isOpen: false,
        restartingUntilMs: 0,
        isLeaving: false,
        recalledUntilMs: elapsedMs + recalledMs,
      });
    }
    if (rows.length > 0) this.#wake(elapsedMs + this.#timings.suspectMs);
  }

  /** A frame came, of whatever kind. */
  heard(key: PeerId, elapsedMs: number): void {
    const member = this.#byKey.get(key);
    if (member === undefined) return;
    member.heardMs = elapsedMs;
    if (member.state !== "ALIVE") this.#wake(elapsedMs);
    else this.#wake(elapsedMs + this.#timings.suspectMs);
  }

  lag(key: PeerId, storeLag: 0 | 1 | 2 | 3): void {
    const member = this.#byKey.get(key);
    if (member === undefined || member.storeLag === storeLag) return;
    member.storeLag = storeLag;
    this.#changed.add(key);
  }

  /**
   * One of the two makes room among its neighbours. What this node doesn't see it doesn't judge: the
   * member is forgotten, and neither suspect nor down.
   */
  parted(key: PeerId): void {
    const name = this.#byKey.get(key)?.identity.name;
    if (!this.#byKey.delete(key)) return;
    this.#changed.delete(key);
    this.#parted.push(key);
    this.#nameLeft(name);
  }

  /** Somebody's row under this name goes; a namesake's may take its place. */
  #nameLeft(name: string | undefined): void {
    for (const { identity } of this.#byKey.values()) {
      if (identity.name === name) this.#changed.add(identity.key);
    }
  }

  /** Whose rows go since the last call, before what `check` returns is written: they were forgotten, or renamed. */
  takeParted(): PeerId[] {
    const parted = this.#parted.filter((key) => !this.#byKey.has(key)).concat(this.#renamed);
    this.#parted = [];
    this.#renamed = [];
    return parted;
  }

  /** The stream closed. */
  closed(key: PeerId, elapsedMs: number): void {
    const member = this.#byKey.get(key);
    if (member === undefined) return;
    member.isOpen = false;
    this.#wake(elapsedMs);
  }

  /** It said that it stops. @param awayMs How long, as it says; undefined: it doesn't come back soon. */
  stopped(key: PeerId, awayMs: number | undefined, elapsedMs: number): void {
    const member = this.#byKey.get(key);
    if (member === undefined) return;
    member.restartingUntilMs = elapsedMs + Math.min(awayMs ?? 0, restartMsMax);
    member.isLeaving = awayMs === undefined;
    this.#wake(elapsedMs);
  }

  /** This node slept: silence until now is its own. @param lateMs For so long. */
  ranLate(elapsedMs: number, lateMs: number): void {
    this.#judgeFromMs = elapsedMs;
    for (const member of this.#byKey.values()) {
      if (member.state !== "SUSPECT") continue;
      // After a long sleep everybody has to find this node again.
      const isLong = lateMs >= this.#timings.downMs;
      member.suspectMs = isLong ? elapsedMs : member.suspectMs + lateMs;
    }
    this.#wake(elapsedMs + this.#timings.suspectMs);
  }

  /** Judges everybody and returns the rows that changed since the last call. */
  check(elapsedMs: number, nowMs: number): MemberRow[] {
    if (elapsedMs >= this.#deadlineMs) {
      this.#deadlineMs = Number.POSITIVE_INFINITY;
      for (const member of this.#byKey.values()) this.#judge(member, elapsedMs, nowMs);
      this.#forgetLongestDown();
    }
    if (this.#changed.size === 0) return [];
    const rows = this.#shown(this.#changed);
    this.#changed.clear();
    return rows;
  }

  #forgetLongestDown(): void {
    const tooMany = this.#byKey.size - membersMax;
    if (tooMany <= 0) return;
    const down = [...this.#byKey.values()].filter((one) => one.state === "DOWN" && !one.isOpen);
    down.sort((a, b) => a.flippedMs - b.flippedMs);
    for (const { identity } of down.slice(0, tooMany)) this.parted(identity.key);
  }

  /** The rows of these members' names. */
  #shown(keys: Iterable<PeerId>): MemberRow[] {
    const best = new Map<string, Member | undefined>();
    for (const key of keys) best.set((this.#byKey.get(key) as Member).identity.name, undefined);
    best.delete(this.#ownName);
    for (const member of this.#byKey.values()) {
      const { name } = member.identity;
      if (!best.has(name)) continue;
      const other = best.get(name);
      if (other === undefined || isMoreAlive(member, other)) best.set(name, member);
    }
    return [...best.values()].map((member) => rowOf(member as Member));
  }

  /** A node that came back under a new key takes the place of the old one, unless that still speaks. */
  #replace(identity: MemberIdentity): void {
    for (const [key, { identity: other, isOpen }] of this.#byKey) {
      if (other.name === identity.name && !isOpen) {
        this.#byKey.delete(key);
        this.#changed.delete(key);
      }
    }
  }

  #judge(member: Member, elapsedMs: number, nowMs: number): void {
    const { suspectMs, downMs, flipMs } = this.#timings;
    const heardMs = Math.max(member.heardMs, this.#judgeFromMs);
    const silentMs = elapsedMs - heardMs;
    const isBack = member.isOpen && member.heardMs >= member.flippedMs;
    if (member.state === "DOWN") {
      if (isBack && !member.isLeaving) {
        this.#turn(member, "ALIVE", elapsedMs, nowMs);
        this.#wake(elapsedMs + suspectMs);
      }
      return;
    }
    if (member.isLeaving && !member.isOpen) {
      this.#turn(member, "DOWN", elapsedMs, nowMs);
      return;
    }
    const isSilent = silentMs >= suspectMs || (member.state === "SUSPECT" && !isBack);
    const wanted = isSilent ? "SUSPECT" : "ALIVE";
    if (wanted !== member.state) {
      const mayFlipMs = member.flippedMs + flipMs;
      if (elapsedMs < mayFlipMs) this.#wake(mayFlipMs);
      else {
        if (wanted === "SUSPECT") member.suspectMs = elapsedMs;
        this.#turn(member, wanted, elapsedMs, nowMs);
      }
    }
    if (wanted === "ALIVE") {
      this.#wake(heardMs + suspectMs);
      return;
    }
    if (member.recalledUntilMs !== undefined) {
      if (elapsedMs >= member.recalledUntilMs) this.parted(member.identity.key);
      else this.#wake(member.recalledUntilMs);
      return;
    }
    if (member.state !== "SUSPECT" || member.isOpen) return;
    // What waited while this node slept has some time to come in.
    const downAtMs = Math.max(member.suspectMs + downMs, this.#judgeFromMs + suspectMs);
    const notBeforeMs = Math.max(downAtMs, member.restartingUntilMs);
    if (elapsedMs >= notBeforeMs) this.#turn(member, "DOWN", elapsedMs, nowMs);
    else this.#wake(notBeforeMs);
  }

  #turn(member: Member, state: MemberState, elapsedMs: number, nowMs: number): void {
    member.state = state;
    member.sinceMs = Math.floor(nowMs);
    member.flippedMs = elapsedMs;
    this.#changed.add(member.identity.key);
  }

  #wake(elapsedMs: number): void {
    if (elapsedMs < this.#deadlineMs) this.#deadlineMs = elapsedMs;
  }
}

function isMoreAlive(a: Member, b: Member): boolean {
  const byState = liveliness.indexOf(a.state) - liveliness.indexOf(b.state);
  return byState !== 0 ? byState < 0 : a.identity.key < b.identity.key;
}

function rowOf(member: Member): MemberRow {
  const { identity, state, sinceMs, storeLag } = member;
  return {
    node: identity.name,
    key: identity.key,
    region: identity.region,
    zone: identity.zone,
    state,
    incarnation: identity.incarnation,
    sinceMs: Math.floor(sinceMs),
    storeLag: lagNames[storeLag],
    ...(identity.site === undefined ? {} : { site: identity.site }),
  };
}

/**
 * One file of a disk that fails (faulty-disk.ts): what programs see of it, what is on the platter, and
 * every state that lies between the two.
 *
 * @module
 */

export const pageBytes = 4096;
const sectorBytes = 512;
const sectorsInPage = pageBytes / sectorBytes;
const zeros = new Uint8Array(pageBytes);

/** Something as it was from moment `at` on. */
export interface Version<T> {
  readonly at: number;
  readonly value: T;
  /** By cutting the file off. */
  readonly isCut: boolean;
}

/** What a power cut makes of one file. */
export interface PowerCut {
  /** In 0..1. */
  readonly random: () => number;
  /** How many of the versions since the last sync have reached the platter, 0 to all. */
  readonly choose: <T>(versions: readonly Version<T>[]) => number;
  /** Whether a page is a mixture of its versions. */
  readonly isTorn: (versions: readonly Version<Uint8Array>[]) => boolean;
}

export class FaultyInode {
  readonly id: string;
  /** By number, what programs see. Pages are never changed in place. A missing one is all zeros. */
  #cached = new Map<number, Uint8Array>();
  #cachedBytes = 0;
  readonly #platter = new Map<number, Uint8Array>();
  #platterBytes = 0;
  /** Versions of dirty pages, the oldest first. */
  readonly #dirty = new Map<number, Version<Uint8Array>[]>();
  readonly #sizes: Version<number>[] = [];

  constructor(id: string) {
    this.id = id;
  }

  get size(): number {
    return this.#cachedBytes;
  }

  /** Pages that take room. */
  get pages(): number {
    return this.#cached.size;
  }

  hasPage(number: number): boolean {
    return this.#cached.has(number);
  }

  /** @returns how many bytes there were to read */
  read(into: Uint8Array, at: number, bytes: number, offset: number): number {
    const end = Math.min(offset + bytes, this.#cachedBytes);
    for (let from = offset; from < end; ) {
      const number = Math.floor(from / pageBytes);
      const to = Math.min(end, (number + 1) * pageBytes);
      const page = this.#cached.get(number) ?? zeros;
      const first = from - number * pageBytes;
      into.set(page.subarray(first, first + to - from), at + from - offset);
      from = to;
    }
    return Math.max(0, end - offset);
  }

  write(from: Uint8Array, at: number, bytes: number, offset: number, moment: number): void {
    for (let done = 0; done < bytes; ) {
      const number = Math.floor((offset + done) / pageBytes);
      const first = offset + done - number * pageBytes;
      const count = Math.min(bytes - done, pageBytes - first);
      const page = (this.#cached.get(number) ?? zeros).slice();
      page.set(from.subarray(at + done, at + done + count), first);
      this.#setPage(number, page, moment);
      done += count;
    }
    if (offset + bytes > this.#cachedBytes) this.#setSize(offset + bytes, moment);
  }

  truncate(bytes: number, moment: number): void {
    const last = Math.floor(bytes / pageBytes);
    const kept = bytes - last * pageBytes;
    for (const [number, page] of this.#cached) {
      if (number < last) continue;
      if (number === last && kept > 0) {
        this.#setPage(number, zeroedFrom(page, kept), moment);
      } else {
        this.#setPage(number, zeros, moment, true);
        this.#cached.delete(number);
      }
    }
    this.#setSize(bytes, moment, true);
  }

  sync(): void {
    for (const number of this.#dirty.keys()) this.#putOnPlatter(number);
    this.#forgetDirt();
  }

  /**
   * Puts some pages on the platter, and forgets that the others were dirty.
   *
   * @param failedPages what those show from now on
   * @returns how many pages were dropped
   */
  failSync(random: () => number, failedPages: "kept" | "reverted"): number {
    const share = [0, 0.5, 1][Math.floor(random() * 3)] as number;
    let dropped = 0;
    for (const [number, versions] of this.#dirty) {
      // The journal is another place of the disk than the data: sizes and cuts are on it.
      if (versions.some(({ isCut }) => isCut)) this.#platter.delete(number);
      if (random() < share) {
        this.#putOnPlatter(number);
        continue;
      }
      dropped += 1;
      // Beyond the end there is nothing to go back to.
      if (failedPages === "reverted" && this.#cached.has(number)) {
        this.#cached.set(number, this.#platter.get(number) ?? zeros);
      }
    }
    this.#forgetDirt();
    return dropped;
  }

  /** Moments at which pages changed, of what isn't on the platter. */
  dirtyMoments(): number[] {
    return [...this.#dirty.values()].flatMap((versions) => versions.map(({ at }) => at));
  }

  /** What is left when the power goes is what programs see from then on. How many pages that changed. */
  cutPower({ random, choose, isTorn }: PowerCut): { lost: number; torn: number } {
    const cuts = this.#sizes.filter(({ isCut }) => isCut);
    const lastCut = choose(cuts);
    const cutAt = lastCut === 0 ? 0 : (cuts[lastCut - 1] as Version<number>).at;
    const bytesBefore = this.#platterBytes;
    const sizes = reachable(bytesBefore, this.#sizes, cutAt);
    this.#platterBytes = sizes[choose(sizes.slice(1))]?.value as number;
    const hasRubbish = random() < 0.5;
    const counts = { lost: 0, torn: 0 };
    for (const [number, all] of this.#dirty) {
      const before = this.#platter.get(number);
      const isGained = before === undefined && number * pageBytes >= bytesBefore;
      const first = before ?? (isGained && hasRubbish ? rubbish(random) : zeros);
      const states = reachable(first, all, cutAt);
      const versions = states.slice(1);
      const chosen = choose(versions);
      if (chosen < versions.length) counts.lost += 1;
      let page = states[chosen]?.value as Uint8Array;
      if (isTorn(versions)) {
        counts.torn += 1;
        page = tornPage(page, states, random);
      }
      this.#platter.set(number, page);
    }
    this.#trimPlatter();
    this.#cached = new Map(this.#platter);
    this.#cachedBytes = this.#platterBytes;
    this.#forgetDirt();
    return counts;
  }

  #setPage(number: number, page: Uint8Array, at: number, isCut = false): void {
    this.#cached.set(number, page);
    const versions = this.#dirty.get(number);
    const version = { at, value: page, isCut };
    if (versions === undefined) this.#dirty.set(number, [version]);
    else versions.push(version);
  }

  #setSize(bytes: number, at: number, isCut = false): void {
    this.#cachedBytes = bytes;
    this.#sizes.push({ at, value: bytes, isCut });
  }

  #putOnPlatter(number: number): void {
    const page = this.#cached.get(number);
    if (page === undefined) this.#platter.delete(number);
    else this.#platter.set(number, page);
  }

  #forgetDirt(): void {
    this.#dirty.clear();
    this.#platterBytes = this.#cachedBytes;
    this.#sizes.length = 0;
  }

  /** What lies behind the end reads as zeros when the file grows over it. */
  #trimPlatter(): void {
    for (const [number, page] of this.#platter) {
      const kept = this.#platterBytes - number * pageBytes;
      if (kept <= 0) this.#platter.delete(number);
      else if (kept < pageBytes) this.#platter.set(number, zeroedFrom(page, kept));
    }
  }
}

/**
 * What may be on the platter when of all cuts those up to moment `cutAt` have happened, the oldest
 * first: nothing from before the last of them, and nothing since the next.
 */
function reachable<T>(before: T, versions: readonly Version<T>[], cutAt: number): Version<T>[] {
  let states: Version<T>[] = [{ at: 0, value: before, isCut: false }];
  for (const version of versions) {
    if (!version.isCut) states.push(version);
    else if (version.at <= cutAt) states = [version];
    else break;
  }
  return states;
}

function zeroedFrom(page: Uint8Array, kept: number): Uint8Array {
  const cut = page.slice();
  cut.fill(0, kept);
  return cut;
}

/** Each sector is that of any of its states. */
function tornPage(
  page: Uint8Array,
  states: readonly Version<Uint8Array>[],
  random: () => number,
): Uint8Array {
  const torn = page.slice();
  for (let sector = 0; sector < sectorsInPage; sector++) {
    const other = states[Math.floor(random() * states.length)]?.value as Uint8Array;
    const at = sector * sectorBytes;
    torn.set(other.subarray(at, at + sectorBytes), at);
  }
  return torn;
}

function rubbish(random: () => number): Uint8Array {
  return Uint8Array.from({ length: pageBytes }, () => Math.floor(random() * 256));
}

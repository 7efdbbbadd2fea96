/**
 * Entries of a few integers each, by number, without an object for any of them. A large table grows by segments,
 * so that nothing large is copied; a small one takes little.
 *
 * @module
 */

const segmentBits = 14;
const segmentEntries = 2 ** segmentBits;
const segmentMask = segmentEntries - 1;
const entriesMin = 4;

export class IntTable {
  /** Integers of an entry. */
  readonly fields: number;
  #segments: Int32Array[] = [];
  /** Entries up to here are in use, or were. */
  #end = 0;
  /** Those that are in use no more. */
  #free: number[] = [];

  /** @param fields of an entry; 32 bits each, signed */
  constructor(fields: number) {
    this.fields = fields;
  }

  /** All entries have lower numbers. */
  get end(): number {
    return this.#end;
  }

  /** For whoever goes through all entries: of each {@link fields} integers, one entry behind the other. */
  get segments(): readonly Int32Array[] {
    return this.#segments;
  }

  /** How many entries that are in use, or were, stand in one of {@link segments}. */
  entriesIn(segment: number): number {
    return Math.min(segmentEntries, this.#end - segment * segmentEntries);
  }

  get bytes(): number {
    let bytes = this.#free.length * 8;
    for (const segment of this.#segments) bytes += segment.byteLength;
    return bytes;
  }

  get(entry: number, field: number): number {
    const segment = this.#segments[entry >> segmentBits] as Int32Array;
    return segment[(entry & segmentMask) * this.fields + field] as number;
  }

  set(entry: number, field: number, value: number): void {
    const segment = this.#segments[entry >> segmentBits] as Int32Array;
    segment[(entry & segmentMask) * this.fields + field] = value;
  }

  /** @returns the number of one that isn't in use; what its fields hold isn't said */
  take(): number {
    return this.#free.pop() ?? this.#append();
  }

  give(entry: number): void {
    this.#free.push(entry);
  }

  #append(): number {
    const entry = this.#end++;
    const place = entry & segmentMask;
    const last = this.#segments.at(-1);
    if (place === 0 && entry > 0) this.#segments.push(this.#made(segmentEntries));
    else if (last === undefined) this.#segments.push(this.#made(entriesMin));
    else if (place * this.fields === last.length) {
      const grown = this.#made(place * 2);
      grown.set(last);
      this.#segments[this.#segments.length - 1] = grown;
    }
    return entry;
  }

  #made(entries: number): Int32Array {
    return new Int32Array(entries * this.fields);
  }
}

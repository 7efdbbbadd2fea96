/**
 * How much the bodies of all requests together may take, from their heads until their answers begin. Each has a bound of its own
 * (`api.body_bytes_max`), but there may be a hundred at once on every route.
 *
 * @module
 */

/** Bodies up to this size aren't counted: there is room for one in each place of each route. */
const smallBytesMax = 64 * 1024;
const defaultBytesMax = 256 * 1024 * 1024;

export class BodyRoom {
  readonly #bytesMax: number;
  #bytes = 0;

  constructor(bytesMax = defaultBytesMax) {
    this.#bytesMax = bytesMax;
  }

  /** By those that are counted. */
  get heldBytes(): number {
    return this.#bytes;
  }

  /** For one body, which may grow. */
  open(): BodyPlace {
    return new BodyPlace(this);
  }

  /** One body alone always has room, however large it may be. @param held what it has already @internal */
  take(bytes: number, held: number): boolean {
    if (this.#bytes > held && this.#bytes + bytes > this.#bytesMax) return false;
    this.#bytes += bytes;
    return true;
  }

  /** @internal */
  give(bytes: number): void {
    this.#bytes -= bytes;
  }
}

export class BodyPlace {
  readonly #room: BodyRoom;
  #bytes = 0;

  constructor(room: BodyRoom) {
    this.#room = room;
  }

  /** The body has so many bytes, or comes to them. False: there is no room for it; it keeps what it had. */
  hold(bytes: number): boolean {
    if (bytes <= smallBytesMax) return true;
    if (!this.#room.take(bytes - this.#bytes, this.#bytes)) return false;
    this.#bytes = bytes;
    return true;
  }

  /** Once more does nothing. */
  leave(): void {
    this.#room.give(this.#bytes);
    this.#bytes = 0;
  }
}

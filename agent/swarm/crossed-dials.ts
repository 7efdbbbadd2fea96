/**
 * Hyperswarm, but of two connections by which two nodes have dialled each other both keep the same one.
 *
 * A host that comes back dials its neighbours where they were, while they, who have missed it, are dialling it by the DHT.
 * Where the one dial arrives before the other is through, its receiver drops its own, by the order of the keys, though what it has
 * sent is on its way. When that arrives, Hyperswarm holds the connection that is there for a lost one, because bytes have
 * passed on it: it closes it and keeps the other, which nobody is at the other end of. Both were gone then, for the 3 s in
 * which nothing was proved and until the next dial: seconds in which news of that neighbour didn't come.
 *
 * So a connection that was opened a moment ago in the other direction isn't held for lost; the order of the keys decides, as it
 * does for a dial that isn't through. Should it be lost in truth (the neighbour was killed in that moment), `silence.ts` finds
 * that out within a second, and it is dialled again.
 *
 * @module
 */

import Hyperswarm from "hyperswarm";

/** The other dial was on its way when the first was through; by a relay of the DHT, and sent again where it was lost. */
const crossedMs = 2000;

export class CrossedDialSwarm extends Hyperswarm {
  readonly #openedMs = new WeakMap<NoiseStream, number>();

  constructor(options: ConstructorParameters<typeof Hyperswarm>[0]) {
    super(options);
    this.on("connection", (stream) => this.#openedMs.set(stream, performance.now()));
  }

  /** Called for each connection that another node has dialled. */
  override _handleServerConnection(stream: NoiseStream): void {
    const existing = this._allConnections.get(stream.remotePublicKey);
    if (existing !== undefined && this.#isFirst(existing, stream)) {
      stream.on("error", () => {});
      stream.destroy(new Error("Duplicate connection"));
      return;
    }
    super._handleServerConnection(stream);
  }

  #isFirst(existing: NoiseStream, { publicKey, remotePublicKey }: NoiseStream): boolean {
    const openedMs = this.#openedMs.get(existing);
    return (
      existing.isInitiator &&
      openedMs !== undefined &&
      performance.now() - openedMs < crossedMs &&
      Buffer.compare(publicKey, remotePublicKey) > 0
    );
  }
}

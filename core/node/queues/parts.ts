/**
 * Large frames travel as parts (frame kind 13), so that an urgent frame waits for one part at most.
 *
 * Parts of one transfer arrive in order, because a stream is ordered; parts of different transfers and
 * whole frames may stand between them. Every part but a transfer's last is of {@link partBytesMax}.
 *
 * @module
 */

import type { Lane } from "../../change/changeset.ts";
import { encodeFrame, type Frame, frameBytesMax, partBytesMax } from "../../change/frame.ts";

/** Transfers of one peer that may be open at once: one for each lane, and room for more. */
const transfersMax = 8;

/** The part of `frame` that begins at `offset`, as a frame. */
export function encodePart(
  frame: Uint8Array,
  offset: number,
  transfer: number,
  lane: Lane,
): { readonly bytes: Uint8Array; readonly next: number } {
  const next = Math.min(frame.length, offset + partBytesMax);
  const bytes = encodeFrame({
    kind: "part",
    lane,
    transfer,
    bytesTotal: frame.length,
    bytes: frame.subarray(offset, next),
  });
  return { bytes, next };
}

export type PartTaken =
  | { readonly kind: "more" }
  | { readonly kind: "whole"; readonly frame: Uint8Array }
  /** Drop the peer: it doesn't speak this protocol. */
  | { readonly kind: "malformed"; readonly why: string };

/** Puts the parts from one peer together. Memory grows with what arrived, never with what was promised. */
export class Reassembly {
  readonly #transfers = new Map<number, { total: number; got: number; pieces: Uint8Array[] }>();
  #bytes = 0;

  /** Bytes held of frames that aren't whole yet. */
  get bytes(): number {
    return this.#bytes;
  }

  take(part: Extract<Frame, { kind: "part" }>): PartTaken {
    let transfer = this.#transfers.get(part.transfer);
    if (transfer === undefined) {
      if (this.#transfers.size >= transfersMax) {
        return malformed(`part: at most ${transfersMax} transfers at once`);
      }
      transfer = { total: part.bytesTotal, got: 0, pieces: [] };
      this.#transfers.set(part.transfer, transfer);
    }
    if (part.bytesTotal !== transfer.total) {
      return malformed(`part: ${transfer.total} bytes in all, now ${part.bytesTotal}`);
    }
    const wanted = Math.min(partBytesMax, transfer.total - transfer.got);
    if (part.bytes.length !== wanted || wanted === 0) {
      return malformed(`part: ${wanted} bytes wanted, got ${part.bytes.length}`);
    }
    // What all transfers hold together is bounded by two of the largest frames.
    if (this.#bytes + wanted > 2 * frameBytesMax) return malformed("part: too much at once");
    transfer.got += wanted;
    transfer.pieces.push(part.bytes);
    this.#bytes += wanted;
    if (transfer.got < transfer.total) return { kind: "more" };
    this.#transfers.delete(part.transfer);
    this.#bytes -= transfer.total;
    const frame = new Uint8Array(transfer.total);
    let at = 0;
    for (const piece of transfer.pieces) {
      frame.set(piece, at);
      at += piece.length;
    }
    return { kind: "whole", frame };
  }
}

function malformed(why: string): PartTaken {
  return { kind: "malformed", why };
}

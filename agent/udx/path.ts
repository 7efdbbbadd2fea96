/**
 * Where a stream's packets go.
 *
 * @module
 */

/** An address seen from a socket. The machine only carries it. */
export interface Path {
  readonly host: string;
  readonly port: number;
  readonly family: 4 | 6;
}

/**
 * Takes one datagram. `bytes` may be reused once the packet in it is acknowledged, so they must be
 * sent or copied before the machine handles another packet.
 */
export type SendDatagram<P extends Path> = (bytes: Uint8Array, path: P) => void;

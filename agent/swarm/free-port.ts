/**
 * A UDP port that is free on loopback right now, for tests and demonstrations: a bootstrap node needs
 * its port named before it starts.
 *
 * @module
 */

/** Another process may take it before the caller does; that is rare, the range being large. */
export async function freeUdpPort(): Promise<number> {
  const socket = await Bun.udpSocket({ hostname: "127.0.0.1", port: 0 });
  const { port } = socket;
  socket.close();
  return port;
}

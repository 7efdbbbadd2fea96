/**
 * Why a UDP socket couldn't be bound, in words for whoever configured its address.
 *
 * @module
 */

const reasons: Readonly<Record<string, string>> = {
  EADDRINUSE: "the port is taken by another program",
  EADDRNOTAVAIL: "it is no address of this host",
  EACCES: "ports below 1024 need a privilege",
};

export function bindFailureText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return reasons[(error as NodeJS.ErrnoException).code ?? ""] ?? error.message;
}

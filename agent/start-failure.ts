/**
 * Why an agent can't start, and the exit code that says so. Documented in `patina agent --help`.
 *
 * @module
 */

export const exitCodes = {
  ok: 0,
  /** The command was understood and didn't succeed. */
  failed: 1,
  /** Wrong arguments, configuration or schema. */
  usage: 2,
  /** No agent answers on the socket. */
  unreachable: 3,
  /** The data directory or the database can't be used: read-only, full, locked, corrupt. */
  data: 4,
  /** The API's socket can't be used: taken, path too long. */
  socket: 5,
  /** The network can't be used: an address that isn't this host's, a bootstrap port that is taken. */
  network: 6,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** Thrown while an agent starts; caught once, in the command. */
export class StartFailure extends Error {
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, message: string) {
    super(message);
    this.name = "StartFailure";
    this.exitCode = exitCode;
  }
}

/** A disk or a quota is used up: what only reads can go on. */
export class NoRoomFailure extends StartFailure {}

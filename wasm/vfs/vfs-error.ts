/**
 * What a VFS throws when the outside world refuses; `glue.ts` makes the code of it that SQLite sees.
 *
 * @module
 */

/** A refusal of the outside world. The message is for people and names the file. */
export class VfsError extends Error {
  /** Extended result code that SQLite is to see. */
  readonly code: number;
  /** The operating system's error number, positive; 0 when there is none. */
  readonly errno: number;

  constructor(code: number, message: string, errno = 0) {
    super(message);
    this.name = "VfsError";
    this.code = code;
    this.errno = errno;
  }
}

/** The name of an errno, such as "ENOSPC"; undefined for what the operating system didn't throw. */
export function codeOf(thrown: unknown): string | undefined {
  return (thrown as { code?: string } | null)?.code;
}

/** A refusal of the operating system: the errno is kept, and the message names call and file. */
export function systemFailure(code: number, call: string, name: string, thrown: unknown): VfsError {
  const errno = Math.abs((thrown as { errno?: number } | null)?.errno ?? 0);
  return new VfsError(code, `${call} ${name}: ${reasonOf(thrown)}`, errno);
}

/** For messages. */
export function reasonOf(thrown: unknown): string {
  return codeOf(thrown) ?? (thrown instanceof Error ? thrown.message : String(thrown));
}

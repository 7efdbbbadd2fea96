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

/**
 * Options that most commands have.
 *
 * @module
 */

export interface GlobalOptions {
  readonly json?: boolean;
  readonly config?: string;
  readonly socket?: string;
}

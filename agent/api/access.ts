/**
 * What the sender of a request may do: everything, only read, or only with some tables.
 *
 * Tables are held against what SQLite's authorizer names, never against the words of a statement.
 *
 * @module
 */

export interface Access {
  readonly mayWrite: boolean;
  /** Names in ASCII lower case; undefined: every table. */
  readonly tables: ReadonlySet<string> | undefined;
  /** Aborts when the token is taken back: what was begun with it ends. Undefined: it never is. */
  readonly revoked?: AbortSignal;
}

/** Who can connect to the Unix socket may do everything, also to this host and its files. */
export const fullAccess: Access = { mayWrite: true, tables: undefined };
/** Who can connect to TCP where no token is asked for: every user of the host, and what runs in a browser there. */
export const openAccess: Access = { mayWrite: true, tables: undefined };

/** A token as configured. The secret is never logged. */
export interface Token {
  /** For people. */
  readonly name: string;
  readonly secret: string;
  readonly access: Access;
}

/** Table-valued functions that show nothing but their arguments. */
const openTables: ReadonlySet<string> = new Set(["json_each", "json_tree"]);

/** The first table that isn't one of a token's; undefined when all are. */
export function foreignTable(own: Access["tables"], tables: Iterable<string>): string | undefined {
  if (own === undefined) return undefined;
  for (const table of tables) {
    if (!own.has(table) && !openTables.has(table)) return table;
  }
  return undefined;
}

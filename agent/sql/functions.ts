/**
 * SQL functions of Patina's own.
 *
 * | function                     | value                                                               |
 * | ---------------------------- | ------------------------------------------------------------------- |
 * | `cidr_match(range, address)` | 1 or 0; NULL when one is NULL or no such thing                      |
 * | `hlc_time()`                 | INTEGER: milliseconds that never go back and come after all seen    |
 * | `uuid7()`                    | TEXT: a new UUID whose order is that of time (RFC 9562 §5.7)        |
 *
 * The first may stand in views; none may stand in a replicated table's definition, where what is computed has
 * to be the same in every version of Patina. The other two give another value in each row and statement: a query that
 * uses them can't be subscribed to (`agent/live/plan/changing-functions.ts`).
 *
 * @module
 */

import type { SqlValue } from "../../core/row/value.ts";
import type { Database } from "../../wasm/database.ts";
import { cidrMatch } from "./address-range.ts";
import { addChangesTable } from "./changes-table.ts";

/**
 * Those that need nothing, and the table `patina_changes`. To be called before a schema is looked at:
 * views may use them.
 */
export function addPureFunctions(database: Database): void {
  const options = { deterministic: true, innocuous: true };
  database.createFunction("cidr_match", 2, options, (range = null, address = null): SqlValue => {
    if (typeof range !== "string" || typeof address !== "string") return null;
    const isIn = cidrMatch(range, address);
    return isIn === undefined ? null : isIn ? 1 : 0;
  });
  addChangesTable(database);
}

/** @param hlcMs the store's hybrid logical clock, read */
export function addClockFunctions(database: Database, hlcMs: () => number): void {
  database.createFunction("hlc_time", 0, {}, () => hlcMs());
  // Bun counts within a millisecond, so that later ones are larger.
  database.createFunction("uuid7", 0, {}, () => Bun.randomUUIDv7());
}

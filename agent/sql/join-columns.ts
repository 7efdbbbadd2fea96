/**
 * Counts the columns of USING clauses. SQLite makes one expression of them all, as deep as they are many, before it looks
 * whether it is too deep, and frees it by recursion: some 30,000 of them use up the stack, and no C program survives that.
 * (Every other way to a deep expression is refused while it grows.)
 *
 * @module
 */

import { isSymbol, isWord, tokenize } from "../../core/schema/sql-token.ts";

const columnsMax = 1000;
/** So many characters are too few for what is dangerous: a name and a comma for each column. */
const harmlessChars = 10_000;
const isUsing = isWord("using");

/** Whether the USING clauses of `sql` have more columns than any join needs. */
export function joinsTooManyColumns(sql: string): boolean {
  if (sql.length <= harmlessChars || !/using/i.test(sql)) return false;
  let columns = 0;
  let isInside = false;
  let before: Parameters<typeof isUsing>[0] | undefined;
  for (const token of tokenize(sql)) {
    if (before !== undefined && isUsing(before) && isSymbol(token, "(")) isInside = true;
    else if (isSymbol(token, ")")) isInside = false;
    else if (isInside && isSymbol(token, ",") && ++columns >= columnsMax) return true;
    before = token;
  }
  return false;
}

/**
 * The rows of the bench `read-under-merge`: numbered, in an order of their keys that looks random, and made
 * by SQL, so that whoever writes them spends no time on it.
 *
 * @module
 */

import { servicesSql } from "./services-table.ts";

export const schemaSql = `${servicesSql}CREATE TABLE urgent (
  id TEXT NOT NULL PRIMARY KEY,
  number INTEGER NOT NULL DEFAULT 0,
  written_ms INTEGER NOT NULL DEFAULT 0
);
`;

/** Cells of one row that a merge has to decide: all columns but the key. */
export const changesPerRow = 5;

/** Inserts rows `?1` up to `?2`. */
export const bulkSql = `WITH RECURSIVE n(i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?2)
INSERT INTO services
SELECT printf('%08x%08x', (i * 2654435761) & 4294967295, i),
  'app-' || (i % 5000), '10.' || (i & 255) || '.' || (i >> 8 & 255) || '.' || (i >> 16 & 255),
  1024 + i % 60000, 'up', 1700000000000 + i FROM n`;

/** The key of row `number`, as {@link bulkSql} makes it. */
export function bulkId(number: number): string {
  const mixed = Math.imul(number, 2_654_435_761) >>> 0;
  return mixed.toString(16).padStart(8, "0") + number.toString(16).padStart(8, "0");
}

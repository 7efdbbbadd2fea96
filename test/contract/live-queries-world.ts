/**
 * Random schemas, queries and writes for live queries, all drawn from one seed.
 *
 * @module
 */

import type { Draw } from "./live-queries-odd.ts";
import { Queries } from "./live-queries-queries.ts";
import { drawSchema, type WorldTable } from "./live-queries-tables.ts";
import { Terms } from "./live-queries-terms.ts";
import { drawWrite } from "./live-queries-writes.ts";

export type Random = () => number;

export interface World {
  readonly schema: string;
  readonly local: readonly string[];
  readonly tables: readonly WorldTable[];
  query(): string;
  /** A query, and others that differ from it in one constant only. */
  family(): string[];
  /** One writing statement. `isLocal` ones may write local tables. */
  write(isLocal: boolean): string;
}

export function drawOf(random: Random): Draw {
  const int = (end: number) => Math.floor(random() * end);
  return {
    chance: (fraction) => random() < fraction,
    int,
    pick: <T>(list: readonly T[]): T => list[int(list.length)] as T,
  };
}

export function createWorld(random: Random): World {
  const draw = drawOf(random);
  const { text: schema, tables, local } = drawSchema(draw);
  const terms = new Terms(draw);
  const queries = new Queries(draw, terms, tables);
  return {
    schema,
    local,
    tables,
    query: () => queries.query(),
    family: () => queries.family(),
    write: (isLocal) => drawWrite(draw, terms, tables, isLocal),
  };
}

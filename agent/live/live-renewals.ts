/**
 * Live queries under another schema. Those whose tables are as they were (`plan/table-shapes.ts`) go on. The others
 * are *stale*: what was seen of them before is worth nothing, and they wait for their turn like those that missed a
 * commit of which it isn't known what it changed, urgent ones first. When it comes, the plan is made anew
 * before the rows are. Those that are run again stay what they are, also where the plan gives their rows other
 * identities (an index makes groups of them, a view reads other tables): the next run, wherever it is, finds these.
 *
 * A subscription whose columns are others now ends, with a line that says so: what it told doesn't lead to what it
 * would tell. So does one that is found by other keys now, or no more by keys (its table is another, or was a view),
 * unless its rows can be held against a new run at once.
 *
 * @module
 */

import type { ChangedCells } from "./changed-cells.ts";
import type { Evaluation, Finding } from "./evaluation.ts";
import { rowsFrom } from "./known-rows.ts";
import type { Entry, LiveRegistry } from "./live-registry.ts";
import type { Dependencies } from "./plan/dependencies.ts";
import type { TableShapes } from "./plan/table-shapes.ts";
import type { QueryPlanner } from "./query-planner.ts";
import type { TableChanges } from "./table-changes.ts";

const columnsChanged = "the schema changed, and with it this query's columns: subscribe again";
const planChanged =
  "the schema changed, and with it the keys that this query's rows are found by: subscribe again";

export interface LiveRenewalsOptions {
  readonly shapes: TableShapes;
  readonly cells: ChangedCells;
  readonly registry: LiveRegistry;
  readonly planner: QueryPlanner;
  readonly evaluation: Evaluation;
}

export class LiveRenewals {
  readonly #options: LiveRenewalsOptions;

  constructor(options: LiveRenewalsOptions) {
    this.#options = options;
  }

  /**
   * The schema is another.
   *
   * @returns those whose plans and rows may be others now, which aren't marked yet, with what they may have missed
   */
  schemaChanged(): Map<Entry, TableChanges> {
    const { shapes, cells, registry, planner } = this.#options;
    const isChanged = shapes.changed();
    planner.schemaChanged(isChanged);
    cells.schemaChanged(isChanged);
    // Thousands may share theirs.
    const known = new Map<Dependencies, TableChanges | undefined>();
    const missedBy = (dependencies: Dependencies): TableChanges | undefined => {
      if (known.has(dependencies)) return known.get(dependencies);
      const tables = [...dependencies.keys()];
      const missed = tables.some(isChanged)
        ? new Map(tables.map((table) => [table, "unknown" as const]))
        : undefined;
      known.set(dependencies, missed);
      return missed;
    };
    const found = new Map<Entry, TableChanges>();
    for (const entry of registry.entries()) {
      const missed = missedBy(entry.subscription.dependencies);
      if (missed !== undefined) found.set(entry, missed);
    }
    return found;
  }

  /**
   * Makes the plan of a stale one anew.
   *
   * @returns what has become of its rows, or why it ends; undefined: it can be looked at as before
   */
  renew(entry: Entry): Finding | undefined {
    const { registry, planner, evaluation } = this.#options;
    const before = entry.subscription;
    entry.isStale = false;
    // Its rows may get other identities.
    entry.known = undefined;
    registry.removeTables(entry);
    if (planner.renew(before)) {
      registry.addTables(entry);
      return undefined;
    }
    entry.missed = undefined;
    planner.dispose(before);
    const built = planner.build(before.sql, before.id, before);
    const isKept = !("kind" in built) && built.columnsJson === before.columnsJson;
    if (!isKept) {
      if (!("kind" in built)) planner.dispose(built);
      return { kind: "failed", entry, why: columnsChanged };
    }
    const found = evaluation.ofRenewed(entry, () => rowsFrom(before, built));
    if (found.kind === "long") {
      planner.dispose(built);
      return { kind: "failed", entry, why: planChanged };
    }
    entry.subscription = built;
    registry.addTables(entry);
    return found.kind === "changes" && found.changes.length === 0 ? undefined : found;
  }
}

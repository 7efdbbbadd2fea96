/**
 * Whom a transaction concerns: by table, by column, and for keyed queries by value (`keyed-group.ts`),
 * so that nobody else costs a commit anything.
 *
 * @module
 */

import { decodeKey } from "../../core/row/key.ts";
import type { Entry, LiveRegistry, Missed } from "./live-registry.ts";
import type { Dependencies } from "./plan/dependencies.ts";
import type { KeyedGroup } from "./plan/keyed-group.ts";
import type { QueryPlanner } from "./query-planner.ts";
import { keyText } from "./rows/key-text.ts";
import type { Subscription } from "./subscription.ts";
import { type ChangedRow, concerns, type TableChanges } from "./table-changes.ts";

/** Rows of one commit that are looked at one by one. */
const rowsMax = 2000;

type Note = (entry: Entry | undefined, table: string, row: ChangedRow | "unknown") => void;

/**
 * With each the changes that concern it. Runs statements of groups on their connection. Between two rows it
 * may rest, for as long as nobody looks at what it missed: commits may come meanwhile, since each of them
 * names whom it concerns, and what is read here is the same or is news of theirs.
 */
export function* affectedBy(
  changes: TableChanges,
  registry: LiveRegistry,
  planner: QueryPlanner,
): Generator<void, ReadonlyMap<Entry, TableChanges>> {
  const affected = new Map<Entry, TableChanges>();
  // One row that concerns thousands is one map for all of them, until another row comes along.
  let shared: ReadonlyMap<string, readonly ChangedRow[] | "unknown"> = new Map();
  const single = (table: string, row: ChangedRow | "unknown"): TableChanges => {
    const rows = shared.get(table);
    const isSame = row === "unknown" ? rows === row : rows?.[0] === row;
    if (!isSame) shared = new Map([[table, row === "unknown" ? row : [row]]]);
    return shared;
  };
  const owned = new Map<Entry, Map<string, ChangedRow[] | "unknown">>();
  const note: Note = (entry, table, row) => {
    if (entry === undefined || entry.isDropped || entry.isUnsettled) return;
    const known = affected.get(entry);
    if (known === undefined) {
      affected.set(entry, single(table, row));
      return;
    }
    let own = owned.get(entry);
    if (own === undefined) {
      own = new Map();
      for (const [name, rows] of known) own.set(name, rows === "unknown" ? rows : [...rows]);
      owned.set(entry, own);
      affected.set(entry, own);
    }
    const rows = own.get(table);
    if (row === "unknown" || rows === "unknown") own.set(table, "unknown");
    else if (rows === undefined) own.set(table, [row]);
    else rows.push(row);
  };
  for (const [table, rows] of changes) {
    for (const entry of registry.rerunsOf(table)) noteRerun(entry, table, rows, note);
    const told = yield* noteFiltering(table, rows, registry, note);
    for (const group of planner.groupsOf(table)) {
      const column = group.filterColumn(table);
      const done = column === undefined ? undefined : told.get(column);
      if (rows !== "unknown" && rows.length === done?.size) continue;
      if (isConcerned(rows, table, group.dependencies)) {
        yield* findMembers(group, table, rows, registry, note, done);
      }
    }
  }
  // Which rows it will hold isn't known yet.
  for (const entry of registry.unsettled) {
    const own = new Map<string, readonly ChangedRow[] | "unknown">();
    for (const table of entry.subscription.dependencies.keys()) {
      const rows = changes.get(table);
      if (rows !== undefined && isConcerned(rows, table, entry.subscription.dependencies)) {
        own.set(table, rows);
      }
    }
    if (own.size > 0) affected.set(entry, own);
  }
  return affected;
}

/** What was missed before, and what a commit adds. */
export function joinMissed(missed: Missed | undefined, commit: Missed): Missed {
  if (missed === undefined) return commit;
  return { changes: joinChanges(missed.changes, commit.changes), rows: undefined };
}

function joinChanges(first: TableChanges, second: TableChanges): TableChanges {
  const joined = new Map(first);
  for (const [table, rows] of second) {
    const before = first.get(table) ?? [];
    const isUnknown =
      before === "unknown" || rows === "unknown" || before.length + rows.length > rowsMax;
    joined.set(table, isUnknown ? "unknown" : [...before, ...rows]);
  }
  return joined;
}

/** One that reads all of the table. */
function noteRerun(
  entry: Entry,
  table: string,
  rows: readonly ChangedRow[] | "unknown",
  note: Note,
): void {
  const { plan, dependencies } = entry.subscription;
  const isGrouped = plan.kind === "rerun" && plan.grouped !== undefined;
  const dependency = dependencies.get(table);
  if (isGrouped && dependency !== undefined && rows !== "unknown" && rows.length <= rowsMax) {
    for (const row of rows) {
      if (concerns(row, dependency)) note(entry, table, knownOf(entry, row));
    }
  } else if (isConcerned(rows, table, dependencies)) note(entry, table, "unknown");
}

/** The row where it tells what may have become another: by its key, or of which group it was, and is. */
function knownOf({ subscription: { plan } }: Entry, row: ChangedRow): ChangedRow | "unknown" {
  if (plan.kind === "keyed") return row;
  return plan.kind === "rerun" && plan.grouped?.isKnown(row) === true ? row : "unknown";
}

/** Of which rows it is known what a column held and holds, by column: who filters by it is noted where they concern them. */
type Told = ReadonlyMap<string, ReadonlySet<ChangedRow>>;

/** Those that see only rows with one value, or one of some. */
function* noteFiltering(
  table: string,
  rows: readonly ChangedRow[] | "unknown",
  { filters }: LiveRegistry,
  note: Note,
): Generator<void, Told> {
  const all = () => filters.forAll(table, (entry) => note(entry, table, "unknown"));
  if (rows === "unknown" || rows.length > rowsMax) {
    all();
    return new Map();
  }
  const told = new Map<string, Set<ChangedRow>>();
  try {
    for (const row of rows) {
      const columns = filters.forRow(row, (entry) => {
        const dependency = entry.subscription.dependencies.get(table);
        if (dependency !== undefined && !concerns(row, dependency)) return;
        note(entry, table, knownOf(entry, row));
      });
      for (const column of columns) {
        const rowsOf = told.get(column);
        if (rowsOf === undefined) told.set(column, new Set([row]));
        else rowsOf.add(row);
      }
      yield;
    }
  } catch {
    // Interrupted.
    all();
    return new Map();
  }
  return told;
}

/** @param done rows that filters have told all members of */
function* findMembers(
  group: KeyedGroup<Subscription>,
  table: string,
  rows: readonly ChangedRow[] | "unknown",
  registry: LiveRegistry,
  note: Note,
  done: ReadonlySet<ChangedRow> | undefined,
): Generator<void, void> {
  const all = (row: ChangedRow | "unknown"): void => {
    for (const member of group.members.values()) note(registry.byId(member.id), table, row);
  };
  const source = group.sources.findIndex((one) => one.table === table);
  const dependency = group.dependencies.get(table);
  if (rows === "unknown" || rows.length > rowsMax || source < 0 || dependency === undefined) {
    all("unknown");
    return;
  }
  try {
    for (const row of rows) {
      if (done?.has(row) === true || !concerns(row, dependency)) continue;
      const values = decodeKey(row.key) ?? [];
      const members = group.affected(source, keyText(values), values);
      if (members === undefined) all(row);
      else for (const member of members) note(registry.byId(member.id), table, row);
      yield;
    }
  } catch {
    // Interrupted, or a key that has no text: then everyone looks.
    all("unknown");
  }
}

function isConcerned(
  rows: readonly ChangedRow[] | "unknown",
  table: string,
  dependencies: Dependencies,
): boolean {
  const dependency = dependencies.get(table);
  if (rows === "unknown" || dependency === undefined) return true;
  return rows.some((row) => concerns(row, dependency));
}

/**
 * The small scopes that are searched.
 *
 * @module
 */

import type { Step } from "./history.ts";
import { type ScopeHost, SqliteHost } from "./hosts.ts";
import { ReplicaHost } from "./replica-host.ts";
import { columns } from "./said.ts";
import type { Scope } from "./search.ts";
import { statements } from "./statements.ts";

const startMs = 1_764_000_000_000;
/** So that each step lies in a slot of its own, and what is heard some steps later is late for its cut. */
const slotApartMs = 1900;
/** No clock that is right is further off than 5 s from another one. */
const offMs = 2400;
/** Further than anybody follows. */
const farMs = 3_600_000;

function write(host: number, name: string, row = 0): Step {
  const statement = statements.findIndex((one) => one.name === name);
  if (statement < 0) throw new Error(`no statement is called ${name}`);
  return { kind: "write", host, statement, row };
}

/** What each of these hosts may say of each of these rows. */
function writes(hosts: readonly number[], names: readonly string[], rows = [0]): Step[] {
  return hosts.flatMap((host) =>
    rows.flatMap((row) => names.map((name) => write(host, name, row))),
  );
}

const all = statements.map(({ name }) => name);
const few = ["up", "down", "delete", "upsert down", "insert up if absent"];
const inserted = write(0, "insert up if absent");
const hears = (host: number, message: number): Step => ({ kind: "hear", host, message });
const clock = (host: number, aheadMs: number): Step => ({ kind: "clock", host, aheadMs });

/**
 * Of a row that nobody knows, that two hosts know as up, that is gone for one while the other has changed it, and that has
 * gone and come back while one of them heard nothing of it.
 */
const known = [inserted, hears(1, 0)];
const comeBack = [...known, write(1, "delete"), write(1, "upsert down")];
const starts: readonly (readonly Step[])[] = [
  [],
  known,
  [...known, write(0, "delete"), write(1, "weight")],
  comeBack,
];

const farFirst = [...known, clock(0, farMs), write(0, "down")];
/** What a host says far ahead of the time, and what another one says meanwhile, in a life of the row and after it. */
const farStarts: readonly (readonly Step[])[] = [
  farFirst,
  [...farFirst, write(1, "delete")],
  [...farFirst, write(1, "delete"), write(1, "upsert down")],
];

export function worldOf(hosts: number, create: (index: number) => ScopeHost): Scope["createWorld"] {
  return () => ({
    hosts: Array.from({ length: hosts }, (_, index) => create(index)),
    nowMs: startMs,
    histories: 0,
  });
}

export const sqliteScope: Scope = {
  name: "SQLite: two hosts say what they like of one row",
  rows: 1,
  stepMs: slotApartMs,
  starts,
  steps: writes([0, 1], all),
  depth: 2,
  histories: 200,
  createWorld: worldOf(2, (index) => new SqliteHost(index, columns)),
};

const replica: Scope = {
  ...sqliteScope,
  name: "replica: two hosts, the clock of one of which is set to and fro",
  starts: starts.slice(1),
  steps: [...writes([0, 1], few), clock(0, offMs), clock(0, 0), clock(0, -offMs)],
  createWorld: worldOf(2, (index) => new ReplicaHost(index, startMs)),
};

/** @param deeper So many steps more than in the ordinary run. */
export function scopes(deeper: number): readonly Scope[] {
  const ordinary: readonly Scope[] = [
    sqliteScope,
    {
      ...sqliteScope,
      name: "SQLite: everything happens in one millisecond",
      stepMs: 0,
      steps: writes([0, 1], few),
    },
    {
      ...sqliteScope,
      name: "SQLite: two rows",
      rows: 2,
      starts: [known],
      steps: writes([0, 1], ["insert up if absent", "down", "delete"], [0, 1]),
    },
    {
      ...sqliteScope,
      name: "SQLite: a host that lacks a column until it reloads, and hosts that are killed",
      // As the others, and a row that came from the host that lacks a column, in which it has a value since.
      starts: [known, comeBack, [write(1, "upsert down"), hears(0, 0), write(0, "weight")]],
      steps: [
        ...writes([1], ["up", "down", "delete", "upsert down", "replace by down"]),
        ...writes([0], ["weight", "upsert weight, up if absent"]),
        { kind: "restart", host: 0 },
        { kind: "restart", host: 1 },
        { kind: "reload", host: 1 },
      ],
      histories: 50,
      createWorld: worldOf(2, (i) => new SqliteHost(i, i === 0 ? columns : ["status"])),
    },
    {
      ...sqliteScope,
      name: "SQLite: a host that has just joined, and lacks rows",
      starts: [[inserted], [inserted, write(0, "down")], [inserted, write(0, "delete")]],
      steps: writes([1], all),
      createWorld: worldOf(2, (index) => new SqliteHost(index, columns, index === 1)),
    },
    replica,
    {
      ...replica,
      name: "replica: three hosts, that are killed",
      starts: [[...known, hears(2, 0)]],
      steps: [
        ...writes([0, 1, 2], ["down", "delete"]),
        write(0, "insert up if absent"),
        { kind: "restart", host: 0 },
      ],
      createWorld: worldOf(3, (index) => new ReplicaHost(index, startMs)),
    },
    {
      ...replica,
      name: "replica: a host whose clock is far ahead, and set right again",
      // Further apart than it is known by how much a clock was ahead.
      stepMs: 2100,
      starts: farStarts,
      steps: [
        ...writes([0], ["up", "down", "weight", "delete"]),
        ...writes([1], ["down", "delete", "upsert down"]),
        clock(0, 0),
        // What it says next it says before it hears that its clock is right.
        { kind: "clock", host: 0, aheadMs: 0, quietSteps: 1 },
      ],
      // What a host stamps anew it looks for among all rows.
      histories: 20,
    },
  ];
  return ordinary.map((scope) => ({ ...scope, depth: scope.depth + deeper }));
}

/**
 * States of a history of `faulty-store.ts`, and what a database shows against one of them.
 *
 * @module
 */

import { bytesToHex } from "../../core/bytes/hex.ts";
import { ByteWriter } from "../../core/bytes/writer.ts";
import { writeRowBlock } from "../../core/change/row-block.ts";
import { isLive } from "../../core/clock/row-clock.ts";
import { decodeKey } from "../../core/row/key.ts";
import type { RowState } from "../../core/row/row-state.ts";
import type { SqlValue } from "../../core/row/value.ts";
import type { ScanPosition } from "../../core/row-store.ts";
import type { SqliteStore } from "../../core/store/sqlite-store.ts";
import type { Database } from "../../wasm/database.ts";
import { MapStore } from "../model/map-store.ts";
import { isUnshown, tables } from "./faulty-store-draws.ts";

/** After a commit. */
export interface State {
  readonly rows: MapStore;
  /** As this site counts its commits. */
  readonly version: number;
  /** A value that the agent keeps beside the rows. */
  readonly probe: number;
}

/** The tables show what is held, and no more is counted as unshown than is. */
export function checkTables(rows: MapStore, reader: Database): void {
  for (const [name, { keys, values }] of Object.entries(tables)) {
    const shown = reader.all(`SELECT ${[...keys, ...values]} FROM ${name}`);
    const expected = [...rows.states()]
      .filter(({ table, clock }) => table === name && isLive(clock))
      .map(({ key, cells }) => [
        ...(decodeKey(key) as SqlValue[]),
        ...values.map((column) => {
          const cell = cells.find((one) => one.column === column);
          return cell === undefined || isUnshown(column, cell.value) ? null : cell.value;
        }),
      ]);
    same(`table ${name}`, shown.map(textOf).sort().join(), expected.map(textOf).sort().join());
  }
  checkUnshown(rows, reader);
}

function checkUnshown(rows: MapStore, reader: Database): void {
  const unshown = new Map<string, number>();
  for (const { table, clock, cells } of rows.states()) {
    if (!isLive(clock)) continue;
    const known = tables[table];
    const columns = known === undefined ? [""] : [];
    if (known !== undefined) {
      for (const { column, value } of cells) {
        if (!known.values.includes(column) || isUnshown(column, value)) columns.push(column);
      }
    }
    for (const column of columns) {
      const name = `${table}.${column}`;
      unshown.set(name, (unshown.get(name) ?? 0) + 1);
    }
  }
  const counted = reader
    .all("SELECT tbl, col, cells FROM patina_unshown WHERE cells <> 0")
    .map(([table, column, cells]) => `${table}.${column} ${cells}`);
  const expected = [...unshown].map(([name, count]) => `${name} ${count}`);
  same("unshown", counted.sort().join(), expected.sort().join());
}

export function scanStates(store: SqliteStore): RowState[] {
  const states: RowState[] = [];
  let position: ScanPosition | undefined;
  do {
    const { rows, next } = store.scan(position, 100);
    for (const [at, state] of store.read(rows).entries()) {
      if (state === undefined) throw new Error(`scanned and not read: ${rows[at]?.id}`);
      states.push(state);
    }
    position = next;
  } while (position !== undefined);
  return states;
}

interface StateLike {
  readonly rows: MapStore | readonly RowState[];
  readonly probe: number;
}

const texts = new WeakMap<StateLike, string>();

/** The same for states that are equal but for the version. */
export function textOfState(state: StateLike): string {
  let text = texts.get(state);
  if (text === undefined) {
    const rows = state.rows instanceof MapStore ? [...state.rows.states()] : state.rows;
    text = `probe ${state.probe} rows ${textOfRows(rows)}`;
    texts.set(state, text);
  }
  return text;
}

export function textOfRows(rows: readonly RowState[]): string {
  const lines = rows.map((row) => {
    const writer = new ByteWriter(256);
    writeRowBlock(writer, [row]);
    return `${row.table} ${bytesToHex(row.key)} ${Bun.hash(writer.finish()).toString(36)}`;
  });
  return lines.sort().join("\n");
}

export function textOf(value: unknown): string {
  return JSON.stringify(value, (_, inner) =>
    inner instanceof Uint8Array ? `${inner.length} ${Bun.hash(inner)}` : inner,
  );
}

/** @throws when they differ */
export function same(what: string, got: unknown, expected: unknown): void {
  if (got !== expected) throw new Error(`${what}\n     got: ${got}\nexpected: ${expected}`);
}

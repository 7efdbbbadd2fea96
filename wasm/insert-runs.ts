/**
 * A WebAssembly function between SQLite's preupdate hook and ours, which counts the rows of a run of inserts instead of telling each:
 * to be told of one costs more than all else that is done with it until the commit.
 *
 * A run is what comes into one table at one rowid after the other. Its first row is told, and the listener says whether the
 * rest may be counted (`Preupdate` of `core/database.ts`). Whatever else happens is told, with the rows that
 * were counted before it.
 *
 * A connection's state, whose address SQLite hands to the hook:
 *
 * | offset | bytes | what                                        |
 * | ------ | ----- | ------------------------------------------- |
 * | 0      | 4     | the number of the connection's hooks        |
 * | 4      | 4     | address of the table's name                 |
 * | 8      | 8     | the rowid that is counted if it comes next  |
 * | 16     | 4     | how many more may be counted                |
 *
 * @module
 */

import { SQLITE_INSERT } from "./constants.ts";
import type { Heap } from "./heap.ts";
import { I32, I64, section, text, unsigned } from "./trampoline.ts";

export const insertRunBytes = 24;
/** Then one is told: who listens may have a limit. */
const countedMax = 4096;

/** The state of one connection. */
export class InsertRun {
  readonly address: number;
  readonly #heap: Heap;
  /** May be counted since the last one that was told. */
  #allowed = 0;

  constructor(heap: Heap, address: number, hooks: number) {
    this.#heap = heap;
    this.address = address;
    heap.i32[address >> 2] = hooks;
    heap.i32[(address >> 2) + 4] = 0;
  }

  /** Rows that come after the one at `rowid` may be counted. */
  begin(zTable: number, rowid: number | bigint): void {
    const next = Number(rowid) + 1;
    if (!Number.isSafeInteger(next + countedMax)) return;
    const { i32 } = this.#heap;
    const word = this.address >> 2;
    i32[word + 1] = zTable;
    i32[word + 2] = next;
    i32[word + 3] = Math.floor(next / 2 ** 32);
    i32[word + 4] = countedMax;
    this.#allowed = countedMax;
  }

  /** Ends the run. @returns how many rows of it were counted */
  end(): number {
    if (this.#allowed === 0) return 0;
    const { i32 } = this.#heap;
    const left = (this.address >> 2) + 4;
    const counted = this.#allowed - (i32[left] as number);
    i32[left] = 0;
    this.#allowed = 0;
    return counted;
  }
}

const call = 0x10;
const end = 0x0b;
const returns = 0x0f;
const when = [0x04, 0x40];
const get = (local: number): number[] => [0x20, local];
const equal = 0x46;
const load = (offset: number): number[] => [0x28, 2, offset];

// Parameters of the hook: state, database, operation, its schema's name, the table's; rowids before and after.
const params = [I32, I32, I32, I32, I32, I64, I64];
const body = [
  0x00,
  ...[...get(0), ...load(16), ...when],
  ...[...get(2), 0x41, SQLITE_INSERT, equal, ...when],
  ...[...get(4), ...get(0), ...load(4), equal, ...when],
  ...[...get(6), ...get(0), 0x29, 3, 8, 0x51, ...when],
  // The next rowid, and one less.
  ...[...get(0), ...get(6), 0x42, 1, 0x7c, 0x37, 3, 8],
  ...[...get(0), ...get(0), ...load(16), 0x41, 1, 0x6b, 0x36, 2, 16],
  ...[returns, end, end, end, end],
  ...[...get(0), ...load(0)],
  ...params.slice(1).flatMap((_, i) => get(i + 1)),
  ...[call, 0, end],
];

/** @param told What is called for what isn't counted, with the number of the connection's hooks for the state. */
export function createInsertGate(
  memory: WebAssembly.Memory,
  told: CallableFunction,
): CallableFunction {
  const bytes = new Uint8Array([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, [[0x60, ...unsigned(params.length), ...params, 0]]),
    ...section(2, [
      [...text("t"), ...text("told"), 0x00, 0],
      [...text("m"), ...text("memory"), 0x02, 0x00, 0x00],
    ]),
    ...section(3, [[0]]),
    ...section(7, [[...text("gate"), 0x00, 1]]),
    ...section(10, [[...unsigned(body.length), ...body]]),
  ]);
  const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), {
    t: { told } as unknown as Bun.WebAssembly.ModuleImports,
    m: { memory },
  });
  return (instance.exports as { readonly gate: CallableFunction }).gate;
}

/**
 * SQLite's functions whose time is the product of two values' sizes, with a bound: for a thread that can't be ended
 * while WebAssembly runs in it (JavaScriptCore looks for that only between calls), and would compute for hours.
 *
 * The work itself is SQLite's own: a connection of its own calls what is replaced here. GLOB and LIKE aren't among them, for
 * SQLite uses an index only for its own; they have patterns of 500 bytes at most.
 *
 * @module
 */

import { RawText, type SqlValue } from "../../core/row/value.ts";
import { type Database, openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";

/** Of comparisons of a byte: some seconds at most, and nearly always far less. */
const workMax = 2 ** 32;
/** The same where each character is compared with every one of a set: that takes 16 times as long. */
const setWorkMax = 2 ** 28;

const functions: readonly (readonly [name: string, argc: number, workMax: number])[] = [
  ["instr", 2, workMax],
  ["json_patch", 2, workMax],
  ["jsonb_patch", 2, workMax],
  ["ltrim", 2, setWorkMax],
  ["replace", 3, workMax],
  ["rtrim", 2, setWorkMax],
  ["trim", 2, setWorkMax],
  ["unhex", 2, setWorkMax],
];

/** What SQLite's JSON functions know each other's results by ("J"). */
const jsonSubtype = 0x4a;

/** @param isOver the statement's time is over, or nobody wants it any more */
export function addSteepFunctions(database: Database, isOver: () => boolean): void {
  let scratch: Database | undefined;
  for (const [name, argc, max] of functions) {
    const marks = new Array(argc).fill("?").join(", ");
    let call: ((values: readonly SqlValue[]) => SqlValue) | undefined;
    const subtype = name === "json_patch" ? jsonSubtype : undefined;
    const options = { deterministic: true, innocuous: true, subtype };
    database.createFunction(name, argc, options, (...values): SqlValue => {
      const [whole = null, part = null] = values;
      if (bytesOf(whole) * bytesOf(part) > max) {
        throw new Error(`${name}() of values that are both so large would take too long`);
      }
      // Between two calls SQLite itself may not look.
      if (isOver()) throw new Error("interrupted");
      scratch ??= openDatabase("/steep.db", { vfs: new MemoryVfs() });
      call ??= callOf(scratch, `SELECT ${name}(${marks})`);
      return call(values);
    });
  }
}

function callOf(database: Database, sql: string): (values: readonly SqlValue[]) => SqlValue {
  const statement = database.prepare(sql);
  return (values) => {
    try {
      values.forEach((value, at) => {
        statement.bind(at + 1, value);
      });
      statement.step();
      return statement.column(0);
    } finally {
      statement.reset();
    }
  };
}

/** At least about: a number is a text of some characters. */
function bytesOf(value: SqlValue): number {
  if (typeof value === "string" || value instanceof Uint8Array) return value.length;
  return value instanceof RawText ? value.bytes.length : 20;
}

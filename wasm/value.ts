/**
 * `sqlite3_value` and function results: values as hooks and functions see them, and the way back.
 *
 * @module
 */

import type { ByteWriter } from "../core/bytes/writer.ts";
import { RawText, Real, type SqlValue } from "../core/row/value.ts";
import { SQLITE_BLOB, SQLITE_FLOAT, SQLITE_INTEGER, SQLITE_TEXT } from "./constants.ts";
import type { RunningSqlite } from "./running-sqlite.ts";

const SQLITE_TRANSIENT = -1;

/** The value at this address, exactly. TEXT and BLOB are copies. */
export function readValueAt(module: RunningSqlite, pointer: number): SqlValue {
  const exports = module.exports;
  switch (exports.sqlite3_value_type(pointer)) {
    case SQLITE_INTEGER: {
      // See Statement.columnInteger.
      const value = exports.sqlite3_value_double(pointer);
      return Number.isSafeInteger(value) ? value : exports.sqlite3_value_int64(pointer);
    }
    case SQLITE_FLOAT:
      return new Real(exports.sqlite3_value_double(pointer));
    case SQLITE_TEXT: {
      const text = exports.sqlite3_value_text(pointer);
      return module.heap.text(text, exports.sqlite3_value_bytes(pointer));
    }
    case SQLITE_BLOB: {
      const blob = exports.sqlite3_value_blob(pointer);
      const bytes = exports.sqlite3_value_bytes(pointer);
      return bytes === 0 ? new Uint8Array(0) : module.heap.bytes(blob, bytes);
    }
    default:
      return null;
  }
}

/** A TEXT or BLOB of bytes in the heap. */
export function writeBytes(
  { heap }: RunningSqlite,
  writer: ByteWriter,
  tag: number,
  pointer: number,
  bytes: number,
): void {
  writer.u8(tag);
  writer.varint(bytes);
  writer.copy(heap.u8, pointer, pointer + bytes);
}

/** Makes `value` the result of the function running in `context`. */
export function writeResult(module: RunningSqlite, context: number, value: SqlValue): void {
  const exports = module.exports;
  if (value === null) exports.sqlite3_result_null(context);
  else if (typeof value === "number") {
    if (!Number.isSafeInteger(value)) {
      throw new RangeError(`a number stands for an INTEGER and must be a safe one: ${value}`);
    }
    module.calls.sqlite3_result_int64(context, value);
  } else if (typeof value === "bigint") {
    if (BigInt.asIntN(64, value) !== value) throw new RangeError(`not within int64: ${value}`);
    exports.sqlite3_result_int64(context, value);
  } else if (value instanceof Real) exports.sqlite3_result_double(context, value.real);
  else if (typeof value === "string") {
    const bytesMax = value.length * 3;
    withBytes(module, bytesMax, (pointer) => {
      const bytes = module.heap.writeText(value, pointer, bytesMax);
      exports.sqlite3_result_text(context, pointer, bytes, SQLITE_TRANSIENT);
    });
  } else if (value instanceof RawText || value instanceof Uint8Array) {
    const bytes = value instanceof RawText ? value.bytes : value;
    withBytes(module, bytes.length, (pointer) => {
      module.heap.writeBytes(bytes, pointer);
      if (value instanceof RawText) {
        exports.sqlite3_result_text(context, pointer, bytes.length, SQLITE_TRANSIENT);
      } else exports.sqlite3_result_blob(context, pointer, bytes.length, SQLITE_TRANSIENT);
    });
  } else throw new TypeError(`not a value of SQL: ${typeof value}`);
}

/** Makes the function running in `context` fail with this message. */
export function writeResultError(module: RunningSqlite, context: number, message: string): void {
  const bytesMax = message.length * 3;
  withBytes(module, bytesMax, (pointer) => {
    const bytes = module.heap.writeText(message, pointer, bytesMax);
    module.exports.sqlite3_result_error(context, pointer, bytes);
  });
}

function withBytes(module: RunningSqlite, bytes: number, use: (pointer: number) => void): void {
  const pointer = module.allocate(Math.max(bytes, 1));
  try {
    use(pointer);
  } finally {
    module.free(pointer);
  }
}

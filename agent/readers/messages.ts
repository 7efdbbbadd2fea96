/**
 * What crosses between the store thread and the reader thread: plain data, bytes transferred.
 *
 * The store thread hands over a query with a lent snapshot (wasm/vfs/lent.ts). The reader thread answers with pieces, as
 * many as it has credit for, and one `ended`. A query that is cancelled finds that in shared memory, one
 * word for each lane, since the thread that runs it can't take messages meanwhile.
 *
 * @module
 */

import { RawText, Real, type SqlValue } from "../../core/row/value.ts";
import type { LentFiles } from "../../wasm/vfs/lent.ts";
import type { RowShape } from "../live/read-row.ts";
import type { ReadRow } from "../live/rows/row.ts";
import type { GoneRows, RowHashes } from "../live/rows/row-hashes.ts";

/** A value as structured clone keeps it: it would make plain objects of our classes. */
export type PlainValue =
  | null
  | number
  | bigint
  | string
  | Uint8Array
  | { readonly real: number }
  | { readonly rawText: Uint8Array };

export type PlainParameters = readonly PlainValue[] | ReadonlyMap<string, PlainValue> | undefined;

export interface ReadRequest {
  readonly id: number;
  /** A connection of the reader thread's, which runs nothing else until this has ended. */
  readonly lane: number;
  readonly sql: string;
  readonly parameters: PlainParameters;
  /** The wal-index of the snapshot. */
  readonly regions: readonly Uint8Array<ArrayBuffer>[];
  /** That the statement was checked under; another one refuses it. */
  readonly schemaVersion: number;
  /** Of running, not counting what is waited for the client. */
  readonly timeoutMs: number;
  readonly bytesMax: number;
  /** What `hlc_time()` tells. */
  readonly hlcMs: number;
  /** Rows in this shape; undefined: lines of JSON. */
  readonly shape: RowShape | undefined;
  /** Then of these rows only those that are others, and at the end which are no more. */
  readonly known?: RowHashes;
  /** How many pieces may be sent before more are asked for. */
  readonly credit: number;
}

export interface ReaderOptions {
  readonly databasePath: string;
  readonly files: LentFiles;
  /** Compiled SQLite. */
  readonly module: WebAssembly.Module;
  /** Of all queries of the thread together: sorting and grouping take what they need. */
  readonly heapBytesMax: number;
  /** One int32 for each lane; not 0: stop. */
  readonly cancelled: Int32Array;
  /** What it is at (`turn-watch.ts`). This and `cancelled` are in shared memory. */
  readonly turns: Int32Array;
}

export type ToReader =
  | { readonly kind: "start"; readonly options: ReaderOptions }
  | { readonly kind: "read"; readonly request: ReadRequest }
  | { readonly kind: "credit"; readonly id: number; readonly pieces: number };

/** Lines of JSON; or rows, and where some were known, which of these are gone. */
export type Piece = Uint8Array<ArrayBuffer> | readonly ReadRow[] | GoneRows;

export type FromReader =
  | { readonly kind: "piece"; readonly id: number; readonly piece: Piece }
  | {
      readonly kind: "ended";
      readonly id: number;
      /** What went wrong; undefined when the last row was read. */
      readonly why: string | undefined;
      readonly runMs: number;
      /** Of the thread's SQLite, which never gives memory back. */
      readonly heapBytes: number;
    }
  /** Nothing can be relied on in this thread any more. */
  | { readonly kind: "broken"; readonly why: string };

export function toPlain(
  parameters: readonly SqlValue[] | ReadonlyMap<string, SqlValue> | undefined,
): PlainParameters {
  if (parameters === undefined) return undefined;
  if (Array.isArray(parameters)) return parameters.map(plainValue);
  return new Map([...(parameters as ReadonlyMap<string, SqlValue>)].map(plainEntry));
}

export function fromPlain(
  parameters: PlainParameters,
): readonly SqlValue[] | ReadonlyMap<string, SqlValue> | undefined {
  if (parameters === undefined) return undefined;
  if (Array.isArray(parameters)) return parameters.map(sqlValue);
  const entries = [...(parameters as ReadonlyMap<string, PlainValue>)];
  return new Map(entries.map(([name, value]) => [name, sqlValue(value)]));
}

function plainEntry([name, value]: readonly [string, SqlValue]): [string, PlainValue] {
  return [name, plainValue(value)];
}

function plainValue(value: SqlValue): PlainValue {
  if (value instanceof Real) return { real: value.real };
  return value instanceof RawText ? { rawText: value.bytes } : value;
}

function sqlValue(value: PlainValue): SqlValue {
  if (value === null || typeof value !== "object" || value instanceof Uint8Array) return value;
  return "real" in value ? new Real(value.real) : new RawText(value.rawText);
}

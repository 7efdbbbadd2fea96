/**
 * The reader thread's work: runs one statement after another on lent snapshots, and hands its rows on in
 * pieces.
 *
 * A statement runs until it has a piece or its time is over, which nothing can interrupt but the word that
 * cancels it. Between pieces others have their turn, and one that has no credit waits on its row.
 *
 * @module
 */

import { valueBytesMax } from "../../core/row/value.ts";
import { SQLITE_LIMIT_LENGTH, SQLITE_NOMEM } from "../../wasm/constants.ts";
import type { Database } from "../../wasm/database.ts";
import { SqliteError } from "../../wasm/error.ts";
import { loadSqlite } from "../../wasm/module.ts";
import type { Statement } from "../../wasm/statement.ts";
import { LentVfs } from "../../wasm/vfs/lent.ts";
import { NotUtf8Error } from "../api/json-writer.ts";
import { lengthBytesMax, openReader } from "../data/database-files.ts";
import { stepUnclocked } from "../live/plan/changing-functions.ts";
import { readRow } from "../live/read-row.ts";
import type { ReadRow } from "../live/rows/row.ts";
import { HashClaims, type RowHashes } from "../live/rows/row-hashes.ts";
import { addClockFunctions } from "../sql/functions.ts";
import { LineWriter } from "../sql/line-writer.ts";
import { bindParameters, errorText, SqlRefused } from "../sql/prepared.ts";
import { eoqLine, QueryRunner, tooManyBytes } from "../sql/query-runner.ts";
import { addSteepFunctions } from "../sql/steep-functions.ts";
import {
  type FromReader,
  fromPlain,
  type Piece,
  type ReaderOptions,
  type ReadRequest,
  type ToReader,
} from "./messages.ts";
import { TurnCount } from "./turn-watch.ts";

/** A piece of lines has about this size, one of rows this many. */
const pieceBytesMin = 64 * 1024;
const pieceRows = 500;

/** One connection. */
interface Lane {
  readonly number: number;
  readonly vfs: LentVfs;
  readonly database: Database;
  readonly runner: QueryRunner;
  hlcMs: number;
  schemaVersion: number;
}

interface Running {
  credit: number;
  wake: (() => void) | undefined;
}

export class ReaderRunner {
  readonly #post: (message: FromReader, transfer: ArrayBuffer[]) => void;
  readonly #options: ReaderOptions;
  readonly #turns: TurnCount;
  readonly #lanes: (Lane | undefined)[] = [];
  readonly #running = new Map<number, Running>();

  constructor(
    options: ReaderOptions,
    post: (message: FromReader, transfer: ArrayBuffer[]) => void,
  ) {
    this.#options = options;
    this.#turns = new TurnCount(options.turns);
    this.#post = post;
  }

  onMessage(message: Exclude<ToReader, { kind: "start" }>): void {
    switch (message.kind) {
      case "read":
        void this.#run(message.request);
        return;
      case "credit": {
        const running = this.#running.get(message.id);
        if (running === undefined) return;
        running.credit += message.pieces;
        running.wake?.();
        return;
      }
      default:
        message satisfies never;
    }
  }

  async #run(request: ReadRequest): Promise<void> {
    const { id, timeoutMs } = request;
    const running: Running = { credit: request.credit, wake: undefined };
    this.#running.set(id, running);
    let why: string | undefined;
    let runMs = 0;
    try {
      const lane = this.#lane(request);
      lane.hlcMs = request.hlcMs;
      this.#heedSchema(lane, request);
      const pieces = this.#pieces(lane, request);
      try {
        for (;;) {
          const begunMs = performance.now();
          const { value, done } = this.#turn(pieces, lane, timeoutMs - runMs);
          runMs += performance.now() - begunMs;
          if (done === true) break;
          const transfer = value instanceof Uint8Array ? [value.buffer] : [];
          if ("gone" in value) transfer.push(value.gone.buffer);
          this.#post({ kind: "piece", id, piece: value }, transfer);
          running.credit--;
          // Others have their turn, and what was said meanwhile is heard.
          await new Promise((resolve) => setImmediate(resolve));
          while (running.credit <= 0 && !this.#isCancelled(request.lane)) {
            await new Promise<void>((resolve) => (running.wake = resolve));
          }
        }
      } finally {
        // Gives up the read transaction.
        pieces.return(undefined);
      }
    } catch (error) {
      why = error instanceof Error ? error.message : String(error);
    }
    this.#running.delete(id);
    const { heap, trap } = loadSqlite();
    if (trap !== null) this.#post({ kind: "broken", why: trap.message }, []);
    else this.#post({ kind: "ended", id, why, runMs, heapBytes: heap.u8.length }, []);
  }

  /** The next piece, within what is left of the query's time. */
  #turn(pieces: Iterator<Piece>, lane: Lane, leftMs: number): IteratorResult<Piece> {
    const { guard, deadline } = lane.runner;
    this.#turns.begin(lane.number);
    try {
      return guard.within("read", () => deadline.within(leftMs, () => this.#next(pieces, lane)));
    } finally {
      this.#turns.end();
    }
  }

  /** What goes wrong while SQLite runs, in words for the client. */
  #next(pieces: Iterator<Piece>, lane: Lane): IteratorResult<Piece> {
    try {
      return pieces.next();
    } catch (error) {
      if (error instanceof NotUtf8Error) throw error;
      if (error instanceof SqliteError && error.code === SQLITE_NOMEM) {
        const megabytes = this.#options.heapBytesMax / 2 ** 20;
        throw new Error(`out of memory: a query may take ${megabytes} MB`, { cause: error });
      }
      throw new Error(errorText(error, lane.runner.guard), { cause: error });
    }
  }

  *#pieces(lane: Lane, request: ReadRequest): Generator<Piece, undefined, undefined> {
    const prepared = lane.runner.prepared.get(request.sql);
    if (prepared === "empty") throw new SqlRefused("there is no statement in this text");
    const { statement } = prepared;
    if (!statement.readonly) throw new SqlRefused("statement is not readonly");
    // A pattern and a text of 64 MB: minutes that nothing interrupts. None larger than what is kept.
    const bytesMax = prepared.isSteep ? valueBytesMax : lengthBytesMax;
    lane.database.limit(SQLITE_LIMIT_LENGTH, bytesMax);
    lane.runner.deadline.expect(prepared.isSteep);
    bindParameters(statement, fromPlain(request.parameters));
    try {
      yield* request.shape === undefined
        ? linePieces(statement, request.bytesMax)
        : rowPieces(statement, request.shape, request.known);
    } finally {
      statement.reset();
    }
  }

  /** SQLite compiles a statement anew by itself, but what is known of its columns is kept here. */
  #heedSchema(lane: Lane, request: ReadRequest): void {
    const schemaVersion = Number(lane.database.pragma("schema_version"));
    if (schemaVersion !== lane.schemaVersion) {
      // A connection hears of it at the next step of a statement, and not when one is compiled.
      lane.database.all("SELECT 1 FROM sqlite_schema LIMIT 1");
      lane.runner.prepared.clear();
    }
    lane.schemaVersion = schemaVersion;
    // A live query's run is given up by itself where the schema has made it another query.
    if (request.shape === undefined && request.schemaVersion !== schemaVersion) {
      throw new SqlRefused("the schema changed: ask again");
    }
  }

  #isCancelled(lane: number): boolean {
    return Atomics.load(this.#options.cancelled, lane) !== 0;
  }

  /** The lane's connection, on the snapshot. */
  #lane({ lane: number, regions }: ReadRequest): Lane {
    const known = this.#lanes[number];
    if (known !== undefined) {
      known.vfs.lend(regions);
      return known;
    }
    const { databasePath, files, module, heapBytesMax } = this.#options;
    const vfs = new LentVfs(`lent-${number}`, loadSqlite(module).heap, files);
    // Before it is opened: it reads the schema then.
    vfs.lend(regions);
    const database = openReader(databasePath, vfs, { cacheKib, heapBytesMax });
    const isCancelled = (): boolean => this.#isCancelled(number);
    const runner = new QueryRunner(database, { timeoutMs: 0, resultBytesMax: 0 }, { isCancelled });
    const lane: Lane = { number, vfs, database, runner, hlcMs: 0, schemaVersion: -1 };
    addClockFunctions(database, () => lane.hlcMs);
    addSteepFunctions(database, () => runner.deadline.isOver || isCancelled());
    this.#lanes[number] = lane;
    return lane;
  }
}

/** Of each lane. */
const cacheKib = 2048;

function* linePieces(statement: Statement, bytesMax: number): Generator<Piece, undefined> {
  const begunMs = performance.now();
  const lines = new LineWriter();
  let bytes = 0;
  for (let row = 1; statement.step(); row++) {
    lines.row(row, statement);
    if (lines.length < pieceBytesMin) continue;
    bytes += lines.length;
    if (bytes > bytesMax) throw tooManyBytes(bytesMax);
    yield lines.take();
  }
  lines.ascii(eoqLine(performance.now() - begunMs));
  yield lines.take();
  return undefined;
}

function* rowPieces(
  statement: Statement,
  shape: NonNullable<ReadRequest["shape"]>,
  known: RowHashes | undefined,
): Generator<Piece, undefined> {
  const begunMs = performance.now();
  const claims = known === undefined ? undefined : new HashClaims(known);
  let rows: ReadRow[] = [];
  let chars = 0;
  let waitedMs = 0;
  while (stepUnclocked(statement)) {
    const row = readRow(statement, shape);
    chars += row.cells.length;
    if (claims?.claim(row) === true) continue;
    rows.push(row);
    if (rows.length < pieceRows) continue;
    const fromMs = performance.now();
    yield rows;
    waitedMs += performance.now() - fromMs;
    rows = [];
  }
  const runMs = performance.now() - begunMs - waitedMs;
  if (rows.length > 0) yield rows;
  if (claims !== undefined) yield { gone: claims.unclaimed(), chars, runMs };
  return undefined;
}

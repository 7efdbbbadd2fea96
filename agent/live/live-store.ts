/**
 * What of live queries outlives the agent, in two local tables of the database.
 *
 * Not their results: those are in the database already. What a reader that comes back has to find
 * again is which id each row was told under, and the last changes.
 *
 * | table           | a row is                                                                         |
 * | --------------- | -------------------------------------------------------------------------------- |
 * | patina_live     | a subscription: its text, and its rows as of change `change_id`, in `rows`        |
 * | patina_live_log | what was told at once, of all subscriptions; written before anybody is told       |
 *
 * `rows`, for each row: its id (6 bytes), a hash of its identity (8) and of its cells (8), little-endian.
 * `cells` is a JSON list of the cells themselves in the same order, or NULL where they are many. `body`: a line `#ord` for
 * each subscription, then for each of its changes 13 characters, a hash of the identity in base 36, and
 * the line as readers got it.
 *
 * So a restart runs each query once, and compares: where hashes agree, the row is the one that readers
 * have. Nothing is believed that doesn't agree, whoever wrote to the file in between.
 *
 * @module
 */

import type { Database } from "../../wasm/database.ts";
import type { Statement } from "../../wasm/statement.ts";
import type { Change } from "./changes.ts";
import { atOnce } from "./slices.ts";
import type { Subscription } from "./subscription.ts";

/** A row as readers have it. */
export interface KnownRow {
  identity: bigint;
  cellsHash: bigint;
  /** Undefined where only the hash was kept. */
  cells: string | undefined;
}

export interface StoredSubscription {
  readonly ord: number;
  readonly id: string;
  readonly sql: string;
  readonly columnsJson: string;
  /** As of which its rows are saved: later ones are in the log, and nowhere else. */
  readonly savedChangeId: number;
  readonly lastChangeId: number;
  readonly lastRowId: number;
  /** By row id, with all changes taken in. */
  readonly rows: ReadonlyMap<number, KnownRow>;
  /** Lines of the changes that are kept, contiguous, the last of `lastChangeId`. */
  readonly lines: readonly string[];
}

/** What is told of one subscription. */
export interface LogPart {
  readonly ord: number;
  readonly changes: readonly Change[];
  /** Of the last of them. */
  readonly lastChangeId: number;
}

/** What was told at once. */
export interface LogRecord {
  readonly seq: number;
  readonly chars: number;
  readonly parts: readonly { readonly ord: number; readonly lastChangeId: number }[];
}

/** Up to here a subscription's cells are kept, so that any change can be told: what a row was that went. */
const cellsCharsMax = 256 * 1024;
const synchronousFull = 2;
const rowBytes = 22;
const hashChars = 13;

export class LiveStore {
  readonly #database: Database;
  /** Every COMMIT of others is synced. */
  readonly #isFull: boolean;
  readonly #begin: Statement;
  readonly #commit: Statement;
  readonly #save: Statement;
  readonly #remove: Statement;
  readonly #append: Statement;
  readonly #trim: Statement;
  /** Called before each transaction; what it throws keeps it from beginning. */
  before: (() => void) | undefined;
  /** What the file has is another's, and can't be removed yet. */
  #isVoid = false;
  #lastOrd = 0;
  #lastSeq = 0;

  /** Makes the tables where there are none, in a transaction of the caller's or in its own. */
  constructor(database: Database) {
    this.#database = database;
    database.exec(
      "CREATE TABLE IF NOT EXISTS patina_live (ord INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, sql TEXT NOT NULL, columns TEXT NOT NULL, change_id INTEGER NOT NULL, last_row_id INTEGER NOT NULL, rows BLOB NOT NULL, cells TEXT)",
    );
    database.exec(
      "CREATE TABLE IF NOT EXISTS patina_live_log (seq INTEGER PRIMARY KEY, body TEXT NOT NULL)",
    );
    this.#isFull = Number(database.all("PRAGMA synchronous")[0]?.[0]) >= synchronousFull;
    this.#begin = database.prepare("BEGIN IMMEDIATE");
    this.#commit = database.prepare("COMMIT");
    this.#save = database.prepare(
      "INSERT OR REPLACE INTO patina_live VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    );
    this.#remove = database.prepare("DELETE FROM patina_live WHERE ord = ?");
    this.#append = database.prepare("INSERT INTO patina_live_log (seq, body) VALUES (?, ?)");
    this.#trim = database.prepare("DELETE FROM patina_live_log WHERE seq <= ?");
  }

  nextOrd(): number {
    return ++this.#lastOrd;
  }

  /** To be called inside a transaction, or to be one. */
  clear(): void {
    this.#isVoid = false;
    this.#database.exec("DELETE FROM patina_live; DELETE FROM patina_live_log");
  }

  /** Counts for nothing until it can be {@link clear}ed. */
  disown(): void {
    this.#isVoid = true;
  }

  /**
   * Runs `use` in a transaction. It isn't synced: what is here is forgotten once the machine went down.
   *
   * @throws SqliteError, and what `use` throws: then nothing is written
   */
  within(use: () => void): void {
    this.before?.();
    if (!this.#isFull) {
      this.#within(use);
      return;
    }
    this.#database.exec("PRAGMA synchronous = NORMAL");
    try {
      this.#within(use);
    } finally {
      this.#database.exec("PRAGMA synchronous = FULL");
    }
  }

  #within(use: () => void): void {
    runOnce(this.#begin);
    try {
      use();
      runOnce(this.#commit);
    } catch (error) {
      if (!this.#database.autocommit) this.#database.exec("ROLLBACK");
      throw error;
    }
  }

  /** @param image of the subscription; undefined: as it is now */
  save(ord: number, subscription: Subscription, image?: RowsImage): void {
    const { id, sql, columnsJson } = subscription;
    const { changeId, lastRowId, bytes, cells } = image ?? atOnce(rowsImage(subscription));
    this.#save.run(ord, id, sql, columnsJson, changeId, lastRowId, bytes, cells);
  }

  remove(ord: number): void {
    this.#remove.run(ord);
  }

  append(parts: readonly LogPart[]): LogRecord {
    let body = "";
    for (const { ord, changes } of parts) {
      body += `#${ord}\n`;
      for (const { identity, line } of changes) {
        body += hashOf(identity).toString(36).padStart(hashChars, "0") + line;
      }
    }
    const seq = this.#lastSeq + 1;
    this.#append.bind(1, seq);
    this.#append.bind(2, body);
    runOnce(this.#append);
    // A transaction that is rolled back leaves a gap.
    this.#lastSeq = seq;
    const told = parts.map(({ ord, lastChangeId }) => ({ ord, lastChangeId }));
    return { seq, chars: body.length, parts: told };
  }

  /** Keeps no record up to `seq`. */
  trim(seq: number): void {
    this.#trim.run(seq);
  }

  load(): { readonly stored: StoredSubscription[]; readonly log: LogRecord[] } {
    if (this.#isVoid) return { stored: [], log: [] };
    const stored = new Map<number, Mutable>();
    for (const row of this.#database.all("SELECT * FROM patina_live ORDER BY ord")) {
      const [ord, id, sql, columnsJson, changeId, lastRowId, rows, cells] = row;
      this.#lastOrd = Number(ord);
      stored.set(Number(ord), {
        ord: Number(ord),
        id: String(id),
        sql: String(sql),
        columnsJson: String(columnsJson),
        savedChangeId: Number(changeId),
        lastChangeId: Number(changeId),
        lastRowId: Number(lastRowId),
        rows: decodeRows(
          rows as Uint8Array,
          cells === null ? undefined : JSON.parse(String(cells)),
        ),
        lines: [],
      });
    }
    const log: LogRecord[] = [];
    using statement = this.#database.prepare("SELECT seq, body FROM patina_live_log ORDER BY seq");
    while (statement.step()) {
      const seq = statement.columnNumber(0);
      const body = statement.columnText(1);
      this.#lastSeq = seq;
      const parts = replay(body, stored);
      log.push({ seq, chars: body.length, parts });
      // What was told of one that is forgotten by now would be taken for another's of the same number.
      for (const { ord } of parts) this.#lastOrd = Math.max(this.#lastOrd, ord);
    }
    return { stored: [...stored.values()], log };
  }
}

/** A subscription's rows, as of one change. */
export interface RowsImage {
  readonly changeId: number;
  readonly lastRowId: number;
  readonly bytes: Uint8Array;
  readonly cells: string | null;
}

/** Its rows as they are taken in by now; after each of them it may rest, and it may go on meanwhile. */
export function* rowsImage(subscription: Subscription): Generator<undefined, RowsImage> {
  const { history, lastRowId } = subscription;
  const changeId = history.lastId;
  const snapshot = subscription.held.snapshot();
  const bytes = new Uint8Array(snapshot.count * rowBytes);
  const view = new DataView(bytes.buffer);
  const cells: string[] = [];
  let cellsChars = 0;
  let at = 0;
  for (const { identity, row } of snapshot.rows()) {
    yield undefined;
    view.setUint32(at, row.rowId % 2 ** 32, true);
    view.setUint16(at + 4, Math.floor(row.rowId / 2 ** 32), true);
    view.setBigUint64(at + 6, hashOf(identity), true);
    view.setBigUint64(at + 14, hashOf(row.cells), true);
    at += rowBytes;
    cellsChars += row.cells.length;
    if (cellsChars <= cellsCharsMax) cells.push(row.cells);
  }
  const kept = cellsChars <= cellsCharsMax ? JSON.stringify(cells) : null;
  return { changeId, lastRowId, bytes, cells: kept };
}

function runOnce(statement: Statement): void {
  try {
    while (statement.step());
  } finally {
    statement.reset();
  }
}

type Mutable = {
  -readonly [K in keyof StoredSubscription]: StoredSubscription[K] extends ReadonlyMap<
    infer A,
    infer B
  >
    ? Map<A, B>
    : StoredSubscription[K] extends readonly (infer A)[]
      ? A[]
      : StoredSubscription[K];
};

/** Takes in a commit's changes. What was taken in already is only kept for readers that come back. */
function replay(
  body: string,
  stored: ReadonlyMap<number, Mutable>,
): { ord: number; lastChangeId: number }[] {
  const parts: { ord: number; lastChangeId: number }[] = [];
  let one: Mutable | undefined;
  for (const text of body.split("\n")) {
    if (text.startsWith("#")) {
      const ord = Number(text.slice(1));
      one = stored.get(ord);
      parts.push({ ord, lastChangeId: 0 });
      continue;
    }
    if (text === "" || one === undefined) continue;
    const line = `${text.slice(hashChars)}\n`;
    const { type, rowId, cells, changeId } = parseLine(line);
    (parts.at(-1) as { lastChangeId: number }).lastChangeId = changeId;
    one.lines.push(line);
    if (changeId <= one.lastChangeId) continue;
    one.lastChangeId = changeId;
    one.lastRowId = Math.max(one.lastRowId, rowId);
    if (type === "delete") one.rows.delete(rowId);
    else {
      const identity = parseHash(text.slice(0, hashChars));
      one.rows.set(rowId, { identity, cellsHash: hashOf(cells), cells });
    }
  }
  return parts;
}

function decodeRows(
  bytes: Uint8Array,
  cells: readonly string[] | undefined,
): Map<number, KnownRow> {
  const rows = new Map<number, KnownRow>();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0, i = 0; at + rowBytes <= bytes.length; at += rowBytes, i++) {
    rows.set(view.getUint32(at, true) + view.getUint16(at + 4, true) * 2 ** 32, {
      identity: view.getBigUint64(at + 6, true),
      cellsHash: view.getBigUint64(at + 14, true),
      cells: cells?.[i],
    });
  }
  return rows;
}

/** Another release's hash may be another: then nothing agrees, and the subscription is given up. */
export function hashOf(text: string): bigint {
  return Bun.hash.wyhash(text);
}

function parseHash(text: string): bigint {
  let hash = 0n;
  for (const char of text) hash = hash * 36n + BigInt(Number.parseInt(char, 36));
  return hash;
}

const head = '{"change":["'.length;

/** `{"change":["insert",1,["a"],7]}`. Only for lines that we wrote. */
function parseLine(line: string): {
  readonly type: string;
  readonly rowId: number;
  readonly cells: string;
  readonly changeId: number;
} {
  const typeEnd = line.indexOf('"', head);
  const rowIdEnd = line.indexOf(",", typeEnd + 2);
  const cellsEnd = line.lastIndexOf(",");
  return {
    type: line.slice(head, typeEnd),
    rowId: Number(line.slice(typeEnd + 2, rowIdEnd)),
    cells: line.slice(rowIdEnd + 1, cellsEnd),
    changeId: Number(line.slice(cellsEnd + 1, line.lastIndexOf("]"))),
  };
}

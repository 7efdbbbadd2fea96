/**
 * `/v1/updates/TABLE`: the keys of rows that changed, as they change; no values, no history.
 *
 * One line a row and transaction: `{"notify":["update",[key…]]}`, or `"delete"` when the row is gone
 * after it. Lines are written in the order of commits here, so that an update that comes after a delete
 * means that the row is back.
 *
 * @module
 */

import { decodeKey } from "../../core/row/key.ts";
import { lowerAscii } from "../../core/row/row-state.ts";
import { utf8 } from "../api/http.ts";
import { NotUtf8Error, sqlValuesToJson } from "../api/json-writer.ts";
import type { StreamListener, SubscribeOutcome } from "../api/store-service.ts";
import type { ChangedRow, TableChanges } from "./table-changes.ts";

interface Feed {
  /** One for each table and run. */
  readonly id: string;
  readonly listeners: Map<number, StreamListener>;
}

export class TableUpdates {
  readonly #isReplicated: (table: string) => boolean;
  readonly #nextSubscriber: () => number;
  readonly #feeds = new Map<string, Feed>();

  constructor(isReplicated: (table: string) => boolean, nextSubscriber: () => number) {
    this.#isReplicated = isReplicated;
    this.#nextSubscriber = nextSubscriber;
  }

  subscribe(name: string, listener: StreamListener): SubscribeOutcome {
    const table = lowerAscii(name);
    if (!this.#isReplicated(table)) {
      return { kind: "refused", status: 400, why: `table not found in schema: ${name}` };
    }
    let feed = this.#feeds.get(table);
    if (feed === undefined) {
      feed = { id: crypto.randomUUID(), listeners: new Map() };
      this.#feeds.set(table, feed);
    }
    const subscriber = this.#nextSubscriber();
    feed.listeners.set(subscriber, listener);
    return { kind: "subscribed", subscriber, id: feed.id, hash: undefined };
  }

  get hasListeners(): boolean {
    return this.#feeds.values().some(({ listeners }) => listeners.size > 0);
  }

  unsubscribe(subscriber: number): void {
    for (const feed of this.#feeds.values()) feed.listeners.delete(subscriber);
  }

  changed(changes: TableChanges): void {
    for (const [table, { listeners }] of this.#feeds) {
      const rows = listeners.size === 0 ? undefined : changes.get(table);
      if (rows === undefined || rows === "unknown") continue;
      const lines = rows.map(notifyLine).join("");
      if (lines === "") continue;
      const bytes = utf8(lines);
      for (const listener of listeners.values())
        listener({ kind: "lines", bytes, isSnapshot: false });
    }
  }

  endAll(): void {
    for (const { listeners } of this.#feeds.values()) {
      for (const listener of listeners.values()) listener({ kind: "end", isCut: true });
      listeners.clear();
    }
  }
}

function notifyLine({ key: bytes, merged }: ChangedRow): string {
  // A row that only moved is the same to everyone.
  if (merged?.changed !== true) return "";
  const isLive = merged.after.clock.cl % 2 === 1;
  try {
    const key = sqlValuesToJson(decodeKey(bytes) ?? []);
    return `{"notify":["${isLive ? "update" : "delete"}",${key}]}\n`;
  } catch (error) {
    if (error instanceof NotUtf8Error) return "";
    throw error;
  }
}

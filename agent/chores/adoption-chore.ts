/**
 * Takes in the rows of tables that became replicated, a slice at a time (`core/store/local/adoption.ts`).
 *
 * @module
 */

import { Adoption, type AdoptionProgress } from "../../core/store/local/adoption.ts";
import type { SqliteStore } from "../../core/store/sqlite-store.ts";
import type { CommitResult } from "../../core/store/store-outcomes.ts";
import type { Database } from "../../wasm/database.ts";
import type { Chore } from "./chores.ts";

export interface AdoptionHost {
  /** This host's clock may stamp writes. */
  readonly mayWrite: () => boolean;
  readonly onCommitted: (commit: CommitResult & { kind: "committed" }) => void;
  readonly onDone: (progress: AdoptionProgress) => void;
}

const askAgainMs = 1000;

export class AdoptionChore implements Chore {
  readonly name = "taking in rows";
  readonly #writer: Database;
  readonly #store: SqliteStore;
  readonly #host: AdoptionHost;
  #current: Adoption<CommitResult> | undefined;
  #notBeforeMs = 0;

  constructor(writer: Database, store: SqliteStore, host: AdoptionHost) {
    this.#writer = writer;
    this.#store = store;
    this.#host = host;
  }

  get dueMs(): number {
    return this.#store.adopting.size > 0 ? this.#notBeforeMs : Number.POSITIVE_INFINITY;
  }

  /** Of the table at hand; undefined when there is none. */
  get progress(): AdoptionProgress | undefined {
    return this.#current?.progress;
  }

  /** Tables that are waiting, the one at hand among them. */
  get tables(): readonly string[] {
    return [...this.#store.adopting];
  }

  run(nowMs: number): void {
    if (!this.#host.mayWrite()) {
      this.#notBeforeMs = nowMs + askAgainMs;
      return;
    }
    this.#current ??= this.#next();
    if (this.#current === undefined) return;
    const { progress } = this.#current;
    const commit = this.#current.slice(nowMs);
    if (commit === undefined) {
      this.#current = undefined;
      this.#host.onDone(progress);
    } else if (commit.kind === "committed") this.#host.onCommitted(commit);
  }

  /** The schema is another: statements and tables are looked up anew. Rows that have clocks stay as they are. */
  schemaChanged(): void {
    this.#current = undefined;
  }

  #next(): Adoption<CommitResult> | undefined {
    const [name] = this.#store.adopting;
    const table = name === undefined ? undefined : this.#store.schema.tables.get(name);
    return table && new Adoption(this.#writer, this.#store, table);
  }
}

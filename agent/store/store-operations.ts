/**
 * What an operator has the store thread do: a backup, and a reload of schema and tokens.
 *
 * @module
 */

import type { Replica } from "../../core/replica/replica.ts";
import type { PlannedSchema } from "../../core/schema/schema.ts";
import type { SqliteStore } from "../../core/store/sqlite-store.ts";
import type { SchemaChanged } from "../../core/store/store-outcomes.ts";
import type { Database } from "../../wasm/database.ts";
import type { Operation, OperationOutcome } from "../api/store-service.ts";
import type { AdoptionChore } from "../chores/adoption-chore.ts";
import type { WallClock } from "../host/wall-clock.ts";
import { Backup, type BackupEvent, backupEvents } from "../operations/backup.ts";
import { backupLines, type OperationLine, toLines } from "../operations/operations.ts";
import { logReload, type ReloadHost, reload, type SchemaOfStore } from "../operations/reload.ts";
import type { StoreThreadOptions } from "./store-thread-options.ts";
import type { StoreTurns } from "./store-turns.ts";

export interface StoreOperationsParts {
  readonly options: StoreThreadOptions;
  readonly writer: Database;
  readonly store: SqliteStore;
  readonly replica: Replica;
  readonly clock: WallClock;
  readonly turns: StoreTurns;
  readonly adoption: AdoptionChore;
  /** The store has another schema; the index doesn't yet. */
  readonly onSchemaChanged: (schema: PlannedSchema) => void;
}

export class StoreOperations {
  readonly #parts: StoreOperationsParts;
  #backup: Backup | undefined;

  constructor(parts: StoreOperationsParts) {
    this.#parts = parts;
  }

  operate(operation: Operation): OperationOutcome {
    const why = this.#whyNot(operation.kind);
    if (why !== undefined) return { kind: "refused", status: 500, why };
    switch (operation.kind) {
      case "backup":
        return { kind: "started", lines: toLines(backupLines(this.#backUp(operation.path))) };
      case "reload":
        return { kind: "started", lines: toLines(this.reload(operation.dryRun)) };
      default:
        return operation satisfies never;
    }
  }

  #whyNot(kind: Operation["kind"]): string | undefined {
    if (this.#parts.turns.isStopped) return "the agent is stopping";
    const isTaken = kind === "backup" && this.#backup?.isEnded === false;
    return isTaken ? "another backup is under way" : undefined;
  }

  /** Nothing happens before the first line is asked for: whoever goes away at once never asks, and ends nothing. */
  async *#backUp(path: string): AsyncGenerator<BackupEvent> {
    const { options, turns, writer } = this.#parts;
    const { vfs, log } = options;
    const why = this.#whyNot("backup");
    if (why !== undefined) {
      yield { kind: "failed", why };
      return;
    }
    log.info("backup", { path });
    this.#backup = new Backup(writer, vfs, path);
    let isEnded = false;
    try {
      for await (const event of backupEvents(this.#backup, () => turns.whenNotBusy())) {
        isEnded = event.kind !== "progress";
        if (event.kind === "done")
          log.info("backup made", { path: event.path, bytes: event.bytes });
        if (event.kind === "failed") log.error("backup failed", { why: event.why });
        yield event;
      }
    } finally {
      if (!isEnded) log.warn("backup given up", { why: "its client went away" });
    }
  }

  /** Reads the schema files again and does what they say. Nothing happens before the first line is asked for. */
  async *reload(dryRun: boolean): AsyncGenerator<OperationLine> {
    const { options, store, turns, adoption } = this.#parts;
    const host: ReloadHost = {
      read: options.readSchema ?? (() => options.schema),
      readTokens: options.readTokens,
      plan: (schema) => store.planSchema(schema),
      change: (schema) => this.#changeSchema(schema),
      tell: (schema, changed) => this.#tell(schema, changed),
      adoption: () => {
        const [table] = turns.isStopped ? [] : adoption.tables;
        return table === undefined
          ? undefined
          : (adoption.progress ?? { table, rows: 0, of: 0, skipped: 0 });
      },
    };
    for await (const line of reload(host, dryRun)) {
      if (!dryRun) logReload(line, options.log);
      yield line;
    }
  }

  /** A backup that is under way ends, and says so. */
  stop(): void {
    this.#backup?.abort("the agent is stopping");
  }

  #changeSchema(schema: PlannedSchema): SchemaChanged {
    const { options, store, replica, turns } = this.#parts;
    if (turns.isStopped) throw new Error("the agent is stopping");
    replica.abandon();
    const changed = store.changeSchema(schema);
    if (changed.kind === "refused") return changed;
    for (const statement of changed.statements) options.log.info("schema applied", { statement });
    return changed;
  }

  #tell(schema: PlannedSchema, { adoptedRows }: SchemaOfStore): void {
    const { replica, clock, turns, onSchemaChanged } = this.#parts;
    const nowMs = clock.nowMs();
    try {
      onSchemaChanged(schema);
    } finally {
      // Whatever became of readers here: positions of scans are good no more, and peers are to know.
      turns.run((replies) => replica.changeSchema(schema.shapes, adoptedRows > 0, nowMs, replies));
    }
  }
}

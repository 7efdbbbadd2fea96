/**
 * A checkpoint as the agent makes it (`agent/wal/checkpointer.ts`), in steps between which everything else of a history
 * happens, and any of which may fail or be the last.
 *
 * @module
 */

import { SQLITE_IOERR } from "../../wasm/constants.ts";
import { type Database, openDatabase } from "../../wasm/database.ts";
import { SqliteError } from "../../wasm/error.ts";
import type { CopyAhead } from "../../wasm/vfs/copy-ahead.ts";
import type { CheckpointSync } from "../../wasm/vfs/vfs.ts";
import type { FaultyVfs } from "../disk/faulty-vfs.ts";

/** The history. */
export interface RoundHost {
  /** Makes a request of the disk. False: a fault made it fail. Either way the process may have died of it. */
  attempt(what: string, request: () => void): boolean;
  attemptSync(what: string, request: () => Promise<void>): Promise<boolean>;
  /** The newest state that was acknowledged. */
  newestState(): number;
  /** What was acknowledged up to a state is on the disk. */
  synced(state: number): void;
  /** All steps up to the sync of the database were done. */
  ended(): void;
  /** And the WAL can begin anew without a sync. */
  blanked(): void;
}

export class SteppedRound {
  readonly #host: RoundHost;
  readonly #sync: CheckpointSync;
  readonly #proxy: Database;
  readonly #copier: Database;
  /** How many steps have been done. */
  #stage = 0;
  /** The state at its mark, and the last frame before that. */
  #mark = 0;
  #markFrame = 0;
  #ahead: CopyAhead | undefined;
  #isClosed = false;

  constructor(path: string, vfs: FaultyVfs, host: RoundHost) {
    this.#host = host;
    this.#sync = vfs.openCheckpointSync(path);
    this.#proxy = openDatabase(path, { vfs, readonly: true });
    this.#copier = openDatabase(path, { vfs });
    this.#copier.pragma("wal_autocheckpoint", 0);
  }

  get isBegun(): boolean {
    return this.#stage > 0;
  }

  /** @returns whether it goes on: the step was done, it isn't the last, and the process hasn't died of it */
  async step(): Promise<boolean> {
    if (!(await this.#attemptStep()) || this.#isClosed) return false;
    this.#stage++;
    if (this.#stage === 2) this.#host.synced(this.#mark);
    if (this.#stage === 5) this.#host.ended();
    if (this.#stage === 6 && this.#sync.isWalBlank()) this.#host.blanked();
    return true;
  }

  /** Before its end too: what it owes the disk is paid by whoever cuts the WAL. */
  end(): void {
    this.#stage = 0;
    if (!this.#proxy.autocommit) this.#proxy.exec("COMMIT");
  }

  close(): void {
    this.#isClosed = true;
    this.#proxy.close();
    this.#copier.close();
    this.#sync.close();
  }

  async #attemptStep(): Promise<boolean> {
    const host = this.#host;
    const [proxy, copier, sync] = [this.#proxy, this.#copier, this.#sync];
    const heap = () => copier.module.heap.u8;
    switch (this.#stage) {
      case 0:
        return host.attempt("round: mark", () => {
          proxy.exec("BEGIN");
          proxy.all("SELECT 1 FROM sqlite_schema LIMIT 1");
          this.#mark = host.newestState();
          this.#markFrame = this.#frames();
        });
      case 1:
        return host.attemptSync("round: the WAL is synced", () => sync.syncWal());
      case 2:
        return host.attempt("round: some is copied ahead", () => {
          try {
            this.#ahead = sync.copyAhead(heap(), this.#markFrame);
            this.#ahead?.copy();
          } catch (thrown) {
            throw new SqliteError(SQLITE_IOERR, (thrown as Error).message);
          }
        });
      case 3:
        return host.attempt("round: checkpoint", () => {
          sync.withoutSyncs(() => copier.checkpoint("PASSIVE"), this.#ahead);
        });
      case 4:
        return host.attemptSync("round: the database is synced", () => sync.syncDatabase());
      case 5:
        return host.attemptSync("round: the header is made blank", () => sync.blankWal(heap()));
      case 6:
        // As for a WAL that isn't needed any more.
        return host.attempt("round: it is taken to be cut", () => {
          if (sync.isWalBlank() && !proxy.autocommit) proxy.exec("COMMIT");
          if (sync.isWalBlank()) copier.checkpoint("TRUNCATE");
        });
      case 7:
        return host.attemptSync("round: it is cut", async () => {
          if (this.#frames() === 0) await sync.cutWal(0, 4096);
        });
      default:
        return false;
    }
  }

  /** In the WAL. */
  #frames(): number {
    return Number(this.#copier.all("PRAGMA wal_checkpoint(NOOP)")[0]?.[1]);
  }
}

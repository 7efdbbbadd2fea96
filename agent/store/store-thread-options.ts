/**
 * What the store thread is started with.
 *
 * @module
 */

import type { PlannedSchema } from "../../core/schema/schema.ts";
import type { Vfs } from "../../wasm/vfs/vfs.ts";
import type { FileCircumstances } from "../data/site-identity.ts";
import type { LiveLimits } from "../live/live-queries.ts";
import type { Log } from "../log.ts";
import type { Agreements } from "../net/agreements.ts";
import type { NetAnswer } from "../net/messages.ts";
import type { ReloadHost } from "../operations/reload.ts";
import type { ReaderLimits } from "../readers/reader-pool.ts";

export interface StoreThreadOptions {
  readonly vfs: Vfs;
  readonly databasePath: string;
  /** Of the node, 64 hex digits. */
  readonly publicKey: string;
  readonly node: { readonly name: string; readonly region: string; readonly zone: string };
  /** Asked for once the database is locked: where there is none yet, only one agent makes one. @throws StartFailure */
  readonly digestKey: () => Uint8Array;
  readonly schema: PlannedSchema;
  /** Reads configuration and schema files again, for a reload. @throws StartFailure */
  readonly readSchema?: () => PlannedSchema;
  /** Reads the API's tokens for a reload. @throws StartFailure */
  readonly readTokens?: ReloadHost["readTokens"];
  readonly durability: "normal" | "full";
  readonly queryTimeoutMs: number;
  readonly statementTimeoutMs: number;
  readonly resultBytesMax: number;
  /** Of what runs in the reader thread. For tests. */
  readonly readerLimits?: ReaderLimits;
  /** Of a WAL that is brought to its beginning. For tests. */
  readonly walFramesMax?: number;
  /** How much of live queries' past is kept. */
  readonly liveLimits?: LiveLimits;
  /** Default 0: none. */
  readonly scrubRowsPerSecond?: number;
  /** The data directory's nonce before this start, and what renews it. It needn't be on the disk at once. */
  readonly nonce: string;
  readonly renewNonce: (atOnce: boolean) => string;
  /** Writes the one from before again; left out where nothing is written. */
  readonly putNonceBack?: (nonce: string) => void;
  /** Without a net thread this node is alone, and says so in `patina_members` itself. */
  readonly standsAlone: boolean;
  /** When this node was last identical with its peers. */
  readonly agreements?: Agreements;
  readonly log: Log;
  /** For tests without a file. */
  readonly circumstances?: FileCircumstances;
  /** Peers, for `patina swarm`. */
  readonly swarm: () => Promise<NetAnswer | { readonly kind: "stands-alone" }>;
  /** What waits in the net thread to be handed over. */
  readonly bodiesWaiting: () => Promise<number>;
}

/**
 * The simulator has no merge, codec or repair of its own, or it would test itself: it takes these from
 * the core, and only through the doors listed here.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { Glob } from "bun";

const root = join(import.meta.dir, "../..");

/** What a name may be imported for, by module. */
const allowed: Record<string, readonly string[]> = {
  // The parts under test, whole.
  "core/node/node-machine.ts": ["NodeMachine"],
  "core/replica/replica.ts": ["Replica", "ReplicaOptions", "replicaDefaults"],
  "test/model/map-store.ts": ["MapStore"],
  "core/store/sqlite-store.ts": ["SqliteStore"],
  "wasm/database.ts": ["Database", "openDatabase"],
  "wasm/vfs/memory.ts": ["MemoryVfs"],
  "test/generators/sqlite-store.ts": ["schemaOf"],
  // Types of the border and of settings.
  "core/node/node-events.ts": ["NodeEffect", "NodeEvent"],
  "core/node/border.ts": ["MemberRow", "MemberState", "PeerId", "StoreReply", "StoreRequest"],
  "core/node/options.ts": ["NodeTuning", "nodeDefaults", "ZstdCodec"],
  "core/store/clocks/late-clocks.ts": ["lateLimits"],
  // The agent's codec: streams of rows are compressed where both ends can read it.
  "agent/host/zstd.ts": ["zstd"],
  "agent/host/sha256.ts": ["sha256"],
  "core/node/counters.ts": ["Counters", "createCounters"],
  "core/row-store.ts": ["MergedRow", "RowRef", "RowStore", "ScannedRow", "ScanPosition"],
  "core/schema/schema.ts": ["PlannedSchema"],
  "core/change/changeset.ts": ["Changeset", "Lane"],
  // Clocks, keys and hashes: to make stores, to name rows and to order stamps for the model.
  "core/change/frame.ts": ["frameKind", "partBytesMax"],
  "core/clock/hlc-clock.ts": ["HlcClock"],
  "core/clock/stamp.ts": ["compareHlc", "compareStamps", "Hlc", "hlcZero", "Site", "Stamp"],
  "core/clock/row-clock.ts": ["compareRowClocks", "RowClock"],
  "core/index/clock-part.ts": ["slotOfStamp"],
  "core/row/digest.ts": ["CellClock", "ClockState", "Digester", "RowId"],
  "core/row/key.ts": ["decodeKey", "encodeKey"],
  "core/row/row-state.ts": ["stampOfRow"],
  "core/row/value.ts": ["SqlValue"],
};

/** Beside these, for a peer that means ill: it makes frames of its own, and judges nothing. */
const allowedToHostile: Record<string, readonly string[]> = {
  "core/change/changeset.ts": ["ChangesetId", "changesetId", "encodeChangeset"],
  "core/change/frame.ts": ["decodeFrame", "encodeFrame", "Frame"],
  "core/change/hello.ts": ["encodeHello"],
  "core/change/row-block.ts": ["encodeRowBlock"],
  "core/clock/stamp.ts": ["siteOfHex"],
  "core/row/row-state.ts": ["RowState", "stampOfRow"],
};

test("the simulator takes from the core what is listed, and no join, no codec and no walk", () => {
  const found: string[] = [];
  let modules = 0;
  for (const path of new Glob("**/*.ts").scanSync({ cwd: import.meta.dir })) {
    if (path.endsWith(".test.ts")) continue;
    modules++;
    const text = readFileSync(join(import.meta.dir, path), "utf8");
    for (const match of text.matchAll(/import (?:type )?\{([^}]*)\} from "([^"]+)"/g)) {
      const module = relative(root, join(import.meta.dir, dirname(path), match[2] as string));
      if (module.startsWith("test/sim/")) continue;
      for (const name of (match[1] as string).split(",")) {
        const bare = name.trim().replace(/^type /, "");
        const isHostiles =
          path === "hostile-peer.ts" && allowedToHostile[module]?.includes(bare) === true;
        if (bare !== "" && !isHostiles && !allowed[module]?.includes(bare))
          found.push(`${path}: ${module} ${bare}`);
      }
    }
    // Nothing comes in by another door.
    const imports = text.matchAll(/^import .*$|\bimport\(|\brequire\(/gm);
    for (const [line] of imports) {
      if (!/^import (type )?\{/.test(line)) found.push(`${path}: ${line}`);
    }
  }
  expect(modules).toBeGreaterThan(8);
  expect(found).toEqual([]);
});

/**
 * Four versions of a schema in one cluster, and an upgrade.
 *
 * @module
 */

import { frameKind } from "../../../core/change/frame.ts";
import { Cluster } from "../cluster.ts";
import { startFaults } from "../faults.ts";
import { wholeSchema } from "../sim-store.ts";
import { instance } from "./clients.ts";
import { finish, measured, type Scenario } from "./scenario.ts";

export const schemaVersions: Scenario = {
  about:
    "nodes of four schemas write, with faults; they agree to the last digest, before an upgrade and after",
  nodes: 4,
  run: ({ seed, nodes }) => {
    using cluster = new Cluster({
      seed,
      nodes,
      store: "sqlite",
      watched: 0,
      schemaOf: (index) => schemas[index % schemas.length] as string,
    });
    cluster.startAll();
    cluster.run(1000);
    const untilMs = cluster.timeline.nowMs + 6000;
    const random = cluster.random("clients");
    const write = () => {
      if (cluster.timeline.nowMs >= untilMs) return;
      cluster.timeline.after(random.between(5, 50), write);
      const node = random.pick(cluster.nodes);
      const row = `i${random.integer(0, 40)}`;
      if (random.chance(0.1)) return cluster.delete(node, row);
      const all = instance(random.chance(0.7) ? "up" : "down", random.integer(0, 100));
      // What the odd one writes as TEXT others couldn't show, and the model knows nothing of that.
      const isKnown = (column: string) => node.index % 4 !== oddSchema || column !== "weight";
      const columns = all.filter(([column]) => node.columns.includes(column) && isKnown(column));
      const some = columns.filter(() => random.chance(0.6));
      cluster.put(node, row, Object.fromEntries(some.length > 0 ? some : columns));
    };
    cluster.timeline.after(0, write);
    const faults = startFaults(cluster, untilMs, { powerLoss: false });
    cluster.timeline.runUntil(untilMs);
    faults.end();
    const { convergedMs } = finish(cluster, 60_000);
    const [older, odd] = [cluster.node(0), cluster.node(oddSchema)];
    const notShown = older.store.notShown();
    if (notShown === 0 || odd.store.notShown() === 0)
      cluster.fail("everything is shown everywhere");
    for (const values of odd.store.shown().values()) {
      const weight = values.get("weight");
      if (weight !== "none" && weight !== null)
        cluster.fail(`a TEXT column shows ${weight} for a number`);
    }

    // Nothing is recent any more, so that every frame after the upgrade would be because of it.
    cluster.run(40_000);
    const rootBefore = odd.replica.status().roots[0]?.fingerprint;
    const moved: number[] = [];
    cluster.network.onSent = (_from, _to, [kind]) => {
      if (rowKinds.has(kind as number)) moved.push(kind as number);
    };
    for (const node of cluster.nodes) if (node.index % 4 < 2) node.upgrade(wholeSchema);
    const upgraded = finish(cluster, 20_000);
    if (moved.length > 0) cluster.fail(`an upgrade sent frames of kinds ${[...new Set(moved)]}`);
    if (older.store.notShown() > 0) cluster.fail("held cells weren't shown by the upgrade");
    if (odd.replica.status().roots[0]?.fingerprint !== rootBefore) cluster.fail("digests changed");
    return measured(cluster, {
      convergedMs: convergedMs as number,
      upgradedMs: upgraded.convergedMs as number,
      notShown,
      faults: faults.names,
    });
  },
};

const olderSchema = "CREATE TABLE instances (id TEXT PRIMARY KEY NOT NULL, status TEXT)";
/** Three versions that one after the other was rolled out, and one that gives no number back as it was. */
const schemas = [
  olderSchema,
  "CREATE TABLE instances (id TEXT PRIMARY KEY NOT NULL, status TEXT, address TEXT)",
  wholeSchema,
  "CREATE TABLE instances (id TEXT PRIMARY KEY NOT NULL, weight TEXT DEFAULT 'none', status TEXT)",
];
const oddSchema = 3;

/** Frames that find or bring rows. */
const rowKinds: ReadonlySet<number> = new Set([
  ...[frameKind.walk, frameKind.list, frameKind.fetch],
  ...[frameKind.rows, frameKind.stream, frameKind.streamed],
]);

/**
 * Under a steady load two nodes that know the same have the same digests at every cut, and an exchange
 * between them costs next to nothing.
 *
 * @module
 */

import { replicaDefaults } from "../../../core/replica/replica.ts";
import { Cluster } from "../cluster.ts";
import { ExchangeBytes } from "../exchange-bytes.ts";
import { load, startClients } from "./clients.ts";
import { finish, measured, type Scenario } from "./scenario.ts";

export const cutNoise = settledImage(
  20,
  "1,000 updates/s on 3,000 rows, delays to 150 ms, one restart: cuts never differ",
  2,
);

export const settledBytes = settledImage(
  600,
  "the same for 600 s, without checks of the image: what exchanges cost",
  0,
);

/** 1,000 updates a second on 3,000 rows, delays to 150 ms, one restart. */
function settledImage(seconds: number, about: string, watched: number): Scenario {
  return {
    about,
    nodes: 3,
    run: ({ seed, nodes }) => {
      using cluster = new Cluster({
        seed,
        nodes,
        watched,
        network: { delayMsMin: 20, delayMsMax: 150, jitter: 0.9 },
        // Slices of an agent: with some hundred in the catch-up of a restart, one more exchange comes to 84 bytes.
        replica: { sliceRows: replicaDefaults.sliceRows },
      });
      cluster.startAll();
      load(cluster.node(0), 0, 3000);
      cluster.run(8000);
      const bytes = new ExchangeBytes();
      cluster.network.onSent = (from, to, frame) => bytes.sent(from, to, frame);
      const untilMs = cluster.timeline.nowMs + 1000 * seconds;
      // A row that changed twice before a new stream was ready is known in part to those at its other end.
      const clients = { rows: 3000, commitsPerSecond: 1000, deleteChance: 0.02, returnMs: 2000 };
      startClients(cluster, { ...clients, untilMs });
      const restarted = cluster.node(nodes - 1);
      // Nothing may be lost with it: what it wrote last would be known to some before others.
      cluster.timeline.after(4000, () => restarted.stop(2000));
      cluster.timeline.after(6000, () => restarted.start());
      // The restarted node itself speaks only of cuts after its first exchange of recent rows.
      const awayMs = [cluster.timeline.nowMs + 4000, cluster.timeline.nowMs + 18_000] as const;
      let compared = 0;
      while (cluster.timeline.nowMs < untilMs + 8000) {
        cluster.run(200);
        const { nowMs } = cluster.timeline;
        const isAway = nowMs > awayMs[0] && nowMs < awayMs[1];
        const differ = cluster.rootsDiffer(isAway ? cluster.nodes.slice(0, -1) : cluster.nodes);
        if (differ !== undefined) cluster.fail(`cuts differ that know the same: ${differ}`);
        compared++;
      }
      const { verdictsEqual, verdictsDifferent, rowsNoise } = cluster.counters();
      if (verdictsDifferent > 0) {
        cluster.fail(`${verdictsDifferent} verdicts say different, ${verdictsEqual} equal`);
      }
      const { exchanges, within, live, liveWithin, largest } = bytes.costs(exchangeBytesMax);
      if (exchanges < 0.5 * nodes * seconds || verdictsEqual < 0.5 * exchanges) {
        cluster.fail(`${exchanges} exchanges and ${verdictsEqual} equal verdicts in ${seconds} s`);
      }
      // The restarted node's first ones are of live states: they count, where there are enough others.
      const isEnough = seconds >= 300 && within >= 0.99 * exchanges;
      if (!isEnough && within - liveWithin < exchanges - live) {
        const how = `${within} of ${exchanges} exchanges cost ${exchangeBytesMax} bytes each way`;
        cluster.fail(`${how} or less, of ${live} live ones ${liveWithin}; the largest ${largest}`);
      }
      const finished = finish(cluster, 10_000);
      return measured(cluster, {
        ...finished,
        compared,
        verdictsEqual,
        verdictsDifferent,
        rowsNoise,
        exchanges,
        within,
        live,
        liveWithin,
        largest: largest.map(String),
      });
    },
  };
}

/** Of an exchange that finds two nodes in sync, each way. */
const exchangeBytesMax = 64;

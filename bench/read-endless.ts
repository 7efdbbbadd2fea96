/**
 * `bench read --only endless`: point reads and commits while ten queries that never end are running, against the same
 * with one unrelated busy process in their place.
 *
 * @module
 */

import { post, postAnyway } from "./bench-agent.ts";
import { plainCase, quantile } from "./harness.ts";
import { type OpenLoopReport, openLoop } from "./open-loop.ts";
import { bodies, type ReadReport, startReadAgent } from "./read-workload.ts";

const endlessQueries = 10;

interface Run {
  readonly reads: OpenLoopReport;
  /** Of commits one after another meanwhile. */
  readonly commitsMs: readonly number[];
}

export async function measureEndless(
  small: boolean,
  binary: string | undefined,
  { cases, summary, notes }: ReadReport,
): Promise<void> {
  const queryTimeoutMs = small ? 20 : 2000;
  const seconds = small ? 0.5 : 10;
  await using agent = await startReadAgent({ binary, rows: 2000, queryTimeoutMs });
  const run = () => readAndCommit(agent.socket, small ? 200 : 500, seconds);
  const alone = await run();
  // The control: a process that has nothing to do with us takes as much of the machine as a busy thread.
  const busy = Bun.spawn([process.execPath, "-e", "for (;;);"]);
  const control = await run();
  busy.kill("SIGKILL");
  await busy.exited;
  let isOver = false;
  let ended = 0;
  const running = Array.from({ length: endlessQueries }, async () => {
    while (!isOver) {
      const { answer } = await postAnyway(agent.socket, "/v1/queries", bodies.endless);
      if (!answer.includes('{"error"')) throw new Error(`a query ended by itself: ${answer}`);
      ended++;
    }
  });
  await Bun.sleep(small ? 50 : 500);
  const loaded = await run();
  isOver = true;
  await Promise.all(running);
  for (const [name, { reads, commitsMs }] of [
    ["alone", alone],
    ["one busy process", control],
    [`${endlessQueries} endless queries`, loaded],
  ] as const) {
    const checksum = String(reads.sent);
    cases.push(
      plainCase(`point reads, ${name}: p50`, "ms", reads.p50Ms, checksum),
      plainCase(`point reads, ${name}: p99`, "ms", reads.p99Ms, checksum),
      plainCase(`commits meanwhile, ${name}: p99`, "ms", quantile(commitsMs, 0.99), checksum),
      plainCase(`commits meanwhile, ${name}`, "1/s", commitsMs.length / seconds, checksum),
    );
  }
  summary.alone_p99_ms = Number(alone.reads.p99Ms.toFixed(3));
  summary.busy_p99_ms = Number(control.reads.p99Ms.toFixed(3));
  summary.endless_p99_ms = Number(loaded.reads.p99Ms.toFixed(3));
  summary.endless_late_sends = loaded.reads.late;
  summary.endless_failed_reads = loaded.reads.failed;
  summary.endless_ended = ended;
  notes.push(
    `endless: query_timeout_ms ${queryTimeoutMs}; each is sent again when it was ended, ${ended} were`,
  );
}

async function readAndCommit(socket: string, perSecond: number, seconds: number): Promise<Run> {
  const commitsMs: number[] = [];
  let isOver = false;
  const committing = (async () => {
    while (!isOver) {
      const begunMs = performance.now();
      await post(socket, "/v1/transactions", bodies.write);
      commitsMs.push(performance.now() - begunMs);
      await Bun.sleep(5);
    }
  })();
  const load = { path: "/v1/queries", bodies: [bodies.point], perSecond, seconds };
  const reads = await openLoop({ socket, ...load, connections: 64 });
  isOver = true;
  await committing;
  return { reads, commitsMs };
}

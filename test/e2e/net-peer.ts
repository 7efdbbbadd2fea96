/**
 * One node as a process of its own, with everything real but the database: the net thread, Hyperswarm, the
 * node machine, and a replica over a map. Tests drive it by lines of JSON.
 *
 * @module
 */

import { existsSync, writeFileSync } from "node:fs";
import { startNet } from "../../agent/net/link.ts";
import type { NetOptions } from "../../agent/net/messages.ts";
import { HlcClock } from "../../core/clock/hlc-clock.ts";
import { hlcZero, siteOfHex } from "../../core/clock/stamp.ts";
import type { StoreReply, StoreRequest } from "../../core/node/border.ts";
import { Replica } from "../../core/replica/replica.ts";
import { encodeKey } from "../../core/row/key.ts";
import { createDigester } from "../model/history.ts";
import { MapStore } from "../model/map-store.ts";

/** To the process, a line each. */
export type PeerCommand =
  /** Writes `count` rows under keys that begin with `name`, one every `everyMs`. */
  | { kind: "write"; name: string; count: number; everyMs: number; lane: 0 | 1 }
  /** Holds the main thread for as long as the file stands that it makes. */
  | { kind: "block"; file: string }
  | { kind: "crash" }
  /** Keeps the net thread busy for ever. */
  | { kind: "hang" }
  | { kind: "status" }
  | { kind: "stop" };

/** From it. Times are ms since 1970 on the machine's clock, with a fraction. */
export type PeerEvent =
  | { kind: "report"; report: Record<string, unknown> & { kind: string } }
  | { kind: "row"; key: string; writtenMs: number; atMs: number; isLocal: boolean }
  | { kind: "blocked"; fromMs: number; untilMs: number }
  | { kind: "status"; status: Record<string, unknown> & { peers?: { peer: string }[] } }
  | { kind: "written"; name: string }
  | { kind: "stopped" };

const nowMs = () => performance.timeOrigin + performance.now();

function tell(event: PeerEvent): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

if (import.meta.main) {
  const given = JSON.parse(process.argv[2] as string) as NetOptions;
  const bytes = (list: unknown) => Uint8Array.from(Object.values(list as object) as number[]);
  const options: NetOptions = {
    ...given,
    nodeSeed: bytes(given.nodeSeed),
    cluster: {
      topic: bytes(given.cluster.topic),
      admissionSecret: bytes(given.cluster.admissionSecret),
    },
  };
  const link = startNet(options);
  link.onReport((report) => tell({ kind: "report", report }));

  const digester = createDigester();
  const store = new MapStore(digester);
  const site = siteOfHex(Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString("hex"));
  const clock = new HlcClock(site, hlcZero);
  const replica = new Replica({ store, clock, digester, schema: [] });
  const text = (key: Uint8Array) =>
    Buffer.from(key)
      .toString("latin1")
      .replace(/[^ -~]/g, "");
  replica.onMerged((rows, _lane, origin) => {
    for (const row of rows) {
      if (!row.changed) continue;
      const writtenMs = Number(store.valuesOf(row)?.get("at")) / 1000;
      tell({
        kind: "row",
        key: text(row.key),
        writtenMs,
        atMs: nowMs(),
        isLocal: origin === "local",
      });
    }
  });

  let timer: ReturnType<typeof setTimeout> | undefined;
  const settle = (replies: StoreReply[]) => {
    for (const reply of replies) link.post(reply);
    clearTimeout(timer);
    const waitMs = Math.max(0, replica.pollTimeout() - nowMs());
    timer = setTimeout(() => run((to) => replica.tick(nowMs(), to)), Math.min(waitMs, 1e9));
  };
  const run = (act: (replies: StoreReply[]) => void) => {
    const replies: StoreReply[] = [];
    act(replies);
    settle(replies);
  };
  run((to) => replica.start(nowMs(), to));
  link.onRequest((request: StoreRequest) => run((to) => replica.handle(request, nowMs(), to)));

  const write = (key: string, lane: 0 | 1) =>
    run((to) => {
      const at = nowMs();
      const values = new Map([["at", Math.round(at * 1000)]]);
      const put = { kind: "put", table: "t", key: encodeKey([key]) as Uint8Array, values } as const;
      replica.committed(store.commit([put], clock.next(at), lane), at, to);
    });

  const obey = async (command: PeerCommand) => {
    switch (command.kind) {
      case "write": {
        const { name, count, everyMs, lane } = command;
        const startedMs = nowMs();
        for (let i = 0; i < count; i++) {
          await Bun.sleep(Math.max(0, startedMs + i * everyMs - nowMs()));
          write(`${name}-${i}`, lane);
        }
        return tell({ kind: "written", name });
      }
      case "block": {
        const fromMs = nowMs();
        writeFileSync(command.file, "");
        while (existsSync(command.file));
        return tell({ kind: "blocked", fromMs, untilMs: nowMs() });
      }
      case "crash":
      case "hang":
        await link.ask({ kind: command.kind });
        return;
      case "status":
        return tell({
          kind: "status",
          status: { ...(await link.ask({ kind: "swarm" })) } as never,
        });
      case "stop":
        await link.stop(0, "test");
        tell({ kind: "stopped" });
        return process.exit(0);
    }
  };
  for await (const line of console) void obey(JSON.parse(line) as PeerCommand);
  // The test is gone.
  process.exit(0);
}

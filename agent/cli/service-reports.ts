/**
 * What a running agent tells systemd, from its start to its end.
 *
 * The signs of life come from the store thread, which is the one that serves: should it hang, systemd ends the process and
 * starts it anew. (The net thread is watched, and started again, by the link.)
 *
 * @module
 */

import { type Environment, ServiceManager } from "../host/service-manager.ts";

const lookEveryMs = 2000;
/** So many signs of life in the time in which one is wanted. */
const signs = 3;

export interface ServiceReports {
  /** It serves. @param isReady whether it has caught up with the others */
  serving(isReady: () => boolean): void;
  stopping(why: string): void;
}

/** Does nothing where no service manager wants to hear of it. */
export function serviceReports(environment: Environment = process.env): ServiceReports {
  const manager = ServiceManager.of(environment);
  if (manager === undefined) return { serving: () => {}, stopping: () => {} };
  return {
    serving: (isReady) => {
      const { watchdogMs } = manager;
      const statusOf = (): string => (isReady() ? "ready" : "serving; catching up with the others");
      let told = statusOf();
      manager.tell({ READY: "1", STATUS: told });
      const look = (): void => {
        const status = statusOf();
        if (watchdogMs !== undefined) manager.tell({ WATCHDOG: "1" });
        if (status !== told) manager.tell({ STATUS: status });
        told = status;
      };
      const everyMs = Math.min(lookEveryMs, (watchdogMs ?? Number.POSITIVE_INFINITY) / signs);
      setInterval(look, everyMs).unref();
    },
    // Signs of life go on: an agent that hangs while it stops is to be ended too.
    stopping: (why) => manager.tell({ STOPPING: "1", STATUS: `stopping: ${why}` }),
  };
}

/**
 * Waiting to be stopped.
 *
 * @module
 */

/** Resolves at SIGTERM or SIGINT, with its name. A second signal ends the process at once. */
export function untilSignal(): Promise<"SIGTERM" | "SIGINT"> {
  return new Promise((resolve) => {
    let isSecond = false;
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.on(signal, () => {
        if (isSecond) process.exit(1);
        isSecond = true;
        resolve(signal);
      });
    }
  });
}

/**
 * Waiting to be stopped.
 *
 * @module
 */

/** `timeout`, and Ctrl-C under npm, send each signal twice: to the process and to its group. Nobody presses a key so quickly. */
const sameMs = 500;

/** Resolves at SIGTERM or SIGINT, with its name. A second signal, later than with the first, ends the process at once. */
export function untilSignal(): Promise<"SIGTERM" | "SIGINT"> {
  return new Promise((resolve) => {
    let firstMs: number | undefined;
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.on(signal, () => {
        if (firstMs !== undefined && performance.now() > firstMs + sameMs) process.exit(1);
        firstMs ??= performance.now();
        resolve(signal);
      });
    }
  });
}

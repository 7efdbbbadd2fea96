/**
 * Waiting for a condition, never for time.
 *
 * @module
 */

type Condition = () => boolean | Promise<boolean>;

/** Many times what anything takes, for a machine that has much else to do: who waits for it has failed. */
const deadlineMsDefault = 60_000;
/** For so long it is asked at every turn of the event loop; then less and less often, since asking costs too. */
const everyTurnMs = 20;
const pauseMsMin = 2;
const pauseMsMax = 50;

/**
 * Resolves once `isTrue` says so. Throws after `deadlineMs`, and says what was awaited: `what`, or the condition's own
 * text without one.
 *
 * @param details what else the error is to say, such as the agents' logs
 */
export async function until(
  what: string,
  isTrue: Condition,
  deadlineMs?: number,
  details?: () => string,
): Promise<void>;
export async function until(isTrue: Condition): Promise<void>;
export async function until(
  first: string | Condition,
  second?: Condition,
  deadlineMs = deadlineMsDefault,
  details = () => "",
): Promise<void> {
  const isTrue = second ?? (first as Condition);
  const beganMs = performance.now();
  while (!(await isTrue())) {
    const waitedMs = performance.now() - beganMs;
    if (waitedMs > deadlineMs) {
      const what = typeof first === "string" ? first : first.toString();
      throw new Error(`not within ${deadlineMs} ms: ${what}\n${details()}`.trimEnd());
    }
    if (waitedMs < everyTurnMs) await new Promise((resolve) => setImmediate(resolve));
    else await Bun.sleep(Math.min(Math.max(waitedMs / 50, pauseMsMin), pauseMsMax));
  }
}

/**
 * Work on many rows, a slice a turn of the event loop.
 *
 * @module
 */

/** What is done before others have a turn. */
export const sliceMsMax = 1;
/** Steps between two looks at the clock. */
const stepsMax = 100;

/**
 * Goes through all steps, resting now and then.
 *
 * @param isOver asked after each rest
 * @returns what the steps come to; undefined when it was over before their end
 */
export async function inSlices<T, R>(
  steps: Iterator<T, R>,
  isOver: () => boolean,
  use: (step: T) => void = () => undefined,
): Promise<{ readonly value: R } | undefined> {
  for (;;) {
    const done = oneSlice(steps, use);
    if (done !== undefined) return done;
    await new Promise((resolve) => setImmediate(resolve));
    if (isOver()) return undefined;
  }
}

/** @returns what the steps come to; undefined when there are more */
export function oneSlice<T, R>(
  steps: Iterator<T, R>,
  use: (step: T) => void = () => undefined,
): { readonly value: R } | undefined {
  const untilMs = performance.now() + sliceMsMax;
  for (;;) {
    for (let i = 0; i < stepsMax; i++) {
      const step = steps.next();
      if (step.done === true) return { value: step.value };
      use(step.value);
    }
    if (performance.now() >= untilMs) return undefined;
  }
}

/** Goes through all steps at once. */
export function atOnce<R>(steps: Iterator<unknown, R>): R {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

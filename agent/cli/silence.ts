/**
 * A word on stderr while an agent says nothing. A command that may take long has no deadline: what it asked for may be under way. But who
 * asks an agent that hangs would wait without end, and not know for what.
 *
 * @module
 */

const silentMs = 10_000;

export class Silence implements Disposable {
  readonly #timer: ReturnType<typeof setTimeout>;

  constructor() {
    this.#timer = setTimeout(() => {
      process.stderr.write(
        `patina: no answer for ${silentMs / 1000} s: the agent hangs, has much to do, or is still catching up; Ctrl-C gives up\n`,
      );
    }, silentMs);
  }

  /** Something was heard. */
  readonly end = (): void => clearTimeout(this.#timer);

  [Symbol.dispose](): void {
    this.end();
  }
}

export async function heard<T>(answer: Promise<T>): Promise<T> {
  using _silence = new Silence();
  return await answer;
}

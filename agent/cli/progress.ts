/**
 * How far something is: on a terminal one line that changes, with `--json` one line each, elsewhere
 * nothing. On stderr, so that stdout has the result alone.
 *
 * @module
 */

const lineMsMin = 100;

export class Progress {
  readonly #isJson: boolean;
  readonly #toText: (progress: Record<string, unknown>) => string;
  #shownMs = Number.NEGATIVE_INFINITY;
  #isOpen = false;

  constructor(isJson: boolean, toText: (progress: Record<string, unknown>) => string) {
    this.#isJson = isJson;
    this.#toText = toText;
  }

  readonly show = (progress: Record<string, unknown>): void => {
    const nowMs = performance.now();
    if (nowMs - this.#shownMs < lineMsMin) return;
    this.#shownMs = nowMs;
    if (this.#isJson) process.stderr.write(`${JSON.stringify({ progress })}\n`);
    else if (process.stderr.isTTY) {
      process.stderr.write(`\r\u001b[K${this.#toText(progress)}`);
      this.#isOpen = true;
    }
  };

  end(): void {
    if (this.#isOpen) process.stderr.write("\r\u001b[K");
    this.#isOpen = false;
  }
}

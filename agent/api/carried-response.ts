/**
 * Answers as `Bun.serve` wants them.
 *
 * Two things of Bun's are put right here. It gives bytes a content type where the contract has none. And it holds back a
 * response's headers until the first byte of its body: a stream that has nothing to say yet begins with one space, which
 * JSON allows before a line.
 *
 * @module
 */

import type { ApiResponse } from "./http.ts";

/** @param onEnd called when a stream has ended by itself, and its last piece is handed on */
export function toResponse(response: ApiResponse, onEnd?: () => void): Response {
  const { body } = response;
  const init = initOf(response);
  if (!(body instanceof Uint8Array)) return new Response(toReadable(body, onEnd), init);
  const bytes = body as Uint8Array<ArrayBuffer>;
  if (bytes.length === 0) return new Response(null, init);
  return new Response("content-type" in response.headers ? bytes : untyped(bytes), init);
}

/** Short reads have the same one after another, and of ready-made `Headers` a response is made in half the time. */
function initOf({ status, headers }: ApiResponse): ResponseInit {
  if (status !== 200) return { status, headers };
  if (headers !== lastHeaders) {
    lastHeaders = headers;
    lastInit = { headers: new Headers(headers) };
  }
  return lastInit;
}

let lastHeaders: ApiResponse["headers"] = {};
let lastInit: ResponseInit = { headers: new Headers() };

/** Bun gives plain bytes a content type of its own; a stream that ends at once has none, for 1.4 µs. */
function untyped(bytes: Uint8Array<ArrayBuffer>): ReadableStream {
  return new ReadableStream({
    type: "direct",
    pull(controller) {
      controller.write(bytes);
      controller.close();
    },
  });
}

const oneSpace = new Uint8Array([0x20]);

function toReadable(
  body: AsyncIterable<Uint8Array>,
  onEnd?: () => void,
): ReadableStream<Uint8Array> {
  const iterator = body[Symbol.asyncIterator]();
  let isFirst = true;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const next = iterator.next();
        if (isFirst) {
          isFirst = false;
          if ((await Promise.race([next, nextTurn()])) === undefined) controller.enqueue(oneSpace);
        }
        const { done, value } = await next.catch(afterLastWords);
        if (!done) return controller.enqueue(value);
        onEnd?.();
        controller.close();
      },
      async cancel() {
        await iterator.return?.();
      },
    },
    { highWaterMark: 0 },
  );
}

/** What was enqueued last goes out before an error throws it away. */
async function afterLastWords(error: unknown): Promise<never> {
  await Bun.sleep(flushMs);
  throw error;
}

const flushMs = 10;

function nextTurn(): Promise<undefined> {
  return new Promise((resolve) => setImmediate(() => resolve(undefined)));
}

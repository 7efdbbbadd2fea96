/**
 * HTTP/2 without TLS by prior knowledge, as `fetch` doesn't speak it: answers as `Response`s.
 *
 * @module
 */

import { type ClientHttp2Session, connect, constants } from "node:http2";

export class H2cConnection {
  readonly #session: ClientHttp2Session;

  /** @param at `http://host:port` */
  constructor(at: string) {
    this.#session = connect(at);
    // Each request hears of it.
    this.#session.on("error", () => {});
  }

  fetch(
    method: string,
    path: string,
    body: string | undefined,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal | undefined,
  ): Promise<Response> {
    const stream = this.#session.request(
      { ":method": method, ":path": path, ...headers },
      { endStream: body === undefined },
    );
    const onAbort = () => stream.close(constants.NGHTTP2_CANCEL);
    signal?.addEventListener("abort", onAbort);
    return new Promise((resolve, reject) => {
      stream.on("error", reject);
      stream.on("close", () => reject(new Error("the stream was closed")));
      stream.on("response", (head) => {
        const status = head[":status"] as number;
        const fields = Object.entries(head).filter(([name]) => !name.startsWith(":"));
        const text = fields.map(([name, value]) => [name, String(value)] as [string, string]);
        const readable = new ReadableStream<Uint8Array>({
          start(controller) {
            const end = (finish: () => void) => {
              try {
                finish();
              } catch {
                // It has ended already.
              }
            };
            stream.on("data", (chunk: Uint8Array) => controller.enqueue(chunk));
            stream.on("error", (error) => end(() => controller.error(error)));
            // Not at its `end`: Bun says that, too, of a stream that is reset.
            stream.on("close", () =>
              end(() => {
                if (stream.rstCode === constants.NGHTTP2_NO_ERROR) controller.close();
                else controller.error(new Error("reset"));
              }),
            );
          },
          cancel: onAbort,
        });
        resolve(new Response(readable, { status, headers: text }));
      });
      if (body !== undefined) stream.end(body);
    });
  }

  close(): void {
    this.#session.destroy();
  }
}

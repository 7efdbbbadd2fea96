/**
 * A server under test, reached by a base URL or a Unix socket, and what tests want to know of answers.
 *
 * @module
 */

import { H2cConnection } from "./h2c.ts";

export interface HttpTarget {
  /** A Unix socket's path, or `http://host:port`. */
  readonly at: string;
  /** False for a foreign server: then what is ours alone, and its known bugs, isn't asked for. */
  readonly isPatina: boolean;
  /** Speak HTTP/2 without TLS to the URL; else HTTP/1.1. */
  readonly isH2c?: boolean;
  /** What is sent as `authorization: bearer …`. */
  readonly token?: string;
}

export interface Answer {
  readonly status: number;
  readonly contentType: string | null;
  readonly headers: Headers;
  readonly text: string;
}

const json = { "content-type": "application/json" };
/** Within which what is waited for must come, on a machine that does other things, too. */
const deadlineMs = 60_000;

export class HttpClient {
  readonly #target: HttpTarget;
  readonly #h2c: H2cConnection | undefined;

  constructor(target: HttpTarget) {
    this.#target = target;
    this.#h2c = target.isH2c ? new H2cConnection(target.at) : undefined;
  }

  close(): void {
    this.#h2c?.close();
  }

  open(
    method: string,
    path: string,
    body?: string,
    headers: Readonly<Record<string, string>> = body === undefined ? {} : json,
    signal?: AbortSignal,
  ): Promise<Response> {
    const { at, token } = this.#target;
    const isUrl = at.startsWith("http");
    const withToken =
      token === undefined || "authorization" in headers
        ? headers
        : { ...headers, authorization: `Bearer ${token}` };
    if (this.#h2c !== undefined) return this.#h2c.fetch(method, path, body, withToken, signal);
    return fetch(`${isUrl ? at : "http://patina"}${path}`, {
      method,
      headers: withToken,
      ...(body === undefined ? {} : { body }),
      ...(isUrl ? {} : { unix: at }),
      ...(signal === undefined ? {} : { signal }),
    } as RequestInit);
  }

  async ask(
    method: string,
    path: string,
    body?: string,
    headers?: Readonly<Record<string, string>>,
  ): Promise<Answer> {
    const response = await this.open(method, path, body, headers);
    const text = await response.text();
    const contentType = response.headers.get("content-type");
    return { status: response.status, contentType, headers: response.headers, text };
  }

  /** @param statements JSON text of the list */
  transact(statements: string, query = ""): Promise<Answer> {
    return this.ask("POST", `/v1/transactions${query}`, statements);
  }

  /** @param statement JSON text of one */
  query(statement: string, query = ""): Promise<Answer> {
    return this.ask("POST", `/v1/queries${query}`, statement);
  }

  /** Rows of a query, as the text of their cells: exact where `JSON.parse` isn't. */
  async cells(statement: string): Promise<string[]> {
    const { text } = await this.query(statement);
    return text
      .split("\n")
      .map((line) => /^\{"row":\[\d+,(.*)\]\}$/.exec(line)?.[1])
      .filter((cells) => cells !== undefined);
  }

  /** A stream of lines. */
  async stream(method: string, path: string, body?: string): Promise<LineStream> {
    const ended = new AbortController();
    const response = await this.open(method, path, body, undefined, ended.signal);
    return new LineStream(response, ended);
  }

  subscribe(statement: string, query = ""): Promise<LineStream> {
    return this.stream("POST", `/v1/subscriptions${query}`, statement);
  }
}

/** Lines as they come; a line that isn't there yet is waited for, with a deadline. */
export class LineStream implements AsyncDisposable {
  readonly status: number;
  readonly headers: Headers;
  readonly lines: string[] = [];
  isEnded = false;
  /** It ended in the middle: not by the server's word, nor by ours. */
  isBroken = false;
  #taken = 0;
  #wake: () => void = () => {};
  readonly #ended: AbortController;
  readonly #done: Promise<void>;

  constructor(response: Response, ended: AbortController) {
    this.status = response.status;
    this.headers = response.headers;
    this.#ended = ended;
    this.#done = this.#read(response);
  }

  /** The next line. @throws when there is none in time, or the stream ended */
  async next(): Promise<string> {
    const lines = await this.take(1);
    return lines[0] as string;
  }

  async take(count: number): Promise<string[]> {
    await this.until(() => this.lines.length >= this.#taken + count || this.isEnded);
    if (this.lines.length < this.#taken + count) {
      throw new Error(`the stream ended after ${JSON.stringify(this.lines.slice(-3))}`);
    }
    const taken = this.lines.slice(this.#taken, this.#taken + count);
    this.#taken += count;
    return taken;
  }

  /** Resolves when the server has ended the stream. */
  end(): Promise<void> {
    return this.until(() => this.isEnded);
  }

  get waiting(): number {
    return this.lines.length - this.#taken;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort();
    await this.#done;
  }

  /** Looks again at every line, and at the end. @throws when that doesn't come in time */
  async until(isTrue: () => boolean): Promise<void> {
    const untilMs = performance.now() + deadlineMs;
    while (!isTrue()) {
      const leftMs = untilMs - performance.now();
      if (leftMs <= 0) {
        const last = JSON.stringify(this.lines.slice(-3));
        throw new Error(`no more lines within 20 s; the last were ${last}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async #read(response: Response): Promise<void> {
    let rest = "";
    const decoder = new TextDecoder();
    try {
      for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
        rest += decoder.decode(chunk, { stream: true });
        const lines = rest.split("\n");
        rest = lines.pop() as string;
        for (const line of lines) this.lines.push(line.trimStart());
        this.#wake();
      }
      if (rest !== "") this.lines.push(rest);
    } catch {
      this.isBroken = !this.#ended.signal.aborted;
    }
    this.isEnded = true;
    this.#wake();
  }
}

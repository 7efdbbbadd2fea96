/**
 * A typed client of the HTTP API, over the Unix socket or TCP, for Bun and for Node 20 and later: what the
 * command line, the demo and the tests use. Subscriptions reconnect and go on where they were.
 *
 * Values: NULL null, INTEGER a number (a bigint beyond 2**53), REAL a {@link Real}, TEXT a string, BLOB
 * bytes; exactly as `core/row/value.ts` has them.
 *
 * @module
 */

import { statSync } from "node:fs";
import { Real, type SqlValue } from "../../core/row/value.ts";
import { type JsonValue, parseJson } from "../api/json-reader.ts";
import { sqlValuesToJson } from "../api/json-writer.ts";
import { type ClientResponse, createSend, type Send } from "./transport.ts";

/** No agent answers on the socket, or it went away, or it took too long. */
export class Unreachable extends Error {
  /** Of what changes something: it may have been asked for, and done. */
  readonly mayBeDone: boolean;
  /** Somebody may be there: the answer didn't come in the time that was given. */
  readonly isLate: boolean;

  constructor(socket: string, why: string, mayBeDone = false) {
    super(`no agent answers on ${socket}: ${why}`);
    this.name = "Unreachable";
    this.mayBeDone = mayBeDone;
    this.isLate = why === tooLate;
  }
}

/** The agent answered, and refused. Nothing was applied. */
export class ApiFailure extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.name = "ApiFailure";
    this.status = status;
  }
}

export interface Statement {
  readonly sql: string;
  readonly parameters?: readonly SqlValue[];
}

export interface Query extends Statement {
  /** Milliseconds of waiting for the answer, over 0; without it the agent's own deadline alone counts. */
  readonly timeoutMs?: number;
}

export interface Transacted {
  readonly rowsAffected: readonly number[];
  /** Null when nothing changed that is replicated. */
  readonly version: number | null;
  readonly actorId: string;
}

export interface Rows {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly SqlValue[])[];
}

export type ChangeType = "insert" | "update" | "delete";

export type LiveEvent =
  | { readonly kind: "columns"; readonly columns: readonly string[] }
  | { readonly kind: "row"; readonly rowId: number; readonly cells: readonly SqlValue[] }
  | { readonly kind: "end-of-rows"; readonly changeId: number }
  | {
      readonly kind: "change";
      readonly type: ChangeType;
      readonly rowId: number;
      readonly cells: readonly SqlValue[];
      readonly changeId: number;
    }
  /** The stream was lost and taken up again. `isComplete`: no change was missed; otherwise rows follow anew. */
  | { readonly kind: "resumed"; readonly isComplete: boolean };

export interface SubscribeOptions {
  readonly skipRows?: boolean;
  /** Goes on after this change of the subscription `id`. */
  readonly id?: string;
  readonly from?: number;
  /** Give up when the stream ends, instead of coming back. */
  readonly once?: boolean;
  readonly signal?: AbortSignal;
}

export interface Report {
  /** As it came. */
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: what an agent of another release has may differ.
  readonly report: any;
}

export class PatinaClient {
  readonly #socket: string;
  readonly #send: Send;

  /**
   * @param socket the agent's Unix socket, or `http://host:port`; `https:` where a proxy before it has TLS
   * @param token what TCP wants
   */
  constructor(socket: string, token?: string) {
    this.#socket = socket;
    this.#send = createSend(socket, token);
  }

  /** All or nothing. @throws Unreachable (whether it was applied isn't always known then), ApiFailure */
  async transact(...statements: readonly (string | Statement)[]): Promise<Transacted> {
    return this.transactJson(`[${statements.map(statementToJson).join(",")}]`);
  }

  /** The same, of a body as the API takes it. @throws Unreachable, ApiFailure */
  async transactJson(body: string): Promise<Transacted> {
    const path = "/v1/transactions";
    const response = await this.#request("POST", path, body);
    const { status } = response;
    const text = await this.#text(response, true);
    return this.#taken(path, true, () => {
      const answer = parsed(text);
      const results = field(answer, "results");
      if (status !== 200 && results === undefined) throw failureOf(status, text);
      const list = wanted(results) as readonly JsonValue[];
      const error = list.map((result) => field(result, "error")).find((one) => one !== undefined);
      if (status !== 200 || error !== undefined) {
        throw new ApiFailure(status, plainError(String(error)));
      }
      return {
        rowsAffected: list.map((result) => Number(field(result, "rows_affected"))),
        version: wanted(field(answer, "version")) as number | null,
        actorId: String(field(answer, "actor_id")),
      };
    });
  }

  /** @throws Unreachable, ApiFailure */
  async query(query: string | Query, ...parameters: readonly SqlValue[]): Promise<Rows> {
    const { timeoutMs, ...statement } =
      typeof query === "string" ? { sql: query, parameters, timeoutMs: undefined } : query;
    const body = statementToJson(statement);
    // The agent counts in seconds; its answer says more, so it is the first to give up if it can.
    const seconds = timeoutMs === undefined ? "" : `?timeout=${Math.ceil(timeoutMs / 1000)}`;
    const path = `/v1/queries${seconds}`;
    const signal = timeoutMs === undefined ? undefined : deadline(timeoutMs + graceMs);
    const response = await this.#read("POST", path, body, signal);
    if (response.status !== 200) throw await this.#failureOf(response);
    const text = await this.#text(response);
    return this.#taken("/v1/queries", false, () => {
      let columns: readonly string[] | undefined;
      let isComplete = false;
      const rows: SqlValue[][] = [];
      for (const line of text.split("\n")) {
        if (line === "") continue;
        const event = parseJson(line) as ReadonlyMap<string, JsonValue>;
        const row = event.get("row") as readonly JsonValue[] | undefined;
        if (row !== undefined) rows.push(toSqlValues(row[1] as JsonValue));
        else if (event.has("columns")) columns = event.get("columns") as readonly string[];
        else if (event.has("error")) throw new ApiFailure(200, String(event.get("error")));
        else if (wanted(event.get("eoq"))) isComplete = true;
      }
      if (!isComplete) throw new Unreachable(this.#socket, wentAway);
      return { columns: wanted(columns), rows };
    });
  }

  /**
   * A live query. Ends when the signal aborts, or with an {@link ApiFailure} when the agent refuses.
   * When the agent goes away it waits for it, and goes on without a gap if the agent still knows the
   * subscription; otherwise the rows come anew, after `resumed` with `isComplete` false. So it does when it was let go
   * because whoever iterates is too slow, and where a new schema ends the stream: the columns, too, may then be others.
   */
  async *subscribe(
    statement: string | Statement,
    options: SubscribeOptions = {},
  ): AsyncGenerator<LiveEvent> {
    let id = options.id;
    let last = options.from;
    let isFirst = true;
    let hasHeard = false;
    for (let attempt = 0; ; ) {
      let response: ClientResponse;
      try {
        response = await this.#openStream(statement, id, last, options, isFirst);
      } catch (error) {
        if (options.signal?.aborted) return;
        const isGone =
          error instanceof ApiFailure && (error.status === 404 || error.status === 400);
        if (isGone && !isFirst && id !== undefined) {
          id = undefined;
          last = undefined;
          continue;
        }
        if (error instanceof ApiFailure && isToAskAnew(error.message) && !options.once) {
          id = undefined;
          last = undefined;
          await wait(20, options.signal);
          continue;
        }
        if (!(error instanceof Unreachable || isBusy(error)) || options.once || isFirst)
          throw error;
        await wait(Math.min(1000, 50 * 2 ** attempt++), options.signal);
        continue;
      }
      // After the 0th change means from the first row on, as if nothing had been asked for.
      const resumed: LiveEvent = { kind: "resumed", isComplete: last !== undefined && last > 0 };
      // One that is over already may say nothing but that `last` is too old.
      let isToBeTold = !isFirst;
      if (isToBeTold && response.header("patina-ended") === undefined) {
        isToBeTold = false;
        yield resumed;
      }
      isFirst = false;
      attempt = 0;
      id = response.header("corro-query-id");
      try {
        for await (const line of linesOf(response)) {
          const event = this.#taken("/v1/subscriptions", false, () => parseLiveEvent(line));
          hasHeard = true;
          if (event.kind === "error") {
            const isTooLate = event.message.startsWith(tooLateText);
            const isTooSlow = event.message.startsWith(tooSlowText);
            const isAnew = isToAskAnew(event.message);
            if (options.once || !(isTooLate || isTooSlow || isAnew)) {
              throw new ApiFailure(200, event.message);
            }
            if (isAnew) id = undefined;
            if (isTooLate || isAnew) last = undefined;
            break;
          }
          if (isToBeTold) yield resumed;
          isToBeTold = false;
          if (event.kind === "change" || event.kind === "end-of-rows") last = event.changeId;
          yield event;
        }
      } catch (error) {
        if (options.signal?.aborted) return;
        if (error instanceof ApiFailure) throw error;
        // Where nobody has spoken as an agent does yet, asking again would go on for ever.
        if (error instanceof Unreachable && !hasHeard) throw error;
      }
      if (options.signal?.aborted || options.once) return;
      await wait(20, options.signal);
    }
  }

  /** Keys of changed rows of one table. Ends with the stream. @throws Unreachable, ApiFailure */
  async *updates(
    table: string,
    signal?: AbortSignal,
  ): AsyncGenerator<{ readonly type: "update" | "delete"; readonly key: readonly SqlValue[] }> {
    const path = `/v1/updates/${encodeURIComponent(table)}`;
    const response = await this.#read("POST", path, "", signal);
    if (response.status !== 200) throw await this.#failureOf(response);
    for await (const line of this.#lines(response)) {
      yield this.#taken(path, false, () => {
        const event = parseJson(line);
        const notify = field(event, "notify") as readonly JsonValue[] | undefined;
        if (notify === undefined) throw new ApiFailure(200, String(wanted(field(event, "error"))));
        return { type: notify[0] as "update" | "delete", key: toSqlValues(notify[1] as JsonValue) };
      });
    }
  }

  /** A GET whose answer is JSON, as text. @throws Unreachable, ApiFailure */
  async get(path: keyof typeof reportParts, timeoutMs?: number): Promise<string> {
    const response = await this.#read("GET", path, undefined, deadline(timeoutMs));
    if (response.status !== 200) throw await this.#failureOf(response);
    return this.#text(response);
  }

  /** The same, read: an object that has what an agent's always has. @throws Unreachable, ApiFailure */
  async report(path: keyof typeof reportParts, timeoutMs?: number): Promise<Report> {
    const text = await this.get(path, timeoutMs);
    return this.#taken(path, false, () => {
      const report = JSON.parse(text);
      wanted(reportParts[path].find((part) => part in report));
      return { text: text.trim(), report };
    });
  }

  /**
   * Something that takes a while: calls `onProgress` meanwhile and returns what came of it.
   *
   * @param body JSON @throws Unreachable, ApiFailure
   */
  async operate(
    path: "/v1/backup" | "/v1/reload",
    body: string,
    onProgress: (progress: Record<string, unknown>) => void,
  ): Promise<Record<string, unknown>> {
    const response = await this.#request("POST", path, body);
    if (response.status !== 200) throw await this.#failureOf(response);
    for await (const line of this.#lines(response, true)) {
      const { progress, done, error } = this.#taken(path, true, () => {
        const event = JSON.parse(line);
        wanted(event.error ?? event.done ?? event.progress);
        return event;
      });
      if (error !== undefined) throw new ApiFailure(200, String(error));
      if (done !== undefined) return done;
      if (progress !== undefined) onProgress(progress);
    }
    throw new Unreachable(this.#socket, wentAway, true);
  }

  /** @throws Unreachable */
  async health(): Promise<{ readonly status: number; readonly body: string }> {
    const response = await this.#read("GET", "/v1/health", undefined);
    return { status: response.status, body: await this.#text(response) };
  }

  async #openStream(
    statement: string | Statement,
    id: string | undefined,
    last: number | undefined,
    options: SubscribeOptions,
    isFirst: boolean,
  ): Promise<ClientResponse> {
    const parameters = new URLSearchParams();
    if (last !== undefined && id !== undefined) parameters.set("from", String(last));
    if (options.skipRows && isFirst) parameters.set("skip_rows", "true");
    const query = parameters.size === 0 ? "" : `?${parameters}`;
    const { signal } = options;
    const response =
      id === undefined
        ? await this.#read("POST", `/v1/subscriptions${query}`, statementToJson(statement), signal)
        : await this.#read("GET", `/v1/subscriptions/${id}${query}`, undefined, signal);
    if (response.status !== 200) throw await this.#failureOf(response);
    return response;
  }

  /** @throws Unreachable when it can't be read */
  async #failureOf(response: ClientResponse): Promise<ApiFailure> {
    return failureOf(response.status, await this.#text(response));
  }

  /** What `take` makes of an answer. @throws Unreachable where it fails: no agent has answered so */
  #taken<T>(path: string, changes: boolean, take: () => T): T {
    try {
      return take();
    } catch (error) {
      if (error instanceof ApiFailure || error instanceof Unreachable) throw error;
      const why = `what came for ${path} is no agent's answer, or was cut off`;
      throw new Unreachable(this.#socket, why, changes);
    }
  }

  /** @throws Unreachable */
  async #text(response: ClientResponse, changes = false): Promise<string> {
    try {
      return await response.text();
    } catch (error) {
      throw new Unreachable(this.#socket, isTimeout(error) ? tooLate : wentAway, changes);
    }
  }

  /** @throws Unreachable when the stream breaks off */
  async *#lines(response: ClientResponse, changes = false): AsyncGenerator<string> {
    try {
      yield* linesOf(response);
    } catch (error) {
      if ((error as Error).name === "AbortError") throw error;
      throw new Unreachable(this.#socket, wentAway, changes);
    }
  }

  /**
   * What changes nothing is asked once more after a reset: the agent can have closed a connection, idle for long, in
   * the moment in which it was used again.
   *
   * @throws Unreachable
   */
  #read(
    method: "GET" | "POST",
    path: string,
    body: string | undefined,
    signal?: AbortSignal,
  ): Promise<ClientResponse> {
    return this.#request(method, path, body, signal, true);
  }

  /** @throws Unreachable */
  async #request(
    method: "GET" | "POST",
    path: string,
    body: string | undefined,
    signal?: AbortSignal,
    isRead = false,
    mayRepeat = isRead,
  ): Promise<ClientResponse> {
    let response: ClientResponse;
    try {
      response = await this.#send({ method, path, body, signal });
    } catch (error) {
      if (mayRepeat && isReset(error))
        return this.#request(method, path, body, signal, true, false);
      throw new Unreachable(this.#socket, reasonOf(error, this.#socket), !isRead && isReset(error));
    }
    // A web server's own pages: no agent has any.
    if (response.header("content-type")?.startsWith("text/html") === true) {
      throw new Unreachable(this.#socket, "another program answers there");
    }
    return response;
  }
}

/** Parts of which each has one, of any release. */
const reportParts = {
  "/v1/status": ["rows_held"],
  "/v1/swarm": ["peers", "kind"],
  "/v1/subs": ["subscriptions"],
} as const;

/** In which the agent's own answer that it took too long may come: it says more. */
const graceMs = 2000;
/** How the lines begin that end a stream which can be taken up again: with its rows, or where it was. */
const tooLateText = "subscription already deleted older changes";
const tooSlowText = "too slow: ";
/** How those end that a new schema has ended. */
const askAnewText = ": subscribe again";
const wentAway = "it went away in the middle";
const tooLate = "it took longer than was asked for";

function deadline(timeoutMs: number | undefined): AbortSignal | undefined {
  return timeoutMs === undefined ? undefined : AbortSignal.timeout(timeoutMs);
}

/** It has no room for another request now: all readers of an agent come back at once when it is started again. */
function isBusy(error: unknown): boolean {
  return error instanceof ApiFailure && error.status === 503;
}

function isToAskAnew(message: string): boolean {
  return message.endsWith(askAnewText);
}

function isTimeout(error: unknown): boolean {
  return (error as Error).name === "TimeoutError";
}

/** The connection ended before any answer. */
function isReset(error: unknown): boolean {
  const { code } = error as { readonly code?: string };
  return code === "ECONNRESET" || code === "EPIPE" || code === "ConnectionClosed";
}

function reasonOf(error: unknown, at: string): string {
  if (isTimeout(error)) return tooLate;
  const { code, message } = error as { readonly code?: string; readonly message: string };
  if (code === "ENOENT" || code === "FailedToOpenSocket") return "there is no socket";
  if (code === "ECONNREFUSED" || code === "ConnectionRefused") {
    return noSocketText(at) ?? "nobody listens";
  }
  if (code === "ENAMETOOLONG") return "a Unix socket's path has at most 107 bytes";
  if (code === "EACCES") return "this user may not connect (api.socket_mode, api.socket_group)";
  return code ?? message;
}

/** The system says of a folder, too, that nobody listens there. Undefined: a socket, a URL, or nobody can tell. */
function noSocketText(at: string): string | undefined {
  try {
    const found = statSync(at);
    if (found.isDirectory()) return "it is a folder";
    return found.isSocket() ? undefined : "it is no socket";
  } catch {
    return undefined;
  }
}

function statementToJson(statement: string | Statement): string {
  if (typeof statement === "string") return JSON.stringify(statement);
  const { sql, parameters } = statement;
  return `[${JSON.stringify(sql)},${sqlValuesToJson(parameters ?? [])}]`;
}

/** Undefined: no JSON. */
function parsed(text: string): JsonValue | undefined {
  try {
    return parseJson(text);
  } catch {
    return undefined;
  }
}

function failureOf(status: number, text: string): ApiFailure {
  const error = field(parsed(text), "error");
  if (typeof error === "string") return new ApiFailure(status, error);
  // Not JSON: the text says it.
  return new ApiFailure(status, text || `HTTP status ${status}`);
}

/** Without what the contract puts around an error. */
function plainError(text: string): string {
  return text.replace(/^rusqlite: /, "").replace(/ \(actor_id: None, version: None\)$/, "");
}

function field(json: JsonValue | undefined, name: string): JsonValue | undefined {
  return json instanceof Map ? json.get(name) : undefined;
}

/** @throws Error which the caller turns into {@link Unreachable} */
function wanted<T>(part: T | undefined): T {
  if (part === undefined) throw new Error("a part of the answer is missing");
  return part;
}

function toSqlValues(json: JsonValue): SqlValue[] {
  return (json as readonly JsonValue[]).map((item) =>
    Array.isArray(item)
      ? Uint8Array.from(item as number[])
      : (item as null | number | bigint | Real | string),
  );
}

function parseLiveEvent(line: string): LiveEvent | { kind: "error"; message: string } {
  const event = parseJson(line) as ReadonlyMap<string, JsonValue>;
  const change = event.get("change") as readonly JsonValue[] | undefined;
  if (change !== undefined) {
    return {
      kind: "change",
      type: change[0] as ChangeType,
      rowId: change[1] as number,
      cells: toSqlValues(change[2] as JsonValue),
      changeId: change[3] as number,
    };
  }
  const row = event.get("row") as readonly JsonValue[] | undefined;
  if (row !== undefined) {
    return { kind: "row", rowId: row[0] as number, cells: toSqlValues(row[1] as JsonValue) };
  }
  if (event.has("columns")) {
    return { kind: "columns", columns: event.get("columns") as readonly string[] };
  }
  const end = event.get("eoq");
  if (end !== undefined)
    return { kind: "end-of-rows", changeId: field(end, "change_id") as number };
  return { kind: "error", message: String(wanted(event.get("error"))) };
}

async function* linesOf(response: ClientResponse): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of response.chunks()) {
    // Only what has come is looked through: a line may be as long as a row.
    const lines = decoder.decode(chunk, { stream: true }).split("\n");
    lines[0] = rest + lines[0];
    rest = lines.pop() as string;
    for (const line of lines) if (line.trim() !== "") yield line;
  }
}

/** Or until the signal aborts. That one may last as long as the program: nobody is left listening to it. */
function wait(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done);
  });
}

/** A parameter as people type it: `12`, `1.5`, `null`, `x'00ff'`, anything else is text. */
export function parseParameter(text: string): SqlValue {
  if (text === "null" || text === "NULL") return null;
  if (/^(?:0|-?[1-9]\d*)$/.test(text)) {
    const integer = BigInt(text);
    if (BigInt.asIntN(64, integer) === integer) {
      const number = Number(integer);
      return Number.isSafeInteger(number) ? number : integer;
    }
  }
  if (/^-?(?:0|[1-9]\d*)\.\d+(?:e[+-]?\d+)?$/i.test(text)) return new Real(Number(text));
  const blob = /^x'((?:[0-9a-f]{2})*)'$/i.exec(text);
  return blob === null ? text : Uint8Array.from(Buffer.from(blob[1] as string, "hex"));
}

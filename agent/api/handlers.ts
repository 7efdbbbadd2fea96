/**
 * The handlers of the HTTP API. Paths, statuses, headers and bodies are Corrosion's, so that its
 * clients work; what is ours alone has a path of its own (`/v1/status`, `/v1/swarm`) or a header that
 * begins with `patina-`.
 *
 * | path                      | does                                                         |
 * | ------------------------- | ------------------------------------------------------------ |
 * | POST /v1/transactions     | a list of statements, all or nothing                         |
 * | POST /v1/queries          | one read-only statement; NDJSON                              |
 * | POST /v1/subscriptions    | one live query; NDJSON that doesn't end                      |
 * | GET  /v1/subscriptions/ID | the same by id                                               |
 * | POST /v1/updates/TABLE    | keys of changed rows; NDJSON that doesn't end                |
 * | POST /v1/migrations       | CREATE statements, accepted when they change nothing         |
 * | POST /v1/table_stats      | row counts                                                   |
 * | GET  /v1/health           | thresholds in the query string decide the status             |
 * | GET  /v1/status           | everything `patina status` shows                             |
 * | GET  /v1/swarm            | peers, addresses, traffic                                    |
 * | GET  /metrics             | for Prometheus                                               |
 * | GET  /v1/openapi.json     | all of this, for programs                                    |
 * | GET  /v1/subs             | live queries: which way each runs, and what it costs         |
 * | POST /v1/backup           | copies the database into a new file of this host; NDJSON     |
 * | POST /v1/reload           | reads the schema files again; NDJSON                         |
 *
 * @module
 */

import { type Access, fullAccess } from "./access.ts";
import { EventStream } from "./event-stream.ts";
import { expositionType, type Metric, toExposition } from "./exposition.ts";
import {
  type ApiRequest,
  type ApiResponse,
  emptyResponse,
  errorJson,
  errorResponse,
  jsonResponse,
  textResponse,
  utf8,
} from "./http.ts";
import type { JsonValue } from "./json-reader.ts";
import { realToJson, secondsToJson } from "./json-writer.ts";
import { openApi } from "./openapi.ts";
import { QueryString, QueryStringError } from "./query-string.ts";
import { parseJsonBody, parseStatementBody, parseStatementListBody } from "./statement.ts";
import {
  healthProblem,
  type Operation,
  type QueryOutcome,
  type StoreService,
  type SubscribeOptions,
  type SubscribeOutcome,
  type TableStats,
  type TransactOutcome,
} from "./store-service.ts";
import { UnreadRoom } from "./unread-room.ts";
import { parseUuid } from "./uuid.ts";

export interface ApiLimits {
  /** Of a request's body. Larger ones are refused with 413. */
  readonly bodyBytesMax: number;
  /** Of events that one subscriber has not read. */
  readonly subscriberBytesMax: number;
  /** Of all that all subscribers together have not read, rows of snapshots included; over it no other may begin. */
  readonly unreadBytesMax: number;
  /** Statements of one transaction. */
  readonly statementsMax: number;
}

export const apiLimits: ApiLimits = {
  bodyBytesMax: 16 * 1024 * 1024,
  subscriberBytesMax: 4 * 1024 * 1024,
  unreadBytesMax: 256 * 1024 * 1024,
  statementsMax: 100_000,
};

/**
 * An answer that is there at once is no promise: each one that is waited for costs a short read a good part of
 * a microsecond.
 *
 * @param access what the client may do; everything, unless a carrier knows better
 */
export type ApiHandler = (
  request: ApiRequest,
  access?: Access,
) => Promise<ApiResponse> | ApiResponse;

/**
 * One function that answers every request. It doesn't throw but for faults of ours.
 *
 * @param ownMetrics what the carriers count, beside the store's
 */
export function createApi(
  store: StoreService,
  limits: ApiLimits = apiLimits,
  ownMetrics: () => readonly Metric[] = () => [],
): ApiHandler {
  const handlers = new Handlers(store, limits, ownMetrics);
  return (request, access = fullAccess) => {
    try {
      const answer = handlers.handle(request, access);
      return answer instanceof Promise ? answer.catch(refusedQueryString) : answer;
    } catch (error) {
      return refusedQueryString(error);
    }
  };
}

/** @throws anything else */
function refusedQueryString(error: unknown): ApiResponse {
  if (error instanceof QueryStringError) return error.response;
  throw error;
}

const revokedText = "the token of this stream is no longer valid";
const noRoomText = "other subscribers have too much left to read: try again";
const subscriptionsPath = "/v1/subscriptions/";
const updatesPath = "/v1/updates/";

class Handlers {
  readonly #store: StoreService;
  readonly #limits: ApiLimits;
  readonly #ownMetrics: () => readonly Metric[];
  readonly #room: UnreadRoom;
  #agreedMs: number | undefined;
  #agreedHeaders: Readonly<Record<string, string>> = { "patina-agreed-ms": "none" };

  constructor(store: StoreService, limits: ApiLimits, ownMetrics: () => readonly Metric[]) {
    this.#store = store;
    this.#limits = limits;
    this.#ownMetrics = ownMetrics;
    this.#room = new UnreadRoom(limits.unreadBytesMax);
  }

  handle(request: ApiRequest, access: Access): Promise<ApiResponse> | ApiResponse {
    const { path } = request;
    switch (path) {
      case "/v1/queries":
        return only("POST", request) ?? this.#query(request, access);
      case "/v1/transactions":
        return only("POST", request) ?? this.#transact(request, access);
      case "/v1/subscriptions":
        return only("POST", request) ?? this.#subscribe(request, access);
      case "/v1/migrations":
        return only("POST", request) ?? this.#migrate(request, access);
      case "/v1/table_stats":
        return only("POST", request) ?? this.#tableStats(request, access);
      case "/v1/health":
        return only("GET", request) ?? this.#health(request);
      case "/v1/status":
        return only("GET", request) ?? this.#inside(access, () => this.#store.status());
      case "/v1/backup":
      case "/v1/reload":
        return only("POST", request) ?? this.#operate(request, access);
      case "/v1/subs":
        return only("GET", request) ?? this.#inside(access, () => this.#store.subscriptions());
      case "/v1/openapi.json":
        return only("GET", request) ?? jsonResponse(200, JSON.stringify(openApi));
      case "/v1/swarm":
        return only("GET", request) ?? this.#inside(access, () => this.#store.swarm());
      case "/metrics":
        return only("GET", request) ?? this.#metrics(access);
    }
    if (path.startsWith(subscriptionsPath)) {
      const id = path.slice(subscriptionsPath.length);
      if (id !== "" && !id.includes("/")) {
        return only("GET", request) ?? this.#attach(request, id, access);
      }
    }
    if (path.startsWith(updatesPath)) {
      const table = path.slice(updatesPath.length);
      if (table !== "" && !table.includes("/")) {
        return only("POST", request) ?? this.#updates(request, table, access);
      }
    }
    return emptyResponse(404);
  }

  async #transact(request: ApiRequest, access: Access): Promise<ApiResponse> {
    const timeoutMs = secondsToMs(new QueryString(request.query).unsigned("timeout"));
    if (!access.mayWrite) return this.#transactRefused(403, "this token may only read");
    if (request.body === "too-large") {
      return this.#transactRefused(413, tooLarge(this.#limits));
    }
    const parsed = parseStatementListBody(request);
    if (parsed.kind === "refused") return parsed.response;
    const statements = parsed.value;
    if (statements.length === 0) {
      return this.#transactRefused(400, "at least 1 statement is required");
    }
    if (statements.length > this.#limits.statementsMax) {
      const text = `at most ${this.#limits.statementsMax} statements in one transaction`;
      return this.#transactRefused(400, `${text}, got ${statements.length}`);
    }
    const begunMs = performance.now();
    const outcome = await this.#store.transact(statements, timeoutMs, access);
    if (outcome.kind === "refused") {
      const why = `rusqlite: ${outcome.why} (actor_id: None, version: None)`;
      return this.#transactRefused(outcome.status, why);
    }
    const tookMs = performance.now() - begunMs;
    return jsonResponse(200, transactJson(outcome, tookMs, this.#store.actorId));
  }

  #transactRefused(status: number, why: string): ApiResponse {
    const tail = `"time":0.0,"version":null,"actor_id":"${this.#store.actorId}"`;
    return jsonResponse(status, `{"results":[${errorJson(why)}],${tail}}`);
  }

  #query(request: ApiRequest, access: Access): Promise<ApiResponse> | ApiResponse {
    const { query } = request;
    const timeoutMs =
      query === "" ? undefined : secondsToMs(new QueryString(query).unsigned("timeout"));
    if (request.body === "too-large") return errorResponse(413, tooLarge(this.#limits));
    const parsed = parseStatementBody(request);
    if (parsed.kind === "refused") return parsed.response;
    const outcome = this.#store.query(parsed.value, timeoutMs, access);
    return outcome instanceof Promise
      ? outcome.then((one) => this.#queried(request, access, one))
      : this.#queried(request, access, outcome);
  }

  #queried(request: ApiRequest, { revoked }: Access, outcome: QueryOutcome): ApiResponse {
    if (outcome.kind === "refused") return errorResponse(outcome.status, outcome.why);
    if (outcome.kind === "stream") {
      request.signal.addEventListener("abort", outcome.cancel, { once: true });
      const body = revoked === undefined ? outcome.chunks : untilRevoked(outcome, revoked);
      return { status: 200, headers: this.#agreed(), body };
    }
    const { chunks } = outcome;
    const body = chunks.length === 1 ? (chunks[0] as Uint8Array) : inTurn(chunks);
    return { status: 200, headers: this.#agreed(), body };
  }

  async #subscribe(request: ApiRequest, access: Access): Promise<ApiResponse> {
    const options = subscribeOptions(request, access);
    if (request.body === "too-large") return errorResponse(413, tooLarge(this.#limits));
    const parsed = parseStatementBody(request);
    if (parsed.kind === "refused") return parsed.response;
    return this.#stream(request, access, (push) =>
      this.#store.subscribe(parsed.value, options, push, access),
    );
  }

  async #attach(request: ApiRequest, text: string, access: Access): Promise<ApiResponse> {
    const uuid = parseUuid(text, "id");
    if (uuid.kind === "refused") return uuid.response;
    const options = subscribeOptions(request, access);
    return this.#stream(request, access, (push) =>
      this.#store.attach(uuid.value, options, push, access),
    );
  }

  async #updates(request: ApiRequest, name: string, access: Access): Promise<ApiResponse> {
    let table: string;
    try {
      table = decodeURIComponent(name);
    } catch {
      return errorResponse(400, `table not found in schema: ${name}`);
    }
    return this.#stream(request, access, (push) => this.#store.updates(table, push, access));
  }

  async #stream(
    request: ApiRequest,
    { revoked }: Access,
    open: (push: EventStream["push"]) => Promise<SubscribeOutcome>,
  ): Promise<ApiResponse> {
    if (!this.#room.mayEnter(performance.now())) return errorResponse(503, noRoomText);
    let subscriber: number | undefined;
    const onRevoked = (): void => stream.refuse(revokedText);
    const { subscriberBytesMax } = this.#limits;
    const stream = new EventStream(subscriberBytesMax, this.#room, request.signal, () => {
      revoked?.removeEventListener("abort", onRevoked);
      if (subscriber !== undefined) this.#store.unsubscribe(subscriber);
    });
    const outcome = await open(stream.push);
    if (outcome.kind === "refused" && revoked?.aborted === true) {
      return errorResponse(403, revokedText);
    }
    if (outcome.kind === "refused") {
      return outcome.status === 404
        ? jsonResponse(404, `${errorJson(outcome.why)}\n`)
        : errorResponse(outcome.status, outcome.why);
    }
    subscriber = outcome.subscriber;
    if (stream.isEnded) this.#store.unsubscribe(subscriber);
    // Since its head came: a signal tells of it once.
    else if (revoked?.aborted === true) onRevoked();
    else revoked?.addEventListener("abort", onRevoked, { once: true });
    if (stream.isTurnedAway) return errorResponse(503, noRoomText);
    const headers: Record<string, string> = { ...this.#agreed(), "corro-query-id": outcome.id };
    if (outcome.hash !== undefined) headers["corro-query-hash"] = outcome.hash;
    // Such as one that can't go on from where it was asked to: its lines say why.
    if (stream.isEnded) headers["patina-ended"] = "true";
    return { status: 200, headers, body: stream, isEndless: true, onCut: stream.onCut };
  }

  /** What clients of Corrosion's first version send when they start: a list of CREATE statements. */
  async #migrate(request: ApiRequest, access: Access): Promise<ApiResponse> {
    if (access.tables !== undefined || !access.mayWrite) {
      return this.#transactRefused(403, "this needs a token for everything");
    }
    if (request.body === "too-large") return this.#transactRefused(413, tooLarge(this.#limits));
    const parsed = parseJsonBody(request);
    if (parsed.kind === "refused") return parsed.response;
    const statements = parsed.value;
    if (!isTexts(statements)) {
      return textResponse(422, `${wrongShape}expected a sequence of strings`);
    }
    if (statements.length === 0) {
      return this.#transactRefused(400, "at least 1 statement is required");
    }
    const begunMs = performance.now();
    const outcome = await this.#store.migrate(statements);
    if (outcome.kind === "refused") return this.#transactRefused(outcome.status, outcome.why);
    const time = secondsToJson(performance.now() - begunMs);
    const tail = `"version":null,"actor_id":"${this.#store.actorId}"`;
    return jsonResponse(200, `{"results":[],"time":${time},${tail}}`);
  }

  async #tableStats(request: ApiRequest, access: Access): Promise<ApiResponse> {
    if (request.body === "too-large") return jsonResponse(413, errorJson(tooLarge(this.#limits)));
    const parsed = parseJsonBody(request);
    if (parsed.kind === "refused") return parsed.response;
    const tables = tableNames(parsed.value);
    if (tables === undefined) {
      const missing = `missing field \`tables\` at line 1 column ${request.body.length}`;
      return textResponse(422, wrongShape + missing);
    }
    let stats: TableStats;
    try {
      stats = await this.#store.tableStats(tables, access);
    } catch {
      return jsonResponse(500, '{"total_row_count":0,"invalid_tables":[]}');
    }
    const invalid = JSON.stringify(stats.invalidTables);
    const count = stats.totalRowCount;
    return jsonResponse(200, `{"total_row_count":${count},"invalid_tables":${invalid}}`);
  }

  /** How far an answer may be behind: since when this node knows of nobody who has exactly what it has. */
  #agreed(): Readonly<Record<string, string>> {
    const ms = this.#store.agreedMs();
    // The same for all answers of a millisecond.
    if (ms !== this.#agreedMs) {
      this.#agreedMs = ms;
      this.#agreedHeaders = { "patina-agreed-ms": String(ms ?? "none") };
    }
    return this.#agreedHeaders;
  }

  async #health(request: ApiRequest): Promise<ApiResponse> {
    const answer = await this.#healthAnswer(request);
    return { ...answer, headers: { ...answer.headers, ...this.#agreed() } };
  }

  async #healthAnswer(request: ApiRequest): Promise<ApiResponse> {
    const query = new QueryString(request.query);
    const gapsMax = query.unsigned("gaps");
    const lagMax = query.real("p99_lag");
    const queueMax = query.unsigned("max_queue");
    const lagQueueMin = query.unsigned("queue_size");
    const status = query.unsigned("failure_status") ?? 503;
    const failureStatus = mayHaveBody(status) ? status : 503;
    const health = await this.#store.health();
    const problem = healthProblem(health);
    if (problem !== undefined) return jsonResponse(failureStatus, errorJson(problem));
    const { p99LagSeconds = 0, queueSize } = health;
    // There are no gaps: the state itself is reconciled, not a log of versions.
    const gaps = 0;
    const isFailing =
      (gapsMax !== undefined && gaps > gapsMax) ||
      (queueMax !== undefined && queueSize > queueMax) ||
      (lagMax !== undefined &&
        p99LagSeconds > lagMax &&
        (lagQueueMin === undefined || queueSize > lagQueueMin));
    const fields = [
      `"gaps":${gaps}`,
      `"members":${health.members}`,
      `"p99_lag":${realToJson(p99LagSeconds)}`,
      `"queue_size":${queueSize}`,
    ];
    return jsonResponse(isFailing ? failureStatus : 200, `{"response":{${fields.join(",")}}}`);
  }

  /** Answers in lines of JSON: `progress`, then `done` or `error`. */
  async #operate(request: ApiRequest, access: Access): Promise<ApiResponse> {
    // They act on this host and its files.
    if (access !== fullAccess) return errorResponse(403, "only over the Unix socket");
    const parsed = request.body === "too-large" ? undefined : parseJsonBody(request);
    if (parsed === undefined) return errorResponse(413, tooLarge(this.#limits));
    if (parsed.kind === "refused") return parsed.response;
    const field = (name: string): JsonValue | undefined =>
      parsed.value instanceof Map ? parsed.value.get(name) : undefined;
    let operation: Operation;
    if (request.path === "/v1/backup") {
      const path = field("path");
      if (typeof path !== "string" || !path.startsWith("/") || path.includes("\0")) {
        return errorResponse(400, 'a JSON object with an absolute "path"');
      }
      operation = { kind: "backup", path };
    } else {
      const dryRun = field("dry_run") ?? false;
      // Whoever meant a dry run and wrote it otherwise mustn't get a real one.
      if (!(parsed.value instanceof Map) || typeof dryRun !== "boolean") {
        return errorResponse(400, 'a JSON object, "dry_run" true or false');
      }
      operation = { kind: "reload", dryRun };
    }
    const outcome = await this.#store.operate(operation);
    if (outcome.kind === "refused") return errorResponse(outcome.status, outcome.why);
    return { status: 200, headers: ndjsonHeaders, body: outcome.lines };
  }

  /** What shows all tables, statements of others among it. */
  async #inside(access: Access, read: () => Promise<string>): Promise<ApiResponse> {
    if (access.tables !== undefined) return errorResponse(403, forSomeTables);
    return jsonResponse(200, `${await read()}\n`);
  }

  async #metrics(access: Access): Promise<ApiResponse> {
    if (access.tables !== undefined) return errorResponse(403, forSomeTables);
    const text = toExposition([...(await this.#store.metrics()), ...this.#ownMetrics()]);
    return { status: 200, headers: { "content-type": expositionType }, body: utf8(text) };
  }
}

const forSomeTables = "this token is for some tables only";
const ndjsonHeaders = { "content-type": "application/x-ndjson" };
const wrongShape = "Failed to deserialize the JSON body into the target type: ";

/** Behind others a client looks for the next answer where the body begins (RFC 9112 §6.3). */
function mayHaveBody(status: number): boolean {
  return status >= 200 && status <= 599 && !bodiless.has(status);
}

const bodiless: ReadonlySet<number> = new Set([204, 205, 304]);

function only(method: "GET" | "POST", request: ApiRequest): ApiResponse | undefined {
  if (request.method === method) return undefined;
  if (method === "GET" && request.method === "HEAD") return undefined;
  return emptyResponse(405, { allow: method === "GET" ? "GET,HEAD" : method });
}

function tooLarge(limits: ApiLimits): string {
  return `the body is larger than ${limits.bodyBytesMax} bytes`;
}

/** 0 means no limit of the client's own. */
function secondsToMs(seconds: number | undefined): number | undefined {
  return seconds === undefined || seconds === 0 ? undefined : seconds * 1000;
}

function subscribeOptions(request: ApiRequest, { revoked }: Access): SubscribeOptions {
  const query = new QueryString(request.query);
  return {
    from: query.unsigned("from"),
    skipRows: query.boolean("skip_rows") ?? false,
    transactions: query.flag("tx"),
    gone: revoked === undefined ? request.signal : AbortSignal.any([request.signal, revoked]),
  };
}

function transactJson(
  outcome: TransactOutcome & { kind: "committed" },
  tookMs: number,
  actorId: string,
): string {
  const results = outcome.results.map(
    (one) => `{"rows_affected":${one.rowsAffected},"time":${secondsToJson(one.tookMs)}}`,
  );
  const head = `{"results":[${results.join(",")}],"time":${secondsToJson(tookMs)}`;
  return `${head},"version":${outcome.version},"actor_id":"${actorId}"}`;
}

function tableNames(json: JsonValue): string[] | undefined {
  if (!(json instanceof Map)) return undefined;
  const tables: JsonValue | undefined = json.get("tables");
  return isTexts(tables) ? tables : undefined;
}

function isTexts(json: JsonValue | undefined): json is string[] {
  return Array.isArray(json) && json.every((item) => typeof item === "string");
}

/** Until the token is taken back that it was begun with. */
async function* untilRevoked(
  { chunks, refuse }: QueryOutcome & { kind: "stream" },
  revoked: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const onRevoked = (): void => refuse(revokedText);
  revoked.addEventListener("abort", onRevoked, { once: true });
  // A signal tells of it once.
  if (revoked.aborted) onRevoked();
  try {
    yield* chunks;
  } finally {
    revoked.removeEventListener("abort", onRevoked);
  }
}

async function* inTurn(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

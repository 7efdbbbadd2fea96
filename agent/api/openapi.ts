/**
 * The API's description, served at `/v1/openapi.json`: OpenAPI 3.2, whose `itemSchema` describes streams line by
 * line. A test holds real answers against it.
 *
 * Streams are sent without a content type, as the contract has it; the description must name one, and
 * says `application/x-ndjson`.
 *
 * @module
 */

import { version } from "../version.ts";

type Schema = Readonly<Record<string, unknown>>;

const ref = (name: string): Schema => ({ $ref: `#/components/schemas/${name}` });
const object = (
  properties: Readonly<Record<string, Schema>>,
  optional: readonly string[] = [],
): Schema => ({
  type: "object",
  properties,
  required: Object.keys(properties).filter((name) => !optional.includes(name)),
  additionalProperties: false,
});
const tuple = (...items: readonly Schema[]): Schema => ({
  type: "array",
  prefixItems: items,
  items: false,
  minItems: items.length,
});
const list = (items: Schema): Schema => ({ type: "array", items });
const oneOf = (...schemas: readonly Schema[]): Schema => ({ oneOf: schemas });
const count: Schema = { type: "integer", minimum: 0 };
const text: Schema = { type: "string" };
const seconds: Schema = { type: "number", minimum: 0 };
const cells = list(ref("Value"));

const schemas: Readonly<Record<string, Schema>> = {
  Value: {
    description:
      "NULL null; INTEGER up to 64 bits; REAL with a point or an exponent (1.0, 1e16); TEXT; BLOB as byte numbers.",
    anyOf: [
      { type: ["null", "number", "string"] },
      list({ type: "integer", minimum: 0, maximum: 255 }),
    ],
  },
  Parameter: {
    description: "As a value; true and false are 1 and 0.",
    anyOf: [{ type: "boolean" }, ref("Value")],
  },
  Statement: {
    description: "Names of parameters keep their :, @ or $. params wins if both are given.",
    anyOf: [
      text,
      tuple(text, list(ref("Parameter"))),
      tuple(text, { type: "object", additionalProperties: ref("Parameter") }),
      {
        type: "object",
        properties: {
          query: text,
          params: { anyOf: [{ type: "null" }, list(ref("Parameter"))] },
          named_params: { type: ["object", "null"], additionalProperties: ref("Parameter") },
        },
        required: ["query"],
      },
    ],
  },
  Error: object({ error: text }),
  Transaction: object({
    results: list(oneOf(object({ rows_affected: count, time: seconds }), object({ error: text }))),
    time: seconds,
    version: {
      type: ["integer", "null"],
      description: "Null if nothing changed that is replicated.",
    },
    actor_id: { type: "string", pattern: "^[0-9a-f]{32}$" },
  }),
  QueryLine: oneOf(
    object({ columns: list(text) }),
    object({ row: tuple(count, cells) }),
    object({ eoq: object({ time: seconds }) }),
    ref("Error"),
  ),
  SubscriptionLine: oneOf(
    object({ columns: list(text) }),
    object({ row: tuple(count, cells) }),
    object({ eoq: object({ time: seconds, change_id: count }) }),
    object({ change: tuple({ enum: ["insert", "update", "delete"] }, count, cells, count) }),
    object({
      tx: object({
        changes: count,
        change_id: count,
        origins: {
          type: ["array", "null"],
          items: object({ site: text, hlc: { type: "string", pattern: "^\\d+\\.\\d+$" } }),
        },
      }),
    }),
    ref("Error"),
  ),
  UpdateLine: oneOf(object({ notify: tuple({ enum: ["update", "delete"] }, cells) }), ref("Error")),
  TableStats: object({ total_row_count: count, invalid_tables: list(text) }),
  Health: object({
    response: object({ gaps: count, members: count, p99_lag: seconds, queue_size: count }),
  }),
  OperationLine: oneOf(
    object({ progress: { type: "object" } }),
    object({ done: { type: "object" } }),
    ref("Error"),
  ),
};

const jsonBody = (schema: Schema): object => ({ "application/json": { schema } });
const lines = (schema: Schema): object => ({ "application/x-ndjson": { itemSchema: schema } });
const answer = (description: string, content?: object, headers?: object): object => ({
  description,
  ...(content === undefined ? {} : { content }),
  ...(headers === undefined ? {} : { headers }),
});
const plain = { "text/plain; charset=utf-8": { schema: text } };
const agreed = {
  "patina-agreed-ms": {
    description: "Milliseconds since this node last found itself identical with a peer, or none.",
    schema: { type: "string", pattern: "^(\\d+|none)$" },
  },
};
const streamHeaders = {
  ...agreed,
  "patina-ended": {
    description: "The stream is over already: nothing follows the lines that are there.",
    required: false,
    schema: { enum: ["true"] },
  },
  "corro-query-id": { schema: { type: "string", format: "uuid" } },
};
const hashHeader = {
  "corro-query-hash": { schema: { type: "string", pattern: "^[0-9a-f]{16}$" } },
};
const query = (name: string, description: string, schema: Schema): object => ({
  name,
  in: "query",
  description,
  schema,
});

/** What every path may answer; what it answers itself with the same status is told instead. */
const common = {
  400: answer("authorization is of another scheme than bearer.", plain),
  401: answer("No token, or a wrong one. Empty."),
  403: answer("The token isn't for this.", jsonBody(oneOf(ref("Error"), ref("Transaction")))),
  408: answer("The request took too long to come.", jsonBody(ref("Error"))),
  421: answer(
    "x-corrosion-requested-endpoint-name is another's: empty. Or, without a token, host is a name of the web.",
    plain,
  ),
  431: answer("The request's head is over 16 KiB.", plain),
  503: answer("Too many requests of this route at once, or too much of others' in memory.", {
    ...jsonBody(ref("Error")),
    ...plain,
  }),
};
const refused = {
  400: answer("Refused: the statement, a parameter of the query, or broken JSON.", {
    ...jsonBody(ref("Error")),
    ...plain,
  }),
  413: answer("The body is over its limit.", jsonBody(oneOf(ref("Error"), ref("Transaction")))),
  415: answer("No JSON content type.", plain),
  422: answer("JSON of another shape.", plain),
  500: answer("Refused when it was to run.", jsonBody(ref("Error"))),
};
const transactionRefused = {
  ...refused,
  400: answer("Refused.", { ...jsonBody(ref("Transaction")), ...plain }),
  500: answer("Refused when it ran. Nothing was applied.", jsonBody(ref("Transaction"))),
};
const timeout = query("timeout", "Whole seconds; 0 for the configured limit.", count);
const resume = [
  query("from", "Go on after this change id; no rows then. 0 for rows first.", count),
  query("skip_rows", "No rows, changes only.", { enum: ["true", "false"] }),
  query("tx", "Patina's own: tell where transactions end.", { enum: ["0", "1", "true", "false"] }),
];
const body = (schema: Schema): object => ({ required: true, content: jsonBody(schema) });
const path = (name: string): object => ({ name, in: "path", required: true, schema: text });

export const openApi = {
  openapi: "3.2.0",
  info: {
    title: "Patina",
    version,
    license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    description: "A replicated SQLite database on every host, in the shapes of Corrosion's API.",
  },
  security: [{}, { bearer: [] }],
  paths: {
    "/v1/transactions": {
      post: {
        summary: "A list of statements that write, all or nothing.",
        parameters: [timeout],
        requestBody: body(list(ref("Statement"))),
        responses: {
          ...common,
          200: answer("Committed on this node.", jsonBody(ref("Transaction"))),
          ...transactionRefused,
        },
      },
    },
    "/v1/queries": {
      post: {
        summary: "One statement that reads.",
        parameters: [timeout],
        requestBody: body(ref("Statement")),
        responses: {
          ...common,
          200: answer("Columns, rows, and eoq or an error.", lines(ref("QueryLine")), agreed),
          ...refused,
        },
      },
    },
    "/v1/subscriptions": {
      post: {
        summary: "A live query: its rows, then every change of them.",
        parameters: resume,
        requestBody: body(ref("Statement")),
        responses: {
          ...common,
          200: answer("Never ends by itself.", lines(ref("SubscriptionLine")), {
            ...streamHeaders,
            ...hashHeader,
          }),
          ...refused,
        },
      },
    },
    "/v1/subscriptions/{id}": {
      get: {
        summary: "A live query that there is already.",
        parameters: [path("id"), ...resume],
        responses: {
          ...common,
          200: answer("Never ends by itself.", lines(ref("SubscriptionLine")), {
            ...streamHeaders,
            ...hashHeader,
          }),
          400: answer("No UUID, or a wrong parameter; or the query has just ended.", {
            ...jsonBody(ref("Error")),
            ...plain,
          }),
          404: answer("Nobody asked this here, or long ago.", jsonBody(ref("Error"))),
        },
      },
    },
    "/v1/updates/{table}": {
      post: {
        summary: "Keys of changed rows of one table, from now on.",
        parameters: [path("table")],
        responses: {
          ...common,
          200: answer("Never ends by itself.", lines(ref("UpdateLine")), streamHeaders),
          400: answer("No such table, or not a replicated one.", {
            ...jsonBody(ref("Error")),
            ...plain,
          }),
        },
      },
    },
    "/v1/migrations": {
      post: {
        summary: "CREATE statements, accepted if they change nothing.",
        requestBody: body(list(text)),
        responses: {
          ...common,
          200: answer("The schema is so.", jsonBody(ref("Transaction"))),
          ...transactionRefused,
        },
      },
    },
    "/v1/table_stats": {
      post: {
        summary: "How many rows tables have, together.",
        requestBody: body(object({ tables: list(text) })),
        responses: {
          ...common,
          200: answer("", jsonBody(ref("TableStats"))),
          ...refused,
          500: answer("A table can't be counted.", jsonBody(ref("TableStats"))),
        },
      },
    },
    "/v1/health": {
      get: {
        summary: "Held against thresholds: 200, or failure_status.",
        parameters: [
          query("gaps", "More than so many is a failure; there are none.", count),
          query("p99_lag", "Seconds.", { type: "number" }),
          query("max_queue", "Changesets that wait.", count),
          query("queue_size", "p99_lag counts only while more than so many wait.", count),
          query(
            "failure_status",
            "Default 503; also in place of one without a body (204, 205, 304).",
            count,
          ),
        ],
        responses: {
          ...common,
          200: answer("", jsonBody(ref("Health")), agreed),
          400: answer("A wrong parameter.", plain),
          default: answer("A failure.", jsonBody(oneOf(ref("Health"), ref("Error"))), agreed),
          503: answer("A failure, or too many at once.", {
            ...jsonBody(oneOf(ref("Health"), ref("Error"))),
            ...plain,
          }),
        },
      },
    },
    "/v1/status": {
      get: {
        summary: "What patina status prints.",
        responses: { ...common, 200: answer("", jsonBody({ type: "object" })) },
      },
    },
    "/v1/swarm": {
      get: {
        summary: "What patina swarm prints.",
        responses: { ...common, 200: answer("", jsonBody({ type: "object" })) },
      },
    },
    "/v1/subs": {
      get: {
        summary: "What patina subs prints.",
        responses: { ...common, 200: answer("", jsonBody({ type: ["object", "array"] })) },
      },
    },
    "/metrics": {
      get: {
        summary: "What the agent counts, in Prometheus's text format.",
        responses: {
          ...common,
          200: answer("", { "text/plain; version=0.0.4; charset=utf-8": { schema: text } }),
        },
      },
    },
    "/v1/backup": {
      post: {
        summary:
          "Copies the database into a new file of the agent's host. Only over the Unix socket.",
        requestBody: body(object({ path: text })),
        responses: { ...common, 200: answer("", lines(ref("OperationLine"))), ...refused },
      },
    },
    "/v1/reload": {
      post: {
        summary: "Reads the schema files and the file of tokens again. Only over the Unix socket.",
        requestBody: body(object({ dry_run: { type: "boolean" } }, ["dry_run"])),
        responses: { ...common, 200: answer("", lines(ref("OperationLine"))), ...refused },
      },
    },
    "/v1/openapi.json": {
      get: {
        summary: "This.",
        responses: { ...common, 200: answer("", jsonBody({ type: "object" })) },
      },
    },
  },
  components: {
    schemas,
    securitySchemes: {
      bearer: {
        type: "http",
        scheme: "bearer",
        description: "On TCP; the Unix socket wants none.",
      },
    },
  },
} as const;

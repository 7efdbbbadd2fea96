/**
 * Statements as clients write them.
 *
 * ```json
 * "SELECT 1"
 * ["SELECT ?", [1]]
 * ["SELECT :x", {":x": 1}]
 * {"query": "SELECT ?", "params": [1], "named_params": null}
 * ```
 *
 * `params` wins when both are given. A parameter is null, a boolean (1 or 0), a number, a string, or an
 * array of byte numbers (BLOB); names keep their `:`, `@` or `$`.
 *
 * A body that isn't one of these is answered in words: 415 without a JSON content type, 400 for broken
 * JSON, 422 for another shape.
 *
 * @module
 */

import { Real, type SqlValue } from "../../core/row/value.ts";
import { type ApiRequest, type ApiResponse, textResponse } from "./http.ts";
import { JsonError, JsonReader, type JsonValue } from "./json-reader.ts";

export interface SqlText {
  readonly sql: string;
  /** By position, or by name; undefined when the client gave none. */
  readonly parameters: readonly SqlValue[] | ReadonlyMap<string, SqlValue> | undefined;
}

/**
 * Of one statement, and of other bodies: SQLite takes 32,766 parameters. Reading a body can't be interrupted, and others
 * wait for it.
 */
const valuesMax = 100_000;
/** What isn't read exactly by {@link plainStatement} is read twice. */
const plainCharsMax = 64 * 1024;

export type Parsed<T> =
  | { readonly kind: "parsed"; readonly value: T }
  | { readonly kind: "refused"; readonly response: ApiResponse };

const notJson = "Failed to parse the request body as JSON: ";
const wrongShape = "Failed to deserialize the JSON body into the target type: ";
const noVariant = "data did not match any variant of untagged enum Statement";

/** A body that is one statement. */
export function parseStatementBody(request: ApiRequest): Parsed<SqlText> {
  return parseBody(
    request,
    (reader) => {
      const json = reader.value();
      reader.end();
      return toStatement(json) ?? textResponse(422, wrongShape + noVariant);
    },
    plainStatement,
  );
}

/**
 * The commonest bodies, by the engine's own parser: `"SELECT …"` and `["SELECT … ?", ["text", null]]`. Undefined for
 * all that it doesn't read exactly as ours does (numbers, escapes), and for all that is wrong.
 */
function plainStatement(text: string): SqlText | undefined {
  if (text.length > plainCharsMax || text.includes("\\")) return undefined;
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof json === "string") return { sql: json, parameters: undefined };
  if (!Array.isArray(json) || json.length !== 2) return undefined;
  const [sql, parameters] = json as unknown[];
  if (typeof sql !== "string" || !Array.isArray(parameters)) return undefined;
  for (const value of parameters) {
    if (typeof value !== "string" && value !== null) return undefined;
  }
  return { sql, parameters: parameters as (string | null)[] };
}

/** A body that is a list of statements. */
export function parseStatementListBody(request: ApiRequest): Parsed<readonly SqlText[]> {
  return parseBody(request, (reader) => {
    const code = reader.peek();
    if (code !== 0x5b) {
      // What kind of thing it is is said before whether the rest of it is JSON.
      const found = code === 0x7b ? "map" : describe(reader.value());
      const error = reader.errorHere(`invalid type: ${found}, expected a sequence`);
      return textResponse(422, wrongShape + error.message);
    }
    reader.skip();
    const statements: SqlText[] = [];
    if (reader.peek() === 0x5d) reader.skip();
    else {
      for (let index = 0; ; index++) {
        if (Number.isNaN(reader.peek())) throw reader.errorNext("EOF while parsing a list");
        reader.countAnew();
        const json = inElement(index, () => reader.value());
        const statement = toStatement(json);
        const more = reader.nextItem(0x5d);
        if (statement === undefined) {
          const error = reader.errorHere(`[${index}]: ${noVariant}`);
          return textResponse(422, wrongShape + error.message);
        }
        statements.push(statement);
        if (!more) break;
      }
    }
    reader.end();
    return statements;
  });
}

/** A body that is any JSON, with the same refusals. */
export function parseJsonBody(request: ApiRequest): Parsed<JsonValue> {
  const parsed = parseBody(request, (reader) => {
    const value = reader.value();
    reader.end();
    return { value };
  });
  return parsed.kind === "parsed" ? { kind: "parsed", value: parsed.value.value } : parsed;
}

function parseBody<T extends object>(
  request: ApiRequest,
  parse: (reader: JsonReader) => T | ApiResponse,
  parsePlain?: (text: string) => T | undefined,
): Parsed<T> {
  if (!isJson(request.header("content-type"))) {
    const text = "Expected request with `Content-Type: application/json`";
    return { kind: "refused", response: textResponse(415, text) };
  }
  const bytes = request.body as Uint8Array;
  let text: string;
  try {
    text = strictUtf8.decode(bytes);
  } catch {
    const message = `${notJson}invalid unicode code point`;
    return { kind: "refused", response: textResponse(400, message) };
  }
  const plain = parsePlain?.(text);
  if (plain !== undefined) return { kind: "parsed", value: plain };
  try {
    const result = parse(new JsonReader(text, { takesBytes: true, valuesMax }));
    return "status" in result && "headers" in result
      ? { kind: "refused", response: result as ApiResponse }
      : { kind: "parsed", value: result as T };
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    return { kind: "refused", response: textResponse(400, notJson + error.message) };
  }
}

const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** `application/json` and `application/*+json`, with or without parameters. */
function isJson(contentType: string | undefined): boolean {
  if (contentType === "application/json") return true;
  if (contentType === undefined) return false;
  return /^\s*application\/(json|[^;/\s]+\+json)\s*(;|$)/i.test(contentType);
}

function inElement<T>(index: number, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof JsonError) error.message = `[${index}]: ${error.message}`;
    throw error;
  }
}

function toStatement(json: JsonValue): SqlText | undefined {
  if (typeof json === "string") return { sql: json, parameters: undefined };
  if (json instanceof Map) {
    const sql = json.get("query");
    if (typeof sql !== "string") return undefined;
    const list = json.get("params") ?? null;
    const names = json.get("named_params") ?? null;
    const byPosition = list === null ? undefined : toList(list);
    const byName = names === null ? undefined : toNames(names);
    if (list !== null && byPosition === undefined) return undefined;
    if (names !== null && byName === undefined) return undefined;
    return { sql, parameters: byPosition ?? byName };
  }
  if (!Array.isArray(json) || json.length !== 2 || typeof json[0] !== "string") return undefined;
  const parameters = toList(json[1]) ?? toNames(json[1]);
  return parameters === undefined ? undefined : { sql: json[0], parameters };
}

function toList(json: JsonValue): SqlValue[] | undefined {
  if (json instanceof Uint8Array) return [...json];
  if (!Array.isArray(json)) return undefined;
  const values: SqlValue[] = [];
  for (const item of json) {
    const value = toSqlValue(item);
    if (value === undefined) return undefined;
    values.push(value);
  }
  return values;
}

function toNames(json: JsonValue): Map<string, SqlValue> | undefined {
  if (!(json instanceof Map)) return undefined;
  const values = new Map<string, SqlValue>();
  for (const [name, item] of json) {
    const value = toSqlValue(item);
    if (value === undefined) return undefined;
    values.set(name, value);
  }
  return values;
}

function toSqlValue(json: JsonValue): SqlValue | undefined {
  if (json === null || typeof json === "string" || typeof json === "number") return json;
  if (typeof json === "bigint" || json instanceof Real || json instanceof Uint8Array) return json;
  if (typeof json === "boolean") return json ? 1 : 0;
  if (!Array.isArray(json)) return undefined;
  const bytes = new Uint8Array(json.length);
  for (let i = 0; i < json.length; i++) {
    const byte = json[i];
    if (typeof byte !== "number" || byte < 0 || byte > 255) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}

function describe(json: JsonValue): string {
  if (json === null) return "null";
  if (typeof json === "boolean") return `boolean \`${json}\``;
  if (typeof json === "string") return `string ${JSON.stringify(json)}`;
  if (json instanceof Real) return `floating point \`${json.real}\``;
  return `integer \`${json as number | bigint}\``;
}

/** @module */

import type { Real, SqlValue } from "../../../core/row/value.ts";
import { JsonError, type JsonValue, parseJson } from "../../api/json-reader.ts";
import { parseParameter, type Statement } from "../../client/client.ts";
import { clientOf } from "../agent-client.ts";
import { UsageError } from "../failure.ts";
import type { GlobalOptions } from "../program.ts";

export async function exec(
  sql: string | undefined,
  parameters: readonly string[],
  options: GlobalOptions,
): Promise<void> {
  const client = clientOf(options);
  const statements =
    sql === undefined
      ? parseStatements(await Bun.stdin.text())
      : [{ sql, parameters: parameters.map(parseParameter) }];
  const { rowsAffected, version, actorId } = await client.transact(...statements);
  const rows = rowsAffected.reduce((sum, count) => sum + count, 0);
  if (options.json) {
    console.log(JSON.stringify({ rows_affected: rowsAffected, version, actor_id: actorId }));
    return;
  }
  const counted = `${rows} ${rows === 1 ? "row" : "rows"}`;
  console.log(version === null ? `${counted}, nothing changed` : `${counted}, version ${version}`);
}

function parseStatements(text: string): Statement[] {
  const wrong = new UsageError(
    'stdin: a JSON list of statements: ["DELETE FROM t", ["INSERT INTO t VALUES (?)", [1]]]',
  );
  let json: JsonValue;
  try {
    json = parseJson(text);
  } catch (error) {
    if (error instanceof JsonError) throw new UsageError(`stdin: ${error.message}`);
    throw error;
  }
  if (!Array.isArray(json)) throw wrong;
  return json.map((item: JsonValue) => {
    if (typeof item === "string") return { sql: item };
    if (!Array.isArray(item) || typeof item[0] !== "string" || !Array.isArray(item[1])) throw wrong;
    return {
      sql: item[0],
      parameters: item[1].map((value: JsonValue) => toSqlValue(value, wrong)),
    };
  });
}

function toSqlValue(json: JsonValue, wrong: Error): SqlValue {
  if (typeof json === "boolean") return json ? 1 : 0;
  if (json instanceof Map) throw wrong;
  if (Array.isArray(json)) return Uint8Array.from(json as number[]);
  return json as null | number | bigint | Real | string;
}

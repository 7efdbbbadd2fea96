/**
 * The text that names a live query: what the client sent, with its values put in.
 *
 * @module
 */

import { Real, type SqlValue } from "../../../core/row/value.ts";
import type { Statement } from "../../../wasm/statement.ts";
import type { SqlText } from "../../api/statement.ts";
import type { Refused } from "../../api/store-service.ts";
import { notReadonly } from "../../sql/guard.ts";
import { bindOne, type PreparedStatements, SqlRefused, sqlCharsMax } from "../../sql/prepared.ts";

/** To be called within the guard's mode. */
export function expandedText(prepared: PreparedStatements, text: SqlText): string | Refused {
  let statement: Statement;
  try {
    const found = prepared.get(text.sql);
    if (found === "empty") return refused(500, "could not expand sql statement");
    statement = found.statement;
    if (!statement.readonly || statement.columnCount === 0 || statement.explain !== 0) {
      return refused(400, "unsupported statement");
    }
    bindLoosely(statement, text.parameters);
  } catch (error) {
    if (!(error instanceof SqlRefused)) throw error;
    const isWrite = error.message === notReadonly;
    return refused(400, isWrite ? "unsupported statement" : error.message);
  }
  const { expandedSql } = statement;
  // It is kept as long as the subscription, and compiled with its values.
  if (expandedSql.length <= sqlCharsMax) return expandedSql;
  const why = `a subscription may have ${sqlCharsMax} characters with its values`;
  return refused(400, `${why}, and has ${expandedSql.length}`);
}

/** As the contract has it for subscriptions: missing values are NULL, unknown names are skipped. */
function bindLoosely(
  statement: Statement,
  parameters: readonly SqlValue[] | ReadonlyMap<string, SqlValue> | undefined,
): void {
  if (statement.parameterCount > 0) statement.clearBindings();
  if (parameters === undefined) return;
  for (const value of parameters.values()) {
    // SQLite writes values into the text with 15 digits.
    if (value instanceof Real && Number(value.real.toPrecision(15)) !== value.real) {
      throw new SqlRefused(
        `REAL parameters of subscriptions have at most 15 digits, got ${value.real}: write it into the text`,
      );
    }
  }
  if (parameters instanceof Map) {
    for (const [name, value] of parameters as ReadonlyMap<string, SqlValue>) {
      const index = statement.parameterIndex(name);
      if (index > 0) bindOne(statement, index, value);
    }
    return;
  }
  const values = parameters as readonly SqlValue[];
  if (values.length > statement.parameterCount) throw new SqlRefused("column index out of range");
  for (let i = 0; i < values.length; i++) bindOne(statement, i + 1, values[i] as SqlValue);
}

function refused(status: 400 | 500, why: string): Refused {
  return { kind: "refused", status, why };
}

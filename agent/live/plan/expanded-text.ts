/**
 * The text that names a live query: what the client sent, with its values put in.
 *
 * @module
 */

import { Real, type SqlValue } from "../../../core/row/value.ts";
import type { Database } from "../../../wasm/database.ts";
import type { Statement } from "../../../wasm/statement.ts";
import { realToJson } from "../../api/json-writer.ts";
import type { SqlText } from "../../api/statement.ts";
import type { Refused } from "../../api/store-service.ts";
import { notReadonly } from "../../sql/guard.ts";
import { bindOne, type PreparedStatements, SqlRefused, sqlCharsMax } from "../../sql/prepared.ts";
import { withValueBound } from "../../sql/value-bound.ts";

/**
 * Of a text with marks in it, as SQLite writes it, in bytes: one that is short enough when the marks are gone has no more. A
 * value may stand in it thousands of times, and so a body of 16 MB be gigabytes: how long it gets is known before it is written.
 */
const markedBytesMax = 32 * sqlCharsMax;

/** To be called within the guard's mode. */
export function expandedText(
  database: Database,
  prepared: PreparedStatements,
  text: SqlText,
): string | Refused {
  let statement: Statement;
  let literals: ReadonlyMap<string, string>;
  try {
    const found = prepared.get(text.sql);
    if (found === "empty") return refused(500, "could not expand sql statement");
    statement = found.statement;
    if (!statement.readonly || statement.columnCount === 0 || statement.explain !== 0) {
      return refused(400, "unsupported statement");
    }
    literals = bindLoosely(statement, text.parameters);
  } catch (error) {
    if (!(error instanceof SqlRefused)) throw error;
    const isWrite = error.message === notReadonly;
    return refused(400, isWrite ? "unsupported statement" : error.message);
  }
  const marked = withValueBound(database, markedBytesMax, () => statement.expandedSql);
  // It is kept as long as the subscription, and compiled with its values.
  let chars = marked === "" ? Number.POSITIVE_INFINITY : charsWith(marked, literals);
  if (chars <= sqlCharsMax) {
    const expanded = withLiterals(marked, literals);
    if (expanded.length <= sqlCharsMax) return expanded;
    chars = expanded.length;
  }
  const why = `a subscription may have ${sqlCharsMax} characters with its values`;
  return refused(400, `${why}, and has ${Number.isFinite(chars) ? chars : "millions"}`);
}

/**
 * As the contract has it for subscriptions: missing values are NULL, unknown names are skipped.
 *
 * @returns what stands for the values that are marked, by their number
 */
function bindLoosely(
  statement: Statement,
  parameters: readonly SqlValue[] | ReadonlyMap<string, SqlValue> | undefined,
): ReadonlyMap<string, string> {
  const values: SqlValue[] = new Array(statement.parameterCount).fill(null);
  if (parameters instanceof Map) {
    for (const [name, value] of parameters as ReadonlyMap<string, SqlValue>) {
      const index = statement.parameterIndex(name);
      if (index > 0) values[index - 1] = value;
    }
  } else {
    const given = (parameters ?? []) as readonly SqlValue[];
    if (given.length > values.length) throw new SqlRefused("column index out of range");
    for (const [i, value] of given.entries()) values[i] = value;
  }
  const literals = new Map<string, string>();
  for (const [i, value] of values.entries()) {
    const literal = literalOf(value);
    if (literal !== undefined) literals.set(String(i), literal);
    bindOne(statement, i + 1, literal === undefined ? value : `${mark} ${i}`);
  }
  return literals;
}

/** Stands in a text for a value that {@link literalOf} writes. Drawn at each start: no client's text has it. */
const mark: string = crypto.randomUUID();
const marks = new RegExp(`'${mark} (\\d+)'`, "g");

/** A longer one is marked: SQLite would go through all of it wherever it stands. */
const shortTextChars = 64;

/**
 * All but short plain text. SQLite would write it otherwise than it is, or into what stands beside it: it cuts a text at a NUL
 * character and a REAL after 15 digits, has no word for an infinity, and makes a comment of `n -?` and -1.
 */
function literalOf(value: SqlValue): string | undefined {
  if (value === null) return "NULL";
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  if (value instanceof Real) {
    const { real } = value;
    return Number.isFinite(real) ? realToJson(real) : real < 0 ? "-9e999" : "9e999";
  }
  if (value instanceof Uint8Array) return `x'${Buffer.from(value).toString("hex")}'`;
  if (typeof value !== "string") return undefined;
  if (!value.includes("\0")) {
    return value.length <= shortTextChars ? undefined : `'${value.replaceAll("'", "''")}'`;
  }
  const escaped = value.replaceAll("\\", "\\\\").replaceAll("\0", "\\u0000");
  return `unistr('${escaped.replaceAll("'", "''")}')`;
}

/** Characters of the text with its literals, but for parentheses around them. */
function charsWith(text: string, literals: ReadonlyMap<string, string>): number {
  let chars = text.length;
  for (const [marked, i] of text.matchAll(marks)) {
    chars += (literals.get(i as string) ?? marked).length - marked.length;
  }
  return chars;
}

function withLiterals(text: string, literals: ReadonlyMap<string, string>): string {
  return text.replaceAll(marks, (marked, i: string, at: number) => {
    const literal = literals.get(i) ?? marked;
    const [before = "", after = ""] = [text[at - 1], text[at + marked.length]];
    const isApart =
      !partOfWord.test(before) &&
      !partOfWord.test(after) &&
      !(before === "-" && literal.startsWith("-"));
    return isApart ? literal : `(${literal})`;
  });
}

const partOfWord = /[\w$.\u0080-\uffff]/;

function refused(status: 400 | 500, why: string): Refused {
  return { kind: "refused", status, why };
}

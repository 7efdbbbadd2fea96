/**
 * A strict JSON reader (RFC 8259) that keeps what SQLite tells apart and `JSON.parse` doesn't: 64-bit
 * integers, and `1` from `1.0`.
 *
 * | JSON                                        | here                                        |
 * | ------------------------------------------- | ------------------------------------------- |
 * | number without fraction and exponent, int64 | `number` when it is a safe integer, `bigint` |
 * | any other number, `-0`, larger integers     | {@link Real}                                |
 * | object                                      | `Map`; the last of equal keys counts        |
 * | list of many byte numbers                   | `Uint8Array`, where the caller takes one    |
 * | all else                                    | as in JavaScript                            |
 *
 * Messages and positions are those of the JSON library on the other side of the contract (serde_json),
 * because clients show them: lines and columns from 1, columns in bytes; a column of 0 is "before the
 * first byte".
 *
 * @module
 */

import { assert } from "../../core/assert.ts";
import { Real } from "../../core/row/value.ts";
import { afterSpace, isDigit, readByteList } from "./json-byte-list.ts";

export type JsonValue =
  | null
  | boolean
  | number
  | bigint
  | Real
  | string
  | Uint8Array
  | readonly JsonValue[]
  | ReadonlyMap<string, JsonValue>;

/** Deeper nesting is refused, so that no body can exhaust the stack. */
export const jsonDepthMax = 128;

/** Thrown by {@link JsonReader}; callers turn it into an answer. The message ends with the position. */
export class JsonError extends Error {
  constructor(message: string, line: number, column: number) {
    super(`${message} at line ${line} column ${column}`);
    this.name = "JsonError";
  }
}

export interface JsonReaderOptions {
  /** Lists of many byte numbers become bytes (`json-byte-list.ts`). */
  readonly takesBytes?: boolean;
  /** Values at most, since {@link JsonReader.countAnew}; those that became bytes aren't counted. */
  readonly valuesMax?: number;
}

const escapes = '"\\/bfnrt';
const int64Max = 2n ** 63n - 1n;
const int64Min = -(2n ** 63n);
/** Below 2**53. */
const shortDigitsMax = 15;

export class JsonReader {
  readonly #text: string;
  readonly #takesBytes: boolean;
  readonly #valuesMax: number;
  #at = 0;
  #depth = 0;
  #values = 0;

  constructor(text: string, options: JsonReaderOptions = {}) {
    const { takesBytes = false, valuesMax = Number.POSITIVE_INFINITY } = options;
    this.#text = text;
    this.#takesBytes = takesBytes;
    this.#valuesMax = valuesMax;
  }

  /** Another so many values may come. */
  countAnew(): void {
    this.#values = 0;
  }

  /** Skips white space. The code of the next character, NaN at the end. */
  peek(): number {
    this.#at = afterSpace(this.#text, this.#at);
    return this.#text.charCodeAt(this.#at);
  }

  /** Steps over the character that {@link peek} told. */
  skip(): void {
    this.#at++;
  }

  /** An error at what has been read so far. */
  errorHere(message: string): JsonError {
    return this.#error(message, this.#at);
  }

  /** An error at the next character, or at the end. */
  errorNext(message: string): JsonError {
    return this.#error(message, Math.min(this.#text.length, this.#at + 1));
  }

  /** One value of any kind. */
  value(): JsonValue {
    const code = this.peek();
    if (++this.#values > this.#valuesMax) throw this.errorNext(`over ${this.#valuesMax} values`);
    switch (code) {
      case 0x6e:
        return this.#literal("null", null);
      case 0x74:
        return this.#literal("true", true);
      case 0x66:
        return this.#literal("false", false);
      case 0x22:
        return this.#string();
      case 0x5b:
        return this.#array();
      case 0x7b:
        return this.#object();
    }
    if (code === 0x2d || (code >= 0x30 && code <= 0x39)) return this.#number();
    if (Number.isNaN(code)) throw this.errorNext("EOF while parsing a value");
    throw this.errorNext("expected value");
  }

  /** Nothing but white space may follow. */
  end(): void {
    if (!Number.isNaN(this.peek())) throw this.errorNext("trailing characters");
  }

  #literal<T>(word: string, value: T): T {
    for (let i = 0; i < word.length; i++) {
      const code = this.#text.charCodeAt(this.#at);
      if (Number.isNaN(code)) throw this.errorHere("EOF while parsing a value");
      this.#at++;
      if (code !== word.charCodeAt(i)) throw this.errorHere("expected ident");
    }
    return value;
  }

  #number(): number | bigint | Real {
    return this.#shortInteger() ?? this.#anyNumber();
  }

  /** Nearly all are. Undefined: it is another. */
  #shortInteger(): number | undefined {
    const text = this.#text;
    let at = this.#at;
    const isNegative = text.charCodeAt(at) === 0x2d;
    if (isNegative) at++;
    const first = text.charCodeAt(at);
    if (!(first >= 0x31 && first <= 0x39)) return undefined;
    const end = at + shortDigitsMax;
    let value = 0;
    let code = first;
    for (; isDigit(code); code = text.charCodeAt(++at)) {
      if (at === end) return undefined;
      value = value * 10 + code - 0x30;
    }
    if (code === 0x2e || code === 0x65 || code === 0x45) return undefined;
    this.#at = at;
    return isNegative ? -value : value;
  }

  #anyNumber(): number | bigint | Real {
    const text = this.#text;
    const start = this.#at;
    let isInteger = true;
    if (text.charCodeAt(this.#at) === 0x2d) this.#at++;
    const first = text.charCodeAt(this.#at);
    this.#digit();
    if (first === 0x30) {
      if (isDigit(text.charCodeAt(this.#at))) throw this.errorNext("invalid number");
    } else this.#digits();
    if (text.charCodeAt(this.#at) === 0x2e) {
      isInteger = false;
      this.#at++;
      this.#digit();
      this.#digits();
    }
    const e = text.charCodeAt(this.#at);
    if (e === 0x65 || e === 0x45) {
      isInteger = false;
      this.#at++;
      const sign = text.charCodeAt(this.#at);
      if (sign === 0x2b || sign === 0x2d) this.#at++;
      this.#digit();
      this.#digits();
    }
    const token = text.slice(start, this.#at);
    const double = Number(token);
    if (!Number.isFinite(double)) throw this.errorHere("number out of range");
    if (!isInteger || token === "-0") return new Real(double);
    if (Number.isSafeInteger(double)) return double;
    const exact = BigInt(token);
    return exact >= int64Min && exact <= int64Max ? exact : new Real(double);
  }

  #digit(): void {
    const code = this.#text.charCodeAt(this.#at);
    if (Number.isNaN(code)) throw this.errorHere("EOF while parsing a value");
    if (!isDigit(code)) throw this.errorNext("invalid number");
    this.#at++;
  }

  #digits(): void {
    while (isDigit(this.#text.charCodeAt(this.#at))) this.#at++;
  }

  #string(): string {
    const text = this.#text;
    const start = ++this.#at;
    for (;;) {
      const code = text.charCodeAt(this.#at);
      if (code === 0x22) return text.slice(start, this.#at++);
      if (code === 0x5c) break;
      this.#plainCharacter(code);
    }
    const whole = this.#unescaped(start);
    if (whole !== undefined) return whole;
    for (;;) {
      const code = text.charCodeAt(this.#at);
      assert(code !== 0x22, "something is wrong with the string");
      if (code === 0x5c) this.#checkEscape();
      else this.#plainCharacter(code);
    }
  }

  #plainCharacter(code: number): void {
    if (Number.isNaN(code)) throw this.errorHere("EOF while parsing a string");
    this.#at++;
    if (code < 0x20) {
      throw this.errorHere("control character (\\u0000-\\u001F) found while parsing a string");
    }
  }

  /**
   * A string with escapes, by the engine's own parser: put together here, a long one takes 40 times as long.
   *
   * @param start of its characters; its first escape is at hand
   * @returns undefined where something is wrong with it: then it is gone through for what that is
   */
  #unescaped(start: number): string | undefined {
    const text = this.#text;
    let at = this.#at;
    for (let code = 0x5c; code !== 0x22; code = text.charCodeAt(at)) {
      if (Number.isNaN(code)) return undefined;
      at += code === 0x5c ? 2 : 1;
    }
    let whole: string;
    try {
      whole = JSON.parse(text.slice(start - 1, at + 1));
    } catch {
      return undefined;
    }
    // A lone surrogate is no character, and TEXT could not keep it.
    if (!whole.isWellFormed()) return undefined;
    this.#at = at + 1;
    return whole;
  }

  #checkEscape(): void {
    const code = this.#text.charCodeAt(++this.#at);
    if (Number.isNaN(code)) throw this.errorHere("EOF while parsing a string");
    this.#at++;
    if (code === 0x75) this.#checkUnicode();
    else if (!escapes.includes(String.fromCharCode(code))) throw this.errorHere("invalid escape");
  }

  /** `\uXXXX`, or a pair of them. */
  #checkUnicode(): void {
    const first = this.#hex4();
    if (first >= 0xdc00 && first <= 0xdfff) {
      throw this.errorHere("lone leading surrogate in hex escape");
    }
    if (first < 0xd800 || first > 0xdbff) return;
    if (this.#text.charCodeAt(this.#at) !== 0x5c || this.#text.charCodeAt(this.#at + 1) !== 0x75) {
      throw this.errorHere("unexpected end of hex escape");
    }
    this.#at += 2;
    const second = this.#hex4();
    if (second < 0xdc00 || second > 0xdfff) {
      throw this.errorHere("lone leading surrogate in hex escape");
    }
  }

  #hex4(): number {
    const digits = this.#text.slice(this.#at, this.#at + 4);
    if (digits.length < 4) {
      this.#at = this.#text.length;
      throw this.errorHere("EOF while parsing a string");
    }
    if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw this.errorHere("invalid escape");
    this.#at += 4;
    return Number.parseInt(digits, 16);
  }

  #array(): JsonValue {
    const items: JsonValue[] = [];
    this.#enter();
    this.#at++;
    const list = this.#takesBytes ? readByteList(this.#text, this.#at) : undefined;
    if (list !== undefined) {
      this.#at = list.end;
      this.#depth--;
      return list.bytes;
    }
    if (this.peek() === 0x5d) {
      this.#at++;
      this.#depth--;
      return items;
    }
    for (;;) {
      if (Number.isNaN(this.peek())) throw this.errorNext("EOF while parsing a list");
      items.push(this.value());
      if (!this.nextItem(0x5d)) break;
    }
    this.#depth--;
    return items;
  }

  /**
   * After an item of a list (`close` is `]`) or an entry of an object (`}`): true when another follows,
   * false when the closing bracket was read.
   */
  nextItem(close: 0x5d | 0x7d): boolean {
    const code = this.peek();
    if (code === close) {
      this.#at++;
      return false;
    }
    if (code === 0x2c) {
      this.#at++;
      if (this.peek() === close) throw this.errorNext("trailing comma");
      return true;
    }
    const [what, bracket] = close === 0x5d ? ["a list", "]"] : ["an object", "}"];
    if (Number.isNaN(code)) throw this.errorNext(`EOF while parsing ${what}`);
    throw this.errorNext(`expected \`,\` or \`${bracket}\``);
  }

  #object(): Map<string, JsonValue> {
    const entries = new Map<string, JsonValue>();
    this.#enter();
    this.#at++;
    if (this.peek() === 0x7d) {
      this.#at++;
      this.#depth--;
      return entries;
    }
    for (;;) {
      const code = this.peek();
      if (Number.isNaN(code)) throw this.errorNext("EOF while parsing an object");
      if (code !== 0x22) throw this.errorNext("key must be a string");
      const key = this.#string();
      const colon = this.peek();
      if (Number.isNaN(colon)) throw this.errorNext("EOF while parsing an object");
      if (colon !== 0x3a) throw this.errorNext("expected `:`");
      this.#at++;
      entries.set(key, this.value());
      if (!this.nextItem(0x7d)) break;
    }
    this.#depth--;
    return entries;
  }

  #enter(): void {
    if (++this.#depth >= jsonDepthMax) throw this.errorNext("recursion limit exceeded");
  }

  #error(message: string, index: number): JsonError {
    const before = this.#text.slice(0, index);
    const lineStart = before.lastIndexOf("\n") + 1;
    let line = 1;
    for (let i = before.indexOf("\n"); i >= 0; i = before.indexOf("\n", i + 1)) line++;
    return new JsonError(message, line, Buffer.byteLength(before.slice(lineStart), "utf8"));
  }
}

/** A whole text. Throws {@link JsonError}. */
export function parseJson(text: string): JsonValue {
  const reader = new JsonReader(text);
  const value = reader.value();
  reader.end();
  return value;
}

/**
 * Lines of a result, written as bytes: what SQLite has in its heap goes straight into what is sent, and
 * no string is made of it where it is plain ASCII.
 *
 * The bytes are those of `api/json-writer.ts`, which does whatever isn't plain here.
 *
 * @module
 */

import { SQLITE_INTEGER, SQLITE_NULL, SQLITE_TEXT } from "../../wasm/constants.ts";
import type { Statement } from "../../wasm/statement.ts";
import { sqlValueToJson } from "../api/json-writer.ts";

const firstBytes = 16 * 1024;
/** A buffer that one large value made is not kept. */
const keptBytes = 256 * 1024;

export class LineWriter {
  #bytes = new Uint8Array(firstBytes);
  #at = 0;

  /** Of what was written since the last {@link take}. */
  get length(): number {
    return this.#at;
  }

  /** @param text of ASCII characters only */
  ascii(text: string): void {
    const { length } = text;
    this.#room(length);
    const bytes = this.#bytes;
    let at = this.#at;
    for (let i = 0; i < length; i++) bytes[at++] = text.charCodeAt(i);
    this.#at = at;
  }

  text(text: string): void {
    this.#room(text.length * 3);
    this.#at += encoder.encodeInto(text, this.#bytes.subarray(this.#at)).written;
  }

  bytes(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  /**
   * `{"row":[1,["a",2]]}` and a newline, of the row at hand.
   *
   * @throws NotUtf8Error; then nothing was written
   */
  row(number: number, statement: Statement): void {
    const start = this.#at;
    try {
      this.ascii('{"row":[');
      this.#integer(number);
      this.ascii(",[");
      for (let column = 0; column < statement.columnCount; column++) {
        if (column > 0) this.#byte(0x2c);
        this.#value(statement, column);
      }
      this.ascii("]]}\n");
    } catch (error) {
      this.#at = start;
      throw error;
    }
  }

  /** A copy of what was written, in a buffer of its own; the next lines begin anew. */
  take(): Uint8Array<ArrayBuffer> {
    const taken = this.#bytes.slice(0, this.#at);
    this.clear();
    return taken;
  }

  clear(): void {
    this.#at = 0;
    if (this.#bytes.length > keptBytes) this.#bytes = new Uint8Array(firstBytes);
  }

  #value(statement: Statement, column: number): void {
    const type = statement.columnType(column);
    if (type === SQLITE_TEXT && this.#plainText(statement, column)) return;
    if (type === SQLITE_NULL) {
      this.ascii("null");
      return;
    }
    if (type === SQLITE_INTEGER) {
      const value = statement.columnInteger(column);
      if (typeof value === "number") this.#integer(value);
      else this.ascii(String(value));
      return;
    }
    this.text(sqlValueToJson(statement.column(column)));
  }

  /** False for one that has other characters than plain ones: nothing was written then. */
  #plainText(statement: Statement, column: number): boolean {
    const from = statement.columnPointer(column);
    const length = statement.columnLength(column);
    this.#room(length + 2);
    const heap = statement.heapBytes;
    const bytes = this.#bytes;
    let at = this.#at;
    bytes[at++] = 0x22;
    for (let i = from; i < from + length; i++) {
      const code = heap[i] as number;
      if (code < 0x20 || code > 0x7f || code === 0x22 || code === 0x5c) return false;
      bytes[at++] = code;
    }
    bytes[at++] = 0x22;
    this.#at = at;
    return true;
  }

  #integer(value: number): void {
    if (value >= 0 && value < 10) this.#byte(0x30 + value);
    else this.ascii(String(value));
  }

  #byte(code: number): void {
    this.#room(1);
    this.#bytes[this.#at++] = code;
  }

  #room(bytes: number): void {
    const wanted = this.#at + bytes;
    if (wanted <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(wanted, this.#bytes.length * 2));
    grown.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = grown;
  }
}

const encoder = new TextEncoder();

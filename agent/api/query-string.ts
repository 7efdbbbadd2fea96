/**
 * Query strings, with the refusals of the contract.
 *
 * @module
 */

import { type ApiResponse, textResponse } from "./http.ts";

/** Thrown by the getters of {@link QueryString}; the router answers with it. */
export class QueryStringError extends Error {
  readonly response: ApiResponse;
  constructor(message: string) {
    super(message);
    this.response = textResponse(400, `Failed to deserialize query string: ${message}`);
  }
}

const uint64Max = 2n ** 64n - 1n;

/** Unknown names are ignored. */
export class QueryString {
  readonly #parameters: URLSearchParams | undefined;

  constructor(query: string) {
    this.#parameters = query === "" ? undefined : new URLSearchParams(query);
  }

  /** A whole number from 0 to 2**64 - 1, rounded beyond 2**53. */
  unsigned(name: string): number | undefined {
    const text = this.#get(name);
    if (text === undefined) return undefined;
    if (text === "") throw new QueryStringError(`${name}: cannot parse integer from empty string`);
    if (!/^\+?[0-9]+$/.test(text)) {
      throw new QueryStringError(`${name}: invalid digit found in string`);
    }
    if (BigInt(text) > uint64Max) {
      throw new QueryStringError(`${name}: number too large to fit in target type`);
    }
    return Number(text);
  }

  real(name: string): number | undefined {
    const text = this.#get(name);
    if (text === undefined) return undefined;
    const value = text.trim() === "" ? Number.NaN : Number(text);
    if (Number.isNaN(value)) throw new QueryStringError(`${name}: invalid float literal`);
    return value;
  }

  boolean(name: string): boolean | undefined {
    const text = this.#get(name);
    if (text === undefined) return undefined;
    if (text === "true") return true;
    if (text === "false") return false;
    throw new QueryStringError(`${name}: provided string was not \`true\` or \`false\``);
  }

  /** `1` or `0`, `true` or `false`. */
  flag(name: string): boolean {
    const text = this.#get(name);
    if (text === undefined || text === "0" || text === "false") return false;
    if (text === "1" || text === "true") return true;
    throw new QueryStringError(`${name}: provided string was not \`1\` or \`0\``);
  }

  #get(name: string): string | undefined {
    const all = this.#parameters?.getAll(name) ?? [];
    if (all.length > 1) throw new QueryStringError(`duplicate field \`${name}\``);
    return all[0];
  }
}

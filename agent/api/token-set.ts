/**
 * The tokens that are valid now. A reload may take some back: then nobody is admitted by them any more, and what was
 * begun with them ends.
 *
 * Secrets are kept as their SHA-256, and compared in constant time.
 *
 * @module
 */

import { createHash, timingSafeEqual } from "node:crypto";
import type { Access, Token } from "./access.ts";

/** What became of the tokens in a reload, by name. */
export interface TokensChange {
  readonly kept: readonly string[];
  readonly added: readonly string[];
  /** Also those that may do something else now: who used them begins anew. */
  readonly revoked: readonly string[];
}

interface ValidToken {
  readonly name: string;
  readonly digest: Buffer;
  readonly access: Access;
  readonly revocation: AbortController;
}

export class TokenSet {
  #valid: readonly ValidToken[];

  constructor(tokens: readonly Token[]) {
    this.#valid = tokens.map(toValid);
  }

  /** What the holder of this secret may do; undefined for an unknown one. */
  accessOf(secret: string): Access | undefined {
    const digest = digestOf(secret);
    // Every one is compared: how long it takes tells nothing.
    let access: Access | undefined;
    for (const one of this.#valid) if (timingSafeEqual(one.digest, digest)) access = one.access;
    return access;
  }

  /** From now on these are valid, and no others. */
  replace(tokens: readonly Token[]): TokensChange {
    const before = this.#valid;
    const added: string[] = [];
    this.#valid = tokens.map((token) => {
      const fresh = toValid(token);
      const same = before.find((one) => one.digest.equals(fresh.digest));
      if (same !== undefined && isSameAccess(same.access, token.access)) {
        return { ...same, name: token.name };
      }
      added.push(token.name);
      return fresh;
    });
    const still = new Set(this.#valid.map(({ revocation }) => revocation));
    const revoked = before.filter(({ revocation }) => !still.has(revocation));
    for (const { revocation } of revoked) revocation.abort();
    return {
      kept: this.#valid.map(({ name }) => name).filter((name) => !added.includes(name)),
      added,
      revoked: revoked.map(({ name }) => name),
    };
  }
}

function toValid({ name, secret, access }: Token): ValidToken {
  const revocation = new AbortController();
  return {
    name,
    digest: digestOf(secret),
    access: { ...access, revoked: revocation.signal },
    revocation,
  };
}

function isSameAccess(a: Access, b: Access): boolean {
  if (a.mayWrite !== b.mayWrite || a.tables?.size !== b.tables?.size) return false;
  return a.tables === undefined || [...a.tables].every((table) => b.tables?.has(table));
}

function digestOf(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}

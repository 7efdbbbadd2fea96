/**
 * What hellos tell that a person has to mend: two nodes of one name, two hosts with one key, two schemas in one
 * cluster. None of it keeps nodes from working together.
 *
 * @module
 */

import type { Hello, TableShape } from "../../change/hello.ts";
import type { PeerId } from "../border.ts";
import { KeySharing } from "../members/key-sharing.ts";
import type { Alarm } from "../node-events.ts";
import type { Peer } from "../peer.ts";

export interface HelloJudgeHooks {
  readonly raise: (alarm: Alarm, peer: PeerId, what: string) => void;
  /** It isn't so any more. */
  readonly isOver: (alarm: Alarm, peer: PeerId) => void;
}

export class HelloJudge {
  readonly #ownName: string;
  readonly #hooks: HelloJudgeHooks;
  readonly #keySharing = new KeySharing();

  constructor(ownName: string, hooks: HelloJudgeHooks) {
    this.#ownName = ownName;
    this.#hooks = hooks;
  }

  /** A connection's first hello. */
  came(peer: Peer, hello: Hello, peers: Iterable<Peer>): void {
    const { name, site } = hello;
    let isTaken = name === this.#ownName;
    for (const other of peers) isTaken ||= other !== peer && other.hello?.name === name;
    if (isTaken) this.#hooks.raise("name-taken", peer.id, `two nodes are called ${name}`);
    if (this.#keySharing.heard(peer.id, site)) {
      const text = `two hosts have the key of ${name}: give one of them a node.key of its own`;
      this.#hooks.raise("key-taken", peer.id, text);
    }
  }

  /** At the first hello, and whenever one of the two has got another schema. */
  compareSchemas(peer: PeerId, { name, schema }: Hello, own: readonly TableShape[]): void {
    if (isSameSchema(schema, own)) this.#hooks.isOver("schema-differs", peer);
    else this.#hooks.raise("schema-differs", peer, `${name} has another schema than this node`);
  }
}

export function isSameSchema(one: readonly TableShape[], other: readonly TableShape[]): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/**
 * What a stream is told that was begun with a token for some tables: nothing any more once its query reads another one. A
 * reload makes it do so, where it has given a view other tables.
 *
 * @module
 */

import { type Access, foreignTable } from "../api/access.ts";
import type { StreamEvent, StreamListener } from "../api/store-service.ts";
import { linesTo } from "../live/live-readers.ts";

export interface AllowedListenerOptions {
  readonly listener: StreamListener;
  readonly access: Access;
  /** That the query of this id reads now; undefined: there is none. */
  readonly tablesOf: (id: string) => Iterable<string> | undefined;
  /** The line that ends it. */
  readonly refusal: string;
}

export class AllowedListener {
  readonly #options: AllowedListenerOptions;
  #id: string | undefined;
  /** Until it is known whose it is. */
  #held: StreamEvent[] = [];
  #isOver = false;

  constructor(options: AllowedListenerOptions) {
    this.#options = options;
  }

  readonly take: StreamListener = (event) => {
    if (this.#id === undefined) this.#held.push(event);
    else this.#tell(event, this.#id);
  };

  /** It is told of the query of this id. */
  opened(id: string): void {
    this.#id = id;
    const held = this.#held;
    this.#held = [];
    for (const event of held) this.#tell(event, id);
  }

  #tell(event: StreamEvent, id: string): void {
    if (this.#isOver) return;
    const { listener, access, tablesOf, refusal } = this.#options;
    const foreign = foreignTable(access.tables, tablesOf(id) ?? []);
    if (event.kind === "end" || foreign === undefined) {
      listener(event);
      return;
    }
    this.#isOver = true;
    linesTo(listener, refusal);
    listener({ kind: "end", isCut: false });
  }
}

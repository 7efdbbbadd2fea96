/**
 * What an operator asks of a running agent, as lines of JSON: any number of `progress`, then `done` or
 * `error`.
 *
 * @module
 */

import type { BackupEvent } from "./backup.ts";

/** What a step of an operation comes to. */
export type OperationLine =
  | { readonly progress: Readonly<Record<string, unknown>> }
  | { readonly done: Readonly<Record<string, unknown>> }
  | { readonly error: string };

export async function* toLines(steps: AsyncIterable<OperationLine>): AsyncGenerator<Uint8Array> {
  for await (const step of steps) yield Buffer.from(`${JSON.stringify(step)}\n`);
}

export async function* backupLines(
  events: AsyncIterable<BackupEvent>,
): AsyncGenerator<OperationLine> {
  for await (const event of events) {
    switch (event.kind) {
      case "progress":
        yield { progress: { pages: event.pages, of: event.of } };
        break;
      case "done":
        yield { done: { path: event.path, bytes: event.bytes, pages: event.pages } };
        break;
      case "failed":
        yield { error: event.why };
        break;
      default:
        event satisfies never;
    }
  }
}

/**
 * A reader of live queries that comes back after the agent was killed, over the bare protocol.
 *
 * @module
 */

import { FalseEvent, Folded } from "./live-queries-folded.ts";

export interface Reader {
  readonly sql: string;
  readonly id: string;
  readonly hash: string;
  readonly folded: Folded;
  /** Ends with the stream. @throws FalseEvent */
  reading: Promise<void>;
}

export function post(socket: string, path: string, body: unknown): Promise<Response> {
  return fetch(`http://localhost${path}`, {
    unix: socket,
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  } as RequestInit);
}

/** Folds up whole lines until the stream ends or breaks. */
async function read(response: Response, folded: Folded): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() as string;
      for (const line of lines) folded.takeLine(line.trim());
    }
  } catch (error) {
    // The agent was killed; what the last line lacks comes again.
    if (error instanceof FalseEvent) throw error;
  }
}

/** Subscribes. */
export async function open(socket: string, sql: string): Promise<Reader> {
  const response = await post(socket, "/v1/subscriptions", sql);
  if (response.status !== 200) throw new Error(`${sql}: ${await response.text()}`);
  const folded = new Folded();
  const [id, hash] = ["corro-query-id", "corro-query-hash"].map((name) =>
    response.headers.get(name),
  ) as [string, string];
  return { sql, id, hash, folded, reading: read(response, folded) };
}

/** Goes on after the last change. False when the agent doesn't know it any more. */
export async function resume(socket: string, reader: Reader): Promise<boolean> {
  const { id, folded } = reader;
  // 0 asks for everything anew: what there was of it is put away.
  if (folded.lastChange === 0) folded.rows.clear();
  const response = await fetch(
    `http://localhost/v1/subscriptions/${id}?from=${folded.lastChange}`,
    { unix: socket } as RequestInit,
  );
  if (response.status === 404) {
    const text = await response.text();
    if (text.includes("could not find subscription")) return false;
    throw new Error(`${reader.sql}: ${text}`);
  }
  const [isId, isHash] = ["corro-query-id", "corro-query-hash"].map((name) =>
    response.headers.get(name),
  );
  if (response.status !== 200 || isId !== id || isHash !== reader.hash) {
    throw new Error(`${reader.sql}: ${response.status}, id ${isId}, hash ${isHash}`);
  }
  reader.reading = read(response, folded);
  return true;
}

/** The rows of a fresh query, as {@link Folded} has them. */
export async function fresh(socket: string, sql: string): Promise<string[]> {
  const text = await (await post(socket, "/v1/queries", sql)).text();
  const rows = [...text.matchAll(/^\{"row":\[\d+,(.*)\]\}$/gm)];
  return rows.map((match) => match[1] as string).sort();
}

/**
 * What streams see when their agent is stopped in an orderly way: an answer that breaks off. Corrosion's client takes
 * a stream up again when it breaks, and takes one that ends for finished; so do others.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startTestAgent } from "../agent-process.ts";
import { contractSchema } from "./http.ts";
import { HttpClient, type LineStream } from "./http-target.ts";

test("a stop breaks streams off, on every carrier, after all that was said", async () => {
  const folder = await mkdtemp(join(tmpdir(), "patina-end-"));
  await writeFile(join(folder, "schema.sql"), contractSchema);
  const agent = await startTestAgent({
    folder,
    arguments: ["--listen", "127.0.0.1:0"],
    environment: { PATINA_API_TOKEN: "false" },
  });
  const url = `http://${agent.listen[0]}`;
  const clients = [
    new HttpClient({ at: agent.socket, isPatina: true }),
    new HttpClient({ at: url, isPatina: true }),
    new HttpClient({ at: url, isPatina: true, isH2c: true }),
  ];
  const streams: LineStream[] = [];
  for (const client of clients) {
    const live = await client.subscribe('"SELECT id FROM tests"');
    await live.take(2);
    streams.push(live, await client.stream("POST", "/v1/updates/tests"));
  }
  await (clients[0] as HttpClient).transact(`["INSERT INTO tests VALUES (1, '')"]`);
  // On a busy machine another thread finds out what a live query has to say; what it finds too late, a resumed one gets.
  for (const live of streams.filter((_, i) => i % 2 === 0)) await live.take(1);
  expect(await agent.stop()).toBe(0);
  for (const stream of streams) await stream.end();
  expect(streams.map(({ lines, isBroken }) => [lines.at(-1), isBroken])).toEqual(
    clients.flatMap(() => [
      ['{"change":["insert",1,[1],1]}', true],
      ['{"notify":["update",[1]]}', true],
    ]),
  );
  for (const client of clients) client.close();
  await rm(folder, { recursive: true });
});

test("a start says so when the run before it didn't stop in order", async () => {
  const folder = await mkdtemp(join(tmpdir(), "patina-end-"));
  await writeFile(join(folder, "schema.sql"), contractSchema);
  const said = "the last run didn't stop in order";
  const first = await startTestAgent({ folder });
  expect(first.log()).not.toContain(said);
  await first.stop();
  const second = await startTestAgent({ folder });
  expect(second.log()).not.toContain(said);
  await second.kill();
  const third = await startTestAgent({ folder });
  expect(third.log()).toContain(said);
  await third.stop();
  await rm(folder, { recursive: true });
});
